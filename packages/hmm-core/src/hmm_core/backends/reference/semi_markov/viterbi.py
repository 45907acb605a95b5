"""The best segmentation, in float64.

    end[t, j]   = max_d (start[t-d, j] + emissions of j in frames t-d..t-1 + log_duration[j, d])
    start[t, j] = max_i (end[t, i] + log_weight[i, j]),    start[0] = log_initial

The C++ kernel adds in the same order, so that its segments are the same. The first maximum wins: the shortest
length, and the lowest predecessor.
"""

import torch
from torch import Tensor

from hmm_core.backends.reference._recursion import Arcs, frame_emission, stack_frames, valid_frames
from hmm_core.backends.reference.semi_markov._forward import grow, pick_table


def viterbi(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_duration: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Best states and durations (B, T), -1 in padding and where no segmentation is possible."""
    B, T, _ = log_emission.shape
    L = log_duration.shape[3]
    arcs = Arcs(predecessors, log_weight.double(), B)
    log_duration, log_final = log_duration.double(), log_final.double()
    valid = valid_frames(log_emission, lengths)
    length = torch.arange(1, L + 1, device=lengths.device)
    start = log_initial.double().expand(B, -1)
    segments = torch.full_like(start, -torch.inf)[..., None].expand(-1, -1, L)
    best = start.new_full((B,), -torch.inf)
    state = torch.zeros_like(lengths)
    lengths_back, sources = [], []
    for t in range(1, T + 1):
        frame = frame_emission(log_emission, emission_index, t - 1)
        frame = torch.where(valid[:, t - 1, None], frame, 0.0).double()
        segments = grow(segments, start, frame)
        table = pick_table(log_duration, (length == t)[None], (lengths == t)[:, None])
        end, longest = (segments + table).max(2)
        score, last = (end + log_final).max(1)
        best = torch.where(lengths == t, score, best)
        state = torch.where(lengths == t, last, state)
        start, slot = (arcs.at_source(end) + arcs.weight(0)).max(2)
        lengths_back.append(longest + 1)
        sources.append(arcs.source_of(slot))

    possible = best > -torch.inf
    boundary, segment = lengths, torch.zeros_like(lengths)
    states, durations = [], []
    for t in range(T, 0, -1):
        segment = torch.where(
            boundary == t, lengths_back[t - 1].gather(1, state[:, None]).squeeze(1), segment
        )
        boundary = torch.where(boundary == t, t - segment, boundary)
        used, starts = valid[:, t - 1] & possible, boundary == t - 1
        states.append(torch.where(used, state, -1))
        durations.append(torch.where(used, torch.where(starts, segment, 0), -1))
        if t > 1:
            state = torch.where(starts & used, sources[t - 2].gather(1, state[:, None]).squeeze(1), state)
    empty = lengths.new_empty((B, 0))
    return stack_frames(states[::-1], empty), stack_frames(durations[::-1], empty)
