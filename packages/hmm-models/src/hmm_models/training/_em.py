"""Expectation-maximisation: statistics of a whole model, and the loop that watches the likelihood."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from hmm_models._report import UpdateReport
from hmm_models._statistics import Statistics

_LOGGER = logging.getLogger("hmm_models")


class LikelihoodDecreaseError(RuntimeError):
    """EM lowered the likelihood by more than rounding explains."""


class FitResult(NamedTuple):
    """How a fit went."""

    log_likelihood: tuple[float, ...]
    """Of all (weighted) sequences, in nats: at the start, then after each update; the last is the model's. In
    Viterbi training, of their best paths."""
    converged: bool
    """Whether the last update gained less than the tolerance."""
    reports: tuple[UpdateReport, ...]
    """One for each update."""
    restarts: tuple["FitResult", ...] = ()
    """How each start went, where there were several; the fit itself is the one that got furthest."""


@dataclass(frozen=True, eq=False)
class SequenceStatistics(Statistics):
    """What the M-step of any model of sequences needs to know of the data; adds over sequences.

    Parameters
    ----------
    log_likelihood : Tensor of float64, shape ()
        Sum over the sequences.
    num_frames : Tensor of float64, shape ()
        Sum over the sequences.
    emission : Statistics
        Of the states' densities.
    """

    log_likelihood: Tensor
    num_frames: Tensor
    emission: Statistics


@dataclass(frozen=True, eq=False)
class HMMStatistics(SequenceStatistics):
    """What the M-step of a hidden Markov model needs to know of the data; adds over sequences.

    Parameters
    ----------
    log_likelihood : Tensor of float64, shape ()
        Sum over the sequences.
    num_frames : Tensor of float64, shape ()
        Sum over the sequences.
    emission : Statistics
        Of the states' densities.
    initial : Tensor of float64, shape (K,)
        Expected number of sequences that start in each state.
    transition : Tensor of float64, shape (K, K) or (K, K + 1)
        Expected number of steps; the last column, where there is one, counts the ends.
    """

    initial: Tensor
    transition: Tensor


def run_em(
    accumulate: Callable[[], SequenceStatistics],
    update: Callable[[Any], UpdateReport],
    slack: Callable[[], float],
    max_iterations: int,
    tolerance: float,
    penalty: Callable[[], float] = lambda: 0.0,
) -> FitResult:
    """Alternate E- and M-steps until the gain per frame is below the tolerance.

    ``slack`` says how many nats per frame the rounding of the parameters may cost, ``penalty`` what a prior
    adds to the log-likelihood of the present parameters: the sum counts. An update that removed
    components may cost more than that; any other fall of the likelihood is an error.
    """
    statistics = accumulate()
    history, reports = [float(statistics.log_likelihood)], list[UpdateReport]()
    frames, objective = float(statistics.num_frames) or 1.0, history[0] + penalty()
    converged = False
    while not converged and len(reports) < max_iterations:
        reports.append(update(statistics))
        statistics = accumulate()
        history.append(float(statistics.log_likelihood))
        before, objective = objective, history[-1] + penalty()
        gain = (objective - before) / frames
        _LOGGER.debug("iteration %d: log-likelihood %.6f per frame", len(reports), history[-1] / frames)
        if not gain >= -slack() and not reports[-1].removed:
            raise LikelihoodDecreaseError(
                f"log-likelihood fell from {before:.9g} to {objective:.9g} in iteration "
                f"{len(reports)}: by {-gain:.3g} nats per frame, of which rounding explains {slack():.3g}. "
                "Center and scale the features, or train in float64"
            )
        converged = gain < tolerance and not reports[-1].removed
    return FitResult(tuple(history), converged, tuple(reports))


def sum_statistics(
    parts: Iterable[SequenceStatistics], nothing: Callable[[], SequenceStatistics]
) -> SequenceStatistics:
    """Add up statistics, keeping one sum and one part; ``nothing`` makes the sum of no parts."""
    total: SequenceStatistics | None = None
    for part in parts:
        if total is None:
            total = part
        else:
            total += part
    return nothing() if total is None else total
