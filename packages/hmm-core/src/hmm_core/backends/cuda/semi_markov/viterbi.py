"""The best segmentation on CUDA, in float64: one launch, with the backtrace.

    end[t, j]   = max_d (start[t-d, j] + emissions of j in frames t-d..t-1 + log_duration[j, d])
    start[t, j] = max_i (end[t, i] + log_weight[i, j]),    start[0] = log_initial

The order of the additions is the reference's, and so are the segments. The first maximum wins: the shortest
length, and the lowest predecessor.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from hmm_core.backends.cuda._launch import launch
from hmm_core.backends.cuda._steps import arrive_best, emission
from hmm_core.backends.cuda.semi_markov._forward import STRIDES, duration_weight
from hmm_core.backends.cuda.semi_markov._model import arguments, describe_segments, ring_of


@triton.jit(do_not_specialize=["T", *STRIDES])
def segments_viterbi(
    log_initial, predecessors, log_weight, log_duration, log_emission, lengths, log_final, emission_index,
    T, K, P, L, R,
    initial_stride, predecessor_stride, weight_stride, duration_stride, final_stride, index_stride,
    ring, start, end, longest, origin, states, durations,
    KINDS: tl.constexpr, BK: tl.constexpr, BL: tl.constexpr, BS: tl.constexpr,
):  # fmt: skip
    """Best segmentation of one sequence; ``longest`` and ``origin`` (B, T, K) lead back."""
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
    start += b * 2 * K
    end += b * 2 * K
    longest += b * T * K
    origin += b * T * K
    n = tl.load(lengths + b)
    n = tl.where((n < 0) | (n > T), 0, n).to(tl.int64)
    nothing = float("-inf")

    for j0 in range(0, K, BK):
        j = j0 + tl.arange(0, BK)
        value = tl.load(log_initial + b * initial_stride + j, mask=j < K, other=nothing)
        tl.store(start + j, value.to(tl.float64), mask=j < K)
    if ring is None:
        segments = tl.full((BL, BK), nothing, tl.float64)
        # A frame ahead: its score is there when it is wanted.
        ahead = emission(log_emission, emission_index, tl.arange(0, BK), tl.where(n > 0, K, 0), P)
    tl.debug_barrier()
    t = n * 0
    while t < n:
        if ring is None:
            score = ahead
            following = tl.minimum(t + 1, n - 1)
            ahead = emission(log_emission + following * P, emission_index, tl.arange(0, BK), K, P)
        newest = (t % L).to(tl.int32)
        before = start + t % 2 * K
        after = end + t % 2 * K
        for j0 in range(0, K, BK):
            j = j0 + tl.arange(0, BK)
            if ring is not None:
                score = emission(log_emission + t * P, emission_index, j, K, P)
            new = tl.load(before + j, mask=j < K, other=nothing)
            best = tl.full((BK,), nothing, tl.float64)
            length = tl.full((BK,), 0, tl.int32)
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
                segments += score[None, :]
                if ring is not None:
                    tl.store(place, segments, mask=inside)
                closing = segments + duration_weight(log_duration, age, j, t + 1, n, K, L, KINDS)
                most = tl.max(closing, 0)
                # The slots are no order of the lengths.
                shortest = tl.min(tl.where(closing == most[None, :], age[:, None], L), 0)
                closer = (most > best) | ((most == best) & (shortest < length))
                length = tl.where(closer, shortest, length)
                best = tl.maximum(best, most)
            tl.store(after + j, best, mask=j < K)
            tl.store(longest + t * K + j, length.to(longest.dtype.element_ty), mask=j < K)
        t += 1
        tl.debug_barrier()
        if t < n:
            for j0 in range(0, K, BK):
                j = j0 + tl.arange(0, BK)
                best, source = arrive_best(after, predecessors, log_weight, j, K, R, K, 1, BS)
                tl.store(start + t % 2 * K + j, best, mask=j < K)
                tl.store(origin + (t - 1) * K + j, source.to(origin.dtype.element_ty), mask=j < K)
            tl.debug_barrier()

    most = tl.full((), nothing, tl.float64)
    state = tl.full((), 0, tl.int64)
    if n > 0:
        for j0 in range(0, K, BK):
            j = j0 + tl.arange(0, BK)
            final = tl.load(log_final + b * final_stride + j, mask=j < K, other=nothing)
            ended = tl.load(end + (n - 1) % 2 * K + j, mask=j < K, other=nothing) + final
            best = tl.max(ended, 0)
            lowest = tl.min(tl.where(ended == best, j, K), 0).to(tl.int64)
            state = tl.where(best > most, lowest, state)
            most = tl.maximum(most, best)
    boundary = tl.where(most > nothing, n, 0)
    while boundary > 0:
        length = tl.load(longest + (boundary - 1) * K + state).to(tl.int64) + 1
        first = tl.maximum(boundary - length, 0)
        frame = first
        while frame < boundary:
            frames = frame + tl.arange(0, BL)
            to = b * T + frames
            tl.store(states + to, state + frames * 0, mask=frames < boundary)
            tl.store(durations + to, tl.where(frames == first, length, 0), mask=frames < boundary)
            frame += BL
        if first > 0:
            state = tl.load(origin + (first - 1) * K + state).to(tl.int64)
        boundary = first


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
    segments = describe_segments(
        *(log_initial, predecessors, log_weight, log_duration),
        *(log_emission, lengths, log_final, emission_index),
    )
    B, T, K, _, L, _ = segments.sizes
    start, end = (log_emission.new_empty((B, 2, K), dtype=torch.float64) for _ in range(2))
    short = max(K, L) <= torch.iinfo(torch.int16).max
    longest, origin = (
        lengths.new_empty((B, T, K), dtype=torch.int16 if short else torch.int32) for _ in range(2)
    )
    states, durations = lengths.new_full((B, T), -1), lengths.new_full((B, T), -1)
    launch(
        segments_viterbi,
        (B,),
        *arguments(segments),
        *(ring_of(segments), start, end, longest, origin, states, durations),
        num_warps=segments.num_warps,
        KINDS=segments.log_duration.shape[1],
        **segments.blocks,
    )
    return states, durations
