"""Calls that launch the kernels of warping in every configuration."""

from collections.abc import Callable
from functools import partial

import torch

from hmm_core import SakoeChiba, dtw, pairwise_cost, soft_dtw


def _soft(dtype: torch.dtype, window: SakoeChiba | None) -> None:
    """Launch the kernels of the values and of the derivative."""
    cost = torch.zeros(2, 70, 90, dtype=dtype, requires_grad=True)
    value = soft_dtw(cost, window=window, backend="cuda")
    torch.autograd.grad(value.sum(), cost)


def _cost(dtype: torch.dtype, metric: str) -> None:
    """Launch the kernel of the costs of frames."""
    frames = torch.zeros(2, 70, 3, dtype=dtype)
    pairwise_cost(frames, frames, metric=metric, backend="cuda")  # type: ignore[arg-type]  # one of them


SINGLE, DOUBLE = torch.float32, torch.float64
COST = torch.zeros(2, 70, 90)

CASES: list[Callable[[], object]] = [
    *(partial(dtw, COST, step_pattern=p, backend="cuda") for p in ("symmetric1", "symmetric2", "asymmetric")),
    partial(dtw, COST, return_path=False, backend="cuda"),
    partial(dtw, COST, window=SakoeChiba(9), backend="cuda"),
    partial(dtw, COST.double(), window=SakoeChiba(9), backend="cuda"),
    *(partial(_soft, dtype, window) for dtype in (SINGLE, DOUBLE) for window in (None, SakoeChiba(9))),
    *(partial(_cost, dtype, "euclidean") for dtype in (SINGLE, DOUBLE)),
    partial(_cost, SINGLE, "sqeuclidean"),
]
SMALLEST: list[Callable[[], object]] = [
    partial(dtw, COST[:, :1, :1], backend="cuda"),
    partial(_cost, SINGLE, "euclidean"),
]
