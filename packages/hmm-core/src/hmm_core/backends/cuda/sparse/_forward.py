"""The recursion forwards in time: sums or maxima over paths, and the entropy of paths."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from hmm_core.backends.cuda._launch import launch
from hmm_core.backends.cuda._math import finite_or_zero
from hmm_core.backends.cuda._model import Model
from hmm_core.backends.cuda._together import meet
from hmm_core.backends.cuda.sparse._plan import Plan, Span, edge_frames, plan, plenty, signals, spans
from hmm_core.backends.cuda.sparse._sweep import (
    add_exp,
    frames_of,
    part_of,
    publish,
    slot_of,
    take_tile,
    wait,
)


@triton.jit
def read_message(source, outer, i, first, begins, used, other):
    """Message of predecessor i: from a row of all states, or if there is none from the tile on the left."""
    if outer is None:
        x = tl.load(source + i, mask=used, other=other)
    else:
        near = used & ((i >= first) | begins)
        x = tl.load(source + i, mask=near, other=other)
        x = tl.where(near, x, tl.load(outer + i, mask=used & ~near, other=other))
    return x


@triton.jit
def density_of(index, b, index_stride, k, P, inside):
    """Densities that states k read."""
    density = k
    if index is not None:
        density = tl.load(index + b * index_stride + k, mask=inside, other=0)
        density = tl.minimum(tl.maximum(density, 0), P - 1)
    return density


@triton.jit
def surprise(x, m, log_s, rest):
    """Share p of an arc, of score x among those that sum to s exp(m), times what is left after it - log p."""
    like = log_s.dtype
    possible = x > float("-inf")
    log_p = tl.where(possible, (x - m).to(like) - log_s, 0.0)
    # ``rest`` is relative to that of the likeliest arc: large entropies are carried over exactly.
    return tl.where(possible, tl.exp(log_p) * (rest.to(like) - log_p), 0.0).to(tl.float64)


@triton.jit(
    do_not_specialize=[
        "initial_stride",
        "predecessor_stride",
        "weight_stride",
        "step_stride",
        "index_stride",
        "B",
        "T",
        "begin",
        "end",
        "rows",
    ]
)
def forward_frames(
    initial,
    predecessors,
    weight,
    emission,
    lengths,
    index,
    before,  # (planes, B, K) messages of frame begin - 1
    after,  # (planes, B, K) messages of the last frame, for who continues
    messages,  # (planes, B, rows, K): all frames of the launch, or the last two
    edge,  # (planes, B, frames, tiles, REACH): those of each tile's last states, where rows do not keep them
    signals,
    rounded,  # (B, T, K) messages as a result
    pointers,  # (B, words, K): slots of 32 / BITS frames a word
    wrong,  # (B, tiles) whether something was NaN or +inf
    initial_stride,
    predecessor_stride,
    weight_stride,
    step_stride,
    index_stride,
    B,
    T,
    K,
    P,
    R,
    begin,
    end,
    rows,
    tiles,
    MAXIMUM: tl.constexpr,
    BITS: tl.constexpr,
    ENTROPY: tl.constexpr,
    HELD: tl.constexpr,  # slots that stay in registers: all 2 or 3 of one block of states, or 0
    MEET: tl.constexpr,
    REACH: tl.constexpr,
    UNROLL: tl.constexpr,
    BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Messages of frames begin..end of a sequence, of all states or of some tiles.

    SUM: a[t, j] = log sum_r exp(a[t-1, i_r] + w_r) + e[t, j]. MAXIMUM: the greatest term, and its slot.
    ENTROPY: also h[t, j] = sum_r p_r (h[t-1, i_r] - log p_r), p the terms' shares of the sum.
    """
    like = emission.dtype.element_ty
    b, tile = take_tile(signals, B, tiles, REACH > 0)
    n = frames_of(lengths, b, T)
    stop = tl.minimum(n, end)
    first, last = part_of(tile, K, REACH, BLOCK)
    jump = BLOCK
    if MEET:
        jump = tiles * BLOCK
    lanes = tl.arange(0, BLOCK)
    bad = tl.zeros((BLOCK,), tl.int32)
    width = b * 0 + tiles * REACH  # a frame of the edge, in 64 bits
    plane = (b * 0 + B) * K  # from a message to its entropy
    row_plane = plane * rows
    edge_plane = width * B * (end - begin)
    done = signals + 1 + b * tiles + tile
    t = tl.full((), 0, tl.int64) + begin
    if HELD > 0:
        k = first + lanes
        inside = k < last
        known = predecessors + b * predecessor_stride
        i0, w0 = slot_of(known, weight + b * weight_stride, k, 0, R, inside)
        i1, w1 = slot_of(known, weight + b * weight_stride, k, 1, R, inside)
        if HELD > 2:
            i2, w2 = slot_of(known, weight + b * weight_stride, k, 2, R, inside)
        start = tl.load(initial + b * initial_stride + k, mask=inside, other=float("-inf")).to(tl.float64)
        density = density_of(index, b, index_stride, k, P, inside)
        # Emissions come a frame ahead, while the messages before them are on their way.
        ahead = tl.load(
            emission + (b * T + t) * P + density, mask=inside & (t + lanes * 0 < stop), other=float("-inf")
        )
    while t < stop:
        if REACH > 0:
            if ((t - begin) % CHUNK == 0) & (tile > 0):
                wait(done - 1, (tl.minimum(t + CHUNK, stop) - begin).to(tl.int32))
        row = t - begin
        target = messages + (b * rows + tl.where(rows > 2, row, row & 1)) * K
        source = messages + (b * rows + tl.where(rows > 2, row - 1, (row - 1) & 1)) * K
        source_plane = row_plane
        if t == begin:
            source = before + b * K
            source_plane = plane
        # Masks are compared as blocks: Triton's interpreter cannot combine them with single values.
        frame = t + lanes * 0
        step = weight + b * weight_stride + (t - 1) * step_stride
        outer = edge
        outer_rest = edge
        if edge is not None:
            border = edge + ((b * (end - begin) + t - begin) * tiles + tile) * REACH
            outer = border - width - first
            outer_rest = outer + edge_plane
        for k0 in range(first, last, jump):
            k = k0 + lanes
            inside = k < last
            h = tl.zeros((BLOCK,), tl.float64)
            slot = tl.zeros((BLOCK,), tl.int32)
            if HELD > 0:
                e = ahead
                later = inside & (frame + 1 < stop)
                ahead = tl.load(emission + (b * T + t + 1) * P + density, mask=later, other=float("-inf"))
                now = frame > 0
                begins = frame == begin
                x0 = read_message(source, outer, i0, first, begins, now & (i0 >= 0), float("-inf")) + w0
                x1 = read_message(source, outer, i1, first, begins, now & (i1 >= 0), float("-inf")) + w1
                m = tl.where(x1 > x0, x1, x0)
                slot = tl.where(x1 > x0, 1, slot)
                if HELD > 2:
                    x2 = read_message(source, outer, i2, first, begins, now & (i2 >= 0), float("-inf")) + w2
                    slot = tl.where(x2 > m, 2, slot)
                    m = tl.where(x2 > m, x2, m)
                m = tl.where(frame == 0, start, m)
                if MAXIMUM:
                    bad |= tl.where((x0 < float("inf")) & (x1 < float("inf")), 0, 1)
                    if HELD > 2:
                        bad |= tl.where(x2 < float("inf"), 0, 1)
                shift = finite_or_zero(m)
                s = tl.exp((x0 - shift).to(like)) + tl.exp((x1 - shift).to(like))
                if HELD > 2:
                    s += tl.exp((x2 - shift).to(like))
                s = tl.where(frame == 0, 1.0, s)
                if ENTROPY:
                    rest = source + source_plane
                    y0 = read_message(rest, outer_rest, i0, first, begins, now & (i0 >= 0), 0.0)
                    y1 = read_message(rest, outer_rest, i1, first, begins, now & (i1 >= 0), 0.0)
                    base = tl.where(slot == 0, y0, y1)
                    log_s = tl.log(s)
                    if HELD > 2:
                        y2 = read_message(rest, outer_rest, i2, first, begins, now & (i2 >= 0), 0.0)
                        base = tl.where(slot == 2, y2, base)
                    h = base + surprise(x0, m, log_s, y0 - base) + surprise(x1, m, log_s, y1 - base)
                    if HELD > 2:
                        h += surprise(x2, m, log_s, y2 - base)
            else:
                density = density_of(index, b, index_stride, k, P, inside)
                e = tl.load(emission + (b * T + t) * P + density, mask=inside, other=float("-inf"))
                m = tl.load(
                    initial + b * initial_stride + k, mask=inside & (frame == 0), other=float("-inf")
                ).to(tl.float64)
                s = tl.where(frame == 0, 1.0, 0.0).to(like)
                for r0 in range(0, R, UNROLL):
                    for u in tl.static_range(UNROLL):
                        r = r0 + u
                        i, w = slot_of(
                            predecessors + b * predecessor_stride, step, k, r, R, inside & (frame > 0)
                        )
                        x = read_message(source, outer, i, first, frame == begin, i >= 0, float("-inf")) + w
                        if MAXIMUM:
                            greater = x > m
                            m = tl.where(greater, x, m)
                            slot = tl.where(greater, r, slot)
                            bad |= tl.where(x < float("inf"), 0, 1)
                        else:
                            m, s, greater = add_exp(m, s, x, like)
                        if ENTROPY:
                            rest = source + source_plane
                            y = read_message(rest, outer_rest, i, first, frame == begin, i >= 0, 0.0)
                            h = tl.where(greater, y, h)
                if ENTROPY:
                    base = h
                    log_s = tl.log(s)
                    for r0 in range(0, R, UNROLL):
                        for u in tl.static_range(UNROLL):
                            i, w = slot_of(
                                predecessors + b * predecessor_stride,
                                step,
                                k,
                                r0 + u,
                                R,
                                inside & (frame > 0),
                            )
                            rest = source + source_plane
                            x = (
                                read_message(source, outer, i, first, frame == begin, i >= 0, float("-inf"))
                                + w
                            )
                            y = read_message(rest, outer_rest, i, first, frame == begin, i >= 0, 0.0)
                            h += surprise(x, m, log_s, y - base)
            a = m + e.to(tl.float64)
            if not MAXIMUM:
                a += tl.log(s).to(tl.float64)
            bad |= tl.where(a < float("inf"), 0, 1)
            tl.store(target + k, a, mask=inside)
            tl.store(after + b * K + k, a, mask=inside & (frame == stop - 1))
            if ENTROPY:
                tl.store(target + row_plane + k, h, mask=inside)
                tl.store(after + plane + b * K + k, h, mask=inside & (frame == stop - 1))
            if edge is not None:
                tell = inside & (k >= first + BLOCK - REACH)
                place = border + REACH + k - (first + BLOCK)
                tl.store(place, a, mask=tell)
                if ENTROPY:
                    tl.store(place + edge_plane, h, mask=tell)
            if rounded is not None:
                tl.store(rounded + (b * T + t) * K + k, a.to(like), mask=inside)
            if BITS > 0:
                FRAMES: tl.constexpr = 32 // BITS
                word = (t - begin) // FRAMES
                place = pointers + (b * ((end - begin + FRAMES - 1) // FRAMES) + word) * K + k
                shift = ((frame - begin) % FRAMES * BITS).to(tl.int32)
                packed = tl.load(place, mask=inside & (shift > 0), other=0)
                tl.store(place, packed | (slot << shift), mask=inside)
        # One barrier a frame: what was written can be read, and what was read overwritten in the next one.
        t += 1
        if MEET:
            meet(signals + 1 + b, (t - begin) * tiles)
        else:
            tl.debug_barrier()
        if REACH > 0:
            if ((t - begin) % CHUNK == 0) | (t == stop):
                publish(done, (t - begin).to(tl.int32))
    if n <= begin:  # the sequence has ended before
        for k0 in range(first, last, jump):
            k = k0 + lanes
            inside = k < last
            a = tl.load(before + b * K + k, mask=inside & (begin + lanes * 0 > 0), other=float("-inf"))
            tl.store(after + b * K + k, a, mask=inside)
            if ENTROPY:
                h = tl.load(before + plane + b * K + k, mask=inside & (begin + lanes * 0 > 0), other=0.0)
                tl.store(after + plane + b * K + k, h, mask=inside)
    tl.store(wrong + b * tiles + tile, 1, mask=tl.max(bad, 0) > 0)


class Forward(NamedTuple):
    """How to run the recursion on a problem."""

    model: Model
    plan: Plan
    maximum: bool = False
    entropy: bool = False

    @property
    def planes(self) -> int:
        """Numbers that a state hands on."""
        return 2 if self.entropy else 1

    @property
    def entry_bytes(self) -> int:
        """What a tile tells its neighbour of one state."""
        return 8 * self.planes

    def run(
        self,
        span: Span,
        signals: Tensor,
        before: Tensor,
        after: Tensor,
        wrong: Tensor,
        messages: Tensor | None = None,
        rounded: Tensor | None = None,
        pointers: Tensor | None = None,
        bits: int = 0,
    ) -> None:
        """Compute a span from the messages ``before`` it; ``messages`` (B, frames, K) keeps all."""
        model, plan = self.model, self.plan
        B, T, K, P = model.sizes
        edge = None
        if messages is None:
            rows = span.frames if plan.far else 2
            messages = after.new_empty((self.planes, B, rows, K))
            if plan.reach and not plan.far:
                edge = after.new_empty((self.planes, B, span.frames, plan.tiles, plan.reach))
        else:
            rows = span.frames
        launch(
            forward_frames,
            (B * plan.tiles,),
            model.log_initial,
            model.predecessors,
            model.log_weight,
            model.log_emission,
            model.lengths,
            model.emission_index,
            before,
            after,
            messages,
            edge,
            signals,
            rounded,
            pointers,
            wrong,
            model.initial_stride,
            model.predecessor_stride,
            model.weight_stride,
            model.step_stride,
            model.index_stride,
            B,
            T,
            K,
            P,
            model.log_weight.shape[3],
            span.begin,
            span.end,
            rows,
            plan.tiles,
            MAXIMUM=self.maximum,
            BITS=bits,
            ENTROPY=self.entropy,
            cooperative=plan.together,
            HELD=plan.held,
            **plan.constants,
        )


class Pass(NamedTuple):
    """What a pass through all frames leaves."""

    spans: list[Span]
    marks: list[Tensor]  # messages (planes, B, K) before each span, and after them those of the last frames
    wrong: Tensor  # (B, tiles) whether something was NaN or +inf
    pointers: list[Tensor]  # (B, words, K) of each span, where asked for

    @property
    def last(self) -> Tensor:
        """Messages of the last frame of each sequence."""
        return self.marks[-1]


def forward_pass(
    recursion: Forward,
    most: int,
    *,
    messages: Tensor | None = None,
    rounded: Tensor | None = None,
    bits: int = 0,
) -> Pass:
    """Go through all frames, at most ``most`` of them in a launch; with ``messages`` in one."""
    model, plan = recursion.model, recursion.plan
    B, T, K, _ = model.sizes
    if messages is None:
        most = min(most, edge_frames(plan, B, recursion.entry_bytes))
    parts = spans(T, most)
    marks = [model.log_emission.new_full((recursion.planes, B, K), -torch.inf, dtype=torch.float64)]
    wrong = model.lengths.new_zeros((B, plan.tiles), dtype=torch.int32)
    pointers = []
    for span, signal in zip(parts, signals(plan, B, len(parts), wrong.device), strict=True):
        marks.append(torch.empty_like(marks[0]))
        if bits:
            pointers.append(wrong.new_empty((B, words(span, bits), K)))
        recursion.run(
            span,
            signal,
            marks[-2],
            marks[-1],
            wrong,
            messages,
            rounded,
            pointers[-1] if bits else None,
            bits,
        )
    return Pass(parts, marks, wrong, pointers)


def words(span: Span, bits: int) -> int:
    """Words that a state's back-pointers take in a span."""
    return -(-span.frames * bits // 32)


class Kept(NamedTuple):
    """Forward messages of a problem, or what it takes to compute them again."""

    recursion: Forward
    passed: Pass
    messages: Tensor | None  # (B, T, K)

    def backwards(self, most: int | None = None) -> Iterator[tuple[Span, Tensor]]:
        """Spans from the last to the first, with the messages of all frames (B, T, K), or of theirs.

        ``most``: frames of a span where it makes no difference.
        """
        model, chosen = self.recursion.model, self.recursion.plan
        B, T, K, _ = model.sizes
        if self.messages is not None:
            for span in reversed(spans(T, T if most is None else most)):
                yield span, self.messages
            return
        scratch = torch.empty_like(self.passed.last)
        for i in reversed(range(len(self.passed.spans))):
            span = self.passed.spans[i]
            messages = scratch.new_empty((B, span.frames, K))
            ready = signals(chosen, B, 1, scratch.device)[0]
            self.recursion.run(
                span, ready, self.passed.marks[i], scratch, self.passed.wrong, messages=messages
            )
            yield span, messages


def keep_messages(model: Model, *, checkpoint: bool = False) -> Kept:
    """Compute all messages; where they are too many, or ``checkpoint``, keep only those between spans."""
    B, T, K, _ = model.sizes
    recursion = Forward(model, plan(model))
    # Spans twice as long as the square root of T take a quarter more memory than the least, in half as many
    # launches.
    most = 2 * math.isqrt(T) + 1
    if not checkpoint:
        most = max(most, plenty(model.log_emission.device) // max(8 * B * K, 1))
    if most >= T:
        messages = model.log_emission.new_empty((B, T, K), dtype=torch.float64)
        return Kept(recursion, forward_pass(recursion, T, messages=messages), messages)
    return Kept(recursion, forward_pass(recursion, most), None)


def kept_before(model: Model, messages: Tensor) -> Kept:
    """Go on from messages that an earlier call kept; what was NaN then still is."""
    B, T, K, _ = model.sizes
    end = (model.lengths - 1).clamp(0, max(T - 1, 0))[:, None, None].expand(-1, 1, K)
    last = messages.gather(1, end).squeeze(1) if T else messages.new_empty((B, K))
    wrong = model.lengths.new_zeros((B, 1), dtype=torch.int32)
    return Kept(Forward(model, plan(model)), Pass([], [last[None]], wrong, []), messages)
