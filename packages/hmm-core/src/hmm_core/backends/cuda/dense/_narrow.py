"""Recursion of forward or backward messages for few states: one program a sequence, its matrix in registers.

Both directions are one recursion over steps s = 0, 1, ...: the frame is s forwards and n - 1 - s backwards,
the matrix is that of the model or its transpose, and the emission enters before or after a message is stored.

Long sequences are cut into chunks that run at the same time (Hassan, Särkkä and García-Fernández 2021). What
a chunk does to a message is a matrix, whose rows are the recursion from each single state: the same kernel,
one program a row. A scan over these matrices gives the message that enters each chunk, and the kernel runs
once more, one program a chunk.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from hmm_core.backends.cuda._launch import launch
from hmm_core.backends.cuda._math import finite_or_zero, lse
from hmm_core.backends.cuda._model import Model
from hmm_core.backends.cuda._together import processors


class Messages(NamedTuple):
    """What the recursion found; tensors of a direction that was not run, or not kept, are empty."""

    alpha: Tensor  # (B, T, K), relative to the best of each frame, or absolute
    beta: Tensor  # the same
    scale: Tensor  # (B, T, 2), of beta: the shift of each frame, and its best emission
    total: Tensor  # (B,) log-likelihood, if alpha was computed


@triton.jit
def load_matrix(log_weight, K, BLOCK: tl.constexpr):
    """Log weights [from, to]."""
    i = tl.arange(0, BLOCK)
    mask = (i[:, None] < K) & (i[None, :] < K)
    return tl.load(log_weight + i[:, None] * K + i[None, :], mask=mask, other=float("-inf"))


@triton.jit
def relative_emission(places, mask):
    """Emission scores of a frame relative to the best of them."""
    e = tl.load(places, mask=mask, other=float("-inf"))
    peak = finite_or_zero(tl.max(e, 0))
    return e - peak, peak


@triton.jit(
    do_not_specialize=[
        "B",
        "T",
        "K",
        "P",
        "initial_stride",
        "final_stride",
        "weight_stride",
        "step_stride",
        "index_stride",
        "indexed",
        "backwards",
        "chunks",
        "rows",
        "chunk_length",
        "every",
        "absolute",
    ]
)
def narrow_kernel(
    log_initial,
    log_weight,
    log_weight_back,
    log_emission,
    lengths,
    log_final,
    emission_index,
    alpha,
    beta,
    scale,
    total,
    start,
    start_offset,
    end,
    end_offset,
    B,
    T,
    K,
    P,
    initial_stride,
    final_stride,
    weight_stride,
    step_stride,
    index_stride,
    indexed,
    backwards,
    chunks,
    rows,
    chunk_length,
    every,
    absolute,
    VARYING: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Run one sequence, one of its chunks, or one row of what a chunk does to a message."""
    item = tl.program_id(0).to(tl.int64)
    direction = tl.program_id(1).to(tl.int64)
    reverse = tl.maximum(direction, backwards)
    b = item // (chunks * rows)
    chunk = (item // rows) % chunks
    row = item % rows
    k = tl.arange(0, BLOCK)
    mask = k < K
    dtype = log_emission.dtype.element_ty
    length = tl.load(lengths + b)
    n = tl.minimum(tl.maximum(length, 0), T)
    first = chunk * chunk_length
    last = tl.minimum(first + chunk_length, n)

    density = k.to(tl.int64)
    if indexed != 0:
        density = tl.load(emission_index + b * index_stride + k, mask=mask, other=0)
    known = tl.min((density >= 0).to(tl.int32) & ((density < P) | (k >= K)).to(tl.int32), 0)
    density = tl.minimum(tl.maximum(density, 0), P - 1)
    emission = log_emission + b * T * P
    weight = log_weight
    output = alpha
    if reverse != 0:
        weight = log_weight_back
        output = beta
    weight += b * weight_stride
    output += b * tl.cdiv(T, tl.maximum(every, 1)) * K

    offset = tl.full((), 0.0, tl.float64)
    if chunk == 0:
        boundary = log_initial + b * initial_stride
        if reverse != 0:
            boundary = log_final + b * final_stride
        x = tl.load(boundary + k, mask=mask, other=float("-inf"))
        if row > 0:  # what enters the first chunk is known: one row is enough
            last = first
    elif rows > 1:
        x = tl.where(k == row, tl.full((BLOCK,), 0.0, dtype), float("-inf"))
    else:
        entry = (direction * B + b) * chunks + chunk
        x = tl.load(start + entry * K + k, mask=mask, other=float("-inf"))
        offset = tl.load(start_offset + entry)

    # Backwards, the emission of a frame enters with the step that leaves it.
    ahead = tl.zeros((BLOCK,), dtype)
    lift = tl.full((), 0.0, dtype)
    if (reverse != 0) & (chunk > 0) & (first < n):
        ahead, lift = relative_emission(emission + (n - first) * P + density, mask)
    matrix = load_matrix(weight, K, BLOCK)
    # Every so many frames one is kept; the first is due, and 0 keeps none.
    due = every * 0
    kept = first * 0
    s = first
    while s < last:
        t = tl.where(reverse != 0, n - 1 - s, s)
        if VARYING:
            arc = tl.maximum(tl.where(reverse != 0, tl.minimum(t, T - 2), t - 1), 0)
            matrix = load_matrix(weight + arc * step_stride, K, BLOCK)
        e, peak = relative_emission(emission + t * P + density, mask)
        y = x
        if s > 0:
            y = lse((x + ahead)[:, None] + matrix, 0)
        if reverse == 0:
            y += e
            lift = peak
        shift = finite_or_zero(tl.max(y, 0))
        x = y - shift
        offset += shift.to(tl.float64) + lift.to(tl.float64)
        value = x
        if absolute != 0:
            value = (x.to(tl.float64) + offset).to(dtype)
        place = tl.where(every == 1, t, kept)
        stored = ((every > 0) & (due == 0)).to(tl.int32)
        tl.store(output + place * K + k, value, mask=k < K * stored)
        kept += stored
        due = tl.where(due == 0, every, due) - 1
        if reverse != 0:
            ahead = e
            lift = peak
            scales = scale + (b * T + t) * 2
            tl.store(scales, shift, mask=every != 0)
            tl.store(scales + 1, peak, mask=every != 0)
        s += 1

    if rows > 1:
        entry = ((direction * B + b) * chunks + chunk) * K + row
        tl.store(end + entry * K + k, x, mask=mask)
        tl.store(end_offset + entry, offset)
    else:
        t = tl.maximum(first, n)
        while (t < first + chunk_length) & (t < T) & (every == 1):
            tl.store(output + t * K + k, tl.full((BLOCK,), float("-inf"), dtype), mask=mask)
            t += 1
        ends = (last == n) & (first < n) | (n == 0) & (chunk == 0)
        if ends & (reverse == 0):
            final = tl.load(log_final + b * final_stride + k, mask=mask, other=float("-inf"))
            result = lse(x + final, 0).to(tl.float64) + offset
            result = tl.where(n == 0, 0.0, result)
            result = tl.where((length != n) | (known == 0), float("nan"), result)
            tl.store(total + b, result.to(dtype))


@triton.jit(do_not_specialize=["B", "K", "chunks"])
def scan_kernel(end, end_offset, start, start_offset, B, K, chunks, BLOCK: tl.constexpr):
    """Find the message that enters each chunk from what the chunks before it do."""
    line = tl.program_id(1).to(tl.int64) * B + tl.program_id(0)
    k = tl.arange(0, BLOCK)
    mask = k < K
    entry = line * chunks
    x = tl.load(end + entry * K * K + k, mask=mask, other=float("-inf"))
    offset = tl.load(end_offset + entry * K)
    chunk = 1
    while chunk < chunks:
        entry = line * chunks + chunk
        tl.store(start + entry * K + k, x, mask=mask)
        tl.store(start_offset + entry, offset)
        row = entry * K + k
        weight = x.to(tl.float64) + tl.load(end_offset + row, mask=mask, other=0.0)
        best = finite_or_zero(tl.max(weight, 0))
        matrix = tl.load(
            end + row[:, None] * K + k[None, :], mask=mask[:, None] & mask[None, :], other=float("-inf")
        )
        y = lse((weight - best).to(x.dtype)[:, None] + matrix, 0)
        shift = finite_or_zero(tl.max(y, 0))
        x = y - shift
        offset += best + shift.to(tl.float64)
        chunk += 1


def block_size(model: Model) -> int | None:
    """Size of the matrix that one program holds in registers; None where it would not fit."""
    # A matrix that is read at every step takes more registers, for its addresses.
    blocks = [32] if model.step_stride else [16, 32, 64]
    if model.log_emission.dtype == torch.float32:
        blocks.append(2 * blocks[-1])
    return next((block for block in blocks if block >= model.sizes[2]), None)


def warps(block: int, dtype: torch.dtype) -> int:
    """Warps of a program: few enough entries of the matrix a thread for the registers, and few barriers."""
    if block <= 32:
        return 1
    if dtype == torch.float64:
        return 16
    return 4 if block == 64 else 8


def chunk_count(model: Model, directions: int) -> int:
    """Into how many chunks to cut the sequences, which then run at the same time.

    Cutting costs K times the work. It pays where the sequences leave most of the device idle and are long.
    The thresholds are estimates that no measurement has confirmed.
    """
    B, T, K, _ = model.sizes
    available = processors(model.log_emission.device)
    if not 1 < K <= 32 or T < 2048 or directions * B * 4 > available:
        return 1
    # About 16 programs of one warp fit a multiprocessor; shorter chunks than 64 frames are mostly overhead.
    return max(1, min(T // 64, 16 * available // (directions * B * K)))


def allocate(model: Model, directions: tuple[int, ...], every: int) -> Messages:
    """Allocate what the recursion in some directions, 0 forwards and 1 backwards, is going to find."""
    B, T, K, _ = model.sizes
    like = model.log_emission
    rows = -(-T // every) if every else 0
    forwards, backwards = (rows if direction in directions else 0 for direction in (0, 1))
    return Messages(
        like.new_empty((B, forwards, K)),
        like.new_empty((B, backwards, K)),
        like.new_empty((B, backwards, 2)),
        like.new_empty(B if 0 in directions else 0),
    )


def narrow_messages(
    model: Model, block: int, *, directions: tuple[int, ...], every: int, absolute: bool
) -> Messages:
    """Run the recursion, and keep the messages of every so many frames; 0 keeps none."""
    B, T, K, P = model.sizes
    count = len(directions)
    like = model.log_emission
    found = allocate(model, directions, every)
    chunks = chunk_count(model, count) if every <= 1 else 1
    start = like.new_empty((count, B, chunks if chunks > 1 else 0, K))
    start_offset = like.new_empty(start.shape[:3], dtype=torch.float64)
    end = like.new_empty((*start.shape, K))
    end_offset = like.new_empty(start.shape, dtype=torch.float64)
    # A copy, so that both directions read rows, and the compiler lays the matrix out for that.
    back = model.log_weight.transpose(2, 3).contiguous() if 1 in directions else model.log_weight

    def run(rows: int, every: int) -> None:
        """Launch one program a chunk, or a row of a chunk."""
        launch(
            narrow_kernel,
            (B * chunks * rows, count),
            model.log_initial,
            model.log_weight,
            back,
            model.log_emission,
            model.lengths,
            model.log_final,
            model.lengths if model.emission_index is None else model.emission_index,
            found.alpha,
            found.beta,
            found.scale,
            found.total,
            start,
            start_offset,
            end,
            end_offset,
            B,
            T,
            K,
            P,
            model.initial_stride,
            model.final_stride,
            model.weight_stride,
            model.step_stride,
            model.index_stride,
            int(model.emission_index is not None),
            directions[0],
            chunks,
            rows,
            max(1, -(-T // chunks)),
            every,
            int(absolute),
            num_warps=warps(block, like.dtype),
            VARYING=model.step_stride > 0,
            BLOCK=block,
        )

    if chunks > 1:
        run(K, 0)
        launch(
            scan_kernel,
            (B, count),
            end,
            end_offset,
            start,
            start_offset,
            B,
            K,
            chunks,
            num_warps=warps(block, like.dtype),
            BLOCK=block,
        )
    run(1, every)
    return found
