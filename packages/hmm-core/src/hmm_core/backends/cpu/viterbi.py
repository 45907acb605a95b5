"""Viterbi in C++: allocates the states and calls ``csrc/include/hmm/viterbi.hpp``."""

import torch
from torch import Tensor

from hmm_core.backends.cpu import _cpu
from hmm_core.backends.cpu._model import describe


def viterbi(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
) -> Tensor:
    """Best states (B, T), -1 in padding and where no path exists."""
    if predecessors is None:
        raise NotImplementedError("the C++ kernel takes Sparse transitions only")
    model, _keep = describe(
        log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index
    )
    states = torch.empty(log_emission.shape[:2], dtype=torch.int64)
    _cpu.viterbi(model, torch.get_num_threads(), states.data_ptr())
    return states
