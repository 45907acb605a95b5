"""Paths drawn from their posterior distribution: forward messages, then states from the last to the first.

As in the reference, a state is the first whose cumulative weight, in float64, exceeds a uniform number.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from hmm_core.backends.cuda._launch import launch
from hmm_core.backends.cuda._model import Model, describe
from hmm_core.backends.cuda.sparse._ends import ending, is_faulty
from hmm_core.backends.cuda.sparse._forward import Kept, keep_messages
from hmm_core.backends.cuda.sparse._sweep import frames_of

# States that are looked at together for the last state of a path.
BLOCK = 1024


@triton.jit
def weights_up_to(after, final, b, final_stride, k, K, most, so_far):
    """Cumulative weights of ending in states k, relative to the greatest score."""
    a = ending(after, final, b, final_stride, k, K)
    return so_far + tl.cumsum(tl.where(a > float("-inf"), tl.exp(a - most), 0.0), 0)


@triton.jit(do_not_specialize=["final_stride", "B", "T", "tiles"])
def draw_last(
    after,
    final,
    lengths,
    wrong,
    uniform,  # (S, B, T)
    state,  # (S, B), -1 without a path
    final_stride,
    B,
    T,
    K,
    tiles,
    BLOCK: tl.constexpr,
):
    """Draw the last state of a path."""
    row = tl.program_id(0).to(tl.int64)
    b = row % B
    n = tl.load(lengths + b)
    lanes = tl.arange(0, BLOCK)
    most = tl.full((BLOCK,), float("-inf"), tl.float64)
    bad = tl.zeros((BLOCK,), tl.int32)
    for k0 in range(0, K, BLOCK):
        a = ending(after, final, b, final_stride, k0 + lanes, K)
        most = tl.where(a > most, a, most)
        bad |= tl.where(a < float("inf"), 0, 1)
    m = tl.max(most, 0)
    k = tl.full((), -1, tl.int64)
    if (m > float("-inf")) & (n > 0) & (tl.max(bad, 0) == 0):
        total = tl.full((), 0.0, tl.float64)
        for k0 in range(0, K, BLOCK):
            total = tl.max(weights_up_to(after, final, b, final_stride, k0 + lanes, K, m, total), 0)
        if not is_faulty(wrong, n, T, b, tiles):
            bound = tl.load(uniform + row * T + n - 1) * total
            k = tl.full((), 0, tl.int64)
            total = tl.full((), 0.0, tl.float64)
            for k0 in range(0, K, BLOCK):
                up_to = weights_up_to(after, final, b, final_stride, k0 + lanes, K, m, total)
                k += tl.sum(tl.where((up_to <= bound) & (k0 + lanes < K), 1, 0).to(tl.int64), 0)
                total = tl.max(up_to, 0)
            k = tl.minimum(k, K - 1)
    tl.store(state + row, k)


@triton.jit(
    do_not_specialize=["predecessor_stride", "weight_stride", "step_stride", "B", "T", "begin", "end", "rows"]
)
def draw_back(
    predecessors,
    weight,
    lengths,
    messages,  # (B, rows, K)
    uniform,  # (S, B, T)
    state,  # (S, B): that of frame end or the last in, that of frame begin out
    path,  # (S, B, T)
    predecessor_stride,
    weight_stride,
    step_stride,
    B,
    T,
    K,
    R,
    begin,
    end,
    rows,  # frames of the messages: all, or those of the launch
    SLOTS: tl.constexpr,
):
    """Draw the states of frames end - 1 down to begin of a path."""
    row = tl.program_id(0).to(tl.int64)
    b = row % B
    n = frames_of(lengths, b, T)
    r = tl.arange(0, SLOTS)
    k = tl.load(state + row)
    t = tl.minimum(n, end) - 1
    while (t >= begin) & (k >= 0):
        if t < n - 1:
            arc = k * R + r
            i = tl.load(predecessors + b * predecessor_stride + arc, mask=r < R, other=-1)
            x = tl.load(
                messages + (b * rows + tl.where(rows == T, t, t - begin)) * K + i,
                mask=i >= 0,
                other=float("-inf"),
            )
            w = tl.load(weight + b * weight_stride + t * step_stride + arc, mask=i >= 0, other=float("-inf"))
            x += w.to(tl.float64)
            m = tl.max(x, 0)
            up_to = tl.cumsum(tl.where(x > float("-inf"), tl.exp(x - m), 0.0), 0)
            bound = tl.load(uniform + row * T + t) * tl.max(up_to, 0)
            slot = tl.sum(tl.where((up_to <= bound) & (r < R), 1, 0), 0)
            slot = tl.minimum(slot, R - 1)
            k = tl.max(tl.where(r == slot, i, -1), 0)
        tl.store(path + row * T + t, k)
        t -= 1
    tl.store(state + row, k)


def sample(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
    uniform: Tensor,
) -> Tensor:
    """States (S, B, T), -1 in padding and where no path exists, from uniform numbers (S, B, T) in float64."""
    model = describe(log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index)
    uniform = uniform.contiguous()
    kept = keep_messages(model)
    state = _draw_last(model, kept, uniform)
    path = lengths.new_full(uniform.shape, -1)
    for span, messages in kept.backwards():
        launch(
            draw_back,
            (state.numel(),),
            model.predecessors,
            model.log_weight,
            model.lengths,
            messages,
            uniform,
            state,
            path,
            model.predecessor_stride,
            model.weight_stride,
            model.step_stride,
            *model.sizes[:3],
            model.log_weight.shape[3],
            span.begin,
            span.end,
            messages.shape[1],
            SLOTS=triton.next_power_of_2(model.log_weight.shape[3]),
            num_warps=1,
        )
    return path


def _draw_last(model: Model, kept: Kept, uniform: Tensor) -> Tensor:
    """Last states (S, B), -1 without a path."""
    B, T, K, _ = model.sizes
    state = torch.empty((len(uniform), B), dtype=torch.int64, device=uniform.device)
    launch(
        draw_last,
        (state.numel(),),
        kept.passed.last,
        model.log_final,
        model.lengths,
        kept.passed.wrong,
        uniform,
        state,
        model.final_stride,
        B,
        T,
        K,
        kept.passed.wrong.shape[1],
        BLOCK=BLOCK,
        num_warps=8,
    )
    return state
