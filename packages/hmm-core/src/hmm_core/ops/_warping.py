"""What dtw and soft_dtw share: checks of their arguments, and the choice of the backend."""

from typing import NamedTuple

import torch
from torch import Tensor

from hmm_core._dispatch import Chosen, resolve
from hmm_core._tracing import values_are_readable
from hmm_core._validate import check_shape, floating, integer
from hmm_core._values import check_range
from hmm_core._windows import Itakura, SakoeChiba, Window, band
from hmm_core.ops._library import needs_reference

PAIRS_SCHEMA = "Tensor cost, Tensor lengths_x, Tensor lengths_y, Tensor? begin, Tensor? end"


class Pairs(NamedTuple):
    """Pairs of sequences in canonical form; ``begin`` and ``end`` are None without a window."""

    cost: Tensor  # (B, N, M)
    lengths_x: Tensor  # (B,)
    lengths_y: Tensor  # (B,)
    begin: Tensor | None  # (B, N)
    end: Tensor | None  # (B, N)


def prepare_pairs(
    cost: Tensor,
    lengths_x: Tensor | None,
    lengths_y: Tensor | None,
    window: Window | None,
    backend: str,
) -> tuple[Pairs, Chosen]:
    """Check the arguments, and choose where to compute."""
    cost = floating("cost", cost, None)
    if cost.ndim != 3:
        raise ValueError(f"cost must have shape (B, N, M); got {tuple(cost.shape)}")
    _, N, M = cost.shape
    lengths_x = canonical_lengths("lengths_x", lengths_x, cost, N, "cost (B, N, M)")
    lengths_y = canonical_lengths("lengths_y", lengths_y, cost, M, "cost (B, N, M)")
    begin = end = None
    if window is not None:
        if not isinstance(window, SakoeChiba | Itakura):
            raise TypeError(f"window must be a SakoeChiba, an Itakura or None; got {type(window).__name__}")
        begin, end = band(window, lengths_x, lengths_y, N)
    chosen = resolve(backend, cost.device, transformed=needs_reference())
    if chosen == "reference" and values_are_readable():
        check_range("lengths_x", lengths_x, "N", N)
        check_range("lengths_y", lengths_y, "M", M)
    return Pairs(cost, lengths_x, lengths_y, begin, end), chosen


def canonical_lengths(name: str, lengths: Tensor | None, like: Tensor, full: int, source: str) -> Tensor:
    """Lengths (B,), all full if omitted."""
    B = like.shape[0]
    if lengths is None:
        return torch.full((B,), full, dtype=torch.int64, device=like.device)
    lengths = integer(name, lengths, like, source.split(" ", maxsplit=1)[0])
    check_shape(name, lengths, {"(B,)": (B,)}, f"with B from {source} = {tuple(like.shape)}")
    return lengths


def refuse_wrong_costs(pairs: Pairs, chosen: Chosen, result: Tensor, gamma: float | None = None) -> None:
    """Name the cost for which a backend gave NaN; with ``gamma`` it may just be too large.

    The host does not wait for the results of CUDA kernels: they stay NaN.
    """
    if chosen == "cuda" or not values_are_readable() or not bool(result.detach().isnan().any()):
        return
    cost, lengths_x, lengths_y, begin, end = pairs
    cost = cost.detach()
    row = torch.arange(cost.shape[1], device=cost.device)[:, None]
    column = torch.arange(cost.shape[2], device=cost.device)
    read = (row < lengths_x[:, None, None]) & (column < lengths_y[:, None, None])
    if begin is not None and end is not None:
        read = read & (column >= begin[..., None]) & (column < end[..., None])
    wrong = (cost.isnan() | (cost == -torch.inf)) & read
    rule = "must not hold NaN or -inf"
    if gamma is not None and not wrong.any():
        # The limits of the exponents in csrc/include/hmm/soft_dtw.hpp, times log(2).
        limit = gamma * min(7e14, 9e16 / (cost.shape[1] + cost.shape[2]))
        wrong = (cost.abs() > limit) & (cost < torch.inf) & read
        rule = f"must stay below {limit:.3g} in magnitude, or be +inf"
    where = tuple(wrong.nonzero()[0].tolist())
    raise ValueError(f"cost {rule}; got {float(cost[where])} at {list(where)}")
