"""Viterbi with a beam in C++: allocates the results and calls ``csrc/include/hmm/viterbi.hpp``."""

import torch
from torch import Tensor

from hmm_core._validate import Problem
from hmm_core._values import check_values
from hmm_core.backends.cpu import _cpu
from hmm_core.backends.cpu._model import describe
from hmm_core.backends.cpu.viterbi import MEMORY


def beam_viterbi(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
    beam: float,
    memory: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Best states (B, T), their scores, whether they are certainly the best, and their depth, each (B,)."""
    problem = (log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index)
    model, _keep = describe(*problem, check_emission=False)
    B, T, _ = log_emission.shape
    states = lengths.new_empty((B, T))
    log_score, depth = log_emission.new_empty((2, B)).unbind()
    exact = lengths.new_empty(B, dtype=torch.bool)
    results = [tensor.data_ptr() for tensor in (states, log_score, depth, exact)]
    if _cpu.beam_viterbi(model, torch.get_num_threads(), MEMORY[memory], beam, *results):
        check_values(*Problem(*problem).canonical())
    # Outputs of a registered operation may not share memory.
    return states, log_score.clone(), exact, depth.clone()
