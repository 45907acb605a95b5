"""Viterbi in C++: allocates the states and calls ``csrc/include/hmm/viterbi.hpp``."""

import torch
from torch import Tensor

from hmm_core._validate import Problem
from hmm_core._values import check_values
from hmm_core.backends.cpu import _cpu
from hmm_core.backends.cpu._model import describe

# Numbers of hmm::ViterbiMemory.
MEMORY = {"auto": 0, "full": 1, "linear": 2}


def viterbi(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
    memory: str,
) -> tuple[Tensor, Tensor]:
    """Best states (B, T), -1 in padding and where no path exists, and their scores (B,)."""
    problem = (log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index)
    model, _keep = describe(*problem, check_emission=False)
    B, T, _ = log_emission.shape
    states = lengths.new_empty(B, T)
    log_score = log_emission.new_empty(B)
    if _cpu.viterbi(model, torch.get_num_threads(), MEMORY[memory], states.data_ptr(), log_score.data_ptr()):
        check_values(*Problem(*problem).canonical())
    return states, log_score
