"""Sampling on CUDA: the kernels for dense or for sparse transitions."""

from collections.abc import Callable

from torch import Tensor

from hmm_core.backends.cuda._family import kernels


def sample(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
    uniform: Tensor,
) -> Tensor:
    """States (S, B, T), -1 in padding and where no path exists, from uniform numbers (S, B, T) in float64."""
    function: Callable[..., Tensor] = kernels("sample", predecessors)
    return function(
        log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index, uniform
    )
