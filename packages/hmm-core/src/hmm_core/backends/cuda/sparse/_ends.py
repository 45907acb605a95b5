"""What follows the last frame: log-likelihoods, posteriors of the last state, the best path's last state."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from hmm_core.backends.cuda._launch import launch
from hmm_core.backends.cuda._math import finite_or_zero
from hmm_core.backends.cuda._model import Model

BLOCK = 1024


@triton.jit
def is_faulty(wrong, n, T, b, tiles):
    """Whether a sequence has no result: its length is out of range, or a value was NaN or +inf."""
    faulty = (n < 0) | (n > T)
    for tile in range(tiles):
        faulty = faulty | (tl.load(wrong + b * tiles + tile) != 0)
    return faulty


@triton.jit
def ending(after, final, b, final_stride, k, K):
    """Scores of paths that end in states k."""
    a = tl.load(after + b * K + k, mask=k < K, other=float("-inf"))
    return a + tl.load(final + b * final_stride + k, mask=k < K, other=float("-inf")).to(tl.float64)


@triton.jit(do_not_specialize=["final_stride", "B", "T", "tiles"])
def sum_ends(
    after,  # (planes, B, K)
    final,
    lengths,
    wrong,
    gradient,  # (B,) or None: 1
    total,  # (B,) or None
    state,  # (B, K) or None
    final_stride,
    B,
    T,
    K,
    tiles,
    ENTROPY: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Log-likelihood of a sequence, or its paths' entropy; posteriors of its last state times gradient."""
    like = final.dtype.element_ty
    b = tl.program_id(0).to(tl.int64)
    n = tl.load(lengths + b)
    lanes = tl.arange(0, BLOCK)
    most = tl.full((BLOCK,), float("-inf"), tl.float64)
    for k0 in range(0, K, BLOCK):
        a = ending(after, final, b, final_stride, k0 + lanes, K)
        most = tl.where(a > most, a, most)
    m = tl.max(most, 0)
    s = tl.zeros((BLOCK,), tl.float64)
    for k0 in range(0, K, BLOCK):
        a = ending(after, final, b, final_stride, k0 + lanes, K)
        s += tl.exp((a - finite_or_zero(m)).to(like)).to(tl.float64)
    value = m + tl.log(tl.sum(s, 0))
    if state is not None:
        factor = tl.full((), 1.0, like)
        if gradient is not None:
            factor = tl.load(gradient + b)
        for k0 in range(0, K, BLOCK):
            k = k0 + lanes
            a = ending(after, final, b, final_stride, k, K)
            gamma = tl.exp((a - finite_or_zero(value)).to(like)) * factor
            gamma = tl.where((value == float("-inf")) | (n == 0), 0.0, gamma)
            tl.store(state + b * K + k, gamma, mask=k < K)
    if total is not None:
        if ENTROPY:
            rest = after + (b * 0 + B) * K
            base = tl.full((BLOCK,), float("-inf"), tl.float64)
            for k0 in range(0, K, BLOCK):
                k = k0 + lanes
                a = ending(after, final, b, final_stride, k, K)
                h = tl.load(rest + b * K + k, mask=k < K, other=0.0)
                base = tl.maximum(base, tl.where(a > float("-inf"), h, float("-inf")))
            start = finite_or_zero(tl.max(base, 0))
            sums = tl.zeros((BLOCK,), tl.float64)
            for k0 in range(0, K, BLOCK):
                k = k0 + lanes
                a = ending(after, final, b, final_stride, k, K)
                h = tl.load(rest + b * K + k, mask=k < K, other=0.0)
                possible = a > float("-inf")
                log_p = tl.where(possible, a - finite_or_zero(value), 0.0)
                p = tl.where(possible, tl.exp(log_p.to(like)), 0.0).to(tl.float64)
                sums += tl.where(possible, p * (h - start - log_p), 0.0)
            value = tl.where(value == float("-inf"), 0.0, value * 0.0 + start + tl.sum(sums, 0))
        value = tl.where(n == 0, 0.0, value)
        value = tl.where(is_faulty(wrong, n, T, b, tiles), float("nan"), value)
        tl.store(total + b, value.to(like))


