# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["monotonic-align==1.0.0", "numpy", "torch"]
# ///
"""monotonic-align: Viterbi in Cython on a chain whose paths all weigh the same.

It copies the scores and returns a table (B, T, N) of ones on the path, which is not converted while timed.
"""

from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np
import torch
from monotonic_align import maximum_path
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


def version() -> str:
    """Version of monotonic-align."""
    return metadata.version("monotonic-align")


def viterbi(
    arrays: Arrays, _threads: int
) -> tuple[Callable[[], torch.Tensor], Callable[[torch.Tensor], tuple[NDArray[Any], ...]]]:
    """``maximum_path`` of scores and their mask."""
    weights = arrays.get("log_weight", np.zeros(2))
    if not np.array_equal(np.unique(weights[np.isfinite(weights)]), weights[:1, 0]):
        raise NotImplementedError("knows chains of self and next with equal weights only")
    scores = torch.from_numpy(arrays["log_emission"])
    mask = torch.ones_like(scores)
    return lambda: maximum_path(scores, mask), lambda path: (path.numpy().argmax(2),)
