"""Log-likelihood and its derivatives in C++: allocates them and calls the dense or the sparse kernels."""

import torch
from torch import Tensor

from hmm_core.backends.cpu import _cpu
from hmm_core.backends.cpu._model import describe


def log_likelihood(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-likelihood (B,), and if ``keep`` the forward messages (B, T, K) as mantissa and exponent."""
    model, _keep = describe(
        log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index
    )
    B, T, _ = log_emission.shape
    shape = (B, T if keep else 0, log_initial.shape[1])
    total = log_emission.new_empty(B)
    mantissa = log_emission.new_empty(shape)
    exponent = torch.empty(shape, dtype=torch.int64 if log_emission.dtype == torch.float64 else torch.int32)
    kernel = _cpu.dense_log_likelihood if predecessors is None else _cpu.sparse_log_likelihood
    kernel(
        model,
        torch.get_num_threads(),
        total.data_ptr(),
        mantissa.data_ptr() if keep else 0,
        exponent.data_ptr() if keep else 0,
    )
    return total, mantissa, exponent


def log_likelihood_backward(
    gradient: Tensor,
    mantissa: Tensor,
    exponent: Tensor,
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
    count: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Differentiate ``gradient @ log_likelihood`` by log_initial, log_weight, log_emission and log_final.

    By log_weight only if ``count``; its derivative is empty otherwise.
    ``mantissa`` and ``exponent`` are what log_likelihood kept; where empty, the messages are computed again.
    """
    model, _keep = describe(
        log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index
    )
    gradient = gradient.contiguous()
    kept = mantissa.shape[1] == log_emission.shape[1]
    d_initial = torch.empty_like(log_initial, memory_format=torch.contiguous_format)
    d_weight = log_weight.new_empty(log_weight.shape if count else (0,))
    count = count and log_weight.numel() > 0
    d_emission = log_emission.new_empty(log_emission.shape)
    d_final = torch.empty_like(log_final, memory_format=torch.contiguous_format)
    kernel = _cpu.dense_gradient if predecessors is None else _cpu.sparse_gradient
    kernel(
        model,
        torch.get_num_threads(),
        gradient.data_ptr(),
        mantissa.data_ptr() if kept else 0,
        exponent.data_ptr() if kept else 0,
        d_initial.data_ptr(),
        d_weight.data_ptr() if count else 0,
        d_emission.data_ptr(),
        d_final.data_ptr(),
    )
    return d_initial, d_weight, d_emission, d_final
