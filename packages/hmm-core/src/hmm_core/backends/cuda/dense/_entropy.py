"""Entropy of the posterior distribution over paths, by a recursion over the forward messages.

With the scores s of the arcs into a state, their best m, z = sum(exp(s - m)) and what is left H before them,
the entropy of a state is sum(exp(s - m) (H - (s - m))) / z + log(z).
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from hmm_core.backends.cuda._launch import launch
from hmm_core.backends.cuda._math import finite_or_zero
from hmm_core.backends.cuda._model import describe
from hmm_core.backends.cuda._together import meet
from hmm_core.backends.cuda.dense._operations import messages
from hmm_core.backends.cuda.dense._wide import programs_per_sequence, tile


@triton.jit
def add(best, z, total, score, rest, AXIS: tl.constexpr):
    """Add scores along an axis to their sums, which are relative to the best score so far."""
    better = tl.maximum(best, tl.max(score, AXIS))
    shift = finite_or_zero(better)
    old = tl.exp(best - shift)
    moved = tl.where(best == float("-inf"), 0.0, shift - best)
    relative = score - tl.expand_dims(shift, AXIS)
    weight = tl.exp(relative)
    # 0 log 0 is 0.
    gained = tl.where(score == float("-inf"), 0.0, weight * (rest - relative))
    return better, z * old + tl.sum(weight, AXIS), (total + moved * z) * old + tl.sum(gained, AXIS)


@triton.jit
def least(previous, message, K, READ: tl.constexpr):
    """Least entropy of the possible states; 0 without any."""
    low = tl.full((READ,), float("inf"), previous.dtype.element_ty)
    first = 0
    while first < K:
        k = first + tl.arange(0, READ)
        value = tl.load(previous + k, mask=k < K, other=float("inf"), cache_modifier=".cg")
        possible = tl.load(message + k, mask=k < K, other=float("-inf")) > float("-inf")
        low = tl.minimum(low, tl.where(possible, value, float("inf")))
        first += READ
    return -finite_or_zero(tl.max(-low, 0))


@triton.jit(do_not_specialize=["T", "K", "final_stride", "weight_stride", "step_stride", "programs"])
def entropy_kernel(
    alpha,
    log_likelihood,
    log_weight,
    lengths,
    log_final,
    result,
    board,
    counter,
    T,
    K,
    final_stride,
    weight_stride,
    step_stride,
    programs,
    OWN: tl.constexpr,
    READ: tl.constexpr,
):
    """Run one sequence together with the other programs of that sequence."""
    item = tl.program_id(0).to(tl.int64)
    b = item // programs
    own = item % programs * OWN
    dtype = alpha.dtype.element_ty
    n = tl.minimum(tl.maximum(tl.load(lengths + b), 0), T)
    board += b * 2 * K
    message = alpha + b * T * K
    j0 = own
    while j0 < K:
        j = j0 + tl.arange(0, OWN)
        tl.store(board + j, tl.zeros((OWN,), dtype), mask=j < K, cache_modifier=".cg")
        j0 += programs * OWN
    meet(counter + b, programs)
    offset = tl.full((), 0.0, tl.float64)
    t = n * 0 + 1
    while t < n:
        previous = board + (t + 1) % 2 * K
        shift = least(previous, message, K, READ)
        offset += shift.to(tl.float64)
        j0 = own
        while j0 < K:
            j = j0 + tl.arange(0, OWN)
            best = tl.full((OWN,), float("-inf"), dtype)
            z = tl.zeros((OWN,), dtype)
            total = tl.zeros((OWN,), dtype)
            source = 0
            while source < K:
                i = source + tl.arange(0, READ)
                where, mask = tile(i, j, K, REVERSE=False)
                where += b * weight_stride + (t - 1) * step_stride
                x = tl.load(message + i, mask=i < K, other=float("-inf"))
                arcs = x[:, None] + tl.load(log_weight + where, mask=mask, other=float("-inf"))
                rest = tl.load(previous + i, mask=i < K, other=0.0, cache_modifier=".cg") - shift
                best, z, total = add(best, z, total, arcs, rest[:, None], 0)
                source += READ
            reached = z > 0
            z = tl.where(reached, z, 1.0)
            value = tl.where(reached, total / z + tl.log(z), 0.0)
            tl.store(board + t % 2 * K + j, value, mask=j < K, cache_modifier=".cg")
            j0 += programs * OWN
        meet(counter + b, (t + 1) * programs)
        message += K
        t += 1

    if own == 0:
        previous = board + (n + 1) % 2 * K
        shift = least(previous, message, K * (n > 0).to(tl.int32), READ)
        best = tl.full((1,), float("-inf"), dtype)
        z = tl.zeros((1,), dtype)
        total = tl.zeros((1,), dtype)
        first = 0
        while (first < K) & (n > 0):
            k = first + tl.arange(0, READ)
            score = tl.load(message + k, mask=k < K, other=float("-inf"))
            score += tl.load(log_final + b * final_stride + k, mask=k < K, other=float("-inf"))
            rest = tl.load(previous + k, mask=k < K, other=0.0, cache_modifier=".cg") - shift
            best, z, total = add(best, z, total, score[:, None], rest[:, None], 0)
            first += READ
        known = tl.load(log_likelihood + b)
        possible = (n > 0) & (known > float("-inf"))
        z = tl.sum(z, 0)
        z = tl.where(z > 0, z, 1.0)
        value = (tl.sum(total, 0) / z + tl.log(z) + shift).to(tl.float64) + offset
        value = tl.where(possible, value, 0.0)
        # NaN differs from itself.
        tl.store(result + b, tl.where(known == known, value, float("nan")).to(dtype))


def entropy(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
) -> Tensor:
    """Entropy (B,) in nats; 0 for length 0 and where no path exists."""
    model = describe(log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index)
    B, T, K, _ = model.sizes
    found = messages(model, 0)
    result = log_emission.new_empty(B)
    programs = programs_per_sequence(model)
    launch(
        entropy_kernel,
        (B * programs,),
        found.alpha,
        found.total,
        model.log_weight,
        model.lengths,
        model.log_final,
        result,
        log_emission.new_empty((B, 2, K)),
        torch.zeros(B, dtype=torch.int32, device=lengths.device),
        T,
        K,
        model.final_stride,
        model.weight_stride,
        model.step_stride,
        programs,
        num_warps=4 if log_emission.dtype == torch.float32 else 8,
        cooperative=programs > 1,
        OWN=16,
        READ=32,
    )
    return result
