"""Choice of the backend of a call."""

import warnings
from typing import Literal

import torch

from hmm_core import backends
from hmm_core._validate import Problem
from hmm_core.backends import BackendUnavailableError

Backend = Literal["auto", "reference", "cpu"]

# Operations that have a C++ kernel, and what it takes.
_CPU_KERNELS = {"viterbi": "Sparse transitions"}


class NativeKernelsMissingWarning(RuntimeWarning):
    """The C++ kernels of hmm-core are not installed; the reference computes the same, slowly."""


def resolve(op: str, backend: str, problem: Problem) -> Literal["reference", "cpu"]:
    """Name the backend that computes ``op`` for these arguments."""
    if backend == "reference":
        return "reference"
    if backend not in {"auto", "cpu"}:
        raise ValueError(f'backend must be "auto", "reference" or "cpu"; got {backend!r}')
    unsuitable = _unsuitable(op, problem)
    missing = backends.native_problem()
    if unsuitable is None and missing is None:
        return "cpu"
    if backend == "cpu":
        raise BackendUnavailableError(f'backend="cpu" {unsuitable or missing}')
    if unsuitable is None and not torch.compiler.is_compiling():
        _warn_once()
    return "reference"


def _unsuitable(op: str, problem: Problem) -> str | None:
    """Why the C++ kernels cannot take these arguments, or None."""
    if op not in _CPU_KERNELS:
        return f"has no kernel for {op}; it has one for {', '.join(sorted(_CPU_KERNELS))}"
    if problem.log_emission.device.type != "cpu":
        return f"needs CPU tensors; log_emission is on {problem.log_emission.device}"
    if problem.predecessors is None:
        return f"has a {op} kernel for {_CPU_KERNELS[op]} only; log_transition is a dense Tensor"
    return None


_warned: list[bool] = []


def _warn_once() -> None:
    """Say, the first time it matters, that the kernels are missing and how to get them."""
    if not _warned:
        _warned.append(True)
        warnings.warn(
            f"{backends.native_problem()}; using the slow reference instead",
            NativeKernelsMissingWarning,
            stacklevel=4,
        )
