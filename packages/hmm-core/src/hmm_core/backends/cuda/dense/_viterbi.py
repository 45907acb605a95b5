"""The best path: a recursion that keeps back-pointers, and the way back along them in the same kernel.

The sequence is cut into segments. The first run goes through all frames, keeps the scores at the start of
each segment and the pointers of the last one; then, from the last segment to the first, the path is followed
back, and the segment before it is run again. One segment of all frames is the usual recursion.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from hmm_core.backends.cuda._launch import launch
from hmm_core.backends.cuda._math import finite_or_zero
from hmm_core.backends.cuda._model import Model, describe
from hmm_core.backends.cuda._together import meet
from hmm_core.backends.cuda.dense._narrow import block_size, load_matrix, warps
from hmm_core.backends.cuda.dense._wide import densities, programs_per_sequence, tile

# Back-pointers that memory="auto" allows, in bytes.
_FULL_MEMORY = 2**30
SIZES = [
    "T",
    "K",
    "P",
    "initial_stride",
    "final_stride",
    "weight_stride",
    "step_stride",
    "index_stride",
    "indexed",
]


@triton.jit
def is_wrong(x):
    """Whether a score is NaN or +inf, as integers."""
    return ((x != x) | (x == float("inf"))).to(tl.int32)


@triton.jit(do_not_specialize=[*SIZES, "segment", "segments"])
def narrow_viterbi_kernel(
    log_initial,
    log_weight,
    log_emission,
    lengths,
    log_final,
    emission_index,
    states,
    score,
    pointers,
    checkpoints,
    T,
    K,
    P,
    initial_stride,
    final_stride,
    weight_stride,
    step_stride,
    index_stride,
    indexed,
    segment,
    segments,
    VARYING: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Find the best path of one sequence, the matrix in registers."""
    b = tl.program_id(0).to(tl.int64)
    k = tl.arange(0, BLOCK)
    mask = k < K
    length = tl.load(lengths + b)
    n = tl.minimum(tl.maximum(length, 0), T)
    density, known = densities(emission_index + b * index_stride, k, indexed, K, P)
    emission = log_emission + b * T * P + density
    weight = log_weight + b * weight_stride
    path = states + b * T
    pointers += b * segment * K
    checkpoints += b * segments * K

    matrix = load_matrix(weight, K, BLOCK)
    wrong = tl.max(tl.max(is_wrong(matrix), 1), 0)
    x = tl.load(log_initial + b * initial_stride + k, mask=mask, other=float("-inf"))
    x += tl.load(emission, mask=mask & (k < n * BLOCK), other=float("-inf"))
    x -= finite_or_zero(tl.max(x, 0))
    suspect = is_wrong(x)
    state = tl.full((), 0, tl.int32)
    part = tl.maximum(tl.cdiv(n - 1, segment), 1) - 1
    possible = tl.full((), 0, tl.int32)
    u = n * 0
    stop = n - 1
    while (part >= 0) & (n > 0):
        # Step u leads from frame u to frame u + 1.
        while u < stop:
            if u % segment == 0:
                tl.store(checkpoints + u // segment * K + k, x, mask=mask)
            if VARYING:
                matrix = load_matrix(weight + u * step_stride, K, BLOCK)
                wrong = tl.maximum(wrong, tl.max(tl.max(is_wrong(matrix), 1), 0))
            best, origin = tl.max(
                x[:, None] + matrix, 0, return_indices=True, return_indices_tie_break_left=True
            )
            x = best + tl.load(emission + (u + 1) * P, mask=mask, other=float("-inf"))
            x -= finite_or_zero(tl.max(x, 0))
            suspect = tl.maximum(suspect, is_wrong(x))
            origin = tl.minimum(origin, K - 1).to(pointers.dtype.element_ty)
            tl.store(pointers + u % segment * K + k, origin, mask=mask)
            u += 1
        # The way back reads what other threads wrote.
        tl.debug_barrier()
        if stop == n - 1:
            final = x + tl.load(log_final + b * final_stride + k, mask=mask, other=float("-inf"))
            value, state = tl.max(final, 0, return_indices=True, return_indices_tie_break_left=True)
            wrong = tl.maximum(wrong, tl.max(tl.maximum(suspect, is_wrong(final)), 0))
            wrong = tl.maximum(wrong, ((known == 0) | (length != n)).to(tl.int32))
            possible = ((value > float("-inf")) & (wrong == 0)).to(tl.int32)
            state = tl.minimum(state, K - 1)
            tl.store(path + n - 1, tl.where(possible != 0, state, -1).to(tl.int64))
        u = stop - 1
        while u >= part * segment:
            state = tl.load(pointers + u % segment * K + state).to(tl.int32)
            tl.store(path + u, tl.where(possible != 0, state, -1).to(tl.int64))
            u -= 1
        tl.debug_barrier()
        part -= 1
        u = part * segment
        stop = u + segment
        x = tl.load(checkpoints + u // segment * K + k, mask=mask & (k < (part + 1) * BLOCK), other=0.0)

    no_path(path, n, T, BLOCK)
    wrong = tl.maximum(wrong, (length != n).to(tl.int32))
    tl.store(score + b, tl.where(wrong > 0, float("nan"), 0.0))


@triton.jit
def no_path(path, n, T, BLOCK: tl.constexpr):
    """Write -1 in the padding."""
    while n < T:
        t = n + tl.arange(0, BLOCK)
        tl.store(path + t, tl.full((BLOCK,), -1, tl.int64), mask=t < T)
        n += BLOCK


@triton.jit(do_not_specialize=[*SIZES, "segment", "segments", "programs"])
def wide_viterbi_kernel(
    log_initial,
    log_weight,
    log_emission,
    lengths,
    log_final,
    emission_index,
    states,
    score,
    pointers,
    checkpoints,
    board,
    counter,
    fault,
    T,
    K,
    P,
    initial_stride,
    final_stride,
    weight_stride,
    step_stride,
    index_stride,
    indexed,
    segment,
    segments,
    programs,
    OWN: tl.constexpr,
    READ: tl.constexpr,
):
    """Find the best path of one sequence together with the other programs of that sequence."""
    item = tl.program_id(0).to(tl.int64)
    b = item // programs
    own = item % programs * OWN
    dtype = log_emission.dtype.element_ty
    length = tl.load(lengths + b)
    n = tl.minimum(tl.maximum(length, 0), T)
    index = emission_index + b * index_stride
    emission = log_emission + b * T * P
    path = states + b * T
    pointers += b * segment * K
    checkpoints += b * segments * K
    board += b * 2 * K
    wrong = tl.full((), 0, tl.int32)
    suspect = tl.full((OWN,), 0, tl.int32)

    j0 = own
    while j0 < K:
        j = j0 + tl.arange(0, OWN)
        density, known = densities(index, j, indexed, K, P)
        wrong = tl.maximum(wrong, 1 - known)
        x = tl.load(log_initial + b * initial_stride + j, mask=j < K, other=float("-inf"))
        x += tl.load(emission + density, mask=j < K * tl.minimum(n, 1), other=float("-inf"))
        suspect = tl.maximum(suspect, is_wrong(x))
        tl.store(board + j, x, mask=j < K, cache_modifier=".cg")
        j0 += programs * OWN
    tl.atomic_max(fault + b, tl.maximum(wrong, tl.max(suspect, 0)))
    stage = programs
    meet(counter + b, stage)

    previous = board
    state = tl.full((), 0, tl.int32)
    part = tl.maximum(tl.cdiv(n - 1, segment), 1) - 1
    possible = tl.full((), 0, tl.int32)
    u = n * 0
    stop = n - 1
    while (part >= 0) & (n > 0):
        while u < stop:
            shift = finite_or_zero(best_of(previous, K, READ))
            j0 = own
            while j0 < K:
                j = j0 + tl.arange(0, OWN)
                if (u % segment == 0) & (stop == n - 1):
                    x = tl.load(previous + j, mask=j < K, other=float("-inf"), cache_modifier=".cg") - shift
                    tl.store(checkpoints + u // segment * K + j, x, mask=j < K, cache_modifier=".cg")
                best = tl.full((OWN,), float("-inf"), dtype)
                origin = tl.full((OWN,), 0, tl.int32)
                broken = tl.full((READ, OWN), 0, tl.int32)
                source = 0
                while source < K:
                    i = source + tl.arange(0, READ)
                    x = tl.load(previous + i, mask=i < K, other=float("-inf"), cache_modifier=".cg") - shift
                    where, mask = tile(i, j, K, REVERSE=False)
                    where += b * weight_stride + u * step_stride
                    arcs = x[:, None] + tl.load(log_weight + where, mask=mask, other=float("-inf"))
                    broken = tl.maximum(broken, is_wrong(arcs))
                    value, slot = tl.max(arcs, 0, return_indices=True, return_indices_tie_break_left=True)
                    better = value > best
                    best = tl.where(better, value, best)
                    origin = tl.where(better, source + slot, origin)
                    source += READ
                density, _known = densities(index, j, indexed, K, P)
                best += tl.load(emission + (u + 1) * P + density, mask=j < K, other=float("-inf"))
                suspect = tl.maximum(suspect, tl.maximum(is_wrong(best), tl.max(broken, 0)))
                tl.store(board + (u + 1) % 2 * K + j, best, mask=j < K, cache_modifier=".cg")
                origin = tl.minimum(origin, K - 1).to(pointers.dtype.element_ty)
                tl.store(pointers + u % segment * K + j, origin, mask=j < K, cache_modifier=".cg")
                j0 += programs * OWN
            stage += programs
            if u == n - 2:
                tl.atomic_max(fault + b, tl.maximum(wrong, tl.max(suspect, 0)))
            meet(counter + b, stage)
            u += 1
            previous = board + u % 2 * K
        if own == 0:
            if stop == n - 1:
                shift = finite_or_zero(best_of(previous, K, READ))
                top = tl.full((), float("-inf"), dtype)
                first = 0
                while first < K:
                    k = first + tl.arange(0, READ)
                    final = (
                        tl.load(previous + k, mask=k < K, other=float("-inf"), cache_modifier=".cg") - shift
                    )
                    final += tl.load(log_final + b * final_stride + k, mask=k < K, other=float("-inf"))
                    value, slot = tl.max(final, 0, return_indices=True, return_indices_tie_break_left=True)
                    wrong = tl.maximum(wrong, tl.max(is_wrong(final), 0))
                    state = tl.where(value > top, first + slot, state)
                    top = tl.maximum(top, value)
                    first += READ
                wrong = tl.maximum(wrong, tl.maximum(tl.atomic_max(fault + b, 0), (length != n).to(tl.int32)))
                possible = ((top > float("-inf")) & (wrong == 0)).to(tl.int32)
                state = tl.minimum(state, K - 1)
                tl.store(path + n - 1, tl.where(possible != 0, state, -1).to(tl.int64))
            u = stop - 1
            while u >= part * segment:
                state = tl.load(pointers + u % segment * K + state, cache_modifier=".cg").to(tl.int32)
                tl.store(path + u, tl.where(possible != 0, state, -1).to(tl.int64))
                u -= 1
        stage += programs
        meet(counter + b, stage)
        part -= 1
        u = part * segment
        stop = u + segment
        previous = checkpoints + u // segment * K

    if own == 0:
        no_path(path, n, T, READ)
        wrong = tl.maximum(wrong, (length != n).to(tl.int32))
        tl.store(score + b, tl.where(wrong > 0, float("nan"), 0.0))


@triton.jit
def best_of(values, K, READ: tl.constexpr):
    """Greatest of K values that other programs wrote."""
    best = tl.full((READ,), float("-inf"), values.dtype.element_ty)
    first = 0
    while first < K:
        k = first + tl.arange(0, READ)
        best = tl.maximum(best, tl.load(values + k, mask=k < K, other=float("-inf"), cache_modifier=".cg"))
        first += READ
    return tl.max(best, 0)


@triton.jit(do_not_specialize=["B", *SIZES])
def score_kernel(
    log_initial,
    log_weight,
    log_emission,
    lengths,
    log_final,
    emission_index,
    states,
    score,
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
    BLOCK: tl.constexpr,
):
    """Sum the scores along one path in float64, unless its score is NaN already."""
    item = tl.program_id(0).to(tl.int64)
    b = item % B
    n = tl.minimum(tl.maximum(tl.load(lengths + b), 0), T)
    path = states + item * T
    parts = tl.zeros((BLOCK,), tl.float64)
    first = 0
    while first < n:
        t = first + tl.arange(0, BLOCK)
        state = tl.load(path + t, mask=t < n, other=-1)
        used = state >= 0
        density = tl.maximum(state, 0)
        if indexed != 0:
            density = tl.load(emission_index + b * index_stride + density, mask=used, other=0)
        density = tl.minimum(tl.maximum(density, 0), P - 1)
        place = (b * T + t) * P + density
        parts += tl.load(log_emission + place, mask=used, other=0.0).to(tl.float64)
        source = tl.load(path + t - 1, mask=used & (t > 0), other=0)
        place = b * weight_stride + (t - 1).to(tl.int64) * step_stride + source * K + state
        parts += tl.load(log_weight + place, mask=used & (t > 0), other=0.0).to(tl.float64)
        first += BLOCK
    total = tl.sum(parts, 0)
    start = tl.load(path, mask=n > 0, other=-1)
    end = tl.load(path + n - 1, mask=n > 0, other=-1)
    total += tl.load(log_initial + b * initial_stride + start, mask=start >= 0, other=0.0).to(tl.float64)
    total += tl.load(log_final + b * final_stride + end, mask=end >= 0, other=0.0).to(tl.float64)
    # Only the best path of a sequence without frames exists: the empty one.
    missing = (start < 0) & ((n > 0) | (item >= B))
    total = tl.where(missing, float("-inf"), total)
    known = tl.load(score + item)
    tl.store(score + item, tl.where(known == 0, total, known).to(known.dtype))


def viterbi(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
    memory: str,
) -> tuple[Tensor, Tensor]:
    """Best states (B, T), -1 in padding and where no path exists, and their scores (B,)."""
    model = describe(log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index)
    B, T, K, _ = model.sizes
    states = lengths.new_empty((B, T))
    score = log_emission.new_empty(B)
    small = torch.uint8 if K <= 256 else torch.int16 if K <= 2**15 else torch.int32
    linear = memory == "linear" or (memory == "auto" and B * T * K * small.itemsize > _FULL_MEMORY)
    segment = max(1, math.isqrt(T) if linear else T)
    segments = max(1, -(-T // segment))
    block = block_size(model)
    tensors = (
        model.log_initial,
        model.log_weight,
        model.log_emission,
        model.lengths,
        model.log_final,
        model.lengths if model.emission_index is None else model.emission_index,
        states,
        score,
        log_emission.new_empty((B, segment, K), dtype=small),
        log_emission.new_empty((B, segments, K)),
    )
    if block is not None:
        launch(
            narrow_viterbi_kernel,
            (B,),
            *tensors,
            *sizes(model),
            segment,
            segments,
            num_warps=warps(block, log_emission.dtype) * (2 if model.step_stride else 1),
            VARYING=model.step_stride > 0,
            BLOCK=block,
        )
    else:
        programs = programs_per_sequence(model)
        launch(
            wide_viterbi_kernel,
            (B * programs,),
            *tensors,
            log_emission.new_empty((B, 2, K)),
            torch.zeros(B, dtype=torch.int32, device=lengths.device),
            torch.zeros(B, dtype=torch.int32, device=lengths.device),
            *sizes(model),
            segment,
            segments,
            programs,
            num_warps=4,
            cooperative=programs > 1,
            OWN=16,
            READ=32,
        )
    path_score(model, states, score)
    return states, score


def path_score(model: Model, states: Tensor, score: Tensor) -> None:
    """Write the scores (N, B) of paths (N, B, T) where they are not NaN already."""
    launch(
        score_kernel,
        (score.numel(),),
        model.log_initial,
        model.log_weight,
        model.log_emission,
        model.lengths,
        model.log_final,
        model.lengths if model.emission_index is None else model.emission_index,
        states,
        score,
        model.sizes[0],
        *sizes(model),
        BLOCK=128,
    )


def sizes(model: Model) -> tuple[int, ...]:
    """Sizes and strides as the kernels take them."""
    _, T, K, P = model.sizes
    return (
        T,
        K,
        P,
        model.initial_stride,
        model.final_stride,
        model.weight_stride,
        model.step_stride,
        model.index_stride,
        int(model.emission_index is not None),
    )
