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
    memory: str,  # noqa: ARG001  (the definition keeps everything)
) -> tuple[Tensor, Tensor]:
    """Best states (B, T), -1 in padding and where no path exists, and their scores (B,)."""
    problem = (log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index)
    states, _, _ = search(*problem, torch.inf)
    return states, path_score(*problem, states)


def search(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
    beam: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Best states (B, T) among those not more than ``beam`` below the best of their frame.

    And how far the path ever lies below that best (B,), and whether a state was dropped (B,).
    """
    B, T, _ = log_emission.shape
    arcs = Arcs(predecessors, log_weight, B)
    valid = valid_frames(log_emission, lengths)
    delta = log_initial.expand(B, -1)
    deltas, origins = [], []
    dropped = valid.new_zeros(B)
    for t in range(T):
        if t > 0:
            best, slot = (arcs.at_source(delta) + arcs.weight(t - 1)).max(2)
            origins.append(arcs.source_of(slot))
        else:
            best = delta
        score = best + frame_emission(log_emission, emission_index, t)
        score = score - finite_or_zero(score.amax(1, keepdim=True))
        if beam < torch.inf:
            lost = (score < -beam) & (score > -torch.inf)
            dropped = dropped | (lost.any(1) & valid[:, t])
            score = score.masked_fill(lost, -torch.inf)
        delta = torch.where(valid[:, t, None], score, delta)
        deltas.append(delta)

    best, state = (delta + log_final).max(1)
    possible = best > -torch.inf
    depth = log_emission.new_zeros(B)
    states = []
    for t in reversed(range(T)):
        used = valid[:, t] & possible
        states.append(torch.where(used, state, -1))
        below = -deltas[t].gather(1, state[:, None]).squeeze(1)
        depth = torch.where(used, torch.maximum(depth, below), depth)
        if t > 0:
            state = torch.where(valid[:, t], origins[t - 1].gather(1, state[:, None]).squeeze(1), state)
    return stack_frames(states[::-1], lengths.new_empty((B, 0))), depth, dropped


def path_score(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
    states: Tensor,
) -> Tensor:
    """Joint log-probability (B,) of each path, summed in float64; ``-inf`` with gradient 0 without a path."""
    B, T = states.shape
    if T == 0:
        return log_emission.new_zeros(B)
    state = states.clamp(min=0)
    density = state
    if emission_index is not None:
        density = emission_index.expand(B, -1).gather(1, state)
    emission = log_emission.gather(2, density[..., None]).squeeze(2)
    # Every frame has an arc that enters it, the first one a made-up arc that is masked below: shapes of T
    # instead of T - 1 let torch.export keep T symbolic.
    row = torch.arange(B, device=states.device)[:, None]
    source = state.roll(1, dims=1)
    weight_row = row if log_weight.shape[0] > 1 else torch.zeros_like(row)
    step = torch.zeros_like(state)
    if log_weight.shape[1] > 1:
        step = (torch.arange(T, device=states.device) - 1).clamp(min=0).expand(B, T)
    if log_weight.shape[1] == 0:
        arc = torch.zeros_like(emission)
    elif predecessors is None:
        arc = log_weight[weight_row, step, source, state]
    else:
        sources = predecessors.expand(B, -1, -1)[row, state]
        slot = (sources == source[..., None]).to(torch.uint8).argmax(-1)
        arc = log_weight[weight_row, step, state, slot]
    end = states.gather(1, (lengths - 1).clamp(min=0)[:, None])
    ends = torch.cat(
        (
            log_initial.expand(B, -1).gather(1, state[:, :1]),
            log_final.expand(B, -1).gather(1, end.clamp(min=0)),
        ),
        dim=1,
    )
    used = states >= 0
    entered = used & (torch.arange(T, device=states.device) > 0)
    total = (
        torch.where(used, emission, 0.0).sum(1, dtype=torch.float64)
        + torch.where(entered, arc, 0.0).sum(1, dtype=torch.float64)
        + torch.where(used[:, :1], ends, 0.0).sum(1, dtype=torch.float64)
    )
    nothing = torch.where(lengths > 0, -torch.inf, 0.0)
    return torch.where(used[:, 0], total, nothing).to(log_emission.dtype)
