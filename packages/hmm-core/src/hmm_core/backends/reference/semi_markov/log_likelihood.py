"""Log-likelihood: the sum over all segmentations."""

from torch import Tensor

from hmm_core.backends.reference.semi_markov._forward import forward


def log_likelihood(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_duration: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
) -> Tensor:
    """Log-likelihood (B,)."""
    problem = (
        *(log_initial, predecessors, log_weight, log_duration),
        *(log_emission, lengths, log_final, emission_index),
    )
    return forward(*problem).log_likelihood.to(log_emission.dtype)
