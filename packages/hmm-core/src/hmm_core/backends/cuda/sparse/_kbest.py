"""The N best paths: a list of the best N scores for each state, merged from its predecessors' lists."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from hmm_core.backends.cuda._launch import launch
from hmm_core.backends.cuda._model import Model, describe
from hmm_core.backends.cuda.sparse._ends import is_faulty
from hmm_core.backends.cuda.sparse._score import score
from hmm_core.backends.cuda.sparse._sweep import frames_of

# Entries of predecessors' lists that a program compares at a time.
ENTRIES = 1024
# States that it compares for the ends of paths.
BLOCK = 1024


@triton.jit(
    do_not_specialize=[
        "initial_stride",
        "predecessor_stride",
        "weight_stride",
        "step_stride",
        "index_stride",
        "T",
        "N",
    ]
)
def merge_frames(
    initial,
    predecessors,
    weight,
    emission,
    lengths,
    index,
    lists,  # (B, 2, K, N) scores of two frames
    pointers,  # (B, T, K, N): slot * N + rank of an entry's predecessor
    wrong,  # (B,)
    initial_stride,
    predecessor_stride,
    weight_stride,
    step_stride,
    index_stride,
    T,
    K,
    P,
    R,
    N,
    SLOTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Merge the lists of all frames of a sequence."""
    b = tl.program_id(0).to(tl.int64)
    n = frames_of(lengths, b, T)
    lanes = tl.arange(0, BLOCK)
    slots = tl.arange(0, SLOTS)[None, :]
    bad = tl.zeros((BLOCK,), tl.int32)
    t = tl.full((), 0, tl.int64)
    while t < n:
        # Masks are compared as blocks: Triton's interpreter cannot combine them with single values.
        frame = t + lanes * 0
        source = lists + (b * 2 + ((t + 1) & 1)) * K * N
        target = lists + (b * 2 + (t & 1)) * K * N
        step = weight + b * weight_stride + (t - 1) * step_stride
        for k0 in range(0, K, BLOCK):
            k = (k0 + lanes).to(tl.int64)
            inside = k < K
            density = k
            if index is not None:
                density = tl.load(index + b * index_stride + k, mask=inside, other=0)
                density = tl.minimum(tl.maximum(density, 0), P - 1)
            e = tl.load(emission + (b * T + t) * P + density, mask=inside, other=float("-inf")).to(tl.float64)
            first = tl.load(
                initial + b * initial_stride + k, mask=inside & (frame == 0), other=float("-inf")
            ).to(tl.float64)
            arc = k[:, None] * R + slots
            later = (inside & (frame > 0))[:, None] & (slots < R)
            i = tl.load(predecessors + b * predecessor_stride + arc, mask=later, other=-1)
            used = i >= 0
            w = tl.load(step + arc, mask=used, other=float("-inf")).to(tl.float64)
            rank = tl.zeros((BLOCK, SLOTS), tl.int32)
            heads = tl.load(source + i * N, mask=used, other=float("-inf")) + w
            bad |= tl.max(tl.where(heads < float("inf"), 0, 1), 1)
            for place in range(N):
                best = tl.max(heads, 1)
                # The leftmost of equals.
                slot = tl.min(tl.where(heads == best[:, None], slots, SLOTS - 1), 1)
                taken = slots == slot[:, None]
                origin = slot * N + tl.sum(tl.where(taken, rank, 0), 1)
                best = tl.where((frame == 0) & (lanes * 0 + place == 0), first, best)
                best += e
                bad |= tl.where(best < float("inf"), 0, 1)
                tl.store(target + k * N + place, best, mask=inside)
                tl.store(pointers + ((b * T + t) * K + k) * N + place, origin, mask=inside)
                rank += taken.to(tl.int32)
                more = taken & used & (rank < N)
                following = tl.load(source + i * N + rank, mask=more, other=float("-inf")) + w
                heads = tl.where(taken, following, heads)
        tl.debug_barrier()
        t += 1
    tl.store(wrong + b, tl.max(bad, 0))


