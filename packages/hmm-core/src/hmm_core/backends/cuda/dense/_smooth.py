"""What follows from the messages of both directions, frame by frame and all frames at once."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from hmm_core.backends.cuda._launch import launch
from hmm_core.backends.cuda._math import finite_or_zero
from hmm_core.backends.cuda._model import Model

_TILE = 32


@triton.jit(do_not_specialize=["B", "T", "K", "scaled", "store"])
def combine_kernel(
    alpha,
    beta,
    lengths,
    gradient,
    state,
    norm,
    B,
    T,
    K,
    scaled,
    store,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Normalise alpha * beta in each frame; the norm is log(sum(alpha * beta))."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    inside = row < B.to(tl.int64) * T
    b = row // T
    n = tl.load(lengths + b, mask=inside, other=0)
    valid = inside & (row % T < n)
    dtype = alpha.dtype.element_ty
    best = tl.full((ROWS,), float("-inf"), dtype)
    total = tl.full((ROWS,), 0.0, dtype)
    column = tl.arange(0, COLUMNS)
    first = 0
    while first < K:
        place = row[:, None] * K + (first + column)[None, :]
        mask = valid[:, None] & (first + column < K)[None, :]
        score = tl.load(alpha + place, mask=mask, other=float("-inf"))
        score += tl.load(beta + place, mask=mask, other=float("-inf"))
        better = tl.maximum(best, tl.max(score, 1))
        shift = finite_or_zero(better)
        total = total * tl.exp(best - shift) + tl.sum(tl.exp(score - shift[:, None]), 1)
        best = better
        first += COLUMNS
    whole = tl.log(total) + finite_or_zero(best)
    tl.store(norm + row, whole, mask=inside)
    shift = finite_or_zero(whole)
    factor = tl.load(gradient + b, mask=row < B.to(tl.int64) * T * scaled, other=1.0)
    first = 0
    while first < K * store:
        place = row[:, None] * K + (first + column)[None, :]
        exists = inside[:, None] & (first + column < K)[None, :]
        mask = exists & valid[:, None]
        score = tl.load(alpha + place, mask=mask, other=float("-inf"))
        score += tl.load(beta + place, mask=mask, other=float("-inf"))
        value = tl.exp(score - shift[:, None]) * factor[:, None]
        tl.store(state + place, tl.where(valid[:, None], value, 0.0), mask=exists)
        first += COLUMNS


@triton.jit(
    do_not_specialize=[
        "B",
        "T",
        "K",
        "P",
        "weight_stride",
        "step_stride",
        "index_stride",
        "indexed",
        "scaled",
        "sequences",
        "frames",
        "parts",
    ]
)
def counts_kernel(
    alpha,
    beta,
    norm,
    scale,
    gradient,
    log_weight,
    log_emission,
    lengths,
    emission_index,
    counts,
    B,
    T,
    K,
    P,
    weight_stride,
    step_stride,
    index_stride,
    indexed,
    scaled,
    sequences,
    frames,
    parts,
    TILE: tl.constexpr,
):
    """Count expected uses of a tile of the matrix, over some sequences and some of their steps."""
    dtype = log_emission.dtype.element_ty
    tiles = tl.cdiv(K, TILE)
    tile = tl.program_id(0) % (tiles * tiles)
    group = (tl.program_id(0) // (tiles * tiles)).to(tl.int64)
    i = (tile // tiles) * TILE + tl.arange(0, TILE)
    j = (tile % tiles) * TILE + tl.arange(0, TILE)
    mask = (i < K)[:, None] & (j < K)[None, :]
    place = i.to(tl.int64)[:, None] * K + j[None, :]

    total = tl.zeros((TILE, TILE), tl.float64)
    b = group // parts * sequences
    end = tl.minimum(b + sequences, B)
    while b < end:
        n = tl.minimum(tl.load(lengths + b), T)
        factor = tl.load(gradient + b, mask=scaled != 0, other=1.0).to(tl.float64)
        density = j.to(tl.int64)
        if indexed != 0:
            density = tl.load(emission_index + b * index_stride + j, mask=j < K, other=0)
        density = tl.minimum(tl.maximum(density, 0), P - 1)
        weight = log_weight + b * weight_stride
        t = group % parts * frames
        stop = tl.minimum(t + frames, n - 1)
        matrix = tl.load(weight + place, mask=mask, other=float("-inf"))
        while t < stop:
            # Counts of many frames add up in float64.
            pause = tl.minimum(t + 64, stop)
            some = tl.zeros((TILE, TILE), dtype)
            while t < pause:
                if step_stride != 0:
                    matrix = tl.load(weight + t * step_stride + place, mask=mask, other=float("-inf"))
                frame = b * T + t
                shift = finite_or_zero(tl.load(norm + frame)) + tl.load(scale + frame * 2)
                before = tl.load(alpha + frame * K + i, mask=i < K, other=float("-inf")) - shift
                frame += 1
                emission = tl.load(log_emission + frame * P + density, mask=j < K, other=float("-inf"))
                after = emission - tl.load(scale + frame * 2 + 1)
                after += tl.load(beta + frame * K + j, mask=j < K, other=float("-inf"))
                some += tl.exp(before[:, None] + matrix + after[None, :])
                t += 1
            total += some.to(tl.float64) * factor
        b += 1
    tl.store(counts + group * K * K + place, total.to(dtype), mask=mask)


@triton.jit(do_not_specialize=["B", "T", "K", "P", "index_stride"])
def density_kernel(
    state, emission_index, result, B, T, K, P, index_stride, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    """Sum the values of the states that read each density, one state after another."""
    tiles = tl.cdiv(P, COLUMNS)
    row = (tl.program_id(0) // tiles).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(0) % tiles * COLUMNS + tl.arange(0, COLUMNS)
    inside = row < B.to(tl.int64) * T
    index = emission_index + row // T * index_stride
    total = tl.zeros((ROWS, COLUMNS), state.dtype.element_ty)
    k = 0
    while k < K:
        density = tl.load(index + k, mask=inside, other=-1)
        value = tl.load(state + row * K + k, mask=inside, other=0.0)
        total += tl.where(density[:, None] == column[None, :], value[:, None], 0.0)
        k += 1
    mask = inside[:, None] & (column < P)[None, :]
    tl.store(result + row[:, None] * P + column[None, :], total, mask=mask)


def combine(
    model: Model, alpha: Tensor, beta: Tensor, state: Tensor | None, gradient: Tensor | None = None
) -> Tensor:
    """Write posteriors (times a gradient) to ``state``, which may be ``beta``; return their norms (B, T)."""
    B, T, K, _ = model.sizes
    norm = alpha.new_empty((B, T))
    launch(
        combine_kernel,
        (-(-B * T // _TILE),),
        alpha,
        beta,
        model.lengths,
        alpha if gradient is None else gradient,
        norm if state is None else state,
        norm,
        B,
        T,
        K,
        int(gradient is not None),
        int(state is not None),
        ROWS=_TILE,
        COLUMNS=_TILE,
    )
    return norm


def count(
    model: Model,
    alpha: Tensor,
    beta: Tensor,
    scale: Tensor,
    norm: Tensor,
    *,
    per_sequence: bool,
    varying: bool,
    gradient: Tensor | None = None,
) -> Tensor:
    """Count expected uses (times a gradient): (B or 1, T-1 or 1, K, K)."""
    B, T, K, P = model.sizes
    tiles = -(-K // _TILE)
    steps = max(T - 1, 1)
    # Enough programs to fill a device, and few enough that their partial sums stay small.
    wanted = max(1, 2048 // tiles**2)
    sequences = 1 if per_sequence else max(1, B if varying else -(-B // wanted))
    groups = -(-B // sequences)
    frames = 1 if varying else max(16, -(-steps * groups // wanted))
    parts = -(-steps // frames)
    counts = alpha.new_empty((groups, parts, K, K))
    launch(
        counts_kernel,
        (groups * parts * tiles**2,),
        alpha,
        beta,
        norm,
        scale,
        alpha if gradient is None else gradient,
        model.log_weight,
        model.log_emission,
        model.lengths,
        model.lengths if model.emission_index is None else model.emission_index,
        counts,
        B,
        T,
        K,
        P,
        model.weight_stride,
        model.step_stride,
        model.index_stride,
        int(model.emission_index is not None),
        int(gradient is not None),
        sequences,
        frames,
        parts,
        num_warps=4,
        TILE=_TILE,
    )
    axes = ([] if per_sequence or groups == 1 else [0]) + ([] if varying or parts == 1 else [1])
    if axes:
        counts = counts.sum(axes, keepdim=True, dtype=torch.float64).to(alpha.dtype)
    return counts


def by_density(state: Tensor, emission_index: Tensor | None, log_emission: Tensor) -> Tensor:
    """Sum the values (B, T, K) of the states that read each density: (B, T, P)."""
    if emission_index is None:
        return state
    # Always in the same order, which scatter_add does not promise.
    B, T, P = log_emission.shape
    result = log_emission.new_empty((B, T, P))
    index = emission_index.contiguous()
    launch(
        density_kernel,
        (-(-B * T // _TILE) * -(-P // _TILE),),
        state,
        index,
        result,
        B,
        T,
        state.shape[2],
        P,
        index.shape[1] if index.shape[0] > 1 else 0,
        ROWS=_TILE,
        COLUMNS=_TILE,
    )
    return result
