"""What all problems have in common."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor

from hmm_bench._instance import Instance
from hmm_bench._workload import Workload

Answer = tuple[Tensor, ...]
Backend = Literal["auto", "reference", "cpu", "cuda"]


class UnavailableError(RuntimeError):
    """An implementation cannot compute an instance here; the message says why."""


class Problem(ABC):
    """One operation: its random data, how hmm-core computes it, and how wrong an answer is."""

    tolerance: float
    """Largest error that is still right."""

    @abstractmethod
    def make(self, instance: Instance, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Make the tensors of an instance in float64."""

    @abstractmethod
    def core(self, instance: Instance, workload: Workload, backend: Backend) -> Callable[[], Answer]:
        """Bind hmm-core's operation as a user calls it: validation included, what can be kept is kept."""

    @abstractmethod
    def error(self, exact: Workload, answer: Answer, expected: Answer) -> float:
        """Tell how far an answer in float64 is from the expected one; infinite if it is none at all."""

    def expected(self, instance: Instance, exact: Workload) -> Answer:
        """Compute the answer by hmm-core's definition, from tensors in float64."""
        return self.core(instance, exact, "reference")()


def relative_error(answer: Tensor, expected: Tensor) -> float:
    """Return the largest error relative to the expected value, or to 1 where that is smaller."""
    return absolute_error(answer, expected, expected.abs().clamp(min=1.0))


def absolute_error(answer: Tensor, expected: Tensor, scale: Tensor | float = 1.0) -> float:
    """Return the largest error, in units of ``scale``; equal infinities have none."""
    if answer.shape != expected.shape:
        return torch.inf
    error = torch.where(answer == expected, 0.0, (answer - expected).abs() / scale)
    return float(error.nan_to_num(nan=torch.inf, posinf=torch.inf).max()) if error.numel() else 0.0
