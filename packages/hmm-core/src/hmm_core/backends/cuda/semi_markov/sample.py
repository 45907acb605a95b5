"""Samples on CUDA: the messages of ``_forward``, and backwards through them, a program for each sample.

    last state i        ~ end[T, i] final[i]
    its length d        ~ duration[j, d] start[t-d, j] emissions of j in frames t-d..t-1
    state i before it   ~ end[t-d, i] weight[i, j]

Row t-1 of ``uniform`` chooses what ends at boundary t: first the length, then the state. A choice is the
first place where the running sum of the weights exceeds that part of their total.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from hmm_core.backends.cuda._launch import launch
from hmm_core.backends.cuda._math import finite_or_zero
from hmm_core.backends.cuda.semi_markov._forward import STRIDES, messages_of
from hmm_core.backends.cuda.semi_markov._model import arguments, describe_segments


@triton.jit
def _add(most, total, score):
    """Add the weights of some scores to a total relative to exp(most)."""
    above = tl.maximum(most, tl.max(score, 0))
    shift = finite_or_zero(above)
    return above, total * tl.exp(most - shift) + tl.sum(tl.exp(score - shift), 0)


@triton.jit
def _pass(score, most, sum_before, bound):
    """How many running sums of the weights are at most the bound, and the sum after all of them."""
    weight = tl.exp(score - finite_or_zero(most))
    running = sum_before + tl.cumsum(weight, 0)
    passed = tl.sum((running <= bound).to(tl.int64), 0)
    return passed, sum_before + tl.sum(weight, 0)


@triton.jit
def _source_score(message, predecessors, log_weight, state, first, K, R, BS: tl.constexpr):
    """Scores (BS,) of the arcs first.. into a state."""
    s = first + tl.arange(0, BS)
    if predecessors is None:
        source, used = s, s < K
        place = s.to(tl.int64) * K + state
    else:
        place = state * R + s
        source = tl.load(predecessors + place, mask=s < R, other=-1)
        used = (source >= 0) & (source < K)
    weight = tl.load(log_weight + place, mask=used, other=float("-inf"))
    return tl.load(message + source, mask=used, other=float("-inf")) + weight


@triton.jit
def _length_score(
    log_emission, emission_index, log_duration, start, peak, state, t, n, first, scores_before,
    K, P, L, KINDS: tl.constexpr, BL: tl.constexpr,
):  # fmt: skip
    """Scores (BL,) of the lengths first + 1.. of a segment that ends at ``t``, and the sum of its frames."""
    age = first + tl.arange(0, BL)
    frame = t - 1 - age
    inside = (frame >= 0) & (age < L)
    density = state
    if emission_index is not None:
        density = tl.load(emission_index + state)
        density = tl.minimum(tl.maximum(density, 0), P - 1)
    score = tl.load(log_emission + frame * P + density, mask=inside, other=0.0).to(tl.float64)
    score -= tl.load(peak + frame, mask=inside, other=0.0)
    running = scores_before + tl.cumsum(score, 0)
    began = tl.load(start + frame * K + state, mask=inside, other=float("-inf"))
    kind = tl.zeros_like(age)
    if KINDS == 4:
        whole = frame == 0
        last = t == n
        kind = tl.where(whole, tl.where(last, 0, 1), tl.where(last, 3, 2))
    place = (kind * L + age) * K + state
    weight = tl.load(log_duration + place, mask=inside, other=float("-inf"))
    return began + running + weight, scores_before + tl.sum(score, 0)


@triton.jit(do_not_specialize=["T", "B", *STRIDES])
def segments_sample(
    log_initial, predecessors, log_weight, log_duration, log_emission, lengths, log_final, emission_index,
    T, K, P, L, R,
    initial_stride, predecessor_stride, weight_stride, duration_stride, final_stride, index_stride,
    start, end, peak, relative, uniform, states, durations, B,
    KINDS: tl.constexpr, BK: tl.constexpr, BL: tl.constexpr, BS: tl.constexpr,
):  # fmt: skip
    """One sample of one sequence."""
    sample = tl.program_id(0).to(tl.int64)
    b = sample % B
    log_weight += b * weight_stride
    log_duration += b * duration_stride
    log_emission += b * T * P
    if predecessors is not None:
        predecessors += b * predecessor_stride
    if emission_index is not None:
        emission_index += b * index_stride
    start += b * T * K
    end += b * T * K
    peak += b * T
    uniform += sample * T * 2
    states += sample * T
    durations += sample * T
    n = tl.load(lengths + b)
    n = tl.minimum(tl.maximum(n, 0), T).to(tl.int64)
    t = tl.where(tl.load(relative + b) > float("-inf"), n, 0)

    state = t * 0
    if t > 0:
        most = tl.full((), float("-inf"), tl.float64)
        total = tl.full((), 0.0, tl.float64)
        for first in range(0, K, BK):
            i = first + tl.arange(0, BK)
            score = tl.load(end + (n - 1) * K + i, mask=i < K, other=float("-inf"))
            score += tl.load(log_final + b * final_stride + i, mask=i < K, other=float("-inf"))
            most, total = _add(most, total, score)
        bound = tl.load(uniform + 2 * (n - 1) + 1) * total
        passed = tl.full((), 0.0, tl.float64)
        for first in range(0, K, BK):
            i = first + tl.arange(0, BK)
            score = tl.load(end + (n - 1) * K + i, mask=i < K, other=float("-inf"))
            score += tl.load(log_final + b * final_stride + i, mask=i < K, other=float("-inf"))
            count, passed = _pass(score, most, passed, bound)
            state += count
        state = tl.minimum(state, K - 1)
    while t > 0:
        most = tl.full((), float("-inf"), tl.float64)
        total = tl.full((), 0.0, tl.float64)
        frames = tl.full((), 0.0, tl.float64)
        for first in range(0, L, BL):
            score, frames = _length_score(
                log_emission, emission_index, log_duration, start, peak, state, t, n, first, frames,
                K, P, L, KINDS, BL,
            )  # fmt: skip
            most, total = _add(most, total, score)
        bound = tl.load(uniform + 2 * (t - 1)) * total
        passed = tl.full((), 0.0, tl.float64)
        frames = tl.full((), 0.0, tl.float64)
        length = t * 0 + 1
        for first in range(0, L, BL):
            score, frames = _length_score(
                log_emission, emission_index, log_duration, start, peak, state, t, n, first, frames,
                K, P, L, KINDS, BL,
            )  # fmt: skip
            count, passed = _pass(score, most, passed, bound)
            length += count
        length = tl.minimum(length, tl.minimum(t, L))
        begin = t - length
        frame = begin
        while frame < t:
            place = frame + tl.arange(0, BL)
            tl.store(states + place, state + place * 0, mask=place < t)
            tl.store(durations + place, tl.where(place == begin, length, 0), mask=place < t)
            frame += BL
        t = begin
        if t > 0:
            most = tl.full((), float("-inf"), tl.float64)
            total = tl.full((), 0.0, tl.float64)
            row = end + (t - 1) * K
            for first in range(0, K if predecessors is None else R, BS):
                score = _source_score(row, predecessors, log_weight, state, first, K, R, BS)
                most, total = _add(most, total, score)
            bound = tl.load(uniform + 2 * (t - 1) + 1) * total
            passed = tl.full((), 0.0, tl.float64)
            chosen = t * 0
            for first in range(0, K if predecessors is None else R, BS):
                score = _source_score(row, predecessors, log_weight, state, first, K, R, BS)
                count, passed = _pass(score, most, passed, bound)
                chosen += count
            if predecessors is None:
                state = tl.minimum(chosen, K - 1)
            else:
                chosen = tl.minimum(chosen, R - 1)
                state = tl.load(predecessors + state * R + chosen).to(tl.int64)
                state = tl.minimum(tl.maximum(state, 0), K - 1)


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
    segments = describe_segments(
        *(log_initial, predecessors, log_weight, log_duration),
        *(log_emission, lengths, log_final, emission_index),
    )
    _, messages = messages_of(segments)
    states = lengths.new_full(uniform.shape[:3], -1)
    durations = torch.full_like(states, -1)
    launch(
        segments_sample,
        (uniform.shape[0] * uniform.shape[1],),
        *arguments(segments),
        *(*messages, uniform.contiguous(), states, durations, uniform.shape[1]),
        KINDS=segments.log_duration.shape[1],
        **segments.blocks,
    )
    return states, durations
