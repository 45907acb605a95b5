"""The best path: scores forwards with slots of a few bits as back-pointers, and a walk back along them."""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from hmm_core.backends.cuda._launch import launch
from hmm_core.backends.cuda._model import Model, describe
from hmm_core.backends.cuda.sparse import _ends, _plan
from hmm_core.backends.cuda.sparse._forward import Forward, forward_pass, words
from hmm_core.backends.cuda.sparse._plan import Span
from hmm_core.backends.cuda.sparse._score import score
from hmm_core.backends.cuda.sparse._sweep import frames_of


@triton.jit(do_not_specialize=["predecessor_stride", "T", "begin", "end"])
def walk_back(
    predecessors,
    lengths,
    pointers,  # (B, words, K) int32
    state,  # (B,) state in frame end - 1 or the last one in, that before frame begin out; -1 without a path
    path,  # (B, T)
    predecessor_stride,
    T,
    K,
    R,
    begin,
    end,
    BITS: tl.constexpr,
):
    """States of frames end - 1 down to begin of a sequence's best path."""
    FRAMES: tl.constexpr = 32 // BITS
    b = tl.program_id(0).to(tl.int64)
    n = frames_of(lengths, b, T)
    k = tl.load(state + b)
    t = tl.minimum(n, end) - 1
    rows = pointers + b * ((end - begin + FRAMES - 1) // FRAMES) * K
    while (t >= begin) & (k >= 0):
        tl.store(path + b * T + t, k)
        if t > 0:
            row = t - begin
            word = tl.load(rows + row // FRAMES * K + k)
            slot = (word >> (row % FRAMES * BITS).to(tl.int32)) & ((1 << BITS) - 1)
            k = tl.load(predecessors + b * predecessor_stride + k * R + slot)
        t -= 1
    tl.store(state + b, k)


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
    chosen = _plan.plan(model)
    recursion = Forward(model, chosen, maximum=True)
    bits = bits_of_a_slot(model.log_weight.shape[3])
    if memory == "auto":
        enough = B * T * K * bits // 8 <= _plan.plenty(lengths.device)
        memory = "full" if enough else "linear"
    full = memory == "full"
    # Scores between spans, 8 bytes a state, then take as much as the pointers of one.
    passed = forward_pass(recursion, T if full else math.isqrt(64 * T // bits) + 1, bits=bits if full else 0)
    state, faulty = _ends.best_last_state(model, passed.last, passed.wrong)
    path = lengths.new_full((B, T), -1)
    again = _plan.signals(chosen, B, len(passed.spans), lengths.device)
    scratch = torch.empty_like(passed.last)
    for i in reversed(range(len(passed.spans))):
        span = passed.spans[i]
        if full:
            pointers = passed.pointers[i]
        else:
            pointers = lengths.new_empty((B, words(span, bits), K), dtype=torch.int32)
            recursion.run(
                span, again[i], passed.marks[i], scratch, passed.wrong, pointers=pointers, bits=bits
            )
        _walk(model, span, pointers, state, path, bits)
    return path, score(model, path[None], faulty)[0]


def bits_of_a_slot(slots: int) -> int:
    """Bits of a back-pointer: as few as hold every slot, and divide a word."""
    return next(bits for bits in (2, 4, 8, 16) if slots <= 1 << bits)


def _walk(model: Model, span: Span, pointers: Tensor, state: Tensor, path: Tensor, bits: int) -> None:
    """Launch the kernel on one span."""
    B, T, K, _ = model.sizes
    launch(
        walk_back,
        (B,),
        model.predecessors,
        model.lengths,
        pointers,
        state,
        path,
        model.predecessor_stride,
        T,
        K,
        model.log_weight.shape[3],
        span.begin,
        span.end,
        BITS=bits,
        num_warps=1,
    )
