"""The arguments of an operation as the C++ kernels take them."""

import torch
from torch import Tensor

from hmm_core._validate import Problem
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
    check: bool = True,
    check_emission: bool = True,
) -> tuple[_cpu.Model, tuple[Tensor | None, ...]]:
    """Return addresses and sizes, and the tensors behind them, to be kept in use.

    The values are checked, unless they have been before; without ``check_emission`` the kernel must look at
    the emissions itself, and the caller at what it says. Axes of size 1 may be missing.
    """
    B, T, P = log_emission.shape
    steps = log_weight.shape[1] if log_weight.ndim == 4 else 1
    if steps == 0:  # one frame or none: there is no step, but the kernels expect a table
        log_weight, steps = log_weight.new_zeros((1, 1, *log_weight.shape[2:])), 1
    tensors = (
        log_initial.contiguous(),
        None if predecessors is None else predecessors.contiguous(),
        log_weight.contiguous(),
        log_emission.contiguous(),
        lengths.contiguous(),
        log_final.contiguous(),
        None if emission_index is None else emission_index.contiguous(),
    )
    model = _cpu.Model(
        log_emission.dtype == torch.float64,
        B,
        T,
        log_initial.shape[-1],
        0 if predecessors is None else predecessors.shape[-1],
        P,
        steps,
        log_initial.numel(),
        0 if predecessors is None else predecessors.numel(),
        log_weight.numel(),
        log_final.numel(),
        0 if emission_index is None else emission_index.numel(),
        *[0 if tensor is None else tensor.data_ptr() for tensor in tensors],
    )
    if check and model.fault(torch.get_num_threads(), check_emission):
        check_values(*Problem(*tensors).canonical())
    return model, tensors
