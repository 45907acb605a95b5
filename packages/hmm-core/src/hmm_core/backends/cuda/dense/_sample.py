"""Paths drawn from their posterior distribution, one program a path, backwards through the messages."""

import triton
import triton.language as tl
from torch import Tensor

from hmm_core.backends.cuda._launch import launch
from hmm_core.backends.cuda._math import finite_or_zero
from hmm_core.backends.cuda._model import describe
from hmm_core.backends.cuda.dense._operations import messages
from hmm_core.backends.cuda.dense._viterbi import no_path


@triton.jit(do_not_specialize=["B", "T", "K", "final_stride", "weight_stride", "step_stride"])
def sample_kernel(
    alpha,
    total,
    log_weight,
    lengths,
    log_final,
    uniform,
    states,
    B,
    T,
    K,
    final_stride,
    weight_stride,
    step_stride,
    BLOCK: tl.constexpr,
):
    """Draw one path; each state is the inverse of its cumulative distribution at one uniform number."""
    item = tl.program_id(0).to(tl.int64)
    b = item % B
    n = tl.minimum(tl.maximum(tl.load(lengths + b), 0), T)
    possible = tl.load(total + b) > float("-inf")
    path = states + item * T
    # What follows a state: the final weights, and then the arcs into the state that was drawn.
    after = log_final + b * final_stride
    step = K * 0 + 1
    t = n - 1
    while t >= 0:
        message = alpha + (b * T + t) * K
        best = tl.full((BLOCK,), float("-inf"), tl.float64)
        first = 0
        while first < K:
            best = tl.maximum(best, score(message, after, step, first, K, BLOCK))
            first += BLOCK
        shift = finite_or_zero(tl.max(best, 0))
        whole = tl.full((), 0.0, tl.float64)
        first = 0
        while first < K:
            weight = tl.exp(score(message, after, step, first, K, BLOCK) - shift)
            whole = tl.max(tl.cumsum(weight, 0), 0) + whole
            first += BLOCK
        level = whole * tl.load(uniform + item * T + t)
        below = tl.full((), 0.0, tl.float64)
        choice = tl.full((), 0, tl.int32)
        first = 0
        while first < K:
            weight = tl.exp(score(message, after, step, first, K, BLOCK) - shift)
            cumulative = tl.cumsum(weight, 0) + below
            choice += tl.sum((cumulative <= level).to(tl.int32), 0)
            below = tl.max(cumulative, 0)
            first += BLOCK
        choice = tl.minimum(choice, K - 1)
        tl.store(path + t, tl.where(possible, choice, -1).to(tl.int64))
        t -= 1
        after = log_weight + b * weight_stride + t * step_stride + choice
        step = K
    no_path(path, n, T, BLOCK)


@triton.jit
def score(message, after, step, first, K, BLOCK: tl.constexpr):
    """Log weights of some states."""
    k = first + tl.arange(0, BLOCK)
    value = tl.load(message + k, mask=k < K, other=float("-inf")).to(tl.float64)
    return value + tl.load(after + k.to(tl.int64) * step, mask=k < K, other=float("-inf")).to(tl.float64)


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
    B, T, K, _ = model.sizes
    found = messages(model, 0)
    uniform = uniform.contiguous()
    states = lengths.new_empty(uniform.shape)
    launch(
        sample_kernel,
        (len(uniform) * B,),
        found.alpha,
        found.total,
        model.log_weight,
        model.lengths,
        model.log_final,
        uniform,
        states,
        B,
        T,
        K,
        model.final_stride,
        model.weight_stride,
        model.step_stride,
        num_warps=1 if K <= 32 else 2,
        BLOCK=32 if K <= 32 else 256,
    )
    return states
