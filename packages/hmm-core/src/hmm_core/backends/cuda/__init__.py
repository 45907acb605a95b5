"""Triton kernels; each module allocates the outputs and launches those of ``dense`` or ``sparse``.

Nothing here imports Triton before an operation runs.
"""

import importlib.metadata
import importlib.util
import os
import re

import torch

from hmm_core.backends.cuda import _launch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Whether Triton runs the kernels on the CPU, step by step: a way to test them without a GPU."""


# The oldest versions for which the kernels were compiled.
OLDEST = {"triton": (3, 6), "torch": (2, 11)}


def problem() -> str | None:
    """Why the Triton kernels cannot be used here, or None."""
    if importlib.util.find_spec("triton") is None:
        return "needs Triton, which is not installed; on Linux, torch for CUDA brings it along"
    for package, oldest in OLDEST.items():
        found = _version(package)
        if found is not None and found < oldest:
            least, there = (".".join(map(str, numbers)) for numbers in (oldest, found))
            return f"needs {package} {least} or newer; {there} is installed"
    if takes_cpu_tensors() or torch.cuda.is_available():
        return None
    if torch.version.cuda is None:
        return "needs a GPU; this torch is built without CUDA"
    return f"needs a GPU; torch is built for CUDA {torch.version.cuda}, but sees no device"


def _version(package: str) -> tuple[int, int] | None:
    """Read the first two numbers of a package's version; None for one that goes by another name."""
    try:
        numbers = re.match(r"(\d+)\.(\d+)", importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return None
    return (int(numbers[1]), int(numbers[2])) if numbers else None


def takes_cpu_tensors() -> bool:
    """Whether no GPU is needed, because the kernels are interpreted or launches only written down."""
    return INTERPRETED or _launch.is_recording()
