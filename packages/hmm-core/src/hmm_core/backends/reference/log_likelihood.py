"""Log-likelihood and its derivatives, which are posteriors: one backward recursion, O(T K) memory."""

from torch import Tensor

from hmm_core.backends.reference._recursion import normalized_exp
from hmm_core.backends.reference.backward import backward
from hmm_core.backends.reference.expected_transitions import count_arcs
from hmm_core.backends.reference.forward import forward


def log_likelihood(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Log-likelihood (B,), and the relative forward messages (B, T, K) for the derivative."""
    message, _, total = forward(
        log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index
    )
    return total, message


def log_likelihood_backward(
    gradient: Tensor,
    log_alpha: Tensor,
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Differentiate ``gradient @ log_likelihood`` by log_initial, log_weight, log_emission and log_final."""
    problem = (log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index)
    B, T, _ = log_emission.shape
    log_beta = backward(*problem)[0]
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
