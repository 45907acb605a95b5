"""The N best paths in C++: allocates the states and calls ``csrc/include/hmm/kbest.hpp``."""

import torch
from torch import Tensor

from hmm_core.backends.cpu import _cpu
from hmm_core.backends.cpu._model import describe


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
    model, _keep = describe(
        log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index
    )
    B, T, _ = log_emission.shape
    states = lengths.new_empty(num_paths, B, T)
    log_score = log_emission.new_empty(num_paths, B)
    _cpu.kbest(model, torch.get_num_threads(), num_paths, states.data_ptr(), log_score.data_ptr())
    return states, log_score
