"""Log-likelihood on CUDA: one launch, of ``_forward``."""

from torch import Tensor

from hmm_core.backends.cuda.semi_markov._forward import log_likelihoods
from hmm_core.backends.cuda.semi_markov._model import describe_segments


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
    segments = describe_segments(
        *(log_initial, predecessors, log_weight, log_duration),
        *(log_emission, lengths, log_final, emission_index),
    )
    return log_likelihoods(segments)
