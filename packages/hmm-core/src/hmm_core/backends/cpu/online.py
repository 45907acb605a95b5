"""Streams in C++: hands addresses to the objects of ``csrc/include/hmm/online.hpp``."""

import torch
from torch import Tensor

from hmm_core.backends.cpu import _cpu
from hmm_core.backends.cpu._model import describe


def _describe(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    emission_index: Tensor | None,
    num_densities: int,
) -> tuple[_cpu.Model, object]:
    """Describe a model as a batch of no sequences, and return what must be kept with it."""
    return describe(
        log_initial[None],
        None if predecessors is None else predecessors[None],
        log_weight[None, None],
        log_initial.new_empty(0, 0, num_densities),
        torch.empty(0, dtype=torch.int64, device="cpu"),
        log_initial.new_empty(0, len(log_initial)),
        None if emission_index is None else emission_index[None],
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
        model, self._keep = _describe(log_initial, predecessors, log_weight, emission_index, num_densities)
        self._filter = _cpu.OnlineFilter(model)
        self._log_initial = log_initial

    def reset(self) -> None:
        """Forget all frames."""
        self._filter.reset()

    def restore(self, log_filter: Tensor, log_likelihood: float, num_frames: int) -> None:
        """Continue after so many frames."""
        self._filter.restore(log_filter.contiguous().data_ptr(), log_likelihood, num_frames)

    def save(self) -> Tensor:
        """Return what restore() takes: log_initial before the first frame."""
        log_filter = torch.empty_like(self._log_initial)
        self._filter.save(log_filter.data_ptr())
        return log_filter

    @property
    def log_likelihood(self) -> float:
        """Log-likelihood of all frames."""
        return self._filter.log_likelihood

    @property
    def num_frames(self) -> int:
        """Frames since the last reset."""
        return self._filter.num_frames

    def push(self, log_emission: Tensor, log_filter: Tensor, log_likelihood: Tensor | None) -> bool:
        """Take frames (P,) or (n, P), write as many rows (K,); False, and nothing done, at NaN or +inf."""
        n, width = (1, len(log_emission)) if log_emission.ndim == 1 else log_emission.shape
        return self._filter.push(
            log_emission.data_ptr(),
            n,
            width,
            log_filter.data_ptr(),
            0 if log_likelihood is None else log_likelihood.data_ptr(),
        )


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
        model, self._keep = _describe(log_initial, predecessors, log_weight, emission_index, num_densities)
        self._viterbi = _cpu.OnlineViterbi(model, -1 if max_delay is None else max_delay)

    def reset(self) -> None:
        """Forget all frames."""
        self._viterbi.reset()

    @property
    def num_frames(self) -> int:
        """Frames since the last reset."""
        return self._viterbi.num_frames

    @property
    def num_committed(self) -> int:
        """Frames whose state will not change any more."""
        return self._viterbi.num_committed

    @property
    def num_waiting(self) -> int:
        """Committed states that were not yet taken."""
        return self._viterbi.num_waiting

    @property
    def num_forced(self) -> int:
        """Decisions that max_delay forced."""
        return self._viterbi.num_forced

    @property
    def log_score(self) -> float:
        """Score of the best path that ends now."""
        return self._viterbi.log_score

    def push(self, log_emission: Tensor, best: Tensor) -> bool:
        """Take frames (P,) or (n, P), write as many best states; False, and nothing done, at NaN or +inf."""
        n, width = (1, len(log_emission)) if log_emission.ndim == 1 else log_emission.shape
        return self._viterbi.push(log_emission.data_ptr(), n, width, best.data_ptr())

    def take(self) -> Tensor:
        """Return the committed states that were not yet taken."""
        states = torch.empty(self._viterbi.num_waiting, dtype=torch.int64, device="cpu")
        self._viterbi.take(states.data_ptr())
        return states

    def finish(self, log_final: Tensor | None) -> tuple[Tensor, float]:
        """Return all states not yet taken and the score of the path; start anew."""
        opened = self.num_frames - self.num_committed
        states = torch.empty(self._viterbi.num_waiting + opened, dtype=torch.int64, device="cpu")
        log_final = None if log_final is None else log_final.contiguous()
        score = self._viterbi.finish(0 if log_final is None else log_final.data_ptr(), states.data_ptr())
        return states, score
