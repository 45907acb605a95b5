"""Which kernels compute an operation."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from torch import Tensor


def kernels(op: str, predecessors: Tensor | None) -> Callable[..., Any]:
    """Return the function of an operation for one form of transitions; the first call imports Triton."""
    family = "dense" if predecessors is None else "sparse"
    function: Callable[..., Any] = getattr(import_module(f"hmm_core.backends.cuda.{family}"), op)
    return function
