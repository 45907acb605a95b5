"""The arguments of the two-dimensional recursions as the C++ kernels take them."""

import torch
from torch import Tensor

from hmm_core._values import check_range
from hmm_core.backends.cpu import _cpu

# As the enum Metric in csrc/include/hmm/warping_model.hpp.
_METRICS = ("sqeuclidean", "euclidean", "cosine")


def describe(
    cost: Tensor, lengths_x: Tensor, lengths_y: Tensor, begin: Tensor | None, end: Tensor | None
) -> tuple[_cpu.Warping, tuple[Tensor | None, ...]]:
    """Return addresses and sizes, and the contiguous tensors behind them, to be kept while they are used."""
    B, N, M = cost.shape
    cost = cost.contiguous()
    addresses, kept = _describe_lengths(N, M, lengths_x, lengths_y, begin, end)
    pairs = _cpu.Warping(cost.dtype == torch.float64, B, N, M, cost.data_ptr(), 0, 0, 0, 0, *addresses)
    return pairs, (cost, *kept)


def describe_frames(
    x: Tensor,
    y: Tensor,
    lengths_x: Tensor,
    lengths_y: Tensor,
    begin: Tensor | None,
    end: Tensor | None,
    metric: str,
) -> tuple[_cpu.Warping, tuple[Tensor | None, ...]]:
    """Return the same where the costs are those of frames."""
    B, N, D = x.shape
    M = y.shape[1]
    x, y = x.contiguous(), y.contiguous()
    addresses, kept = _describe_lengths(N, M, lengths_x, lengths_y, begin, end)
    pairs = _cpu.Warping(
        x.dtype == torch.float64,
        B,
        N,
        M,
        0,
        x.data_ptr(),
        y.data_ptr(),
        D,
        _METRICS.index(metric),
        *addresses,
    )
    return pairs, (x, y, *kept)


def _describe_lengths(
    N: int, M: int, lengths_x: Tensor, lengths_y: Tensor, begin: Tensor | None, end: Tensor | None
) -> tuple[tuple[int, int, int, int], tuple[Tensor | None, ...]]:
    """Return the addresses of the lengths and the band, and the tensors behind them."""
    check_range("lengths_x", lengths_x, "N", N)
    check_range("lengths_y", lengths_y, "M", M)
    lengths_x, lengths_y = lengths_x.contiguous(), lengths_y.contiguous()
    if begin is not None and end is not None:
        begin, end = begin.contiguous(), end.contiguous()
    addresses = (
        lengths_x.data_ptr(),
        lengths_y.data_ptr(),
        0 if begin is None else begin.data_ptr(),
        0 if end is None else end.data_ptr(),
    )
    return addresses, (lengths_x, lengths_y, begin, end)
