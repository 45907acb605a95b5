"""Viterbi recursion: the best path, scores relative to the best state of each frame.

    delta[1, j] = log_initial[j] + log_emission[1, j]
    delta[t, j] = max_i (delta[t-1, i] + log_weight[t-1, i, j]) + log_emission[t, j]

The C++ kernel adds in the same order, so that its paths are the same to the bit. The first maximum wins:
arcs are ordered by their source, and so the lowest predecessor.
"""

import torch
from torch import Tensor

from hmm_core.backends.reference._recursion import (
    Arcs,
    finite_or_zero,
    frame_emission,
    stack_frames,
    valid_frames,
)


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
    B, T, _ = log_emission.shape
    arcs = Arcs(predecessors, log_weight, B)
    valid = valid_frames(log_emission, lengths)
    delta = log_initial.expand(B, -1)
    origins = []
    for t in range(T):
        if t > 0:
            best, slot = (arcs.at_source(delta) + arcs.weight(t - 1)).max(2)
            origins.append(arcs.source_of(slot))
        else:
            best = delta
        score = best + frame_emission(log_emission, emission_index, t)
        score = score - finite_or_zero(score.amax(1, keepdim=True))
        delta = torch.where(valid[:, t, None], score, delta)

    best, state = (delta + log_final).max(1)
    possible = best > -torch.inf
    states = []
    for t in reversed(range(T)):
        states.append(torch.where(valid[:, t] & possible, state, -1))
        if t > 0:
            state = torch.where(valid[:, t], origins[t - 1].gather(1, state[:, None]).squeeze(1), state)
    return stack_frames(states[::-1], lengths.new_empty((B, 0)))
