"""The loop that all adaptations of models share."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from hmm_models._report import UpdateReport
from hmm_models.models._em_sequence_model import EMSequenceModel
from hmm_models.training._em import FitResult, SequenceStatistics, run_em


def e_step(model: EMSequenceModel[Any, Any], data: Mapping[str, Any]) -> SequenceStatistics:
    """Collect a model's statistics of the arguments of its ``accumulate``; refuse what has no path."""
    found = model.accumulate(**data)
    if float(found.log_likelihood) == -torch.inf:
        raise ValueError("x must hold sequences that the model can produce; at least one has no path")
    return found


def run_adaptation(
    collect: Callable[[], SequenceStatistics],
    update: Callable[[SequenceStatistics], None],
    slack: Callable[[], float],
    log_prior: Callable[[], float],
    max_iterations: int,
    tolerance: float,
) -> tuple[FitResult, float]:
    """Alternate E-steps and updates; return how it went, and the number of frames."""
    frames = 0.0

    def accumulate() -> SequenceStatistics:
        nonlocal frames
        found = collect()
        frames = float(found.num_frames)
        return found

    def step(statistics: SequenceStatistics) -> UpdateReport:
        update(statistics)
        return UpdateReport()

    return run_em(accumulate, step, slack, max_iterations, tolerance, log_prior), frames
