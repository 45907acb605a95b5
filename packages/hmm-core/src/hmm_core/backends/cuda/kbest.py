"""The N best paths on CUDA: the kernels for dense or for sparse transitions."""

from collections.abc import Callable

from torch import Tensor

from hmm_core.backends.cuda._family import kernels


def kbest(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
    num_paths: int,
) -> tuple[Tensor, Tensor]:
    """Best states (N, B, T), -1 in padding and where there are fewer paths, and their scores (N, B)."""
    function: Callable[..., tuple[Tensor, Tensor]] = kernels("kbest", predecessors)
    return function(
        log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index, num_paths
    )
