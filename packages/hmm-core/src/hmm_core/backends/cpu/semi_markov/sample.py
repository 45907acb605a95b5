"""Samples in C++: allocates the results and calls ``csrc/include/hmm/semi_markov_sample.hpp``."""

from torch import Tensor

from hmm_core.backends.cpu import _cpu
from hmm_core.backends.cpu.semi_markov._model import describe_segments


def sample(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_duration: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
    uniform: Tensor,
) -> tuple[Tensor, Tensor]:
    """States and durations (num_samples, B, T); ``uniform`` (num_samples, B, T, 2) lies in [0, 1)."""
    problem = (
        *(log_initial, predecessors, log_weight, log_duration),
        *(log_emission, lengths, log_final, emission_index),
    )
    described, _keep = describe_segments(*problem)
    uniform = uniform.contiguous()
    states = lengths.new_empty(uniform.shape[:3])
    durations = lengths.new_empty(uniform.shape[:3])
    _cpu.semi_markov_sample(
        *described, uniform.shape[0], uniform.data_ptr(), states.data_ptr(), durations.data_ptr()
    )
    return states, durations
