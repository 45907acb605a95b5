"""Forward filtering, backward sampling: segmentations drawn from their posterior distribution.

    last state i        ~ end[T, i] final[i]
    its length d        ~ duration[j, d] start[t-d, j] emissions of j in frames t-d..t-1
    state i before it   ~ end[t-d, i] weight[i, j]

Row t-1 of ``uniform`` chooses what ends at boundary t: first the length, then the state.
"""

import torch
from torch import Tensor

from hmm_core.backends.reference._recursion import Arcs, normalized_exp, valid_frames
from hmm_core.backends.reference.semi_markov._forward import forward, pick_table


def sample(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_duration: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
    uniform: Tensor,
) -> tuple[Tensor, Tensor]:
    """States and durations (num_samples, B, T); ``uniform`` (num_samples, B, T, 2) lies in [0, 1)."""
    N, B, T, _ = uniform.shape
    log_initial, log_weight, log_duration = log_initial.double(), log_weight.double(), log_duration.double()
    log_emission, log_final = log_emission.double(), log_final.double()
    problem = (
        *(log_initial, predecessors, log_weight, log_duration),
        *(log_emission, lengths, log_final, emission_index),
    )
    starts, ends, offsets, total = forward(*problem)
    states = lengths.new_full((N, B, T), -1)
    durations = states.clone()
    if T == 0:
        return states, durations
    K, L = log_duration.shape[2:]
    arcs = Arcs(predecessors, log_weight, B)
    valid = valid_frames(log_emission, lengths)
    if emission_index is not None:
        log_emission = log_emission.gather(2, emission_index[:, None].expand(B, T, K))
    log_emission = torch.where(valid[..., None], log_emission, 0.0)
    log_start = torch.stack(
        [start + offset[:, None] for start, offset in zip(starts, offsets, strict=False)], 1
    )
    row = torch.arange(B, device=lengths.device)
    boundary = torch.where(total > -torch.inf, lengths, 0).expand(N, B)
    state, segment = torch.zeros_like(boundary), torch.zeros_like(boundary)
    for t in range(T, 0, -1):
        last = _draw(ends[t - 1] + log_final, uniform[:, :, t - 1, 1])
        state = torch.where((boundary == t) & (lengths == t), last, state)
        # Lengths 1, 2, ...: the frames before t, latest first.
        n = min(t, L)
        frames = slice(t - n, t)
        emission = log_emission[:, frames].flip(1)[row, :, state].cumsum(-1)
        start = log_start[:, frames].flip(1)[row, :, state]
        length = torch.arange(1, L + 1, device=lengths.device)
        table = pick_table(log_duration, (length == t)[None], (lengths == t)[:, None]).expand(B, K, L)
        chosen = _draw(start + emission + table[row, state][..., :n], uniform[:, :, t - 1, 0]) + 1
        segment = torch.where(boundary == t, chosen, segment)
        boundary = torch.where(boundary == t, t - segment, boundary)
        inside, begins = valid[:, t - 1] & (total > -torch.inf), boundary == t - 1
        states[:, :, t - 1] = torch.where(inside, state, -1)
        durations[:, :, t - 1] = torch.where(inside, torch.where(begins, segment, 0), -1)
        if t > 1:
            source, weight = arcs.into(state, 0)
            slot = _draw(ends[t - 2][row[:, None], source] + weight, uniform[:, :, t - 2, 1])
            state = torch.where(begins & inside, source.gather(2, slot[..., None]).squeeze(2), state)
    return states, durations


def _draw(score: Tensor, uniform: Tensor) -> Tensor:
    """Index along the last axis, with probability proportional to exp(score)."""
    cumulative = normalized_exp(score, -1).cumsum(-1)
    choice = (cumulative <= (uniform * cumulative[..., -1])[..., None]).sum(-1)
    return choice.clamp(max=score.shape[-1] - 1)
