"""Choice of the backend of a call."""

import warnings
from typing import Literal

import torch

from hmm_core import backends
from hmm_core.backends import BackendUnavailableError, cuda

Backend = Literal["auto", "reference", "cpu", "cuda"]
Chosen = Literal["reference", "cpu", "cuda"]


class NativeKernelsMissingWarning(RuntimeWarning):
    """The kernels for a device are not installed; the reference computes the same, slowly."""


def resolve(backend: str, device: torch.device, *, transformed: bool = False) -> Chosen:
    """Name the backend that computes a call with tensors on ``device``.

    ``transformed``: under torch.func and forward-mode differentiation only the reference can run.
    """
    if backend == "reference":
        return "reference"
    if backend not in {"auto", "cpu", "cuda"}:
        raise ValueError(f'backend must be "auto", "reference", "cpu" or "cuda"; got {backend!r}')
    if backend == "auto":
        if device.type not in {"cpu", "cuda"} or transformed:
            return "reference"
        fastest: Chosen = "cuda" if device.type == "cuda" else "cpu"
        missing = backends.problem(fastest)
        if missing is None:
            return fastest
        if not torch.compiler.is_compiling():
            _warn_once(missing)
        return "reference"
    chosen: Chosen = "cpu" if backend == "cpu" else "cuda"
    reason = _unsuitable(chosen, device, transformed=transformed) or backends.problem(chosen)
    if reason is not None:
        raise BackendUnavailableError(f'backend="{backend}" {reason}')
    return chosen


def _unsuitable(chosen: Chosen, device: torch.device, *, transformed: bool) -> str | None:
    """Why the kernels of a backend cannot take a call, or None."""
    # Triton's interpreter, and whoever only collects launches, take tensors on the CPU.
    if device.type != chosen and not (chosen == "cuda" and cuda.takes_cpu_tensors()):
        return f"needs {chosen.upper()} tensors; these are on {device}"
    if transformed:
        return "cannot run under torch.func transforms and forward-mode differentiation; the reference can"
    return None


_warned: list[str] = []


def _warn_once(missing: str) -> None:
    """Say, the first time it matters, that kernels are missing and how to get them."""
    if missing not in _warned:
        _warned.append(missing)
        warnings.warn(
            f"{missing}; using the slow reference instead",
            NativeKernelsMissingWarning,
            stacklevel=5,
        )
