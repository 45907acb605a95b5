"""Log-likelihood in C++: allocates the result and calls ``csrc/include/hmm/semi_markov.hpp``."""

from torch import Tensor

from hmm_core.backends.cpu import _cpu
from hmm_core.backends.cpu.semi_markov._model import describe_segments


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
    described, _keep = describe_segments(*problem)
    total = log_emission.new_empty(log_emission.shape[0])
    _cpu.semi_markov_log_likelihood(*described, total.data_ptr())
    return total
