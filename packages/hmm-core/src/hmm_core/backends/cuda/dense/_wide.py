"""Recursion of forward or backward messages for many states: the matrix is read in tiles at every step.

Several programs may share a sequence: each computes some of the states, and all wait for each other after
every frame. The sums are products of exponentials relative to the best state and to the best arc, and
computed again in the log domain where such a sum may have lost what is too small for a floating number.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from hmm_core.backends.cuda._launch import launch
from hmm_core.backends.cuda._math import finite_or_zero
from hmm_core.backends.cuda._model import Model
from hmm_core.backends.cuda._together import meet, processors
from hmm_core.backends.cuda.dense._narrow import Messages, allocate

# States that a program computes at a time.
_OWN = 16


@triton.jit(
    do_not_specialize=[
        "T",
        "K",
        "P",
        "initial_stride",
        "final_stride",
        "weight_stride",
        "step_stride",
        "best_stride",
        "best_step_stride",
        "index_stride",
        "indexed",
        "programs",
        "every",
        "absolute",
    ]
)
def wide_kernel(
    log_initial,
    log_weight,
    ratio,
    best_arc,
    log_emission,
    lengths,
    log_final,
    emission_index,
    message,
    scale,
    total,
    board,
    counter,
    T,
    K,
    P,
    initial_stride,
    final_stride,
    weight_stride,
    step_stride,
    best_stride,
    best_step_stride,
    index_stride,
    indexed,
    programs,
    every,
    absolute,
    REVERSE: tl.constexpr,
    TINY: tl.constexpr,
    OWN: tl.constexpr,
    READ: tl.constexpr,
):
    """Run one sequence together with the other programs of that sequence."""
    item = tl.program_id(0).to(tl.int64)
    b = item // programs
    own = item % programs * OWN
    dtype = log_emission.dtype.element_ty
    length = tl.load(lengths + b)
    n = tl.minimum(tl.maximum(length, 0), T)
    board += b * 2 * K
    output = message + b * tl.cdiv(T, tl.maximum(every, 1)) * K
    index = emission_index + b * index_stride
    offset = tl.full((), 0.0, tl.float64)
    lift = tl.full((), 0.0, dtype)
    shift = tl.full((), 0.0, dtype)
    known = tl.full((), 1, tl.int32)

    s = n * 0
    while (s <= n) & (n > 0):
        t = n - 1 - s if REVERSE else s
        frame = log_emission + (b * T + t) * P
        after = log_emission + (b * T + t + 1) * P
        previous = board + (s + 1) % 2 * K
        # The best of the frame before, and the best emission of this one.
        best = tl.full((READ,), float("-inf"), dtype)
        top = tl.full((READ,), float("-inf"), dtype)
        first = 0
        while first < K:
            k = first + tl.arange(0, READ)
            if s > 0:
                best = tl.maximum(
                    best, tl.load(previous + k, mask=k < K, other=float("-inf"), cache_modifier=".cg")
                )
            if s < n:
                density, right = densities(index, k, indexed, K, P)
                known = tl.minimum(known, right)
                top = tl.maximum(top, tl.load(frame + density, mask=k < K, other=float("-inf")))
            first += READ
        shift = finite_or_zero(tl.max(best, 0))
        peak = finite_or_zero(tl.max(top, 0))
        if s > 0:
            offset += shift.to(tl.float64)
            if REVERSE:
                settled = t + 1
                if own == 0:
                    tl.store(scale + (b * T + settled) * 2, shift, mask=every != 0)
                    tl.store(scale + (b * T + settled) * 2 + 1, lift, mask=every != 0)
            else:
                offset += lift.to(tl.float64)
                settled = t - 1
            row = settled // tl.maximum(every, 1)
            stored = (row * every == settled).to(tl.int32) * tl.minimum(every, 1)
            state = own
            while state < K:
                j = state + tl.arange(0, OWN)
                value = tl.load(previous + j, mask=j < K, other=float("-inf"), cache_modifier=".cg") - shift
                if absolute != 0:
                    value = (value.to(tl.float64) + offset).to(dtype)
                tl.store(output + row * K + j, value, mask=j < K * stored)
                state += programs * OWN
            if REVERSE:
                offset += lift.to(tl.float64)
        if s < n:
            state = own
            while state < K:
                j = state + tl.arange(0, OWN)
                if s == 0:
                    boundary = log_final + b * final_stride if REVERSE else log_initial + b * initial_stride
                    y = tl.load(boundary + j, mask=j < K, other=float("-inf"))
                else:
                    arc = t if REVERSE else t - 1
                    place = b * weight_stride + arc * step_stride
                    reference = tl.load(
                        best_arc + b * best_stride + arc * best_step_stride + j,
                        mask=j < K,
                        other=float("-inf"),
                    )
                    products = tl.zeros((OWN, READ) if REVERSE else (READ, OWN), dtype)
                    source = 0
                    while source < K:
                        i = source + tl.arange(0, READ)
                        x = entering(previous, after, index, i, shift, lift, indexed, K, P, REVERSE)
                        where, mask = tile(i, j, K, REVERSE)
                        products += spread(tl.exp(x), REVERSE) * tl.load(
                            ratio + place + where, mask=mask, other=0.0
                        )
                        source += READ
                    y = tl.sum(products, 1 if REVERSE else 0)
                    unsure = (y < TINY) & (reference > float("-inf"))
                    y = tl.log(y) + finite_or_zero(reference)
                    if tl.max(unsure.to(tl.int32), 0) > 0:
                        y = tl.full((OWN,), float("-inf"), dtype)
                        rest = tl.zeros((OWN,), dtype)
                        source = 0
                        while source < K:
                            i = source + tl.arange(0, READ)
                            x = entering(previous, after, index, i, shift, lift, indexed, K, P, REVERSE)
                            where, mask = tile(i, j, K, REVERSE)
                            score = spread(x, REVERSE) + tl.load(
                                log_weight + place + where, mask=mask, other=float("-inf")
                            )
                            better = tl.maximum(y, tl.max(score, 1 if REVERSE else 0))
                            level = finite_or_zero(better)
                            score = tl.exp(score - (level[:, None] if REVERSE else level[None, :]))
                            rest = rest * tl.exp(y - level) + tl.sum(score, 1 if REVERSE else 0)
                            y = better
                            source += READ
                        y = tl.log(rest) + finite_or_zero(y)
                if not REVERSE:
                    density, right = densities(index, j, indexed, K, P)
                    y += tl.load(frame + density, mask=j < K, other=float("-inf")) - peak
                tl.store(board + s % 2 * K + j, y, mask=j < K, cache_modifier=".cg")
                state += programs * OWN
            lift = peak
            meet(counter + b, (s + 1) * programs)
        s += 1

    t = n
    while (t < T) & (every == 1):
        state = own
        while state < K:
            j = state + tl.arange(0, OWN)
            tl.store(output + t * K + j, tl.full((OWN,), float("-inf"), dtype), mask=j < K)
            state += programs * OWN
        t += 1
    if not REVERSE:
        if own == 0:
            best = tl.full((READ,), float("-inf"), dtype)
            rest = tl.zeros((READ,), dtype)
            first = 0
            while (first < K) & (n > 0):
                k = first + tl.arange(0, READ)
                score = tl.load(
                    board + (n + 1) % 2 * K + k, mask=k < K, other=float("-inf"), cache_modifier=".cg"
                )
                score += tl.load(log_final + b * final_stride + k, mask=k < K, other=float("-inf")) - shift
                better = tl.maximum(best, score)
                level = finite_or_zero(better)
                rest = rest * tl.exp(best - level) + tl.exp(score - level)
                best = better
                first += READ
            level = finite_or_zero(tl.max(best, 0))
            rest = rest * tl.exp(best - level)
            result = (tl.log(tl.sum(rest, 0)) + level).to(tl.float64) + offset
            result = tl.where(n == 0, 0.0, result)
            result = tl.where((length != n) | (known == 0), float("nan"), result)
            tl.store(total + b, result.to(dtype))


@triton.jit
def densities(index, k, indexed, K, P):
    """Return the density of each state, within range, and whether all were."""
    density = k.to(tl.int64)
    if indexed != 0:
        density = tl.load(index + k, mask=k < K, other=0)
    right = tl.min((density >= 0).to(tl.int32) & ((density < P) | (k >= K)).to(tl.int32), 0)
    return tl.minimum(tl.maximum(density, 0), P - 1), right


@triton.jit
def entering(previous, after, index, i, shift, lift, indexed, K, P, REVERSE: tl.constexpr):
    """Read what enters a step: the relative message, and backwards also the emission of the frame after."""
    x = tl.load(previous + i, mask=i < K, other=float("-inf"), cache_modifier=".cg") - shift
    if REVERSE:
        density, _right = densities(index, i, indexed, K, P)
        x += tl.load(after + density, mask=i < K, other=float("-inf")) - lift
    return x


@triton.jit
def tile(i, j, K, REVERSE: tl.constexpr):
    """Places of the arcs from i to j in a matrix, or of those from j to i, with j first."""
    if REVERSE:
        return j.to(tl.int64)[:, None] * K + i[None, :], (j < K)[:, None] & (i < K)[None, :]
    else:  # noqa: RET505  (Triton wants one return on each path)
        return i.to(tl.int64)[:, None] * K + j[None, :], (i < K)[:, None] & (j < K)[None, :]


@triton.jit
def spread(x, REVERSE: tl.constexpr):
    """Values of the states i along their axis of a tile."""
    if REVERSE:
        return x[None, :]
    else:  # noqa: RET505  (Triton wants one return on each path)
        return x[:, None]


def tile_sizes(dtype: torch.dtype) -> dict[str, int]:
    """States that a program computes at a time, and states that it reads for them at a time."""
    return {"OWN": _OWN, "READ": 64 if dtype == torch.float32 else 32}


def programs_per_sequence(model: Model) -> int:
    """How many programs share a sequence: all that run at once, if there are fewer sequences."""
    B, _, K, _ = model.sizes
    return max(1, min(processors(model.log_emission.device) // max(B, 1), -(-K // _OWN)))


def wide_messages(model: Model, *, directions: tuple[int, ...], every: int, absolute: bool) -> Messages:
    """Run the recursion, and keep the messages of every so many frames; 0 keeps none."""
    B, T, K, P = model.sizes
    like = model.log_emission
    found = allocate(model, directions, every)
    programs = programs_per_sequence(model)
    for direction in directions:
        best, ratio = _relative(model.log_weight, 3 if direction else 2)
        launch(
            wide_kernel,
            (B * programs,),
            model.log_initial,
            model.log_weight,
            ratio,
            best,
            like,
            model.lengths,
            model.log_final,
            model.lengths if model.emission_index is None else model.emission_index,
            found.beta if direction else found.alpha,
            found.scale,
            found.total,
            like.new_empty((B, 2, K)),
            torch.zeros(B, dtype=torch.int32, device=like.device),
            T,
            K,
            P,
            model.initial_stride,
            model.final_stride,
            model.weight_stride,
            model.step_stride,
            model.weight_stride // K,
            model.step_stride // K,
            model.index_stride,
            int(model.emission_index is not None),
            programs,
            every,
            int(absolute),
            num_warps=4 if like.dtype == torch.float32 else 8,
            cooperative=programs > 1,
            REVERSE=bool(direction),
            TINY=1e-25 if like.dtype == torch.float32 else 1e-280,
            **tile_sizes(like.dtype),
        )
    return found


def _relative(log_weight: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Best weight along an axis, and the weights relative to it, no longer logarithms."""
    best = log_weight.amax(axis, keepdim=True)
    return best, (log_weight - torch.where(best == -torch.inf, 0.0, best)).exp_()
