"""Expected counts on CUDA: the kernels for dense or for sparse transitions."""

from collections.abc import Callable

from torch import Tensor

from hmm_core.backends.cuda._family import kernels


def expected_transitions(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
) -> Tensor:
    """Count expected uses: (B, T-1, K, R) where the weights vary in time, else all steps together."""
    function: Callable[..., Tensor] = kernels("expected_transitions", predecessors)
    return function(log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index)
