"""One step along the arcs of a model, for kernels that keep their messages in memory.

Whoever calls these puts a barrier after the message is written.
"""

import triton
import triton.language as tl

from hmm_core.backends.cuda._math import finite_or_zero


@triton.jit
def emission(frame, emission_index, j, K, P):
    """Scores of the states ``j`` in a frame (P,), in float64; ``-inf`` beyond the last state."""
    density = j
    if emission_index is not None:
        density = tl.load(emission_index + j, mask=j < K, other=0)
        density = tl.minimum(tl.maximum(density, 0), P - 1)
    return tl.load(frame + density, mask=j < K, other=float("-inf")).to(tl.float64)


@triton.jit
def _arcs(
    message, predecessors, log_weight, j, first, K, R, source_step, target_step, BS: tl.constexpr
):  # fmt: skip
    """Scores (BS, BK) of the arcs first.. into the states ``j``, and where they come from."""
    s = first + tl.arange(0, BS)[:, None]
    target = j[None, :]
    if predecessors is not None:
        used = (s < R) & (target < K)
        place = target.to(tl.int64) * R + s
        source = tl.load(predecessors + place, mask=used, other=-1)
        used = (source >= 0) & (source < K)
        known = used
    else:
        used = (s < K) & (target < K)
        known = s < K
        place = s.to(tl.int64) * source_step + target.to(tl.int64) * target_step
        source = s
    weight = tl.load(log_weight + place, mask=used, other=float("-inf"))
    score = tl.load(message + source, mask=known, other=float("-inf"))
    return score + weight, source


@triton.jit
def arrive(
    message, predecessors, log_weight, j, K, R, source_step, target_step,
    BS: tl.constexpr, REAL: tl.constexpr,
):  # fmt: skip
    """Log of the weight that arrives in the states ``j`` from a message (K,); exponentials in ``REAL``.

    A dense weight stands at ``source * source_step + target * target_step``.
    """
    most = tl.full(j.shape, float("-inf"), message.dtype.element_ty)
    total = tl.full(j.shape, 0.0, REAL)
    for first in range(0, K if predecessors is None else R, BS):
        score, _ = _arcs(
            message, predecessors, log_weight, j, first, K, R, source_step, target_step, BS
        )  # fmt: skip
        above = tl.maximum(most, tl.max(score, 0))
        shift = finite_or_zero(above)
        total *= tl.exp((most - shift).to(REAL))
        total += tl.sum(tl.exp((score - shift[None, :]).to(REAL)), 0)
        most = above
    return tl.log(total) + finite_or_zero(most)


@triton.jit
def arrive_best(
    message, predecessors, log_weight, j, K, R, source_step, target_step, BS: tl.constexpr
):  # fmt: skip
    """Best score that arrives in the states ``j``, and the source that it comes from; the first of equals."""
    most = tl.full(j.shape, float("-inf"), message.dtype.element_ty)
    origin = tl.full(j.shape, 0, tl.int32)
    for first in range(0, K if predecessors is None else R, BS):
        score, source = _arcs(
            message, predecessors, log_weight, j, first, K, R, source_step, target_step, BS
        )  # fmt: skip
        best = tl.max(score, 0)
        place = tl.arange(0, BS)[:, None]
        chosen = tl.min(tl.where(score == best[None, :], place, BS), 0)
        come = tl.sum(tl.where(place == chosen[None, :], source, 0), 0).to(tl.int32)
        origin = tl.where(best > most, come, origin)
        most = tl.maximum(most, best)
    return most, origin
