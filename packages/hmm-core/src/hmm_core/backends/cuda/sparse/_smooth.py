"""The recursion backwards in time that spreads posteriors: no message backwards, and no logarithm.

    p[t, j, r] = exp(a[t, i_r] + w_r) / sum_r' exp(a[t, i_r'] + w_r')     share of an arc in what enters j
    xi[t, j, r] = gamma[t+1, j] p[t, j, r]
    gamma[t, i] = sum of xi[t, j, r] over the arcs that leave i

The shares sum to one, so posteriors do, however many frames there are. They depend on forward messages
alone; only the last line waits for the frame behind it.
"""

import triton
import triton.language as tl
from torch import Tensor

from hmm_core.backends.cuda._launch import launch
from hmm_core.backends.cuda._math import finite_or_zero
from hmm_core.backends.cuda._model import Model
from hmm_core.backends.cuda._together import meet
from hmm_core.backends.cuda.sparse import _graph
from hmm_core.backends.cuda.sparse._forward import Kept
from hmm_core.backends.cuda.sparse._plan import Plan, Span, edge_frames, signals
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
def arriving(predecessors, step, source, k, r, R, inside):
    """Scores with which paths enter states k through slot r; -inf where there is none."""
    i, w = slot_of(predecessors, step, k, r, R, inside)
    return tl.load(source + i, mask=i >= 0, other=float("-inf")) + w


@triton.jit
def use_of(x, m, s, g):
    """Spread posteriors g over arcs: the one of score x among those that sum to s exp(m)."""
    possible = x > float("-inf")
    share = tl.exp(tl.where(possible, x - m, 0.0).to(s.dtype)) / tl.where(s == 0.0, 1.0, s)
    return tl.where(possible, share * g, 0.0)


@triton.jit
def tell(here, border, k, r, R, xi, first, inside, REACH: tl.constexpr):
    """Write the uses of arcs for the states that they leave, in this tile and in the one on the left."""
    arc = k * R + r
    tl.store(here + arc, xi, mask=inside)
    if border is not None:
        tl.store(border + arc - first * R, xi, mask=inside & (k < first + REACH))


@triton.jit
def add_to(place, value, inside):
    """Add to sums in float64."""
    tl.store(place, tl.load(place, mask=inside, other=0.0) + value.to(tl.float64), mask=inside)


