"""Posteriors and expected counts: segments that start and end, by the recursion in both directions.

    after_start[s, j] = logsumexp_d (log_duration[j, d] + emissions in frames s..s+d-1 + after_end[s+d, j])
    after_end[s, i]   = logsumexp_j (log_weight[i, j] + after_start[s, j]),    after_end[T] = log_final

A state is occupied in frame t with the probability that a segment of it has started by boundary t less that
one has ended by then. That is a small difference of large sums, and so everything is in float64.
"""

import torch
from torch import Tensor

from hmm_core.backends.reference._recursion import (
    Arcs,
    finite_or_zero,
    logsumexp,
    scaled_emission,
    stack_frames,
    valid_frames,
)
from hmm_core.backends.reference.semi_markov._forward import forward, grow, pick_table


def posterior(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_duration: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Log-likelihood (B,), state (B, T, K), and counts: initial, transition, duration and final."""
    dtype = log_emission.dtype
    log_initial, log_weight, log_duration = log_initial.double(), log_weight.double(), log_duration.double()
    log_emission, log_final = log_emission.double(), log_final.double()
    problem = (
        *(log_initial, predecessors, log_weight, log_duration),
        *(log_emission, lengths, log_final, emission_index),
    )
    starts, ends, offsets, total = forward(*problem)
    B, T, _ = log_emission.shape
    K, L = log_duration.shape[2:]
    arcs = Arcs(predecessors, log_weight, B)
    valid = valid_frames(log_emission, lengths)
    length = torch.arange(1, L + 1, device=lengths.device)
    nothing = log_emission.new_zeros((B, K))
    after_end = nothing - torch.inf
    segments = after_end[..., None].expand(-1, -1, L)
    offset = torch.zeros_like(total)
    total_or_zero = torch.where(total == -torch.inf, 0.0, total)
    occupied, initial, final = nothing, nothing, nothing
    transition = log_weight.new_zeros((B, *log_weight.shape[2:]))
    duration = log_duration.new_zeros((B, *log_duration.shape[1:]))
    states = []
    for s in reversed(range(T)):
        after_end = torch.where((lengths == s + 1)[:, None], log_final, after_end)
        ended = (ends[s] + after_end + (offsets[s + 1] + offset - total_or_zero)[:, None]).exp()
        final = final + torch.where((lengths == s + 1)[:, None], ended, 0.0)
        emission, peak = scaled_emission(log_emission, emission_index, valid[:, s], s)
        # Exactly 0 where the frame is impossible, whatever the running sum was rounded to.
        occupied = torch.where(emission == -torch.inf, 0.0, occupied + ended)
        states.append(occupied)

        segments = grow(segments, after_end, emission)
        shift = finite_or_zero(segments.amax((1, 2), keepdim=True))
        segments = segments - shift
        offset = offset + shift.flatten() + peak.flatten()
        last = length == (lengths - s)[:, None]
        first = torch.tensor([[s == 0]], device=lengths.device)
        closing = segments + pick_table(log_duration, first, last)
        after_start = logsumexp(closing, 2)
        scale = (offsets[s] + offset - total_or_zero)[:, None]
        started = (starts[s] + after_start + scale).exp()
        occupied = occupied - started
        count = (starts[s][..., None] + closing + scale[..., None]).exp()
        duration = duration + _by_kind(count, first, last, log_duration.shape[1])
        if s == 0:
            initial = started
            break
        arc = arcs.at_source(ends[s - 1]) + arcs.weight(0) + after_start[:, :, None] + scale[..., None]
        transition = transition + arcs.user_layout(arc.exp())
        after_end = arcs.reduce_to_source(arcs.weight(0) + after_start[:, :, None])
    state = stack_frames(states[::-1], log_emission.new_empty((B, 0, K))).clamp(0.0, 1.0)
    counts = (total, state, initial, transition, duration, final)
    return tuple(x.to(dtype) for x in counts)  # type: ignore[return-value]  # a generator's length is unknown


def _by_kind(count: Tensor, first: Tensor, last: Tensor, kinds: int) -> Tensor:
    """Put counts (B, K, L) under the table (B, kinds, K, L) that pick_table chose for them."""
    if kinds == 1:
        return count[:, None]
    first, last = first[:, None], last[:, None]
    kind = (first & last, first & ~last, ~first & ~last, ~first & last)
    return torch.stack([torch.where(chosen, count, 0.0) for chosen in kind], dim=1)
