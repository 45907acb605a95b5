"""The best segmentation in C++: allocates, and calls ``csrc/include/hmm/semi_markov_viterbi.hpp``."""

from torch import Tensor

from hmm_core.backends.cpu import _cpu
from hmm_core.backends.cpu.semi_markov._model import describe_segments


def viterbi(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_duration: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Best states and durations (B, T), -1 in padding and where no segmentation is possible."""
    problem = (
        *(log_initial, predecessors, log_weight, log_duration),
        *(log_emission, lengths, log_final, emission_index),
    )
    described, _keep = describe_segments(*problem)
    states = lengths.new_empty(log_emission.shape[:2])
    durations = lengths.new_empty(log_emission.shape[:2])
    _cpu.semi_markov_viterbi(*described, states.data_ptr(), durations.data_ptr())
    return states, durations
