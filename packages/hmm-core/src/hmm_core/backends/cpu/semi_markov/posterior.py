"""Posteriors and counts in C++: allocates the results and calls ``csrc/include/hmm/semi_markov.hpp``."""

from torch import Tensor

from hmm_core.backends.cpu import _cpu
from hmm_core.backends.cpu.semi_markov._model import describe_segments


def posterior(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_duration: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Log-likelihood (B,), state (B, T, K), and counts: initial, transition, duration and final."""
    problem = (
        *(log_initial, predecessors, log_weight, log_duration),
        *(log_emission, lengths, log_final, emission_index),
    )
    described, _keep = describe_segments(*problem)
    B, T, _ = log_emission.shape
    K = log_initial.shape[1]
    total = log_emission.new_empty(B)
    state = log_emission.new_empty(B, T, K)
    initial = log_emission.new_empty(B, K)
    transition = log_emission.new_empty(B, *log_weight.shape[2:])
    duration = log_emission.new_empty(B, *log_duration.shape[1:])
    final = log_emission.new_empty(B, K)
    counts = (total, state, initial, transition, duration, final)
    _cpu.semi_markov_posterior(
        *described,
        total.data_ptr(),
        state.data_ptr(),
        initial.data_ptr(),
        transition.data_ptr(),
        duration.data_ptr(),
        final.data_ptr(),
    )
    return counts
