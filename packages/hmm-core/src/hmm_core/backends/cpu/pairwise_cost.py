"""Costs of frames in C++: allocates them and calls ``csrc/include/hmm/frame_cost.hpp``."""

import torch
from torch import Tensor

from hmm_core._values import check_range
from hmm_core.backends.cpu import _cpu


def pairwise_cost(x: Tensor, y: Tensor, lengths_x: Tensor, lengths_y: Tensor, root: bool) -> Tensor:
    """Costs (B, N, M), ``+inf`` in padding; the derivative of a distance of 0 is 0."""
    B, N, D = x.shape
    M = y.shape[1]
    check_range("lengths_x", lengths_x, "N", N)
    check_range("lengths_y", lengths_y, "M", M)
    x, y, lengths_x, lengths_y = (
        x.contiguous(),
        y.contiguous(),
        lengths_x.contiguous(),
        lengths_y.contiguous(),
    )
    cost = x.new_empty(B, N, M)
    _cpu.frame_cost(
        x.dtype == torch.float64,
        B,
        N,
        M,
        D,
        root,
        x.data_ptr(),
        y.data_ptr(),
        lengths_x.data_ptr(),
        lengths_y.data_ptr(),
        torch.get_num_threads(),
        cost.data_ptr(),
    )
    return cost
