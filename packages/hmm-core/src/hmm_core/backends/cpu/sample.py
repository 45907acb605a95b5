"""Sampling in C++: allocates the states and calls ``csrc/include/hmm/sample.hpp``."""

import torch
from torch import Tensor

from hmm_core.backends.cpu import _cpu
from hmm_core.backends.cpu._model import describe


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
    model, _keep = describe(
        log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index
    )
    uniform = uniform.contiguous()
    states = lengths.new_empty(uniform.shape)
    _cpu.sample(model, torch.get_num_threads(), len(uniform), uniform.data_ptr(), states.data_ptr())
    return states
