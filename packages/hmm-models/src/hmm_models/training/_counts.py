"""Counts of an E-step: over all paths, or over the best ones."""

from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor

Algorithm = Literal["baum_welch", "viterbi"]


def check_algorithm(algorithm: str) -> None:
    """Refuse the name of no E-step."""
    if algorithm not in {"baum_welch", "viterbi"}:
        raise ValueError(f'algorithm must be "baum_welch" or "viterbi"; got {algorithm!r}')


def expected_counts(
    recursions: ModuleType, arguments: dict[str, Any], weight: Tensor, algorithm: Algorithm
) -> tuple[Tensor, dict[str, Tensor]]:
    """Scores (B,), and how often each start, step, duration, emission and end is expected, in weighted sum.

    The scores are log-likelihoods, or in Viterbi training those of the best paths. The counts are their
    derivatives by the logarithms of the probabilities (Eisner, "Inside-outside and forward-backward
    algorithms are just backprop", 2016): one pass over the frames gives all.
    """
    # Within torch.inference_mode nothing could be differentiated.
    with torch.inference_mode(mode=False), torch.enable_grad():
        leaves = {
            name: (value.clone() if value.is_inference() else value.detach()).requires_grad_()
            for name, value in arguments.items()
            if name.startswith("log_") and value is not None
        }
        score: Tensor
        if algorithm == "viterbi":
            score = recursions.viterbi(**{**arguments, **leaves}).log_score
        else:
            score = recursions.log_likelihood(**{**arguments, **leaves})
        derivatives = torch.autograd.grad(score, list(leaves.values()), weight.to(score, copy=True))
    return score.detach(), dict(zip(leaves, derivatives, strict=True))
