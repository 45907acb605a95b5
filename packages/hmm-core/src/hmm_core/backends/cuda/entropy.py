"""Path entropy on CUDA: the kernels for dense or for sparse transitions."""

from collections.abc import Callable

from torch import Tensor

from hmm_core.backends.cuda._family import kernels


def entropy(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
) -> Tensor:
    """Entropy (B,) in nats; 0 for length 0 and where no path exists."""
    function: Callable[..., Tensor] = kernels("entropy", predecessors)
    return function(log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index)