@triton.jit(
    do_not_specialize=[
        "predecessor_stride",
        "weight_stride",
        "step_stride",
        "arc_stride",
        "B",
        "T",
        "begin",
        "end",
        "rows",
        "stored",
        "flows",
        "degree_blocks",
    ]
)
def smooth_frames(
    predecessors,
    weight,
    lengths,
    arcs,
    starts,
    degrees,
    messages,  # (B, rows, K)
    carry,  # (B, K): posteriors of frame end in, those of frame begin out
    flow,  # (B, flows, K, R): expected uses of the arcs, of two steps or of all of the launch
    edge,  # (B, frames, tiles, REACH, R): those into each tile's first states
    signals,
    gamma,  # (B, stored, K) or None
    counts,  # (B, K, R) float64, or (B, T - 1, K, R), or None
    predecessor_stride,
    weight_stride,
    step_stride,
    arc_stride,  # 1 where each sequence has its own graph
    B,
    T,
    K,
    R,
    begin,
    end,
    rows,  # frames of the messages: all, or those of the launch
    stored,  # frames of gamma, likewise
    flows,
    tiles,
    degree_blocks,
    VARYING: tl.constexpr,
    ONE: tl.constexpr,  # whether the program has one block of states
    HELD: tl.constexpr,  # its slots that stay in registers: all 2 or 3, or 0
    MEET: tl.constexpr,
    REACH: tl.constexpr,
    UNROLL: tl.constexpr,
    BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Posteriors of frames end - 1 down to begin of a sequence, of all states or of some tiles."""
    like = carry.dtype.element_ty
    b, place = take_tile(signals, B, tiles, REACH > 0)
    tile = tiles - 1 - place
    n = frames_of(lengths, b, T)
    stop = tl.minimum(n, end)
    first, last = part_of(tile, K, REACH, BLOCK)
    jump = BLOCK
    if MEET:
        jump = tiles * BLOCK
    lanes = tl.arange(0, BLOCK)
    done = signals + 1 + b * tiles + tile
    own = b * arc_stride
    # The posteriors of frame t + 1, if they fit; else they are in carry, between barriers.
    g = tl.zeros((BLOCK,), like)
    if ONE:
        g = tl.load(carry + b * K + first + lanes, mask=first + lanes < last, other=0.0)
    if HELD > 0:
        k = first + lanes
        inside = k < last
        known = predecessors + b * predecessor_stride
        i0, w0 = slot_of(known, weight + b * weight_stride, k, 0, R, inside)
        i1, w1 = slot_of(known, weight + b * weight_stride, k, 1, R, inside)
        c0 = tl.zeros((BLOCK,), tl.float64)
        c1 = tl.zeros((BLOCK,), tl.float64)
        if HELD > 2:
            i2, w2 = slot_of(known, weight + b * weight_stride, k, 2, R, inside)
            c2 = tl.zeros((BLOCK,), tl.float64)
    stage = n * 0
    t = stop - 1
    while t >= begin:
        if REACH > 0:
            if ((stop - 1 - t) % CHUNK == 0) & (tile < tiles - 1):
                wait(done + 1, (stop - tl.maximum(t + 1 - CHUNK, begin)).to(tl.int32))
        source = messages + (b * rows + tl.where(rows == T, t, t - begin)) * K
        step = weight + b * weight_stride + t * step_stride
        row = t - begin
        here = flow + (b * flows + tl.where(flows > 2, row, row & 1)) * K * R
        border = edge
        if edge is not None:
            border = edge + ((b * (end - begin) + t - begin) * tiles + tile) * REACH * R
        if t < n - 1:
            for k0 in range(first, last, jump):
                k = k0 + lanes
                inside = k < last
                if not ONE:
                    g = tl.load(carry + b * K + k, mask=inside, other=0.0)
                if HELD > 0:
                    x0 = tl.load(source + i0, mask=i0 >= 0, other=float("-inf")) + w0
                    x1 = tl.load(source + i1, mask=i1 >= 0, other=float("-inf")) + w1
                    m = tl.maximum(x0, x1)
                    if HELD > 2:
                        x2 = tl.load(source + i2, mask=i2 >= 0, other=float("-inf")) + w2
                        m = tl.maximum(m, x2)
                    shift = finite_or_zero(m)
                    s = tl.exp((x0 - shift).to(like)) + tl.exp((x1 - shift).to(like))
                    if HELD > 2:
                        s += tl.exp((x2 - shift).to(like))
                    xi0 = use_of(x0, m, s, g)
                    xi1 = use_of(x1, m, s, g)
                    tell(here, border, k, 0, R, xi0, first, inside, REACH)
                    tell(here, border, k, 1, R, xi1, first, inside, REACH)
                    c0 += xi0
                    c1 += xi1
                    if HELD > 2:
                        xi2 = use_of(x2, m, s, g)
                        tell(here, border, k, 2, R, xi2, first, inside, REACH)
                        c2 += xi2
                else:
                    known = predecessors + b * predecessor_stride
                    m = tl.full((BLOCK,), float("-inf"), tl.float64)
                    s = tl.zeros((BLOCK,), like)
                    for r0 in range(0, R, UNROLL):
                        for u in tl.static_range(UNROLL):
                            x = arriving(known, step, source, k, r0 + u, R, inside)
                            m, s, _greater = add_exp(m, s, x, like)
                    for r0 in range(0, R, UNROLL):
                        for u in tl.static_range(UNROLL):
                            r = r0 + u
                            arc = k * R + r
                            slot = inside & (arc < k * R + R)
                            xi = use_of(arriving(known, step, source, k, r, R, inside), m, s, g)
                            tell(here, border, k, r, R, xi, first, slot, REACH)
                            if counts is not None:
                                if VARYING:
                                    tl.store(counts + (b * (T - 1) + t) * K * R + arc, xi, mask=slot)
                                else:
                                    add_to(counts + b * K * R + arc, xi, slot)
            if MEET:
                stage += tiles
                meet(signals + 1 + b, stage)
            else:
                tl.debug_barrier()
            for k0 in range(first, last, jump):
                k = k0 + lanes
                inside = k < last
                leave = tl.load(starts + own * (K + 1) + k, mask=inside, other=0)
                until = tl.load(starts + own * (K + 1) + k + 1, mask=inside, other=0)
                most = tl.load(degrees + own * degree_blocks + k0 // BLOCK)
                g = tl.zeros((BLOCK,), like)
                for d0 in range(0, most, UNROLL):
                    for u in tl.static_range(UNROLL):
                        used = leave + d0 + u < until
                        arc = tl.load(arcs + own * K * R + leave + d0 + u, mask=used, other=0)
                        near = used
                        if edge is not None:
                            near = used & (arc < last * R)
                        xi = tl.load(here + arc, mask=near, other=0.0)
                        if edge is not None:
                            outer = border + REACH * R + arc - last * R
                            xi += tl.load(outer, mask=used & ~near, other=0.0)
                        g += xi
                if not ONE:
                    tl.store(carry + b * K + k, g, mask=inside)
            if not ONE:
                tl.debug_barrier()
        if gamma is not None:
            for k0 in range(first, last, jump):
                k = k0 + lanes
                inside = k < last
                if not ONE:
                    g = tl.load(carry + b * K + k, mask=inside, other=0.0)
                frame = tl.where(stored == T, t, t - begin)
                tl.store(gamma + (b * stored + frame) * K + k, g, mask=inside)
        t -= 1
        if REACH > 0:
            if ((stop - 1 - t) % CHUNK == 0) | (t < begin):
                publish(done, (stop - 1 - t).to(tl.int32))
    if ONE:
        tl.store(carry + b * K + first + lanes, g, mask=first + lanes < last)
    if HELD > 0:
        if counts is not None:
            k = first + lanes
            add_to(counts + (b * K + k) * R, c0, k < last)
            add_to(counts + (b * K + k) * R + 1, c1, k < last)
            if HELD > 2:
                add_to(counts + (b * K + k) * R + 2, c2, k < last)


@triton.jit(do_not_specialize=["T", "begin", "end", "stored", "group_stride"])
def sum_by_density(
    gamma,  # (B, stored, K)
    members,  # (B|1, K) int32: states by density
    starts,  # (B|1, P + 1) int32
    lengths,
    result,  # (B, T, P)
    T,
    K,
    P,
    begin,
    end,
    stored,
    group_stride,
    FRAMES: tl.constexpr,
    LANES: tl.constexpr,
):
    """Posteriors of the densities: those of all states that read one, in the order of the states."""
    parts = (end - begin + FRAMES - 1) // FRAMES
    p = tl.program_id(0) % P
    part = tl.program_id(0) // P % parts
    b = (tl.program_id(0) // P // parts).to(tl.int64)
    t = begin + part.to(tl.int64) * FRAMES + tl.arange(0, FRAMES)
    n = frames_of(lengths, b, T)
    inside = t < tl.minimum(n, end)
    row = gamma + (b * stored + tl.where(stored == T, t, t - begin)) * K
    own = b * group_stride
    start = tl.load(starts + own * (P + 1) + p)
    stop = tl.load(starts + own * (P + 1) + p + 1)
    total = tl.zeros((FRAMES, LANES), result.dtype.element_ty)
    for s0 in range(start, stop, LANES):
        s = s0 + tl.arange(0, LANES)
        k = tl.load(members + own * K + s, mask=s < stop, other=0)
        used = inside[:, None] & (s < stop)[None, :]
        total += tl.load(row[:, None] + k[None, :], mask=used, other=0.0)
    tl.store(result + (b * T + t) * P + p, tl.sum(total, 1), mask=inside)


# Frames and states that a program of sum_by_density adds up at a time.
FRAMES = 16
LANES = 32


def smooth(
    kept: Kept,
    state: Tensor,
    gamma: Tensor | None = None,
    by_density: Tensor | None = None,
    counts: Tensor | None = None,
) -> None:
    """Spread the posteriors (B, K) of the last frames back to the first ones, in place.

    All of them go to ``gamma`` (B, T, K), or summed by density to ``by_density`` (B, T, P); those of the arcs
    are added to ``counts`` (B, K, R) in float64, or written to (B, T - 1, K, R).
    """
    model, plan = kept.recursion.model, kept.recursion.plan
    B, _, K, _ = model.sizes
    R = model.log_weight.shape[3]
    for span, messages in kept.backwards(edge_frames(plan, B, R * state.element_size())):
        stored = gamma if by_density is None else state.new_empty((B, span.frames, K))
        _spread(model, plan, span, messages, state, stored, counts)
        if by_density is not None and stored is not None:
            _add_up(model, span, stored, by_density)


def _spread(
    model: Model,
    plan: Plan,
    span: Span,
    messages: Tensor,
    state: Tensor,
    gamma: Tensor | None,
    counts: Tensor | None,
) -> None:
    """Launch the recursion on one span."""
    assert model.predecessors is not None  # noqa: S101  (the graph is sparse)
    B, T, K, _ = model.sizes
    R = model.log_weight.shape[3]
    flow = state.new_empty((B, span.frames if plan.far else 2, K, R))
    edge = None
    if plan.reach and not plan.far:
        edge = state.new_empty((B, span.frames, plan.tiles, plan.reach, R))
    leaving = _graph.outgoing(model.predecessors)
    degrees = leaving.largest(plan.block)
    launch(
        smooth_frames,
        (B * plan.tiles,),
        model.predecessors,
        model.log_weight,
        model.lengths,
        leaving.members,
        leaving.starts,
        degrees,
        messages,
        state,
        flow,
        edge,
        signals(plan, B, 1, state.device)[0],
        gamma,
        counts,
        model.predecessor_stride,
        model.weight_stride,
        model.step_stride,
        leaving.stride,
        B,
        T,
        K,
        R,
        span.begin,
        span.end,
        messages.shape[1],
        0 if gamma is None else gamma.shape[1],
        flow.shape[1],
        plan.tiles,
        degrees.shape[1],
        VARYING=counts is not None and counts.ndim == 4,
        ONE=plan.block * plan.tiles >= K,
        cooperative=plan.together,
        HELD=plan.held,
        **plan.constants,
    )


def _add_up(model: Model, span: Span, gamma: Tensor, result: Tensor) -> None:
    """Sum posteriors (B, frames, K) of a span over the states that read each density."""
    B, T, K, P = model.sizes
    assert model.emission_index is not None  # noqa: S101  (states share densities)
    group = _graph.readers(model.emission_index, P)
    launch(
        sum_by_density,
        (B * -(-span.frames // FRAMES) * P,),
        gamma,
        group.members,
        group.starts,
        model.lengths,
        result,
        T,
        K,
        P,
        span.begin,
        span.end,
        gamma.shape[1],
        group.stride,
        FRAMES=FRAMES,
        LANES=LANES,
        num_warps=4,
    )
