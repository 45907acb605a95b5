"""Soft dynamic time warping in C++: allocates the results and calls ``csrc/include/hmm/soft_dtw.hpp``."""

import torch
from torch import Tensor

from hmm_core.backends.cpu import _cpu
from hmm_core.backends.cpu._warping import describe, describe_frames


def soft_dtw(
    cost: Tensor,
    lengths_x: Tensor,
    lengths_y: Tensor,
    begin: Tensor | None,
    end: Tensor | None,
    gamma: float,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    """Values (B,), NaN where a usable cost is NaN or ``-inf``; and, to ``keep``, rows for the derivative."""
    pairs, _keep = describe(cost, lengths_x, lengths_y, begin, end)
    B, N, M = cost.shape
    value = cost.new_empty(B)
    double = cost.dtype == torch.float64
    message = cost.new_empty(B, _cpu.soft_dtw_message_size(double, N, M) if keep else 0)
    _cpu.soft_dtw(pairs, gamma, torch.get_num_threads(), value.data_ptr(), message.data_ptr())
    return value, message


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
    pairs, _keep = describe(cost, lengths_x, lengths_y, begin, end)
    result = torch.empty_like(cost, memory_format=torch.contiguous_format)
    gradient, message = gradient.contiguous(), message.contiguous()
    _cpu.soft_dtw_backward(
        pairs,
        gamma,
        torch.get_num_threads(),
        gradient.data_ptr(),
        message.data_ptr(),
        result.data_ptr(),
    )
    return result


def soft_dtw_frames(
    x: Tensor,
    y: Tensor,
    lengths_x: Tensor,
    lengths_y: Tensor,
    begin: Tensor | None,
    end: Tensor | None,
    metric: str,
    gamma: float,
    by_x: bool,
    by_y: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Values (B,) of the costs of frames, and their derivatives (B, N, D) and (B, M, D) where wanted."""
    pairs, _keep = describe_frames(x, y, lengths_x, lengths_y, begin, end, metric)
    B, N, D = x.shape
    value = x.new_empty(B)
    of_x, of_y = x.new_empty((B, N if by_x else 0, D)), x.new_empty((B, y.shape[1] if by_y else 0, D))
    _cpu.soft_dtw_frames(
        pairs, gamma, torch.get_num_threads(), value.data_ptr(), of_x.data_ptr(), of_y.data_ptr()
    )
    return value, of_x, of_y
