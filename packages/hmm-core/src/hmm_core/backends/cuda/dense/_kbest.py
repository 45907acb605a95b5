"""The N best paths: a list of N scores for each state, and the way back along one path a program."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from hmm_core.backends.cuda._launch import launch
from hmm_core.backends.cuda._math import finite_or_zero
from hmm_core.backends.cuda._model import describe
from hmm_core.backends.cuda.dense._viterbi import SIZES, is_wrong, no_path, path_score, sizes
from hmm_core.backends.cuda.dense._wide import densities, tile


@triton.jit(do_not_specialize=[*SIZES, "B", "N"])
def kbest_kernel(
    log_initial,
    log_weight,
    log_emission,
    lengths,
    log_final,
    emission_index,
    entry,
    score,
    origins,
    board,
    T,
    K,
    P,
    initial_stride,
    final_stride,
    weight_stride,
    step_stride,
    index_stride,
    indexed,
    B,
    N,
    OWN: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Find where the best paths of one sequence end.

    The lists of the predecessors are sorted: the best candidate is the first that is left of one of them.
    """
    b = tl.program_id(0).to(tl.int64)
    dtype = log_emission.dtype.element_ty
    length = tl.load(lengths + b)
    n = tl.minimum(tl.maximum(length, 0), T)
    index = emission_index + b * index_stride
    emission = log_emission + b * T * P
    weight = log_weight + b * weight_stride
    origins += b * T * K * N
    board += b * 2 * K * N
    i = tl.arange(0, BLOCK)

    density, known = densities(index, i, indexed, K, P)
    x = tl.load(log_initial + b * initial_stride + i, mask=i < K, other=float("-inf"))
    x += tl.load(emission + density, mask=i < K * tl.minimum(n, 1), other=float("-inf"))
    suspect = is_wrong(x)
    rank = 0
    while rank < N:
        tl.store(board + i * N + rank, x, mask=i < K)
        x = tl.full((BLOCK,), float("-inf"), dtype)
        rank += 1
    tl.debug_barrier()

    t = n * 0 + 1
    while t < n:
        previous = board + (t + 1) % 2 * K * N
        head = tl.load(previous + i * N, mask=i < K, other=float("-inf"))
        shift = finite_or_zero(tl.max(head, 0))
        matrix = weight + (t - 1) * step_stride
        j0 = 0
        while j0 < K:
            j = j0 + tl.arange(0, OWN)
            where, mask = tile(i, j, K, REVERSE=False)
            candidate = (head - shift)[:, None] + tl.load(matrix + where, mask=mask, other=float("-inf"))
            suspect = tl.maximum(suspect, tl.max(is_wrong(candidate), 1))
            read, _known = densities(index, j, indexed, K, P)
            e = tl.load(emission + t * P + read, mask=j < K, other=float("-inf"))
            used = tl.zeros((BLOCK, OWN), tl.int32)
            rank = 0
            while rank < N:
                best, source = tl.max(candidate, 0, return_indices=True, return_indices_tie_break_left=True)
                source = tl.minimum(source, K - 1)
                chosen = i[:, None] == source[None, :]
                slot = tl.sum(tl.where(chosen, used, 0), 0)
                place = j * N + rank
                tl.store(board + t % 2 * K * N + place, best + e, mask=j < K)
                tl.store(origins + t * K * N + place, source * N + slot, mask=j < K)
                more = (j < K) & (slot + 1 < N)
                following = tl.load(previous + source * N + slot + 1, mask=more, other=float("-inf")) - shift
                arc = source.to(tl.int64) * K + j
                following += tl.load(matrix + arc, mask=j < K, other=float("-inf"))
                candidate = tl.where(chosen, following[None, :], candidate)
                used += chosen.to(tl.int32)
                rank += 1
            j0 += OWN
        tl.debug_barrier()
        t += 1

    previous = board + (n + 1) % 2 * K * N
    head = tl.load(previous + i * N, mask=i < K, other=float("-inf"))
    shift = finite_or_zero(tl.max(head, 0))
    final = tl.load(log_final + b * final_stride + i, mask=i < K, other=float("-inf"))
    candidate = head - shift + final
    suspect = tl.maximum(suspect, is_wrong(candidate))
    wrong = (tl.max(suspect, 0) > 0) & (n > 0) | (known == 0) | (length != n)
    used = tl.zeros((BLOCK,), tl.int32)
    rank = 0
    while rank < N:
        best, source = tl.max(candidate, 0, return_indices=True, return_indices_tie_break_left=True)
        source = tl.minimum(source, K - 1)
        slot = tl.sum(tl.where(i == source, used, 0), 0)
        exists = (best > float("-inf")) & (n > 0) & (wrong == 0)
        tl.store(entry + rank * B + b, tl.where(exists, source * N + slot, -1))
        tl.store(score + rank * B + b, tl.where(wrong, float("nan"), 0.0))
        following = tl.load(previous + source * N + slot + 1, mask=slot + 1 < N, other=float("-inf")) - shift
        following += tl.load(log_final + b * final_stride + source)
        candidate = tl.where(i == source, following, candidate)
        used += (i == source).to(tl.int32)
        rank += 1


@triton.jit(do_not_specialize=["B", "T", "K", "N"])
def trace_kernel(entry, origins, lengths, states, B, T, K, N, BLOCK: tl.constexpr):
    """Follow one path back."""
    item = tl.program_id(0).to(tl.int64)
    b = item % B
    n = tl.minimum(tl.maximum(tl.load(lengths + b), 0), T)
    path = states + item * T
    place = tl.load(entry + item)
    if place < 0:
        n = n * 0
    origins += b * T * K * N
    t = n - 1
    while t >= 0:
        tl.store(path + t, (place // N).to(tl.int64))
        place = tl.load(origins + t * K * N + place, mask=t > 0, other=0)
        t -= 1
    no_path(path, n, T, BLOCK)


def kbest(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
    num_paths: int,
) -> tuple[Tensor, Tensor]:
    """Best states (N, B, T), -1 in padding and where there are fewer paths, and their scores (N, B)."""
    model = describe(log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index)
    B, T, K, _ = model.sizes
    N = num_paths
    states = lengths.new_empty((N, B, T))
    score = log_emission.new_empty((N, B))
    entry = lengths.new_empty((N, B), dtype=torch.int32)
    origins = lengths.new_empty((B, T, K, N), dtype=torch.int32)
    # All predecessors of some states at a time: about 16 candidates a thread.
    block = next((size for size in (32, 256, 4096) if size >= K), triton.next_power_of_2(K))
    launch(
        kbest_kernel,
        (B,),
        model.log_initial,
        model.log_weight,
        model.log_emission,
        model.lengths,
        model.log_final,
        model.lengths if model.emission_index is None else model.emission_index,
        entry,
        score,
        origins,
        log_emission.new_empty((B, 2, K, N)),
        *sizes(model),
        B,
        N,
        num_warps={32: 1, 256: 4}.get(block, 8),
        OWN={32: 16, 256: 8}.get(block, 1),
        BLOCK=block,
    )
    launch(trace_kernel, (N * B,), entry, origins, model.lengths, states, B, T, K, N, num_warps=1, BLOCK=32)
    path_score(model, states, score)
    return states, score