@triton.jit(do_not_specialize=["final_stride", "T", "tiles"])
def best_end(
    after,
    final,
    lengths,
    wrong,
    state,  # (B,) int64: the last state, -1 without a path
    faulty,  # (B,) bool
    final_stride,
    T,
    K,
    tiles,
    BLOCK: tl.constexpr,
):
    """Last state of the best path of a sequence; the lowest of equals."""
    b = tl.program_id(0).to(tl.int64)
    n = tl.load(lengths + b)
    lanes = tl.arange(0, BLOCK)
    most = tl.full((BLOCK,), float("-inf"), tl.float64)
    where = tl.zeros((BLOCK,), tl.int64)
    bad = tl.zeros((BLOCK,), tl.int32)
    for k0 in range(0, K, BLOCK):
        a = ending(after, final, b, final_stride, k0 + lanes, K)
        greater = a > most
        most = tl.where(greater, a, most)
        where = tl.where(greater, k0 + lanes, where)
        bad |= tl.where(a < float("inf"), 0, 1)
    m = tl.max(most, 0)
    best = tl.min(tl.where(most == m, where, K), 0)
    no_result = is_faulty(wrong, n, T, b, tiles) | ((tl.max(bad, 0) > 0) & (n > 0))
    tl.store(state + b, tl.where((m == float("-inf")) | no_result, -1, best))
    tl.store(faulty + b, no_result)


def log_likelihood(model: Model, after: Tensor, wrong: Tensor) -> Tensor:
    """Log-likelihoods (B,): 0 for length 0, NaN where a value or the length is none."""
    total = model.log_emission.new_empty(model.sizes[0])
    _sum(model, after, wrong, None, total, None, entropy=False)
    return total


def path_entropy(model: Model, after: Tensor, wrong: Tensor) -> Tensor:
    """Entropies (B,), from both planes of the messages."""
    total = model.log_emission.new_empty(model.sizes[0])
    _sum(model, after, wrong, None, total, None, entropy=True)
    return total


def last_posterior(
    model: Model, after: Tensor, wrong: Tensor, gradient: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Posteriors (B, K) of the last states, each sequence times its gradient, and log-likelihoods."""
    B, _, K, _ = model.sizes
    total = model.log_emission.new_empty(B)
    state = model.log_emission.new_empty((B, K))
    _sum(model, after, wrong, gradient, total, state, entropy=False)
    return state, total


def _sum(
    model: Model,
    after: Tensor,
    wrong: Tensor,
    gradient: Tensor | None,
    total: Tensor,
    state: Tensor | None,
    *,
    entropy: bool,
) -> None:
    """Launch the kernel."""
    B, T, K, _ = model.sizes
    launch(
        sum_ends,
        (B,),
        after,
        model.log_final,
        model.lengths,
        wrong,
        gradient,
        total,
        state,
        model.final_stride,
        B,
        T,
        K,
        wrong.shape[1],
        ENTROPY=entropy,
        BLOCK=BLOCK,
        num_warps=8,
    )


def best_last_state(model: Model, after: Tensor, wrong: Tensor) -> tuple[Tensor, Tensor]:
    """Last states (B,), -1 without a path, and which sequences have no result."""
    B, T, K, _ = model.sizes
    state = model.lengths.new_empty(B)
    faulty = torch.empty_like(state, dtype=torch.bool)
    launch(
        best_end,
        (B,),
        after,
        model.log_final,
        model.lengths,
        wrong,
        state,
        faulty,
        model.final_stride,
        T,
        K,
        wrong.shape[1],
        BLOCK=BLOCK,
        num_warps=8,
    )
    return state, faulty
