"""The arguments of the two-dimensional recursions as the C++ kernels take them."""

import torch
from torch import Tensor

from hmm_core._values import check_range
from hmm_core.backends.cpu import _cpu


def describe(
    cost: Tensor, lengths_x: Tensor, lengths_y: Tensor, begin: Tensor | None, end: Tensor | None
) -> tuple[_cpu.Warping, tuple[Tensor | None, ...]]:
    """Return addresses and sizes, and the contiguous tensors behind them, to be kept while they are used."""
    B, N, M = cost.shape
    check_range("lengths_x", lengths_x, "N", N)
    check_range("lengths_y", lengths_y, "M", M)
    cost, lengths_x, lengths_y = cost.contiguous(), lengths_x.contiguous(), lengths_y.contiguous()
    if begin is not None and end is not None:
        begin, end = begin.contiguous(), end.contiguous()
    pairs = _cpu.Warping(
        cost.dtype == torch.float64,
        B,
        N,
        M,
        cost.data_ptr(),
        lengths_x.data_ptr(),
        lengths_y.data_ptr(),
        0 if begin is None else begin.data_ptr(),
        0 if end is None else end.data_ptr(),
    )
    return pairs, (cost, lengths_x, lengths_y, begin, end)
