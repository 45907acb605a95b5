"""Soft dynamic time warping on CUDA, see ``_warping``: costs are divided by gamma, sums are in float64."""

import torch
from torch import Tensor

from hmm_core.backends.cuda._warping import describe, differentiate, run


def soft_dtw(
    cost: Tensor,
    lengths_x: Tensor,
    lengths_y: Tensor,
    begin: Tensor | None,
    end: Tensor | None,
    gamma: float,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    """Values (B,), NaN where a usable cost is NaN or ``-inf``; and nothing kept for the derivative."""
    del keep  # the derivative computes the cells again
    pairs = describe(cost, lengths_x, lengths_y, begin, end)
    value = run(pairs, "soft", _scale(cost, gamma)).distance
    return value, cost.new_empty((cost.shape[0], 0))


def soft_dtw_backward(
    gradient: Tensor,
    message: Tensor,
    cost: Tensor,
    lengths_x: Tensor,
    lengths_y: Tensor,
    begin: Tensor | None,
    end: Tensor | None,
    gamma: float,
) -> Tensor:
    """Differentiate ``gradient @ soft_dtw`` by the cost."""
    del message
    pairs = describe(cost, lengths_x, lengths_y, begin, end)
    table = run(pairs, "soft", _scale(cost, gamma), keep_table=True).table
    return differentiate(pairs, table, gradient)


def _scale(cost: Tensor, gamma: float) -> Tensor:
    """Give what costs are multiplied by; a kernel would take a number in float32."""
    return torch.full((), 1.0 / gamma, dtype=torch.float64, device=cost.device)
