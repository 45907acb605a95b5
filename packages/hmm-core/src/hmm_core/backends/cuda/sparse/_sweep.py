"""What the kernels that go through the frames share: the order of tiles, waiting, adding exponentials."""

import triton
import triton.language as tl


@triton.jit
def frames_of(lengths, b, T):
    """Frames of a sequence; a length that is out of range reads nothing beyond the sequence."""
    return tl.minimum(tl.maximum(tl.load(lengths + b), 0), T)


@triton.jit
def take_tile(signals, B, tiles, PIPELINE: tl.constexpr):
    """Sequence and tile of a program; in a pipeline from a counter, so that lower tiles start first."""
    if PIPELINE:
        ticket = tl.atomic_add(signals, 1)
        b = (ticket % B).to(tl.int64)
        tile = (ticket // B).to(tl.int64)
    else:
        item = tl.program_id(0).to(tl.int64)
        b = item // tiles
        tile = item % tiles
    return b, tile


@triton.jit
def part_of(tile, K, REACH: tl.constexpr, BLOCK: tl.constexpr):
    """First state of a program, and one past its last."""
    first = tile * BLOCK
    last = first * 0 + K
    if REACH > 0:
        last = tl.minimum(first + BLOCK, K)
    return first, last


@triton.jit
def wait(done, frames):
    """Wait until a neighbour has done some frames; what it wrote before can then be read."""
    while tl.atomic_add(done, 0, sem="acquire", scope="gpu") < frames:
        pass
    tl.debug_barrier()


@triton.jit
def publish(done, frames):
    """Tell the neighbour that some frames are done; the threads' writes come before, by a barrier."""
    tl.debug_barrier()
    tl.atomic_xchg(done, frames, sem="release", scope="gpu")


@triton.jit
def add_exp(m, s, x, like):
    """Add ``exp(x)`` to ``s * exp(m)``, m the greatest exponent so far; also whether x is greater."""
    greater = x > m
    high = tl.where(greater, x, m)
    low = tl.where(greater, m, x)
    # From -inf no distance can be taken.
    part = tl.exp(tl.where(low == float("-inf"), low, low - high).to(like))
    return high, tl.where(greater, s * part + 1.0, s + part), greater


@triton.jit
def slot_of(predecessors, weight, k, r, R, inside):
    """Predecessors in slot r of states k, -1 where there is none, and the weights of the arcs."""
    arc = k * R + r
    i = tl.load(predecessors + arc, mask=inside & (arc < k * R + R), other=-1)
    return i, tl.load(weight + arc, mask=i >= 0, other=float("-inf")).to(tl.float64)
