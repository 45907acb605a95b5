"""Triton kernels; each module allocates the outputs and launches those of ``dense`` or ``sparse``.

Nothing here imports Triton before an operation runs.
"""

import importlib.util
import os

import torch

from hmm_core.backends.cuda import _launch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Whether Triton runs the kernels on the CPU, step by step: a way to test them without a GPU."""


def problem() -> str | None:
    """Why the Triton kernels cannot be used here, or None."""
    if importlib.util.find_spec("triton") is None:
        return "needs Triton, which is not installed; on Linux, torch for CUDA brings it along"
    if takes_cpu_tensors() or torch.cuda.is_available():
        return None
    if torch.version.cuda is None:
        return "needs a GPU; this torch is built without CUDA"
    return f"needs a GPU; torch is built for CUDA {torch.version.cuda}, but sees no device"


def takes_cpu_tensors() -> bool:
    """Whether no GPU is needed, because the kernels are interpreted or launches only written down."""
    return INTERPRETED or _launch.is_recording()