@triton.jit(do_not_specialize=["final_stride", "B", "T", "N"])
def end_lists(
    final,
    lengths,
    lists,
    wrong,
    taken,  # (B, K) zeros: entries of each state that are ends of better paths
    state,  # (N, B), -1 where there are fewer paths
    rank,  # (N, B)
    faulty,  # (B,) bool
    final_stride,
    B,
    T,
    K,
    N,
    BLOCK: tl.constexpr,
):
    """Choose the entries of the last frame's lists in which the best paths end."""
    b = tl.program_id(0).to(tl.int64)
    n = tl.load(lengths + b)
    lanes = tl.arange(0, BLOCK)
    source = lists + (b * 2 + ((n - 1) & 1)) * K * N
    bad = tl.zeros((BLOCK,), tl.int32)
    for k0 in range(0, K, BLOCK):
        f = tl.load(final + b * final_stride + k0 + lanes, mask=k0 + lanes < K, other=float("-inf"))
        bad |= tl.where(f < float("inf"), 0, 1)
    no_result = is_faulty(wrong, n, T, b, 1) | ((tl.max(bad, 0) > 0) & (n > 0))
    tl.store(faulty + b, no_result)
    for place in range(N):
        most = tl.full((BLOCK,), float("-inf"), tl.float64)
        where = tl.zeros((BLOCK,), tl.int64)
        for k0 in range(0, K, BLOCK):
            k = (k0 + lanes).to(tl.int64)
            r = tl.load(taken + b * K + k, mask=k < K, other=0)
            a = tl.load(source + k * N + r, mask=(k < K) & (r < N) & (lanes * 0 + n > 0), other=float("-inf"))
            a += tl.load(final + b * final_stride + k, mask=k < K, other=float("-inf")).to(tl.float64)
            greater = a > most
            most = tl.where(greater, a, most)
            where = tl.where(greater, k, where)
        m = tl.max(most, 0)
        best = tl.min(tl.where(most == m, where, K), 0)
        r = tl.load(taken + b * K + best)
        tl.debug_barrier()
        tl.store(taken + b * K + best, r + 1)
        tl.store(state + place * B + b, tl.where((m == float("-inf")) | no_result, -1, best))
        tl.store(rank + place * B + b, r)
        tl.debug_barrier()


@triton.jit(do_not_specialize=["predecessor_stride", "B", "T", "N"])
def walk_lists(
    predecessors,
    lengths,
    pointers,
    state,  # (N, B)
    rank,  # (N, B)
    path,  # (N, B, T)
    predecessor_stride,
    B,
    T,
    K,
    R,
    N,
):
    """States of one path, from the last to the first."""
    row = tl.program_id(0).to(tl.int64)
    b = row % B
    k = tl.load(state + row)
    r = tl.load(rank + row).to(tl.int64)
    t = frames_of(lengths, b, T) - 1
    while (t >= 0) & (k >= 0):
        tl.store(path + row * T + t, k)
        if t > 0:
            origin = tl.load(pointers + ((b * T + t) * K + k) * N + r)
            k = tl.load(predecessors + b * predecessor_stride + k * R + origin // N)
            r = (origin % N).to(tl.int64)
        t -= 1


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
    pointers = lengths.new_empty((B, T, K, num_paths), dtype=torch.int32)
    state, rank, faulty = _last_entries(model, pointers)
    path = lengths.new_full((num_paths, B, T), -1)
    launch(
        walk_lists,
        (num_paths * B,),
        model.predecessors,
        model.lengths,
        pointers,
        state,
        rank,
        path,
        model.predecessor_stride,
        B,
        T,
        K,
        model.log_weight.shape[3],
        num_paths,
        num_warps=1,
    )
    return path, score(model, path, faulty)


def _last_entries(model: Model, pointers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Fill the pointers; last states and ranks (N, B) of the paths, and whether sequences are faulty (B,)."""
    B, T, K, P = model.sizes
    N, R = pointers.shape[3], model.log_weight.shape[3]
    lists = model.log_emission.new_empty((B, 2, K, N), dtype=torch.float64)
    wrong = pointers.new_empty((B, 1))
    slots = triton.next_power_of_2(R)
    launch(
        merge_frames,
        (B,),
        model.log_initial,
        model.predecessors,
        model.log_weight,
        model.log_emission,
        model.lengths,
        model.emission_index,
        lists,
        pointers,
        wrong,
        model.initial_stride,
        model.predecessor_stride,
        model.weight_stride,
        model.step_stride,
        model.index_stride,
        T,
        K,
        P,
        R,
        N,
        SLOTS=slots,
        BLOCK=max(ENTRIES // slots, 1),
        num_warps=8,
    )
    state = model.lengths.new_empty((N, B))
    rank = pointers.new_empty((N, B))
    faulty = torch.empty_like(model.lengths, dtype=torch.bool)
    launch(
        end_lists,
        (B,),
        model.log_final,
        model.lengths,
        lists,
        wrong,
        wrong.new_zeros((B, K)),
        state,
        rank,
        faulty,
        model.final_stride,
        B,
        T,
        K,
        N,
        BLOCK=BLOCK,
        num_warps=8,
    )
    return state, rank, faulty
