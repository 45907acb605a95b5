"""What dtw and soft_dtw share: checks of their arguments, and the choice of the backend."""

from typing import NamedTuple, cast

import torch
from torch import Tensor

from hmm_core._dispatch import Backend, Chosen, resolve
from hmm_core._tracing import values_are_readable
from hmm_core._validate import floating
from hmm_core._values import check_range
from hmm_core._windows import Itakura, SakoeChiba, Window, band
from hmm_core.ops._library import implementation, needs_reference
from hmm_core.ops.pairwise_cost import FrameCost, canonical_lengths, pairwise_cost, prepare_frames

PAIRS_SCHEMA = "Tensor cost, Tensor lengths_x, Tensor lengths_y, Tensor? begin, Tensor? end"
FRAME_PAIRS_SCHEMA = (
    "Tensor x, Tensor y, Tensor lengths_x, Tensor lengths_y, Tensor? begin, Tensor? end, str metric"
)


class Pairs(NamedTuple):
    """Pairs of sequences in canonical form; ``begin`` and ``end`` are None without a window."""

    cost: Tensor  # (B, N, M)
    lengths_x: Tensor  # (B,)
    lengths_y: Tensor  # (B,)
    begin: Tensor | None  # (B, N)
    end: Tensor | None  # (B, N)


class FramePairs(NamedTuple):
    """The same, given as frames; of length 1 or 0 where the metric is the cosine."""

    x: Tensor  # (B, N, D)
    y: Tensor  # (B, M, D)
    lengths_x: Tensor  # (B,)
    lengths_y: Tensor  # (B,)
    begin: Tensor | None  # (B, N)
    end: Tensor | None  # (B, N)
    metric: str


def prepare_pairs(
    cost: Tensor | FrameCost,
    lengths_x: Tensor | None,
    lengths_y: Tensor | None,
    window: Window | None,
    backend: Backend,
) -> tuple[Pairs | FramePairs, Chosen]:
    """Check the arguments, and choose where to compute: a kernel takes frames, the reference costs."""
    if isinstance(cost, FrameCost):
        frames, chosen = prepare_frames(*cost, lengths_x, lengths_y, backend)
        if chosen == "cpu":
            x, y, lengths_x, lengths_y, metric = frames
            band_of_rows = _canonical_band(window, lengths_x, lengths_y, x.shape[1])
            return FramePairs(x, y, lengths_x, lengths_y, *band_of_rows, metric), chosen
        cost = pairwise_cost(*cost[:2], lengths_x, lengths_y, metric=cost.metric, backend=backend)
    cost = floating("cost", cost, None)
    if cost.ndim != 3:
        raise ValueError(f"cost must have shape (B, N, M); got {tuple(cost.shape)}")
    _, N, M = cost.shape
    lengths_x = canonical_lengths("lengths_x", lengths_x, cost, N, "cost (B, N, M)")
    lengths_y = canonical_lengths("lengths_y", lengths_y, cost, M, "cost (B, N, M)")
    begin, end = _canonical_band(window, lengths_x, lengths_y, N)
    chosen = resolve(backend, cost.device, transformed=needs_reference())
    if chosen == "reference" and values_are_readable():
        check_range("lengths_x", lengths_x, "N", N)
        check_range("lengths_y", lengths_y, "M", M)
    return Pairs(cost, lengths_x, lengths_y, begin, end), chosen


def _canonical_band(
    window: Window | None, lengths_x: Tensor, lengths_y: Tensor, N: int
) -> tuple[Tensor | None, Tensor | None]:
    """Usable columns of each row, None without a window."""
    if window is None:
        return None, None
    if not isinstance(window, SakoeChiba | Itakura):
        raise TypeError(f"window must be a SakoeChiba, an Itakura or None; got {type(window).__name__}")
    return band(window, lengths_x, lengths_y, N)


def refuse_wrong_costs(
    pairs: Pairs | FramePairs, chosen: Chosen, result: Tensor, gamma: float | None = None
) -> None:
    """Name the cost for which a backend gave NaN; with ``gamma`` it may just be too large.

    The host does not wait for the results of CUDA kernels: they stay NaN.
    """
    if chosen == "cuda" or not values_are_readable() or not bool(result.detach().isnan().any()):
        return
    if isinstance(pairs, FramePairs):
        frames = pairs.x.detach(), pairs.y.detach()
        lengths = pairs.lengths_x, pairs.lengths_y
        for name, tensor, length in zip("xy", frames, lengths, strict=True):
            valid = torch.arange(tensor.shape[1], device=tensor.device) < length[:, None]
            unusable = ~tensor.isfinite() & valid[..., None]
            if unusable.any():
                at = tuple(unusable.nonzero()[0].tolist())
                raise ValueError(f"{name} must hold finite numbers; got {float(tensor[at])} at {list(at)}")
        compute = implementation("pairwise_cost.pairwise_cost", "cpu")
        cost = cast(Tensor, compute(*frames, *lengths, pairs.metric))
        pairs = Pairs(cost, *lengths, pairs.begin, pairs.end)
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
