"""Sums over all segmentations: the messages at the boundaries, in float64.

    end[t, j]   = logsumexp_d (start[t-d, j] + emissions of j in frames t-d..t-1 + log_duration[j, d])
    start[t, j] = logsumexp_i (end[t, i] + log_weight[i, j]),    start[0] = log_initial

One program runs through a sequence. Each open segment has a place in a ring by the boundary where it began,
and every frame adds its score to all of them; the table of durations is read turned by the age of the ring.
The scores of a frame are relative to the best.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from hmm_core.backends.cuda._launch import launch
from hmm_core.backends.cuda._math import finite_or_zero
from hmm_core.backends.cuda._steps import arrive, emission
from hmm_core.backends.cuda.semi_markov._model import Segments, arguments, ring_of

STRIDES = [
    *("initial_stride", "predecessor_stride", "weight_stride", "duration_stride"),
    *("final_stride", "index_stride"),
]


class Messages(NamedTuple):
    """Messages of every boundary, relative to the sum of the peaks of the frames before it."""

    start: Tensor  # boundaries 0..T-1: float64 (B, T, K)
    end: Tensor  # boundaries 1..T: float64 (B, T, K)
    peak: Tensor  # largest score of each frame: float64 (B, T)
    relative: Tensor  # log-likelihood relative to the sum of all peaks: float64 (B,)


@triton.jit
def peak_of(frame, emission_index, K, P, BK: tl.constexpr):
    """Largest score of the states in a frame; 0 where all are ``-inf``."""
    most = tl.full((), float("-inf"), tl.float64)
    for first in range(0, K, BK):
        scores = emission(frame, emission_index, first + tl.arange(0, BK), K, P)
        most = tl.maximum(most, tl.max(scores, 0))
    return finite_or_zero(most)


@triton.jit
def duration_weight(log_duration, age, j, t, n, K, L, KINDS: tl.constexpr):
    """Log weights (BL, BK) of segments of length ``age`` + 1 that end at boundary ``t`` of ``n``."""
    kind = tl.zeros_like(age)
    if KINDS == 4:
        first = age + 1 == t
        last = t == n
        kind = tl.where(first, tl.where(last, 0, 1), tl.where(last, 3, 2))
    place = (kind * L + age).to(tl.int64)[:, None] * K + j[None, :]
    inside = (age >= 0) & (age < L)
    return tl.load(log_duration + place, mask=inside[:, None] & (j < K)[None, :], other=float("-inf"))


@triton.jit(do_not_specialize=["T", "rows", *STRIDES])
def segments_forward(
    log_initial, predecessors, log_weight, log_duration, log_emission, lengths, log_final, emission_index,
    T, K, P, L, R,
    initial_stride, predecessor_stride, weight_stride, duration_stride, final_stride, index_stride,
    ring, start, end, peak, relative, total, rows,
    KINDS: tl.constexpr, REAL: tl.constexpr, BK: tl.constexpr, BL: tl.constexpr, BS: tl.constexpr,
):  # fmt: skip
    """Messages of one sequence, each in row t % rows, and its log-likelihood."""
    b = tl.program_id(0).to(tl.int64)
    log_weight += b * weight_stride
    log_duration += b * duration_stride
    log_emission += b * T * P
    if predecessors is not None:
        predecessors += b * predecessor_stride
    if emission_index is not None:
        emission_index += b * index_stride
    if ring is not None:
        ring += b * L * K
    start += b * rows * K
    end += b * rows * K
    given = tl.load(lengths + b)
    n = tl.minimum(tl.maximum(given, 0), T).to(tl.int64)
    nothing = float("-inf")

    for j0 in range(0, K, BK):
        j = j0 + tl.arange(0, BK)
        value = tl.load(log_initial + b * initial_stride + j, mask=j < K, other=nothing)
        tl.store(start + j, value.to(tl.float64), mask=j < K)
    if ring is None:
        segments = tl.full((BL, BK), nothing, tl.float64)
        # A frame ahead: its score is there when it is wanted.
        ahead = emission(log_emission, emission_index, tl.arange(0, BK), tl.where(n > 0, K, 0), P)
    offset = tl.full((), 0.0, tl.float64)
    tl.debug_barrier()
    t = n * 0
    while t < n:
        if ring is None:
            score = ahead
            following = tl.minimum(t + 1, n - 1)
            ahead = emission(log_emission + following * P, emission_index, tl.arange(0, BK), K, P)
            most = finite_or_zero(tl.max(score, 0))
        else:
            most = peak_of(log_emission + t * P, emission_index, K, P, BK)
        offset += most
        if peak is not None:
            tl.store(peak + b * T + t, most)
        newest = (t % L).to(tl.int32)
        before = start + t % rows * K
        after = end + t % rows * K
        for j0 in range(0, K, BK):
            j = j0 + tl.arange(0, BK)
            if ring is not None:
                score = emission(log_emission + t * P, emission_index, j, K, P)
            new = tl.load(before + j, mask=j < K, other=nothing)
            best = tl.full((BK,), nothing, tl.float64)
            weight = tl.full((BK,), 0.0, REAL)
            for l0 in range(0, L, BL):
                slot = l0 + tl.arange(0, BL)
                age = newest - slot
                age = tl.where(age < 0, age + L, age)
                age = tl.where(slot < L, age, L)
                if ring is not None:
                    place = ring + slot.to(tl.int64)[:, None] * K + j[None, :]
                    inside = (slot < L)[:, None] & (j < K)[None, :]
                    segments = tl.load(place, mask=inside & (age <= t)[:, None], other=nothing)
                segments = tl.where((slot == newest)[:, None], new[None, :], segments)
                segments += (score - most)[None, :]
                if ring is not None:
                    tl.store(place, segments, mask=inside)
                closing = segments + duration_weight(log_duration, age, j, t + 1, n, K, L, KINDS)
                above = tl.maximum(best, tl.max(closing, 0))
                shift = finite_or_zero(above)
                weight *= tl.exp((best - shift).to(REAL))
                weight += tl.sum(tl.exp((closing - shift[None, :]).to(REAL)), 0)
                best = above
            ended = tl.log(weight) + finite_or_zero(best)
            tl.store(after + j, ended, mask=j < K)
        t += 1
        tl.debug_barrier()
        if t < n:
            for j0 in range(0, K, BK):
                j = j0 + tl.arange(0, BK)
                started = arrive(after, predecessors, log_weight, j, K, R, K, 1, BS, REAL)
                tl.store(start + t % rows * K + j, started, mask=j < K)
            tl.debug_barrier()

    value = tl.full((), 0.0, tl.float64)
    if n > 0:
        best = tl.full((), nothing, tl.float64)
        weight = tl.full((), 0.0, tl.float64)
        for j0 in range(0, K, BK):
            j = j0 + tl.arange(0, BK)
            final = tl.load(log_final + b * final_stride + j, mask=j < K, other=nothing)
            ended = tl.load(end + (n - 1) % rows * K + j, mask=j < K, other=nothing) + final
            above = tl.maximum(best, tl.max(ended, 0))
            shift = finite_or_zero(above)
            weight = weight * tl.exp(best - shift) + tl.sum(tl.exp(ended - shift), 0)
            best = above
        value = tl.log(weight) + finite_or_zero(best)
    value = tl.where(given == n, value, float("nan"))
    if relative is not None:
        tl.store(relative + b, value)
    tl.store(total + b, value + offset)


def log_likelihoods(segments: Segments) -> Tensor:
    """Log-likelihood (B,), without messages."""
    B, _, K, *_ = segments.sizes
    like = segments.model.log_emission
    total = like.new_empty(B)
    start, end = (like.new_empty((B, 2, K), dtype=torch.float64) for _ in range(2))
    _launch(segments, like.dtype, start, end, None, None, total)
    return total


def messages_of(segments: Segments) -> tuple[Tensor, Messages]:
    """Log-likelihood (B,), and all messages."""
    B, T, K, *_ = segments.sizes
    total = segments.model.log_emission.new_empty(B)
    start, end, peak, relative = (
        total.new_empty(shape, dtype=torch.float64) for shape in ((B, max(T, 1), K),) * 2 + ((B, T), (B,))
    )
    _launch(segments, torch.float64, start, end, peak, relative, total)
    return total, Messages(start, end, peak, relative)


def _launch(
    segments: Segments,
    real: torch.dtype,
    start: Tensor,
    end: Tensor,
    peak: Tensor | None,
    relative: Tensor | None,
    total: Tensor,
) -> None:
    """Run the kernel, whose exponentials are in ``real``."""
    launch(
        segments_forward,
        (segments.sizes[0],),
        *arguments(segments),
        *(ring_of(segments), start, end, peak, relative, total, start.shape[1]),
        num_warps=segments.num_warps,
        KINDS=segments.log_duration.shape[1],
        REAL=tl.float64 if real == torch.float64 else tl.float32,
        **segments.blocks,
    )
