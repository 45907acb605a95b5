"""Posteriors and expected counts on CUDA, in float64: forwards, backwards, and the counts of arcs.

    after_start[s, j] = logsumexp_d (log_duration[j, d] + emissions in frames s..s+d-1 + after_end[s+d, j])
    after_end[s, i]   = logsumexp_j (log_weight[i, j] + after_start[s, j]),    after_end[T] = log_final

The ring is the forward recursion's in the other direction of time: a segment has its place by the frame in
which it ends. A state is occupied with the probability that a segment of it has started less that one has
ended.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from hmm_core.backends.cuda._launch import launch
from hmm_core.backends.cuda._math import finite_or_zero
from hmm_core.backends.cuda._steps import arrive, emission
from hmm_core.backends.cuda.semi_markov._forward import STRIDES, Messages, messages_of
from hmm_core.backends.cuda.semi_markov._model import Segments, arguments, describe_segments, ring_of


@triton.jit
def _leave(message, first_arc, arcs, log_weight, i, K, R, BK: tl.constexpr):
    """Log of the weight that the states ``i`` send to a message (K,), along the arcs that leave them."""
    first = tl.load(first_arc + i, mask=i < K, other=0)
    last = tl.load(first_arc + i + 1, mask=i < K, other=0)
    most = tl.full((BK,), float("-inf"), tl.float64)
    total = tl.full((BK,), 0.0, tl.float64)
    step = tl.min(first, 0) * 0
    while step < tl.max(last - first, 0):
        used = first + step < last
        arc = tl.load(arcs + first + step, mask=used, other=0)
        score = tl.load(message + arc // R, mask=used, other=float("-inf"))
        score += tl.load(log_weight + arc, mask=used, other=float("-inf"))
        above = tl.maximum(most, score)
        shift = finite_or_zero(above)
        total = total * tl.exp(most - shift) + tl.exp(score - shift)
        most = above
        step += 1
    return tl.log(total) + finite_or_zero(most)


@triton.jit(do_not_specialize=["T", *STRIDES])
def segments_backward(
    log_initial, predecessors, log_weight, log_duration, log_emission, lengths, log_final, emission_index,
    T, K, P, L, R,
    initial_stride, predecessor_stride, weight_stride, duration_stride, final_stride, index_stride,
    first_arc, arcs, ring, start, end, peak, relative, after_start, after_end,
    occupied, state, initial, duration, final,
    KINDS: tl.constexpr, BK: tl.constexpr, BL: tl.constexpr, BS: tl.constexpr,
):  # fmt: skip
    """States, counts but those of arcs, and ``after_start`` (B, T, K) of one sequence."""
    b = tl.program_id(0).to(tl.int64)
    log_weight += b * weight_stride
    log_duration += b * duration_stride
    log_emission += b * T * P
    if predecessors is not None:
        shared = predecessor_stride == 0
        first_arc += tl.where(shared, 0, b * (K + 1))
        arcs += tl.where(shared, 0, b * K * R)
    if emission_index is not None:
        emission_index += b * index_stride
    if ring is not None:
        ring += b * L * K
    start += b * T * K
    end += b * T * K
    after_start += b * T * K
    state += b * T * K
    after_end += b * K
    occupied += b * K
    duration += b * KINDS * L * K
    n = tl.load(lengths + b)
    n = tl.minimum(tl.maximum(n, 0), T).to(tl.int64)
    all_paths = finite_or_zero(tl.load(relative + b))
    nothing = float("-inf")

    for j0 in range(0, K, BK):
        j = j0 + tl.arange(0, BK)
        value = tl.load(log_final + b * final_stride + j, mask=j < K, other=nothing)
        tl.store(after_end + j, value.to(tl.float64), mask=j < K)
        tl.store(occupied + j, tl.zeros_like(value).to(tl.float64), mask=j < K)
    if ring is None:
        segments = tl.full((BL, BK), nothing, tl.float64)
    tl.debug_barrier()
    s = n - 1
    while s >= 0:
        newest = (s % L).to(tl.int32)
        most = tl.load(peak + b * T + s)
        for j0 in range(0, K, BK):
            j = j0 + tl.arange(0, BK)
            inside = j < K
            score = emission(log_emission + s * P, emission_index, j, K, P) - most
            new = tl.load(after_end + j, mask=inside, other=nothing)
            ended = tl.exp(tl.load(end + s * K + j, mask=inside, other=nothing) + new - all_paths)
            if s + 1 == n:
                tl.store(final + b * K + j, ended, mask=inside)
            # Exactly 0 where the frame is impossible, whatever the running sum was rounded to.
            here = tl.load(occupied + j, mask=inside, other=0.0) + ended
            here = tl.where(score == nothing, 0.0, here)
            bounded = tl.where(here < 0.0, 0.0, tl.where(here > 1.0, 1.0, here))
            tl.store(state + s * K + j, bounded.to(state.dtype.element_ty), mask=inside)

            before = tl.load(start + s * K + j, mask=inside, other=nothing) - all_paths
            best = tl.full((BK,), nothing, tl.float64)
            weight = tl.full((BK,), 0.0, tl.float64)
            for l0 in range(0, L, BL):
                slot = l0 + tl.arange(0, BL)
                age = slot - newest
                age = tl.where(age < 0, age + L, age)
                age = tl.where(slot < L, age, L)
                used = (slot < L)[:, None] & inside[None, :]
                if ring is not None:
                    place = ring + slot.to(tl.int64)[:, None] * K + j[None, :]
                    segments = tl.load(place, mask=used & (age < n - s)[:, None], other=nothing)
                segments = tl.where((slot == newest)[:, None], new[None, :], segments)
                segments += score[None, :]
                if ring is not None:
                    tl.store(place, segments, mask=used)
                kind = tl.zeros_like(age)
                if KINDS == 4:
                    last = age + 1 == n - s
                    kind = tl.where(s == 0, tl.where(last, 0, 1), tl.where(last, 3, 2))
                cell = (kind * L + age).to(tl.int64)[:, None] * K + j[None, :]
                closing = segments + tl.load(log_duration + cell, mask=used, other=nothing)
                above = tl.max(closing, 0)
                shift = finite_or_zero(above)
                share = tl.exp(closing - shift[None, :])
                count = tl.load(duration + cell, mask=used, other=0.0)
                tl.store(duration + cell, count + share * tl.exp(before + shift)[None, :], mask=used)
                above = tl.maximum(best, above)
                scale = finite_or_zero(above)
                weight = weight * tl.exp(best - scale) + tl.sum(share, 0) * tl.exp(shift - scale)
                best = above
            onward = tl.log(weight) + finite_or_zero(best)
            started = tl.exp(before + onward)
            if s == 0:
                tl.store(initial + b * K + j, started, mask=inside)
            # Threads that share a state have all read it.
            tl.debug_barrier()
            tl.store(occupied + j, here - started, mask=inside)
            tl.store(after_start + s * K + j, onward, mask=inside)
        tl.debug_barrier()
        if s > 0:
            for i0 in range(0, K, BK):
                i = i0 + tl.arange(0, BK)
                if predecessors is None:
                    onward = arrive(
                        after_start + s * K, None, log_weight, i, K, R, 1, K, BS, tl.float64
                    )  # fmt: skip
                else:
                    onward = _leave(after_start + s * K, first_arc, arcs, log_weight, i, K, R, BK)
                tl.store(after_end + i, onward, mask=i < K)
            tl.debug_barrier()
        s -= 1


@triton.jit(do_not_specialize=["T", "predecessor_stride", "weight_stride"])
def segments_arcs(
    predecessors, log_weight, lengths, end, after_start, relative, transition,
    T, K, R, predecessor_stride, weight_stride, BLOCK: tl.constexpr,
):  # fmt: skip
    """Count the expected uses of some arcs in one sequence."""
    b = tl.program_id(0).to(tl.int64)
    columns = K if predecessors is None else R
    arc = tl.program_id(1).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = arc < K * columns
    if predecessors is None:
        source, target = arc // K, arc % K
    else:
        target = arc // R
        source = tl.load(predecessors + b * predecessor_stride + arc, mask=inside, other=-1)
    inside &= (source >= 0) & (source < K)
    weight = tl.load(log_weight + b * weight_stride + arc, mask=inside, other=float("-inf")).to(tl.float64)
    weight -= finite_or_zero(tl.load(relative + b))
    n = tl.load(lengths + b)
    n = tl.minimum(tl.maximum(n, 0), T).to(tl.int64)
    end += b * T * K
    after_start += b * T * K
    count = tl.full((BLOCK,), 0.0, tl.float64)
    s = n * 0 + 1
    while s < n:
        before = tl.load(end + (s - 1) * K + source, mask=inside, other=float("-inf"))
        count += tl.exp(before + weight + tl.load(after_start + s * K + target, mask=inside, other=0.0))
        s += 1
    to = transition + b * K * columns + arc
    tl.store(to, count.to(transition.dtype.element_ty), mask=arc < K * columns)


def _by_source(predecessors: Tensor) -> tuple[Tensor, Tensor]:
    """First arc of each state (.., K+1) in the list (.., K R) of the arcs by the state that they leave."""
    batch, K, _ = predecessors.shape
    source = torch.where(predecessors < 0, K, predecessors).flatten(1)
    ordered, arcs = source.sort(dim=1, stable=True)
    state = torch.arange(K + 1, device=source.device).expand(batch, -1).contiguous()
    return torch.searchsorted(ordered, state), arcs


def _backward(segments: Segments, messages: Messages) -> tuple[Tensor, ...]:
    """States and counts, those of durations as (B, kinds, L, K)."""
    model = segments.model
    B, T, K, _, L, R = segments.sizes
    kinds = segments.log_duration.shape[1]
    wide = messages.relative.new_empty
    after_start, after_end, occupied = wide((B, max(T, 1), K)), wide((B, K)), wide((B, K))
    state = model.log_emission.new_zeros((B, T, K))
    initial, final = (torch.zeros_like(after_end) for _ in range(2))
    duration = after_end.new_zeros((B, kinds, L, K))
    first_arc, arcs = (None, None) if model.predecessors is None else _by_source(model.predecessors)
    launch(
        segments_backward,
        (B,),
        *arguments(segments),
        *(first_arc, arcs, ring_of(segments), *messages, after_start, after_end),
        *(occupied, state, initial, duration, final),
        # With all warps it would have too few registers.
        num_warps=max(segments.num_warps // 2, 1),
        KINDS=kinds,
        **segments.blocks,
    )
    slots = K if model.predecessors is None else R
    transition = model.log_emission.new_empty((B, K, slots))
    block = 256
    launch(
        segments_arcs,
        (B, triton.cdiv(K * slots, block)),
        *(model.predecessors, model.log_weight, model.lengths, messages.end, after_start),
        *(messages.relative, transition, T, K, R, model.predecessor_stride, model.weight_stride),
        BLOCK=block,
    )
    return state, initial, transition, duration, final


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
    segments = describe_segments(
        *(log_initial, predecessors, log_weight, log_duration),
        *(log_emission, lengths, log_final, emission_index),
    )
    total, messages = messages_of(segments)
    state, initial, transition, duration, final = _backward(segments, messages)
    return total, state, initial.to(dtype), transition, duration.mT.to(dtype).contiguous(), final.to(dtype)
