"""Log-likelihood and its derivatives in C++: allocates them and calls the kernels for the transitions."""

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
) -> tuple[Tensor, Tensor]:
    """Log-likelihood (B,), and if ``keep`` the forward messages (2, B, T, K).

    They are mantissas, and exponents: the bits of integers of the same size.
    """
    model, _keep = describe(
        log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index
    )
    B, T, _ = log_emission.shape
    total = log_emission.new_empty(B)
    message = log_emission.new_empty(2 if keep else 0, B, T, log_initial.shape[-1])
    _cpu.log_likelihood(model, torch.get_num_threads(), total.data_ptr(), message.data_ptr())
    return total, message


def log_likelihood_backward(
    gradient: Tensor,
    message: Tensor,
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
    ``message`` is what log_likelihood kept; where it is empty, it is computed again. The values of the
    arguments were checked by log_likelihood.
    """
    model, _keep = describe(
        log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index, check=False
    )
    gradient, message = gradient.contiguous(), message.contiguous()
    d_initial = torch.empty_like(log_initial, memory_format=torch.contiguous_format)
    d_weight = log_weight.new_empty(0)
    if count:
        d_weight = torch.empty_like(log_weight, memory_format=torch.contiguous_format)
    d_emission = torch.empty_like(log_emission, memory_format=torch.contiguous_format)
    d_final = torch.empty_like(log_final, memory_format=torch.contiguous_format)
    _cpu.gradient(
        model,
        torch.get_num_threads(),
        gradient.data_ptr(),
        message.data_ptr(),
        d_initial.data_ptr(),
        d_weight.data_ptr(),
        d_emission.data_ptr(),
        d_final.data_ptr(),
    )
    return d_initial, d_weight, d_emission, d_final
