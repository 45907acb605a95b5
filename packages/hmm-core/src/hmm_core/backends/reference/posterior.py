"""State posteriors: forward times backward message, normalised in each frame."""

from torch import Tensor

from hmm_core.backends.reference._recursion import normalized_exp
from hmm_core.backends.reference.backward import relative_backward
from hmm_core.backends.reference.forward import relative_forward


def posterior(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """State probabilities (B, T, K) and the log-likelihood (B,)."""
    problem = (log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index)
    log_alpha, _, log_likelihood = relative_forward(*problem)
    log_beta, _ = relative_backward(*problem)
    return normalized_exp(log_alpha + log_beta, 2), log_likelihood
