# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["dtw-python==1.9.0"]
# ///
"""dtw-python: dynamic time warping in C, one matrix of costs a call."""

from collections.abc import Callable
from functools import partial
from importlib import metadata
from typing import Any

import numpy as np
from dtw import dtw as align
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


def version() -> str:
    """Version of dtw-python."""
    return metadata.version("dtw-python")


def dtw(arrays: Arrays, _threads: int) -> tuple[Callable[[], list[Any]], Callable[[list[Any]], tuple[Any]]]:
    """``dtw`` with the step pattern symmetric1."""
    if "cost" not in arrays:
        raise NotImplementedError("is measured on costs")
    costs = arrays["cost"].astype(np.float64)
    return lambda: [align(cost, step_pattern="symmetric1") for cost in costs], partial(
        padded, length=sum(costs.shape[1:]) - 1
    )


def padded(alignments: list[Any], length: int) -> tuple[Any]:
    """Collect paths and fill them up with -1."""
    answer = np.full((len(alignments), length, 2), -1)
    for row, item in zip(answer, alignments, strict=True):
        row[: len(item.index1)] = np.stack((item.index1, item.index2), axis=1)
    return (answer,)
