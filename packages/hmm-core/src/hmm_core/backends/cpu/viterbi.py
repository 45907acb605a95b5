"""Viterbi with sparse transitions in C++: allocates the states and calls ``csrc/include/hmm/viterbi.hpp``."""

import torch
from torch import Tensor

from hmm_core.backends.cpu import _cpu


def viterbi(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
) -> Tensor:
    """Best states (B, T), -1 in padding and where no path exists."""
    if predecessors is None:
        raise NotImplementedError("the C++ kernel takes Sparse transitions only")
    B, T, P = log_emission.shape
    K, R = predecessors.shape[1:]
    states = torch.empty((B, T), dtype=torch.int64)
    kernel = _cpu.viterbi_float64 if log_emission.dtype == torch.float64 else _cpu.viterbi_float32
    # Held in a name each: a contiguous copy must live until the kernel returns.
    log_initial, predecessors = log_initial.contiguous(), predecessors.contiguous()
    log_weight, log_emission = log_weight.contiguous(), log_emission.contiguous()
    lengths, log_final = lengths.contiguous(), log_final.contiguous()
    index = None if emission_index is None else emission_index.contiguous()
    kernel(
        log_initial.data_ptr(),
        predecessors.data_ptr(),
        log_weight.data_ptr(),
        log_emission.data_ptr(),
        lengths.data_ptr(),
        log_final.data_ptr(),
        0 if index is None else index.data_ptr(),
        B,
        T,
        K,
        R,
        P,
        _batch_stride(log_initial),
        _batch_stride(predecessors),
        _batch_stride(log_weight),
        K * R if log_weight.shape[1] > 1 else 0,
        _batch_stride(log_final),
        0 if index is None else _batch_stride(index),
        torch.get_num_threads(),
        states.data_ptr(),
    )
    return states


def _batch_stride(tensor: Tensor) -> int:
    """Elements from one sequence to the next; 0 where all share one table."""
    return tensor[0].numel() if tensor.shape[0] > 1 else 0
