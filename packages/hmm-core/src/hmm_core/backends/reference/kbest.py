"""The N best paths: Viterbi with a list of the best N scores for each state, relative to the frame's best.

    delta[1, j] = [log_initial[j] + log_emission[1, j]]
    delta[t, j] = the N greatest of (delta[t-1, i][n] + log_weight[t-1, i, j]) + log_emission[t, j]

Equal scores are ordered by predecessor, and then by rank. Two entries of a state's list are the ends of two
different paths. The C++ kernel adds in the same order, so that its paths are the same to the bit.
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
from hmm_core.backends.reference.viterbi import path_score


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
    B, T, _ = log_emission.shape
    K, N = log_initial.shape[-1], num_paths
    arcs = Arcs(predecessors, log_weight, B)
    valid = valid_frames(log_emission, lengths)
    nothing = log_emission.new_full((B, K, N - 1), -torch.inf)
    delta = torch.cat((log_initial.expand(B, -1)[:, :, None], nothing), dim=2)
    origins = []
    for t in range(T):
        best = delta
        if t > 0:
            ranks = [arcs.at_source(delta[:, :, n]) + arcs.weight(t - 1) for n in range(N)]
            # (B, K, R * N), ordered by predecessor and then by rank: a stable sort keeps that order.
            best, position = torch.stack(ranks, dim=3).flatten(2).sort(dim=2, descending=True, stable=True)
            best, position = best[:, :, :N], position[:, :, :N]
            slot, rank = position // N, position % N
            source = torch.stack([arcs.source_of(slot[:, :, n]) for n in range(N)], dim=2)
            origins.append((source * N + rank).flatten(1))
        score = best + frame_emission(log_emission, emission_index, t)[:, :, None]
        score = score - finite_or_zero(score.amax((1, 2), keepdim=True))
        delta = torch.where(valid[:, t, None, None], score, delta)

    total = (delta + log_final[:, :, None]).flatten(1)
    best, entry = total.sort(dim=1, descending=True, stable=True)
    best, entry = best[:, :N], entry[:, :N]
    states = []
    for t in reversed(range(T)):
        states.append(torch.where(valid[:, t, None] & (best > -torch.inf), entry // N, -1))
        if t > 0:
            entry = torch.where(valid[:, t, None], origins[t - 1].gather(1, entry), entry)
    paths = stack_frames(states[::-1], lengths.new_empty((B, 0, N))).permute(2, 0, 1)
    problem = (log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index)
    scores = torch.stack([path_score(*problem, path) for path in paths.unbind()])
    # A sequence without frames has one path, the empty one.
    missing = (torch.arange(N, device=lengths.device)[:, None] > 0) & (lengths == 0)
    return paths.contiguous(), torch.where(missing, -torch.inf, scores)
