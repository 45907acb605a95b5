"""Backward messages: the recursion backwards in time, over the arcs that leave a state."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from hmm_core.backends.cuda._launch import launch
from hmm_core.backends.cuda._model import describe
from hmm_core.backends.cuda._together import meet
from hmm_core.backends.cuda.sparse import _graph, _plan
from hmm_core.backends.cuda.sparse._sweep import (
    add_exp,
    frames_of,
    part_of,
    publish,
    take_tile,
    wait,
)


@triton.jit(
    do_not_specialize=[
        "weight_stride",
        "step_stride",
        "final_stride",
        "index_stride",
        "arc_stride",
        "B",
        "T",
        "begin",
        "end",
        "rows",
        "degree_blocks",
    ]
)
def backward_frames(
    weight,
    emission,
    lengths,
    final,
    index,
    arcs,
    starts,
    degrees,
    before,  # (B, K) messages of frame end, with that frame's emissions
    after,  # (B, K) those of frame begin
    messages,  # (B, rows, K): those of two frames, or of all of the launch
    edge,  # (B, frames, tiles, REACH): those of each tile's first states
    signals,
    rounded,  # (B, T, K)
    weight_stride,
    step_stride,
    final_stride,
    index_stride,
    arc_stride,  # 1 where each sequence has its own graph
    B,
    T,
    K,
    P,
    R,
    begin,
    end,
    rows,
    tiles,
    degree_blocks,
    MEET: tl.constexpr,
    REACH: tl.constexpr,
    UNROLL: tl.constexpr,
    BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
):
    """Messages c[t, i] = e[t, i] + log sum of exp(w + c[t+1, j]) of frames end - 1 down to begin."""
    like = emission.dtype.element_ty
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
    t = stop - 1
    while t >= begin:
        if REACH > 0:
            if ((stop - 1 - t) % CHUNK == 0) & (tile < tiles - 1):
                wait(done + 1, (stop - tl.maximum(t + 1 - CHUNK, begin)).to(tl.int32))
        # Masks are compared as blocks: Triton's interpreter cannot combine them with single values.
        frame = t + lanes * 0
        step = weight + b * weight_stride + t * step_stride
        row = t - begin
        target = messages + (b * rows + tl.where(rows > 2, row, row & 1)) * K
        source = messages + (b * rows + tl.where(rows > 2, row + 1, (row + 1) & 1)) * K
        if t == end - 1:
            source = before + b * K
        border = edge
        if edge is not None:
            border = edge + ((b * (end - begin) + t - begin) * tiles + tile) * REACH
        for k0 in range(first, last, jump):
            k = k0 + lanes
            inside = k < last
            density = k
            if index is not None:
                density = tl.load(index + b * index_stride + k, mask=inside, other=0)
                density = tl.minimum(tl.maximum(density, 0), P - 1)
            e = tl.load(emission + (b * T + t) * P + density, mask=inside, other=float("-inf"))
            ends = frame == n - 1
            m = tl.load(final + b * final_stride + k, mask=inside & ends, other=float("-inf")).to(tl.float64)
            s = tl.where(ends, 1.0, 0.0).to(like)
            leave = tl.load(starts + own * (K + 1) + k, mask=inside, other=0)
            until = tl.load(starts + own * (K + 1) + k + 1, mask=inside, other=0)
            most = tl.load(degrees + own * degree_blocks + k0 // BLOCK)
            for d0 in range(0, most, UNROLL):
                for u in tl.static_range(UNROLL):
                    used = (leave + d0 + u < until) & (frame < n - 1)
                    arc = tl.load(arcs + own * K * R + leave + d0 + u, mask=used, other=0)
                    w = tl.load(step + arc, mask=used, other=float("-inf")).to(tl.float64)
                    j = arc // R
                    near = used
                    if edge is not None:
                        near = used & ((j < last) | (frame == end - 1))
                    x = tl.load(source + j, mask=near, other=float("-inf"))
                    if edge is not None:
                        outer = border + (tiles + 1) * REACH + j - last
                        x = tl.where(near, x, tl.load(outer, mask=used & ~near, other=float("-inf")))
                    m, s, _greater = add_exp(m, s, x + w, like)
            beta = m + tl.log(s).to(tl.float64)
            tl.store(rounded + (b * T + t) * K + k, beta.to(like), mask=inside)
            c = beta + e.to(tl.float64)
            tl.store(target + k, c, mask=inside)
            tl.store(after + b * K + k, c, mask=inside & (frame == begin))
            if edge is not None:
                tl.store(border + k - first, c, mask=inside & (k < first + REACH))
        if MEET:
            meet(signals + 1 + b, (stop - t) * tiles)
        else:
            tl.debug_barrier()
        t -= 1
        if REACH > 0:
            if ((stop - 1 - t) % CHUNK == 0) | (t < begin):
                publish(done, (stop - 1 - t).to(tl.int32))


def backward(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
) -> Tensor:
    """Backward messages (B, T, K)."""
    model = describe(log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index)
    assert model.predecessors is not None  # noqa: S101  (the graph is sparse)
    B, T, K, P = model.sizes
    chosen = _plan.plan(model)
    log_beta = log_emission.new_full((B, T, K), -torch.inf)
    parts = _plan.spans(T, _plan.edge_frames(chosen, B, 8))
    leaving = _graph.outgoing(model.predecessors)
    degrees = leaving.largest(chosen.block)
    before = log_emission.new_empty((B, K), dtype=torch.float64)
    ready = _plan.signals(chosen, B, len(parts), lengths.device)
    for span, signal in zip(reversed(parts), ready, strict=True):
        after = torch.empty_like(before)
        messages = before.new_empty((B, span.frames if chosen.far else 2, K))
        edge = None
        if chosen.reach and not chosen.far:
            edge = messages.new_empty((B, span.frames, chosen.tiles, chosen.reach))
        launch(
            backward_frames,
            (B * chosen.tiles,),
            model.log_weight,
            model.log_emission,
            model.lengths,
            model.log_final,
            model.emission_index,
            leaving.members,
            leaving.starts,
            degrees,
            before,
            after,
            messages,
            edge,
            signal,
            log_beta,
            model.weight_stride,
            model.step_stride,
            model.final_stride,
            model.index_stride,
            leaving.stride,
            B,
            T,
            K,
            P,
            model.predecessors.shape[2],
            span.begin,
            span.end,
            messages.shape[1],
            chosen.tiles,
            degrees.shape[1],
            cooperative=chosen.together,
            **chosen.constants,
        )
        before = after
    return log_beta
