"""Recursions over pairs of sequences: strips of rows, each a wave along its anti-diagonals.

A program takes a strip: ROWS rows, one a lane; in step k lane r works on column k - r. It reads the last row
of the strip above, CHUNK columns at a time, as soon as that strip has said that they are there. Strips are
dealt out by a ticket in the order in which they depend on each other, so that whoever waits, waits for one
that already runs. ``+inf`` is impossible everywhere.
"""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from hmm_core.backends.cuda._launch import launch

ROWS = 64
CHUNK = 32
WORD = 16  # choices of 2 bits in an integer


class Warped(NamedTuple):
    """What becomes of pairs."""

    distance: Tensor  # (B,)
    path: Tensor  # (B, N+M-1, 2), or (B, 0, 2) where it is not wanted
    length: Tensor  # (B,)
    table: Tensor  # for warp_backward; empty where it is not wanted


class Pairs(NamedTuple):
    """Pairs as the kernels take them."""

    cost: Tensor  # (B, N, M)
    lengths_x: Tensor  # (B,)
    lengths_y: Tensor  # (B,)
    begin: Tensor | None  # (B, N)
    end: Tensor | None  # (B, N)
    strips: int


def describe(
    cost: Tensor, lengths_x: Tensor, lengths_y: Tensor, begin: Tensor | None, end: Tensor | None
) -> Pairs:
    """Make everything contiguous, and cut the rows into strips."""
    return Pairs(
        cost.contiguous(),
        lengths_x.contiguous(),
        lengths_y.contiguous(),
        None if begin is None else begin.contiguous(),
        None if end is None else end.contiguous(),
        triton.cdiv(cost.shape[1], ROWS),
    )


@triton.jit
def _wait(progress, need):
    """Return when another program has come so far."""
    done = tl.atomic_add(progress, 0, sem="acquire")
    while done < need:
        done = tl.atomic_add(progress, 0, sem="acquire")


@triton.jit
def _publish(progress, done):
    """Tell the others that everything up to here is in memory."""
    tl.debug_barrier()
    tl.atomic_xchg(progress, done, sem="release")


@triton.jit
def _sizes(lengths_x, lengths_y, b, N, M):
    """Rows and columns of a pair."""
    n = tl.minimum(tl.maximum(tl.load(lengths_x + b), 0), N).to(tl.int32)
    m = tl.minimum(tl.maximum(tl.load(lengths_y + b), 0), M).to(tl.int32)
    return n, m


@triton.jit
def _columns(begin, end, b, i, n, m, N):
    """First column and one past the last of the rows ``i`` that a path may visit; none outside of 0..n-1."""
    inside = (i >= 0) & (i < n)
    first = tl.zeros_like(i)
    last = tl.where(inside, m, 0)
    if begin is not None:
        first = tl.load(begin + b * N + i, mask=inside, other=0).to(tl.int32)
        last = tl.load(end + b * N + i, mask=inside, other=0).to(tl.int32)
        first, last = tl.maximum(first, 0), tl.minimum(last, m)
    return first, last


@triton.jit
def _soft_minimum(a, b, c, REAL: tl.constexpr):
    """Minus the log of the sum of exp(-x); the exponentials in ``REAL``."""
    least = tl.minimum(tl.minimum(a, b), c)
    shift = tl.where(least == float("inf"), 0.0, least)
    total = tl.exp((shift - a).to(REAL)) + tl.exp((shift - b).to(REAL)) + tl.exp((shift - c).to(REAL))
    return shift - tl.log(total)


