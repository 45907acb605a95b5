"""Log-likelihood and its derivatives, which are posteriors: one backward recursion, O(T K) memory."""

import torch
from torch import Tensor

from hmm_core.backends.reference._recursion import normalized_exp
from hmm_core.backends.reference.backward import relative_backward
from hmm_core.backends.reference.expected_transitions import count_arcs
from hmm_core.backends.reference.forward import relative_forward


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
    """Log-likelihood (B,), and what a backend keeps of the forward pass for the derivative if ``keep``.

    The reference keeps the relative messages (B, T, K); its last output is empty.
    """
    message, _, total = relative_forward(
        log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index
    )
    nothing = message.new_empty((message.shape[0], 0, message.shape[2]))
    return total, message if keep else nothing, nothing.to(exponent_dtype(message))


def exponent_dtype(like: Tensor) -> torch.dtype:
    """Integers of the size of the numbers."""
    return torch.int64 if like.dtype == torch.float64 else torch.int32


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
    ``mantissa`` and ``exponent`` are what log_likelihood kept, or empty.
    """
    del exponent  # only the C++ kernels keep it
    problem = (log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index)
    B, T, _ = log_emission.shape
    log_alpha = mantissa if mantissa.shape[1] == T else relative_forward(*problem)[0]
    log_beta = relative_backward(*problem)[0]
    state = normalized_exp(log_alpha + log_beta, 2) * gradient[:, None, None]
    if T == 0:
        first = last = state.new_zeros((B, state.shape[2]))
    else:
        first = state[:, 0].clone()
        end = (lengths - 1).clamp(min=0)[:, None, None].expand(-1, 1, state.shape[2])
        last = state.gather(1, end).squeeze(1)
    emission = state
    if emission_index is not None:
        index = emission_index[:, None].expand_as(state)
        emission = state.new_zeros(log_emission.shape).scatter_add(2, index, state)
    if not count:
        return _sum_to(first, log_initial), log_weight.new_empty(0), emission, _sum_to(last, log_final)
    arcs = count_arcs(log_alpha, log_beta, predecessors, log_weight, log_emission, lengths, emission_index)
    arcs = arcs * gradient[:, None, None, None]
    return (
        _sum_to(first, log_initial),
        _sum_to(arcs, log_weight),
        emission,
        _sum_to(last, log_final),
    )


def _sum_to(values: Tensor, like: Tensor) -> Tensor:
    """Sum over sequences that share one parameter."""
    return values.sum(0, keepdim=True) if like.shape[0] == 1 else values
