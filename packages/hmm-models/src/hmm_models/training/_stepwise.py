"""Stepwise EM: an M-step after every batch, on a running average of the statistics."""

import logging
from collections.abc import Callable, Iterable
from typing import Any

from hmm_models._report import UpdateReport
from hmm_models.training._em import FitResult, SequenceStatistics

_LOGGER = logging.getLogger("hmm_models")


def run_stepwise_em(
    accumulate: Callable[[], Iterable[SequenceStatistics]],
    update: Callable[[Any], UpdateReport],
    max_epochs: int,
    tolerance: float,
    power: float,
) -> FitResult:
    r"""Mix each batch's statistics per frame into their average with weight :math:`(t + 2)^{-power}`.

    The likelihood of an epoch is that of its batches, each before its own update; it need not grow.
    """
    average: SequenceStatistics | None = None
    history, reports = list[float](), list[UpdateReport]()
    steps, converged = 0, False
    while not converged and len(history) < max_epochs:
        total, frames = 0.0, 0.0
        for statistics in accumulate():
            total += float(statistics.log_likelihood)
            frames += float(statistics.num_frames)
            if not float(statistics.num_frames):
                continue
            mean = statistics * (1.0 / float(statistics.num_frames))
            weight = (steps + 2.0) ** -power
            average = mean if average is None else average * (1.0 - weight) + mean * weight
            # As many frames as an epoch so far has: what is too few counts in frames.
            reports.append(update(average * frames))
            steps += 1
        history.append(total)
        _LOGGER.debug("epoch %d: log-likelihood %.6f per frame", len(history), total / (frames or 1.0))
        if len(history) > 1:
            converged = (history[-1] - history[-2]) / (frames or 1.0) < tolerance
    return FitResult(tuple(history), converged, tuple(reports))
