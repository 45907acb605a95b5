"""Transitions that depend on the class, or on features, of a sequence or a frame."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from hmm_models.transitions._adaptive import AdaptiveTransitionMatrix


def context_table(
    part: nn.Module, context: Tensor | None, log_emission: Tensor, lengths: Tensor | None
) -> Tensor:
    """Log-probabilities for all sequences (K, J), for each (B, K, J) or for each frame (B, T, K, J)."""
    B, T, _ = log_emission.shape
    if isinstance(part, AdaptiveTransitionMatrix):
        _check_context(context, B, T, (part.context_dim,))
        context = _readable(cast(Tensor, context), lengths, features=True)
        return part.log_prob(context.to(part.logits))
    table = cast(Tensor, cast(Any, part).log_prob())
    if table.ndim == 2:
        if context is not None:
            raise TypeError("context must be omitted: the model's transitions depend on nothing; got one")
        return table
    _check_context(context, B, T, ())
    index = _readable(cast(Tensor, context), lengths, features=False).to(table.device)
    if index.is_floating_point() or index.dtype == torch.bool:
        raise ValueError(f"context must be of integers, the classes; got {index.dtype}")
    if index.numel() and not torch.compiler.is_compiling():
        low, high = (int(bound) for bound in index.aminmax())
        if low < 0 or high >= len(table):
            raise ValueError(f"context must be in 0..{len(table) - 1}; got {low}..{high}")
    return table[index]


def at_last_frame(value: Tensor, lengths: Tensor | None) -> Tensor:
    """Entry (B, ...) of each sequence's last frame, of (B, T, ...); of the first, where there is none."""
    if lengths is None:
        return value[:, -1]
    last = (lengths.to(value.device) - 1).clamp_min(0)
    return value[torch.arange(len(value), device=value.device), last]


def context_counts(
    shape: Sequence[int], expected: dict[str, Tensor], context: Tensor, lengths: Tensor | None
) -> Tensor:
    """Add up to counts (C, K, J) of each class those of each sequence or of each step, in float64."""
    steps = expected["log_transition"].double()
    total = steps.new_zeros(tuple(shape))
    K = shape[1]
    index = _readable(context, lengths, features=False).to(steps.device)
    ends = index
    if steps.ndim == 4:
        ends = at_last_frame(index, lengths)
        index, steps = index[:, :-1].flatten(), steps.flatten(0, 1)
    total[..., :K].index_add_(0, index, steps)
    if "log_final" in expected:
        total[..., K].index_add_(0, ends, expected["log_final"].double())
    return total


def _check_context(context: Tensor | None, B: int, T: int, features: tuple[int, ...]) -> None:
    """Refuse a context that is missing or of another shape."""
    letters = "(B, C) or (B, T, C)" if features else "(B,) or (B, T)"
    shapes = [(B, *features), (B, T, *features)]
    if context is None or tuple(context.shape) not in shapes:
        got = None if context is None else tuple(context.shape)
        raise ValueError(f"context must have shape {letters} = {shapes[0]} or {shapes[1]}; got {got}")


def _readable(context: Tensor, lengths: Tensor | None, *, features: bool) -> Tensor:
    """Put zeros behind the ends, where nothing may be read."""
    if lengths is None or context.ndim == 1 + features:
        return context
    valid = torch.arange(context.shape[1], device=context.device) < lengths.to(context.device).unsqueeze(-1)
    return torch.where(valid.unsqueeze(-1) if features else valid, context, 0)
