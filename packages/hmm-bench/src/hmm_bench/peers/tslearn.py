# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["tslearn==0.10.0", "numba"]
# ///
"""tslearn: dynamic time warping and soft-DTW, compiled by numba, one pair a call."""

from collections.abc import Callable
from functools import partial
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tslearn.metrics import SoftDTW, dtw_path, dtw_path_from_metric

Arrays = dict[str, NDArray[Any]]
Path = list[tuple[int, int]]
GAMMA = 1.0


def version() -> str:
    """Version of tslearn."""
    return metadata.version("tslearn")


def dtw(arrays: Arrays, _threads: int) -> tuple[Callable[[], list[Path]], Callable[[list[Path]], tuple[Any]]]:
    """``dtw_path`` of features, ``dtw_path_from_metric`` of costs."""
    length = (
        sum(arrays["cost"].shape[1:] if "cost" in arrays else (arrays[name].shape[1] for name in "xy")) - 1
    )
    convert = partial(padded, length=length)
    if "cost" in arrays:
        costs = arrays["cost"].astype(np.float64)
        return lambda: [dtw_path_from_metric(cost, metric="precomputed")[0] for cost in costs], convert
    pairs = list(zip(*(arrays[name].astype(np.float64) for name in "xy"), strict=True))
    return lambda: [dtw_path(x, y)[0] for x, y in pairs], convert


def soft_dtw(arrays: Arrays, _threads: int) -> Callable[[], tuple[Any, ...]]:
    """``SoftDTW`` on a matrix of costs."""
    if "cost" not in arrays:
        raise NotImplementedError("is measured on costs; its features have no gradient in one call")
    costs = arrays["cost"].astype(np.float64)

    def run() -> tuple[Any, ...]:
        """Forward and backward."""
        values, gradients = [], []
        for cost in costs:
            problem = SoftDTW(cost, gamma=GAMMA)
            values.append(problem.compute())
            gradients.append(problem.grad())
        return np.array(values), np.stack(gradients)

    return run


def padded(paths: list[Path], length: int) -> tuple[Any]:
    """Fill up paths with -1."""
    answer = np.full((len(paths), length, 2), -1)
    for row, path in zip(answer, paths, strict=True):
        row[: len(path)] = path
    return (answer,)
