"""Backward messages on CUDA: the kernels for dense or for sparse transitions."""

from collections.abc import Callable

from torch import Tensor

from hmm_core.backends.cuda._family import kernels


def backward(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
) -> Tensor:
    """Backward messages (B, T, K)."""
    function: Callable[..., Tensor] = kernels("backward", predecessors)
    return function(log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index)
