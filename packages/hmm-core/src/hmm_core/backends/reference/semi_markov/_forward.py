"""Forward recursion over segments (Yu 2010, section 2.2, in the log domain).

    end[t, j]   = logsumexp_d (start[t-d, j] + emissions of j in frames t-d..t-1 + log_duration[j, d])
    start[t, j] = logsumexp_i (end[t, i] + log_weight[i, j]),    start[0] = log_initial

at the boundaries t = 0..T between frames. Open segments, by state and length, carry their weight from frame
to frame. Weights are relative to the best open segment, and what was taken off adds up in float64.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from hmm_core.backends.reference._recursion import (
    Arcs,
    finite_or_zero,
    logsumexp,
    scaled_emission,
    valid_frames,
)


class Messages(NamedTuple):
    """Relative messages at the boundaries, and what they are relative to."""

    start: list[Tensor]  # boundaries 0..T-1: (B, K)
    end: list[Tensor]  # boundaries 1..T: (B, K)
    offset: list[Tensor]  # boundaries 0..T: float64 (B,)
    log_likelihood: Tensor  # float64 (B,)


def pick_table(log_duration: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """Choose log weights (B|1, K, L) for segments that are the ``first`` or ``last`` (B|1, 1|L), or not."""
    if log_duration.shape[1] == 1:
        return log_duration[:, 0]
    only, initial, inner, final = log_duration.unbind(1)
    first, last = first[:, None], last[:, None]
    return torch.where(first, torch.where(last, only, initial), torch.where(last, final, inner))


def grow(segments: Tensor, new: Tensor, emission: Tensor) -> Tensor:
    """Let new segments (B, K) join those (B, K, L) of length 1, 2, ..., and all read one more frame."""
    return torch.cat((new[..., None], segments[..., :-1]), dim=2) + emission[..., None]


def forward(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_duration: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
) -> Messages:
    """Run over the frames; at the end of a sequence ``end`` weighs last segments."""
    B, T, _ = log_emission.shape
    L = log_duration.shape[3]
    arcs = Arcs(predecessors, log_weight, B)
    valid = valid_frames(log_emission, lengths)
    length = torch.arange(1, L + 1, device=lengths.device)
    start = log_initial.expand(B, -1)
    segments = torch.full_like(start, -torch.inf)[..., None].expand(-1, -1, L)
    offset = torch.zeros(B, dtype=torch.float64, device=log_emission.device)
    total = torch.where(lengths > 0, -torch.inf, offset)
    starts, ends, offsets = [], [], [offset]
    for t in range(1, T + 1):
        starts.append(start)
        emission, peak = scaled_emission(log_emission, emission_index, valid[:, t - 1], t - 1)
        segments = grow(segments, start, emission)
        shift = finite_or_zero(segments.amax((1, 2), keepdim=True))
        segments = segments - shift
        offset = offset + shift.double().flatten() + peak.double().flatten()
        table = pick_table(log_duration, (length == t)[None], (lengths == t)[:, None])
        end = logsumexp(segments + table, 2)
        total = torch.where(lengths == t, logsumexp(end + log_final, 1) + offset, total)
        start = logsumexp(arcs.at_source(end) + arcs.weight(0), 2)
        ends.append(end)
        offsets.append(offset)
    return Messages(starts, ends, offsets, total)
