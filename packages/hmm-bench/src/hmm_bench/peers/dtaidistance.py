# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["dtaidistance==2.5.1", "numpy"]
# ///
"""dtaidistance: dynamic time warping in C, one pair of feature sequences a call."""

from collections.abc import Callable
from functools import partial
from importlib import metadata
from typing import Any

import numpy as np
from dtaidistance import dtw_ndim
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
Path = list[tuple[int, int]]


def version() -> str:
    """Version of dtaidistance."""
    return metadata.version("dtaidistance")


def dtw(arrays: Arrays, _threads: int) -> tuple[Callable[[], list[Path]], Callable[[list[Path]], tuple[Any]]]:
    """``dtw_ndim.warping_path`` in C."""
    length = (
        sum(arrays["cost"].shape[1:] if "cost" in arrays else (arrays[name].shape[1] for name in "xy")) - 1
    )
    convert = partial(padded, length=length)
    if "cost" in arrays:
        raise NotImplementedError("takes no costs")
    pairs = list(zip(*(arrays[name].astype(np.float64) for name in "xy"), strict=True))
    return lambda: [dtw_ndim.warping_path(x, y, use_c=True) for x, y in pairs], convert


def padded(paths: list[Path], length: int) -> tuple[Any]:
    """Fill up paths with -1."""
    answer = np.full((len(paths), length, 2), -1)
    for row, path in zip(answer, paths, strict=True):
        row[: len(path)] = path
    return (answer,)
