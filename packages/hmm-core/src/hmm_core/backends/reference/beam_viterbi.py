"""Viterbi recursion with a beam: states too far below the best of their frame are dropped.

The recursion of viterbi.py, with delta[t, j] = -inf where it is less than -beam. A sequence that lost all of
its paths is decoded again without a beam.
"""

import torch
from torch import Tensor

from hmm_core.backends.reference.viterbi import path_score, search


def beam_viterbi(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
    beam: float,
    memory: str,  # noqa: ARG001  (the definition keeps everything)
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Best states (B, T), their scores, whether they are certainly the best, and their depth, each (B,)."""
    problem = (log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index)
    states, depth, dropped = search(*problem, beam)
    found = (states >= 0).any(1) | (lengths == 0)
    again, all_depth, _ = search(*problem, torch.inf)
    lost = dropped & ~found
    states = torch.where(lost[:, None], again, states)
    depth = torch.where(lost, all_depth, depth)
    return states, path_score(*problem, states), ~dropped | lost, depth
