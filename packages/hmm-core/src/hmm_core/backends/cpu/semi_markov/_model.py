"""The canonical arguments as the C++ kernels take them."""

import torch
from torch import Tensor

from hmm_core._values import check_duration_values
from hmm_core.backends.cpu import _cpu
from hmm_core.backends.cpu._model import describe


def describe_segments(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_duration: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
) -> tuple[tuple[_cpu.Model, int, int, int, int, int], tuple[object, ...]]:
    """Check the values; return the first arguments of every kernel, and the tensors behind them."""
    model, keep = describe(
        log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index
    )
    # Of four tables, the third holds the weights as they were given.
    check_duration_values(log_duration[:, min(2, log_duration.shape[1] - 1)])
    log_duration = log_duration.contiguous()
    tables, kinds, K, L = log_duration.shape
    stride = kinds * K * L if tables > 1 else 0
    return (model, L, kinds, log_duration.data_ptr(), stride, torch.get_num_threads()), (keep, log_duration)
