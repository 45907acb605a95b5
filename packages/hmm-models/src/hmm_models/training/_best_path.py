"""Expected counts of an E-step that believes in the best path alone."""

from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor

Algorithm = Literal["baum_welch", "viterbi"]
_CHAIN = ("log_initial", "log_transition", "log_duration", "log_final")


def check_algorithm(algorithm: str) -> None:
    """Refuse the name of no E-step."""
    if algorithm not in {"baum_welch", "viterbi"}:
        raise ValueError(f'algorithm must be "baum_welch" or "viterbi"; got {algorithm!r}')


@torch.no_grad()
def best_path_counts(recursions: ModuleType, arguments: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
    """Scores (B,) of the best paths, and how often each uses each entry of each argument, (B, ...).

    The counts are the derivatives of the scores: so the part of a duration that lies beyond the observations
    is shared out over the lengths that it may have.
    """
    B = len(arguments["log_emission"])
    parts = {"log_emission": arguments["log_emission"]}
    for name in _CHAIN:
        if arguments.get(name) is not None:
            parts[name] = _with_batch_axis(name, arguments[name], B)
    parts = {name: value.detach().requires_grad_() for name, value in parts.items()}
    with torch.enable_grad():
        log_score: Tensor = recursions.viterbi(**{**arguments, **parts}).log_score
        counts = torch.autograd.grad(log_score.sum(), list(parts.values()))
    return log_score.detach(), dict(zip(parts, counts, strict=True))


def _with_batch_axis(name: str, value: Tensor, num_sequences: int) -> Tensor:
    """Give each sequence its own copy of what all share."""
    axes = 1 if name in {"log_initial", "log_final"} else 2
    if value.ndim == axes:
        value = value.unsqueeze(0)
    return value.expand(num_sequences, *value.shape[1:])
