"""Streams: the forward and the Viterbi recursion, a frame after another.

    log_filter[t, j] = log p(z_t = j | y_1..t)
                     = log_emission[t, j] + logsumexp_i (log_filter[t-1, i] + log_weight[i, j]) - normaliser

The frames of a best path that all surviving paths share are committed (Sramek, Brejova and Vinar 2007).
"""

import torch
from torch import Tensor

from hmm_core.backends.reference._recursion import Arcs, finite_or_zero, logsumexp


def _any_wrong(log_emission: Tensor) -> bool:
    """Whether a value is NaN or +inf."""
    return bool((~(log_emission < torch.inf)).any())


def _frames(log_emission: Tensor, emission_index: Tensor | None) -> Tensor:
    """Scores of all states: (n, K)."""
    frames = log_emission.view(-1, log_emission.shape[-1])
    return frames if emission_index is None else frames[:, emission_index]


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
        self._log_initial = log_initial
        self._arcs = Arcs(None if predecessors is None else predecessors[None], log_weight[None, None], 1)
        self._index = emission_index
        self.reset()

    def reset(self) -> None:
        """Forget all frames."""
        self.restore(self._log_initial, 0.0, 0)

    def restore(self, log_filter: Tensor, log_likelihood: float, num_frames: int) -> None:
        """Continue after so many frames."""
        self._log_filter = log_filter.clone()
        self._log_likelihood = torch.tensor(log_likelihood, dtype=torch.float64, device=log_filter.device)
        self.num_frames = num_frames

    def save(self) -> Tensor:
        """Return what restore() takes: log_initial before the first frame."""
        return self._log_filter.clone()

    @property
    def log_likelihood(self) -> float:
        """Log-likelihood of all frames."""
        return float(self._log_likelihood)

    def push(self, log_emission: Tensor, log_filter: Tensor, log_likelihood: Tensor | None) -> bool:
        """Take frames (P,) or (n, P), write as many rows (K,); False, and nothing done, at NaN or +inf."""
        if _any_wrong(log_emission):
            return False
        log_filter = log_filter.view(-1, log_filter.shape[-1])
        for t, frame in enumerate(_frames(log_emission, self._index)):
            # Large scores would swallow the differences between states: they are added in float64.
            peak = finite_or_zero(frame.amax())
            inside = self._log_filter
            if self.num_frames > 0:
                inside = logsumexp(self._arcs.at_source(inside[None]) + self._arcs.weight(0), 2)[0]
            joint = inside + (frame - peak)
            total = logsumexp(joint, 0)
            # What became impossible stays so until the reset.
            possible = (total > -torch.inf) & (self._log_likelihood > -torch.inf)
            self._log_filter = torch.where(possible, joint - finite_or_zero(total), -torch.inf)
            step = torch.where(possible, total.double() + peak.double(), -torch.inf)
            self._log_likelihood = self._log_likelihood + step
            self.num_frames += 1
            log_filter[t] = self._log_filter
            if log_likelihood is not None:
                log_likelihood[t] = self._log_likelihood
        return True


class Viterbi:
    """Best path of a stream; the arguments are those of one sequence, (K,), (K, R) and (K, K)."""

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
        self._log_initial = log_initial
        self._arcs = Arcs(None if predecessors is None else predecessors[None], log_weight[None, None], 1)
        self._index = emission_index
        self._max_delay = max_delay
        self.reset()

    def reset(self) -> None:
        """Forget all frames."""
        self._delta = self._log_initial
        self._offset = 0.0
        self._origins: list[Tensor] = []  # of the open frames, and some before them
        self._waiting: list[int] = []
        self.num_frames = self.num_committed = self.num_forced = 0

    @property
    def num_waiting(self) -> int:
        """Committed states that were not yet taken."""
        return len(self._waiting)

    @property
    def log_score(self) -> float:
        """Score of the best path that ends now."""
        if self.num_frames == 0:
            return 0.0
        return self._offset + float(self._delta.amax())

    def push(self, log_emission: Tensor, best: Tensor) -> bool:
        """Take frames (P,) or (n, P), write as many best states; False, and nothing done, at NaN or +inf."""
        if _any_wrong(log_emission):
            return False
        best = best.view(-1)
        for t, frame in enumerate(_frames(log_emission, self._index)):
            best[t] = self._step(frame)
        return True

    def _step(self, frame: Tensor) -> int:
        """Take one frame; return the best state."""
        if self.num_frames > 0:
            self._delta, slot = (self._arcs.at_source(self._delta[None]) + self._arcs.weight(0)).max(2)
            self._delta = self._delta[0]
            self._origins.append(self._arcs.source_of(slot)[0])
        self._delta = self._delta + frame
        shift = finite_or_zero(self._delta.amax())
        self._delta = self._delta - shift
        self._offset += float(shift)
        self.num_frames += 1
        most, state = self._delta.max(0)
        if most == -torch.inf:
            return -1
        self._commit()
        while self._max_delay is not None and self.num_frames - self.num_committed > self._max_delay:
            self._decide(int(state))
        return int(state)

    def _ancestors(self) -> Tensor:
        """States of every open frame on the path to each state, (open, K)."""
        rows = [torch.arange(len(self._delta), device=self._delta.device)]
        opened = self.num_frames - self.num_committed
        for origin in self._origins[len(self._origins) - opened + 1 :][::-1]:
            rows.append(origin[rows[-1]])
        return torch.stack(rows[::-1])

    def _commit(self) -> None:
        """Commit the open frames in which all surviving paths agree."""
        if self.num_frames == self.num_committed:
            return
        surviving = self._ancestors()[:, self._delta > -torch.inf]
        shared = (surviving == surviving[:, :1]).all(1)
        count = int(shared.sum())  # paths that part do not meet again: these are the first frames
        self._waiting += surviving[:count, 0].tolist()
        self.num_committed += count
        opened = self.num_frames - self.num_committed
        del self._origins[: max(len(self._origins) - opened, 0)]

    def _decide(self, best: int) -> None:
        """Drop the paths that part from the best one in the oldest open frame."""
        self.num_forced += 1
        oldest = self._ancestors()[0]
        self._delta = torch.where(oldest == oldest[best], self._delta, -torch.inf)
        self._commit()

    def take(self) -> Tensor:
        """Return the committed states that were not yet taken."""
        states = torch.tensor(self._waiting, dtype=torch.int64, device=self._delta.device)
        self._waiting = []
        return states

    def finish(self, log_final: Tensor | None) -> tuple[Tensor, float]:
        """Return all states not yet taken and the score of the path; start anew."""
        score = self.log_score
        states = self.take()
        if self.num_frames > 0:
            most, state = (self._delta if log_final is None else self._delta + log_final).max(0)
            score = self._offset + float(most)
            rest = states.new_full((self.num_frames - self.num_committed,), -1)
            if most > -torch.inf and len(rest):
                rest = self._ancestors()[:, state]
            states = torch.cat((states, rest))
        self.reset()
        return states, score
