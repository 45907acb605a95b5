"""Streams on CUDA: one launch for the frames of a push, and no wait for its results.

A frame with NaN or ``+inf`` is not refused, because the host would have to look: the log-likelihood or the
score is NaN from there to the next reset.

How many frames there were is counted in the memory of the device, so that a push has the same arguments every
time and can be captured in a CUDA graph and replayed.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from hmm_core.backends.cuda._launch import is_capturing, launch
from hmm_core.backends.cuda._math import finite_or_zero
from hmm_core.backends.cuda._steps import arrive, arrive_best, emission

# Frames that may stay open before a decoder without max_delay looks how many there are.
CAPACITY = 1024


@triton.jit(do_not_specialize=["n", "width"])
def filter_frames(
    log_initial, predecessors, log_weight, emission_index, frames, rows, log_likelihood, count, out, totals,
    n, width, K, R, REAL: tl.constexpr, BK: tl.constexpr, BS: tl.constexpr,
):  # fmt: skip
    """Take ``n`` frames after ``count`` ones; the last message is row count % 2 of ``rows`` (2, K)."""
    nothing = float("-inf")
    total = tl.load(log_likelihood)
    seen = tl.load(count)
    t = n * 0
    while t < n:
        frame = frames + t.to(tl.int64) * width
        before, after = rows + (seen + t) % 2 * K, rows + (seen + t + 1) % 2 * K
        peak = tl.full((), nothing, tl.float64)
        for j0 in range(0, K, BK):
            scores = emission(frame, emission_index, j0 + tl.arange(0, BK), K, width)
            peak = tl.maximum(peak, tl.max(scores, 0))
        peak = finite_or_zero(peak)
        best = tl.full((), nothing, REAL)
        weight = tl.full((), 0.0, REAL)
        for j0 in range(0, K, BK):
            j = j0 + tl.arange(0, BK)
            if seen + t == 0:
                inside = tl.load(log_initial + j, mask=j < K, other=nothing)
            else:
                inside = arrive(before, predecessors, log_weight, j, K, R, K, 1, BS, REAL)
            score = emission(frame, emission_index, j, K, width) - peak
            joint = inside + score.to(REAL)
            tl.store(after + j, joint, mask=j < K)
            above = tl.maximum(best, tl.max(joint, 0))
            shift = finite_or_zero(above)
            weight = weight * tl.exp(best - shift) + tl.sum(tl.exp(joint - shift), 0)
            best = above
        step = tl.log(weight) + finite_or_zero(best)
        # What became impossible stays so, and so does what is not a number.
        total = tl.where(total == nothing, nothing, total + step.to(tl.float64) + peak)
        tl.debug_barrier()
        for j0 in range(0, K, BK):
            j = j0 + tl.arange(0, BK)
            joint = tl.load(after + j, mask=j < K, other=nothing) - finite_or_zero(step)
            joint = tl.where(total == nothing, nothing, joint)
            joint = tl.where(total != total, total.to(REAL), joint)
            tl.store(after + j, joint, mask=j < K)
            tl.store(out + t.to(tl.int64) * K + j, joint, mask=j < K)
        if totals is not None:
            tl.store(totals + t, total)
        t += 1
        tl.debug_barrier()
    tl.store(log_likelihood, total)
    tl.store(count, seen + n)


class _Arcs:
    """The model of a stream as both kernels take it."""

    def __init__(
        self,
        log_initial: Tensor,
        predecessors: Tensor | None,
        log_weight: Tensor,
        emission_index: Tensor | None,
    ) -> None:
        self.tensors = (log_initial, predecessors, log_weight, emission_index)
        self.num_states = len(log_initial)
        self.slots = 0 if predecessors is None else predecessors.shape[1]
        few = self.num_states <= 16
        self.blocks: dict[str, Any] = {
            "BK": 16 if few else 64,
            "BS": 16 if log_initial.dtype == torch.float32 else 32,
            # No more threads than states: a second warp would read what the first has already replaced.
            "num_warps": 1 if few else 2,
            "max_registers": 255,
        }


def _shape(log_emission: Tensor) -> tuple[int, int]:
    """Frames, and numbers in each."""
    return (
        (1, len(log_emission)) if log_emission.ndim == 1 else (log_emission.shape[0], log_emission.shape[1])
    )


class Filter:
    """State probabilities of a stream; the arguments are those of one sequence, (K,), (K, R) and (K, K)."""

    def __init__(
        self,
        log_initial: Tensor,
        predecessors: Tensor | None,
        log_weight: Tensor,
        emission_index: Tensor | None,
        num_densities: int,
    ) -> None:
        del num_densities  # the kernels read no further
        self._arcs = _Arcs(log_initial, predecessors, log_weight, emission_index)
        self._log_initial = log_initial
        self._rows = log_initial.new_empty((2, len(log_initial)))
        self._total = log_initial.new_empty((), dtype=torch.float64)
        self._count = log_initial.new_empty((), dtype=torch.int64)
        self._real = tl.float64 if log_initial.dtype == torch.float64 else tl.float32
        self.reset()

    def reset(self) -> None:
        """Forget all frames."""
        self.restore(self._log_initial, 0.0, 0)

    def restore(self, log_filter: Tensor, log_likelihood: float, num_frames: int) -> None:
        """Continue after so many frames."""
        self._count.fill_(num_frames)
        self._rows[num_frames % 2].copy_(log_filter)
        self._total.fill_(log_likelihood)

    @property
    def num_frames(self) -> int:
        """Frames since the last reset; waits for the device."""
        return int(self._count)

    def save(self) -> Tensor:
        """Return what restore() takes: log_initial before the first frame; waits for the device."""
        return self._rows[self.num_frames % 2].clone()

    @property
    def log_likelihood(self) -> float:
        """Log-likelihood of all frames; waits for the device."""
        return float(self._total)

    def push(self, log_emission: Tensor, log_filter: Tensor, log_likelihood: Tensor | None) -> bool:
        """Take frames (P,) or (n, P), write as many rows (K,); always True, see the top of this module."""
        n, width = _shape(log_emission)
        launch(
            filter_frames,
            (1,),
            *(*self._arcs.tensors, log_emission, self._rows, self._total, self._count),
            *(log_filter, log_likelihood, n, width, self._arcs.num_states, self._arcs.slots),
            REAL=self._real,
            **self._arcs.blocks,
        )
        return True


@triton.jit
def _extremes(states, delta, K, BK: tl.constexpr):
    """Lowest and highest of the numbers (K,) of the states whose path survives."""
    low = tl.full((), 2147483647, tl.int32)
    high = tl.full((), -1, tl.int32)
    for j0 in range(0, K, BK):
        j = j0 + tl.arange(0, BK)
        survives = tl.load(delta + j, mask=j < K, other=float("-inf")) > float("-inf")
        number = tl.load(states + j, mask=j < K, other=0)
        low = tl.minimum(low, tl.min(tl.where(survives, number, 2147483647), 0))
        high = tl.maximum(high, tl.max(tl.where(survives, number, -1), 0))
    return low, high


@triton.jit
def _trace(origins, capacity, K, state, last, first, out, start, room):
    """Write the states of the frames first..last of the path that is in ``state`` in the last one.

    Frame t has its place in ``out`` at (t - start) % room.
    """
    t = last
    while t >= first:
        tl.store(out + (t - start) % room, state.to(tl.int64))
        state = tl.load(origins + t % capacity * K + state)
        t -= 1


@triton.jit(do_not_specialize=["n", "width", "capacity", "room", "max_delay"])
def viterbi_frames(
    log_initial, predecessors, log_weight, emission_index, frames, delta, oldest, walk, origins, path, best,
    counts, score, n, width, capacity, room, max_delay, K, R, BK: tl.constexpr, BS: tl.constexpr,
):  # fmt: skip
    """Take ``n`` frames more.

    ``delta`` (2, K) are the scores relative to the best, ``oldest`` (2, K) the states of the oldest open
    frame on the paths to the states, ``origins`` (capacity, K) the predecessors in the open frames, ``path``
    (room,) the last committed states, that of frame t at t % room, ``counts`` the committed frames, the
    forced decisions, the best state, -1 without a path, and the frames so far.
    """
    nothing = float("-inf")
    committed = tl.load(counts)
    forced = tl.load(counts + 1)
    leader = tl.load(counts + 2)
    seen = tl.load(counts + 3)
    offset = tl.load(score)
    i = n * 0
    while i < n:
        frame = frames + i.to(tl.int64) * width
        t = seen + i
        before, after = delta + t % 2 * K, delta + (t + 1) % 2 * K
        old, new = oldest + t % 2 * K, oldest + (t + 1) % 2 * K
        if (t == 0) | (leader >= 0):
            most = tl.full((), nothing, delta.dtype.element_ty)
            wrong = tl.full((), 0, tl.int32)
            for j0 in range(0, K, BK):
                j = j0 + tl.arange(0, BK)
                if t == 0:
                    value = tl.load(log_initial + j, mask=j < K, other=nothing)
                    origin = tl.zeros_like(j)
                else:
                    value, origin = arrive_best(before, predecessors, log_weight, j, K, R, K, 1, BS)
                value += emission(frame, emission_index, j, K, width).to(value.dtype)
                tl.store(after + j, value, mask=j < K)
                tl.store(origins + t % capacity * K + j, origin, mask=j < K)
                wrong = tl.maximum(
                    wrong, tl.max(((value != value) | (value == float("inf"))).to(tl.int32), 0)
                )
                most = tl.maximum(most, tl.max(value, 0))
            tl.debug_barrier()
            leader = tl.full((), 2147483647, tl.int64)
            possible = (most > nothing) & (wrong == 0)
            for j0 in range(0, K, BK):
                j = j0 + tl.arange(0, BK)
                value = tl.load(after + j, mask=j < K, other=nothing)
                leader = tl.minimum(leader, tl.min(tl.where((value == most) & (j < K), j, 2147483647), 0))
                tl.store(after + j, tl.where(possible, value - finite_or_zero(most), nothing), mask=j < K)
                root = j
                if t > committed:
                    source = tl.load(origins + t % capacity * K + j, mask=j < K, other=0)
                    root = tl.load(old + source, mask=j < K, other=0)
                tl.store(new + j, root, mask=j < K)
            leader = tl.where(possible, leader, -1).to(tl.int64)
            offset = tl.where(possible, offset + most.to(tl.float64), nothing)
            offset = tl.where(wrong > 0, float("nan"), offset)
            tl.debug_barrier()
            low, high = _extremes(new, after, K, BK)
            late = (max_delay >= 0) & (t + 1 - committed > max_delay)
            while (leader >= 0) & (committed <= t) & ((low == high) | late):
                if low != high:
                    # The paths that part from the best one in the oldest open frame are dropped.
                    forced += 1
                    kept = tl.load(new + leader)
                    for j0 in range(0, K, BK):
                        j = j0 + tl.arange(0, BK)
                        dropped = tl.load(new + j, mask=j < K, other=0) != kept
                        tl.store(after + j, tl.full((BK,), nothing, most.dtype), mask=dropped & (j < K))
                    tl.debug_barrier()
                # Back from here to the last frame that all of them share.
                u = t
                for j0 in range(0, K, BK):
                    j = j0 + tl.arange(0, BK)
                    tl.store(walk + u % 2 * K + j, j, mask=j < K)
                tl.debug_barrier()
                low, high = _extremes(walk + u % 2 * K, after, K, BK)
                while (low != high) & (u > committed):
                    for j0 in range(0, K, BK):
                        j = j0 + tl.arange(0, BK)
                        state = tl.load(walk + u % 2 * K + j, mask=j < K, other=0)
                        source = tl.load(origins + u % capacity * K + state, mask=j < K, other=0)
                        tl.store(walk + (u - 1) % 2 * K + j, source, mask=j < K)
                    u -= 1
                    tl.debug_barrier()
                    low, high = _extremes(walk + u % 2 * K, after, K, BK)
                _trace(origins, capacity, K, low, u, committed, path, 0, room)
                committed = u + 1
                # One frame later they part: it is the oldest open one now.
                for j0 in range(0, K, BK):
                    j = j0 + tl.arange(0, BK)
                    state = tl.load(walk + (u + 1) % 2 * K + j, mask=(j < K) & (j * 0 + u < t), other=0)
                    tl.store(new + j, state, mask=j < K)
                tl.debug_barrier()
                low, high = _extremes(new, after, K, BK)
                late = (max_delay >= 0) & (t + 1 - committed > max_delay)
        tl.store(best + i, leader)
        i += 1
        tl.debug_barrier()
    tl.store(counts, committed)
    tl.store(counts + 1, forced)
    tl.store(counts + 2, leader)
    tl.store(counts + 3, seen + n)
    tl.store(score, offset)


@triton.jit(do_not_specialize=["capacity", "room"])
def viterbi_rest(delta, log_final, origins, counts, score, rest, capacity, room, K, BK: tl.constexpr):
    """Write the states of the ``room`` open frames of the best path that ends now, and its score."""
    nothing = float("-inf")
    seen = tl.load(counts + 3)
    most = tl.full((), nothing, delta.dtype.element_ty)
    state = tl.full((), 0, tl.int32)
    for j0 in range(0, K, BK):
        j = j0 + tl.arange(0, BK)
        value = tl.load(delta + seen % 2 * K + j, mask=j < K, other=nothing)
        if log_final is not None:
            value += tl.load(log_final + j, mask=j < K, other=nothing)
        highest = tl.max(value, 0)
        lowest = tl.min(tl.where((value == highest) & (j < K), j, K - 1), 0)
        state = tl.where(highest > most, lowest, state)
        most = tl.maximum(most, highest)
    committed = tl.load(counts)
    # Without a path the scores are left as they were.
    most = tl.where(tl.load(counts + 2) >= 0, most, nothing)
    if most > nothing:
        _trace(origins, capacity, K, state, seen - 1, committed, rest, committed, room)
    tl.store(score, tl.load(score) + most.to(tl.float64))


class Viterbi:
    """Best path of a stream; the arguments are those of one sequence, (K,), (K, R) and (K, K).

    The predecessors in the open frames and the committed states are kept in rings, which may have to grow:
    those of the predecessors only without max_delay. When they might be full, the host looks how many frames
    are open, and waits for the device. Once a push was captured in a CUDA graph, which knows where the rings
    are, they stay as they are.
    """

    def __init__(
        self,
        log_initial: Tensor,
        predecessors: Tensor | None,
        log_weight: Tensor,
        emission_index: Tensor | None,
        num_densities: int,
        max_delay: int | None,
    ) -> None:
        del num_densities  # the kernels read no further
        self._arcs = _Arcs(log_initial, predecessors, log_weight, emission_index)
        self._max_delay = -1 if max_delay is None else max_delay
        K = len(log_initial)
        self._delta = log_initial.new_empty((2, K))
        self._oldest, self._walk = (log_initial.new_empty((2, K), dtype=torch.int32) for _ in range(2))
        capacity = CAPACITY if max_delay is None else max_delay + 2
        self._origins = self._walk.new_empty((capacity, K))
        self._path = self._walk.new_empty(CAPACITY, dtype=torch.int64)
        self._counts = self._walk.new_zeros(4, dtype=torch.int64)
        self._score = log_initial.new_zeros((), dtype=torch.float64)
        self._captured = False
        self.reset()

    def reset(self) -> None:
        """Forget all frames."""
        self._pushed = self._taken = self._surely_committed = 0
        self._counts.zero_()
        self._score.zero_()

    def _look(self) -> None:
        """Read how many frames there are, and how many of them are committed; waits for the device."""
        self._surely_committed, _, _, self._pushed = self._counts.tolist()

    @property
    def num_frames(self) -> int:
        """Frames since the last reset; waits for the device."""
        self._look()
        return self._pushed

    @property
    def num_committed(self) -> int:
        """Frames whose state will not change any more; waits for the device."""
        self._look()
        return self._surely_committed

    @property
    def num_waiting(self) -> int:
        """Committed states that were not yet taken; waits for the device."""
        return self.num_committed - self._taken

    @property
    def num_forced(self) -> int:
        """Decisions that max_delay forced; waits for the device."""
        return int(self._counts[1])

    @property
    def log_score(self) -> float:
        """Score of the best path that ends now; waits for the device."""
        return float(self._score)

    def push(self, log_emission: Tensor, best: Tensor) -> bool:
        """Take frames (P,) or (n, P), write as many best states; always True, see the top of this module."""
        n, width = _shape(log_emission)
        if is_capturing(self._counts):
            if self._max_delay < 0:
                raise RuntimeError("a push can be captured in a CUDA graph only with max_delay")
            self._captured = True
        else:
            self._pushed += n
            self._make_room()
        launch(
            viterbi_frames,
            (1,),
            *(*self._arcs.tensors, log_emission, self._delta, self._oldest, self._walk, self._origins),
            *(self._path, best, self._counts, self._score),
            *(n, width, len(self._origins), len(self._path), self._max_delay),
            *(self._arcs.num_states, self._arcs.slots),
            **self._arcs.blocks,
        )
        return True

    def _make_room(self) -> None:
        """Let the frames be kept that were pushed, less those that were taken or committed."""
        room = len(self._path)
        if self._pushed - self._taken > room and not self._captured:
            longer = self._path.new_empty(2 * (self._pushed - self._taken))
            kept = torch.arange(self._taken, self._taken + room, device=longer.device)
            longer[kept % len(longer)] = self._path[kept % room]
            self._path = longer
        capacity = len(self._origins)
        if self._max_delay >= 0 or self._pushed - self._surely_committed <= capacity:
            return
        pushed = self._pushed
        seen = self.num_frames
        # Without a path nothing more is written.
        if pushed - self._surely_committed > capacity and int(self._counts[2]) >= 0:
            larger = self._origins.new_empty((2 * (pushed - self._surely_committed), self._arcs.num_states))
            kept = torch.arange(self._surely_committed, seen, device=larger.device)
            larger[kept % len(larger)] = self._origins[kept % capacity]
            self._origins = larger
        self._pushed = pushed

    def take(self) -> Tensor:
        """Return the committed states that were not yet taken; waits for the device."""
        count, room = self.num_waiting, len(self._path)
        if count > room:
            raise RuntimeError(
                f"{count - room} committed states are lost: replayed pushes keep {room}; take them before"
            )
        frame = torch.arange(self._taken, self._taken + count, device=self._path.device)
        self._taken += count
        return self._path[frame % room]

    def finish(self, log_final: Tensor | None) -> tuple[Tensor, float]:
        """Return all states not yet taken and the score of the path; start anew; waits for the device."""
        states = self.take()
        if self._pushed > 0:
            rest = states.new_full((self._pushed - self._surely_committed,), -1)
            launch(
                viterbi_rest,
                (1,),
                *(self._delta, None if log_final is None else log_final.contiguous(), self._origins),
                *(self._counts, self._score, rest, len(self._origins), len(rest), self._arcs.num_states),
                BK=self._arcs.blocks["BK"],
            )
            states = torch.cat((states, rest))
        score = self.log_score
        self.reset()
        return states, score