@triton.jit
def _step(c, left, up, diagonal, up2, PATTERN: tl.constexpr, REAL: tl.constexpr):
    """Value of a cell, and which of the ways it came; the first of equals, in the reference's order."""
    if PATTERN == "soft":
        value = _soft_minimum(left, up, diagonal, REAL) + c
        way = tl.zeros_like(value).to(tl.int32)
    elif PATTERN == "symmetric1":
        first = tl.where(left < diagonal, left, diagonal)
        way = tl.where(up < first, 2, tl.where(left < diagonal, 1, 0))
        value = tl.where(up < first, up, first) + c
    elif PATTERN == "symmetric2":
        straight = tl.where(up < left, up, left) + c
        along = diagonal + 2 * c
        way = tl.where(straight < along, tl.where(up < left, 2, 1), 0)
        value = tl.where(straight < along, straight, along)
    else:
        first = tl.where(diagonal < up, diagonal, up)
        way = tl.where(up2 < first, 2, tl.where(diagonal < up, 1, 0))
        value = tl.where(up2 < first, up2, first) + c
    return value, way


@triton.jit(do_not_specialize=["B", "N", "M", "strips", "words"])
def warp_forward(
    cost, lengths_x, lengths_y, begin, end, B, N, M, strips, words, scale,
    ticket, progress, edge, value, wrong, choice, table,
    PATTERN: tl.constexpr, REAL: tl.constexpr, ROWS: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """One strip: the value of the last cell (B,), and, where wanted, how the cells came, or all values.

    ``edge`` (B, strips, M) are the last rows; ``table`` (B, strips, M + ROWS, ROWS) holds step by step.
    """
    turn = tl.atomic_add(ticket, 1)
    b = (turn % B).to(tl.int64)
    strip = turn // B
    n, m = _sizes(lengths_x, lengths_y, b, N, M)
    lane = tl.arange(0, ROWS)
    i = strip * ROWS + lane
    first, last = _columns(begin, end, b, i, n, m, N)
    row = cost + (b * N + i) * M
    strip_at = b * strips + strip
    nowhere = tl.full((ROWS,), float("inf"), edge.dtype.element_ty)
    above_first, above_last = _columns(begin, end, b, strip * ROWS - 1 + lane * 0, n, m, N)
    above_first, above_last = tl.max(above_first, 0), tl.max(above_last, 0)
    stop = tl.max(tl.where(first < last, last + lane, 0), 0)
    # Two columns more, which the first lane sees in the row above.
    k0 = tl.min(tl.where(first < last, first, M), 0) - 2
    k0 = tl.maximum(k0, 0) // CHUNK * CHUNK
    current, up, diagonal, final = nowhere, nowhere, nowhere, nowhere
    bad = tl.zeros_like(lane)
    word = tl.zeros_like(lane)
    while k0 < stop:
        chunk = tl.arange(0, CHUNK)
        beyond = tl.full((CHUNK,), float("inf"), edge.dtype.element_ty)
        if strip > 0:
            _wait(progress + strip_at - 1, tl.minimum(k0 + CHUNK, above_last))
            there = (k0 + chunk >= above_first) & (k0 + chunk < above_last)
            beyond = tl.load(
                edge + (strip_at - 1) * M + k0 + chunk, mask=there, other=float("inf"), cache_modifier=".cg"
            )
        for step in range(CHUNK):
            j = k0 + step - lane
            usable = (j >= first) & (j < last)
            c = tl.load(row + j, mask=usable, other=float("inf"))
            improper = (c != c) | (c == float("-inf"))
            bad = tl.where(improper, 1, bad)
            c = tl.where(improper, float("inf"), c).to(edge.dtype.element_ty)
            if scale is not None:
                c *= tl.load(scale)
            up2 = diagonal
            diagonal = up
            up = tl.gather(current, tl.maximum(lane - 1, 0), 0)
            up = tl.where(lane == 0, tl.gather(beyond, lane * 0 + step, 0), up)
            found, way = _step(c, current, up, diagonal, up2, PATTERN, REAL)
            found = tl.where((i == 0) & (j == 0), c, found)
            if PATTERN == "asymmetric":
                found = tl.where((i == 0) & (j > 0), float("inf"), found)
            current = tl.where(usable, found, float("inf"))
            final = tl.where(j == m - 1, current, final)
            tl.store(edge + strip_at * M + j, current, mask=usable & (lane == ROWS - 1))
            if choice is not None:
                part = j & 15
                word = tl.where(part == 0, 0, word) | (way << (2 * part))
                whole = usable & ((part == 15) | (j == last - 1))
                tl.store(choice + (b * N + i) * words + (j >> 4), word, mask=whole)
            if table is not None:
                place = (strip_at * (M + ROWS) + k0 + step) * ROWS + lane
                tl.store(table + place, current, mask=usable)
        k0 += CHUNK
        _publish(progress + strip_at, k0 - ROWS + 1)
    _publish(progress + strip_at, M)
    tl.store(value + b + lane * 0, final, mask=i == tl.where(m > 0, n - 1, -1))
    tl.store(wrong + strip_at, tl.max(bad, 0))


@triton.jit
def _walk(choice, path, b, n, m, N, M, words, possible, PATTERN: tl.constexpr):
    """Write the cells of the path (.., 2) backwards; how many there are."""
    count = n * 0
    i, j = n - 1, m - 1
    room = N + M - 1
    active = possible & (n > 0) & (m > 0)
    while active:
        tl.store(path + 2 * count, i)
        tl.store(path + 2 * count + 1, j)
        count += 1
        word = tl.load(choice + (b * N + i) * words + (j >> 4))
        way = (word >> (2 * (j & 15))) & 3
        active = ((i > 0) | (j > 0)) & (count < room)
        if PATTERN == "asymmetric":
            i, j = i - 1, j - way
        else:
            i, j = tl.where(way == 1, i, i - 1), tl.where(way == 2, j, j - 1)
        i, j = tl.maximum(i, 0), tl.maximum(j, 0)
    return count


@triton.jit(do_not_specialize=["N", "M", "strips", "words"])
def warp_finish(
    lengths_x, lengths_y, N, M, strips, words, scale, value, wrong, choice,
    distance, backwards, path, length,
    PATTERN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Distance of one pair, NaN where a cost or a length is wrong, and its path."""
    b = tl.program_id(0).to(tl.int64)
    n, m = _sizes(lengths_x, lengths_y, b, N, M)
    bad = ((tl.load(lengths_x + b) != n) | (tl.load(lengths_y + b) != m)).to(tl.int32)
    block = tl.arange(0, BLOCK)
    for s in range(0, strips, BLOCK):
        bad = tl.maximum(
            bad, tl.max(tl.load(wrong + b * strips + s + block, mask=s + block < strips, other=0))
        )
    found = tl.load(value + b, mask=(n > 0) & (m > 0), other=float("inf"))
    found = tl.where((n == 0) & (m == 0), 0.0, found)
    found = tl.where(bad > 0, float("nan"), found)
    if scale is not None:
        found = found / tl.load(scale)
    tl.store(distance + b, found)
    if choice is not None:
        room = N + M - 1
        backwards += b * room * 2
        path += b * room * 2
        count = _walk(choice, backwards, b, n, m, N, M, words, found < float("inf"), PATTERN)
        tl.store(length + b, count)
        # What one thread wrote the others read.
        tl.debug_barrier()
        for p in range(0, 2 * room, BLOCK):
            place = p + block
            inside = place < 2 * count
            cell = tl.load(backwards + 2 * (count - 1 - place // 2) + place % 2, mask=inside, other=-1)
            tl.store(path + place, cell.to(tl.int64), mask=place < 2 * room)


@triton.jit
def _value(table, strip_at, strip, i, j, M, first, last, ROWS: tl.constexpr):
    """Values of the cells (i, j) in this strip or the one above; ``+inf`` outside of first..last."""
    lane = i - strip * ROWS
    above = lane < 0
    lane = tl.where(above, ROWS - 1, lane)
    place = (tl.where(above, strip_at - 1, strip_at) * (M + ROWS) + j + lane) * ROWS + lane
    return tl.load(table + place, mask=(j >= first) & (j < last), other=float("inf"))


@triton.jit(do_not_specialize=["B", "N", "M", "strips"])
def warp_backward(
    lengths_x, lengths_y, begin, end, B, N, M, strips, ticket, progress, edge, table, gradient, result,
    REAL: tl.constexpr, ROWS: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    """One strip of the expected alignment times the gradient: the forward recursion's wave, turned around.

    A cell gives to each of the cells before it their share in its soft minimum. ``edge`` (B, strips, 2, M)
    is what the first row of each strip gives upwards and to the left of that.
    """
    turn = tl.atomic_add(ticket, 1)
    b = (turn % B).to(tl.int64)
    strip = strips - 1 - turn // B
    n, m = _sizes(lengths_x, lengths_y, b, N, M)
    lane = tl.arange(0, ROWS)
    i = strip * ROWS + lane
    first, last = _columns(begin, end, b, i, n, m, N)
    above_first, above_last = _columns(begin, end, b, i - 1, n, m, N)
    row = (b * N + i) * M
    strip_at = b * strips + strip
    below_first, below_last = _columns(begin, end, b, (strip + 1) * ROWS + lane * 0, n, m, N)
    below_first, below_last = tl.max(below_first, 0), tl.max(below_last, 0)
    outer = tl.load(gradient + b).to(tl.float64)
    nothing = tl.full((ROWS,), 0.0, tl.float64)
    to_left, to_above, to_diagonal, from_diagonal = nothing, nothing, nothing, nothing
    next_lane = tl.minimum(lane + 1, ROWS - 1)
    least = tl.min(tl.where(first < last, first + lane, M + ROWS), 0)
    # Two steps more, in which the last lane sees the row below.
    k0 = tl.max(tl.where(first < last, last + lane + 2, 0), 0)
    k0 = (k0 + CHUNK - 1) // CHUNK * CHUNK
    chunk = tl.arange(0, CHUNK)
    while k0 > least:
        k0 -= CHUNK
        beyond = tl.full((CHUNK,), 0.0, tl.float64)
        beyond_diagonal = tl.full((CHUNK,), 0.0, tl.float64)
        column = k0 - ROWS + 1 + chunk
        there = (column >= below_first) & (column < below_last)
        if tl.max(there.to(tl.int32), 0) > 0:
            _wait(progress + strip_at + 1, M - tl.maximum(k0 - ROWS + 1, below_first))
            other = edge + (strip_at + 1) * 2 * M + column
            beyond = tl.load(other, mask=there, other=0.0, cache_modifier=".cg")
            beyond_diagonal = tl.load(other + M, mask=there, other=0.0, cache_modifier=".cg")
        for back in range(CHUNK):
            step = CHUNK - 1 - back
            j = k0 + step - lane
            usable = (j >= first) & (j < last)
            here = _value(table, strip_at, strip, i, j, M, first, last, ROWS)
            left = _value(table, strip_at, strip, i, j - 1, M, first, last, ROWS)
            above = _value(table, strip_at, strip, i - 1, j, M, above_first, above_last, ROWS)
            diagonal = _value(table, strip_at, strip, i - 1, j - 1, M, above_first, above_last, ROWS)
            expected = to_left + from_diagonal
            from_below = tl.gather(to_above, next_lane, 0)
            fresh = tl.gather(beyond, lane * 0 + step, 0)
            expected += tl.where(lane == ROWS - 1, fresh, from_below)
            from_diagonal = tl.gather(to_diagonal, next_lane, 0)
            fresh = tl.gather(beyond_diagonal, lane * 0 + step, 0)
            from_diagonal = tl.where(lane == ROWS - 1, fresh, from_diagonal)
            expected = tl.where((i == n - 1) & (j == m - 1), outer, expected)
            expected = tl.where(usable & (here < float("inf")), expected, 0.0)
            tl.store(result + row + j, expected.to(result.dtype.element_ty), mask=usable)
            lowest = tl.minimum(tl.minimum(left, above), diagonal)
            lowest = tl.where(lowest == float("inf"), 0.0, lowest)
            left = tl.exp((lowest - left).to(REAL))
            above = tl.exp((lowest - above).to(REAL))
            diagonal = tl.exp((lowest - diagonal).to(REAL))
            total = left + above + diagonal
            share = expected / tl.where(total == 0.0, 1.0, total)
            to_left, to_above, to_diagonal = left * share, above * share, diagonal * share
            mine = edge + strip_at * 2 * M + j
            tl.store(mine, to_above, mask=usable & (lane == 0))
            tl.store(mine + M, to_diagonal, mask=usable & (lane == 0))
        _publish(progress + strip_at, M - k0)
    _publish(progress + strip_at, M)


def run(
    pairs: Pairs,
    pattern: str,
    scale: Tensor | None = None,
    *,
    keep_path: bool = False,
    keep_table: bool = False,
) -> Warped:
    """Align pairs, in two launches.

    Costs are multiplied by ``scale``, float64 (), on the way, and distances divided by it.
    """
    cost, lengths_x, lengths_y, begin, end, strips = pairs
    B, N, M = cost.shape
    work = torch.float64 if pattern == "soft" else cost.dtype
    # A ticket, and how far each strip has come.
    shared = lengths_x.new_zeros(1 + B * strips, dtype=torch.int32)
    edge = cost.new_empty((B, max(strips, 1), M), dtype=work)
    value = cost.new_empty(B, dtype=work)
    wrong = torch.empty_like(shared)
    words = triton.cdiv(M, WORD)
    choice = shared.new_empty((B, N, words)) if keep_path else None
    table = edge.new_empty((B, strips, M + ROWS, ROWS) if keep_table else 0)
    launch(
        warp_forward,
        (B * strips,),
        *(cost, lengths_x, lengths_y, begin, end, B, N, M, strips, words, scale),
        *(shared, shared[1:], edge, value, wrong, choice, table if keep_table else None),
        num_warps=1,
        PATTERN=pattern,
        REAL=tl.float64 if cost.dtype == torch.float64 else tl.float32,
        ROWS=ROWS,
        CHUNK=CHUNK,
    )
    room = max(N + M - 1, 0) if keep_path else 0
    distance = cost.new_empty(B)
    path = lengths_x.new_empty((B, room, 2))
    backwards = shared.new_empty((B, room, 2)) if keep_path else None
    length = torch.zeros_like(lengths_x)
    launch(
        warp_finish,
        (B,),
        *(lengths_x, lengths_y, N, M, strips, words, scale, value, wrong, choice),
        *(distance, backwards, path, length),
        num_warps=1,
        PATTERN=pattern,
        BLOCK=128,
    )
    return Warped(distance, path, length, table)


def differentiate(pairs: Pairs, table: Tensor, gradient: Tensor) -> Tensor:
    """Differentiate ``gradient @ soft_dtw`` by the cost, from the table of ``run``."""
    cost, lengths_x, lengths_y, begin, end, strips = pairs
    B, N, M = cost.shape
    shared = lengths_x.new_zeros(1 + B * strips, dtype=torch.int32)
    edge = table.new_empty((B, max(strips, 1), 2, M))
    result = torch.zeros_like(cost)
    launch(
        warp_backward,
        (B * strips,),
        *(lengths_x, lengths_y, begin, end, B, N, M, strips),
        *(shared, shared[1:], edge, table, gradient.contiguous(), result),
        num_warps=1,
        REAL=tl.float64 if cost.dtype == torch.float64 else tl.float32,
        ROWS=ROWS,
        CHUNK=CHUNK,
    )
    return result
