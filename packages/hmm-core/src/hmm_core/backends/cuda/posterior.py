"""Posteriors on CUDA: the kernels for dense or for sparse transitions."""

from collections.abc import Callable

from torch import Tensor

from hmm_core.backends.cuda._family import kernels


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
    function: Callable[..., tuple[Tensor, Tensor]] = kernels("posterior", predecessors)
    return function(log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index)
