"""The best of several starts."""

import logging
import math
from collections.abc import Callable

from torch import nn

from hmm_models.training._em import FitResult

_LOGGER = logging.getLogger("hmm_models")


def check_restarts(restarts: int, restart_iterations: int | None, initialize: bool) -> None:
    """Refuse numbers out of range, and starts that would all be the same."""
    if restarts < 1 or (restarts > 1 and not initialize):
        raise ValueError(f"restarts must be >= 1, and 1 without initialize; got {restarts}")
    if restart_iterations is not None and restart_iterations < 1:
        raise ValueError(f"restart_iterations must be >= 1; got {restart_iterations}")


def run_restarts(
    model: nn.Module,
    start: Callable[[int], None],
    train: Callable[[int], FitResult],
    penalty: Callable[[], float],
    num_starts: int,
    max_iterations: int,
    short_iterations: int | None,
) -> FitResult:
    """Train from each start, keep the likeliest model, and finish its training if the runs were short.

    ``start`` is given the number of the start, ``train`` that of the iterations; every start begins from the
    parameters that the model has now. The first of equals wins.
    """
    begin = _copy(model)
    results, best, best_score, kept = list[FitResult](), 0, -math.inf, begin
    iterations = max_iterations if short_iterations is None else min(short_iterations, max_iterations)
    for index in range(num_starts):
        model.load_state_dict(begin)
        start(index)
        results.append(train(iterations))
        score = results[-1].log_likelihood[-1] + penalty()
        _LOGGER.debug("start %d: %.6f", index, score)
        if score > best_score:
            best, best_score, kept = index, score, _copy(model)
    model.load_state_dict(kept)
    found = results[best]
    left = max_iterations - len(found.reports)
    if left and not found.converged:
        rest = train(left)
        found = FitResult(
            found.log_likelihood + rest.log_likelihood[1:], rest.converged, found.reports + rest.reports
        )
    return found._replace(restarts=tuple(results))


def _copy(model: nn.Module) -> dict[str, object]:
    """Parameters and buffers as they are now."""
    return {name: value.detach().clone() for name, value in model.state_dict().items()}
