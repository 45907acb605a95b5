"""The canonical arguments as the C++ kernels take them."""

import torch
from torch import Tensor

from hmm_core._values import check_values
from hmm_core.backends.cpu import _cpu


def describe(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
    *,
    check_emission: bool = True,
) -> tuple[_cpu.Model, tuple[Tensor | None, ...]]:
    """Check the values; return addresses and sizes, and the tensors behind them, to be kept in use.

    Without ``check_emission`` the kernel must do that itself, and the caller look at what it says.
    """
    B, T, P = log_emission.shape
    K = log_initial.shape[1]
    if log_weight.shape[1] == 0:  # one frame or none: there is no step, but the kernels expect a table
        log_weight = log_weight.new_zeros((1, 1, *log_weight.shape[2:]))
    log_initial, log_weight = log_initial.contiguous(), log_weight.contiguous()
    log_emission, log_final = log_emission.contiguous(), log_final.contiguous()
    lengths = lengths.contiguous()
    R = 0
    if predecessors is not None:
        predecessors = predecessors.contiguous()
        R = predecessors.shape[2]
    if emission_index is not None:
        emission_index = emission_index.contiguous()
    weights = K * (K if predecessors is None else R)
    steps = log_weight.shape[1]
    model = _cpu.Model(
        log_emission.dtype == torch.float64,
        B,
        T,
        K,
        R,
        P,
        log_initial.data_ptr(),
        0 if predecessors is None else predecessors.data_ptr(),
        log_weight.data_ptr(),
        log_emission.data_ptr(),
        lengths.data_ptr(),
        log_final.data_ptr(),
        0 if emission_index is None else emission_index.data_ptr(),
        K if log_initial.shape[0] > 1 else 0,
        K * R if predecessors is not None and predecessors.shape[0] > 1 else 0,
        weights * steps if log_weight.shape[0] > 1 else 0,
        weights if steps > 1 else 0,
        K if log_final.shape[0] > 1 else 0,
        K if emission_index is not None and emission_index.shape[0] > 1 else 0,
    )
    if model.fault(torch.get_num_threads(), check_emission):
        check_values(log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index)
    return model, (log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index)
