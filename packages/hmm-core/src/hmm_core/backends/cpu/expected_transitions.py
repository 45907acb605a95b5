"""Expected counts in C++: allocates the output and calls the kernels for the transitions."""

import torch
from torch import Tensor

from hmm_core.backends.cpu import _cpu
from hmm_core.backends.cpu._model import describe


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
    B = log_emission.shape[0]
    if log_weight.shape[1] == 0:
        return log_weight.new_zeros((B, *log_weight.shape[1:]))
    model, _keep = describe(
        log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index
    )
    counts = log_emission.new_empty(B, *log_weight.shape[1:])
    _cpu.expected_transitions(model, torch.get_num_threads(), counts.data_ptr())
    return counts
