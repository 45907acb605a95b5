"""Choice of the backend of a call."""

import warnings
from typing import Literal

import torch

from hmm_core import backends
from hmm_core.backends import BackendUnavailableError

Backend = Literal["auto", "reference", "cpu"]
Chosen = Literal["reference", "cpu"]


class NativeKernelsMissingWarning(RuntimeWarning):
    """The C++ kernels of hmm-core are not installed; the reference computes the same, slowly."""


def resolve(backend: str, device: torch.device, *, transformed: bool = False) -> Chosen:
    """Name the backend that computes a call with tensors on ``device``.

    ``transformed``: under torch.func and forward-mode differentiation only the reference can run.
    """
    if backend == "reference":
        return "reference"
    if backend not in {"auto", "cpu"}:
        raise ValueError(f'backend must be "auto", "reference" or "cpu"; got {backend!r}')
    missing = backends.native_problem()
    if missing is None and not transformed and device.type == "cpu":
        return "cpu"
    if backend == "cpu":
        raise BackendUnavailableError(
            f'backend="cpu" {_unsuitable(device, transformed=transformed) or missing}'
        )
    if missing is not None and device.type == "cpu" and not torch.compiler.is_compiling():
        _warn_once()
    return "reference"


def _unsuitable(device: torch.device, *, transformed: bool) -> str | None:
    """Why the C++ kernels cannot take a call, or None."""
    if device.type != "cpu":
        return f"needs CPU tensors; these are on {device}"
    if transformed:
        return "cannot run under torch.func transforms and forward-mode differentiation; the reference can"
    return None


_warned: list[bool] = []


def _warn_once() -> None:
    """Say, the first time it matters, that the kernels are missing and how to get them."""
    if not _warned:
        _warned.append(True)
        warnings.warn(
            f"{backends.native_problem()}; using the slow reference instead",
            NativeKernelsMissingWarning,
            stacklevel=5,
        )
