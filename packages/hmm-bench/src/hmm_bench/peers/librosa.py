# /// script
# requires-python = ">=3.12,<3.13"
# dependencies = ["librosa==1.0.0"]
# ///
"""librosa: Viterbi and dynamic time warping, compiled by numba; a loop over the batch for the latter."""

from collections.abc import Callable
from functools import partial
from importlib import metadata
from typing import Any

import librosa
import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
Path = NDArray[Any]


def version() -> str:
    """Version of librosa."""
    return metadata.version("librosa")


def viterbi(arrays: Arrays, _threads: int) -> Callable[[], tuple[Any, ...]]:
    """``librosa.sequence.viterbi``, which takes probabilities."""
    if "log_transition" not in arrays:
        raise NotImplementedError("is measured on dense transitions only")
    peak = arrays["log_emission"].max(axis=2, keepdims=True)
    probability = np.ascontiguousarray(np.exp(arrays["log_emission"] - peak).swapaxes(1, 2))
    initial, matrix = (np.exp(arrays[f"log_{name}"].astype(np.float64)) for name in ("initial", "transition"))
    matrix /= matrix.sum(axis=1, keepdims=True)  # it insists on this, more strictly than float32 allows
    initial /= initial.sum()
    return lambda: (librosa.sequence.viterbi(probability, matrix, p_init=initial),)


def dtw(
    arrays: Arrays, _threads: int
) -> tuple[Callable[[], list[Path]], Callable[[list[Path]], tuple[Path]]]:
    """``librosa.sequence.dtw`` with its path, from costs or features."""
    length = (
        sum(arrays["cost"].shape[1:] if "cost" in arrays else (arrays[name].shape[1] for name in "xy")) - 1
    )
    convert = partial(padded, length=length)
    if "cost" in arrays:
        costs = arrays["cost"]
        return lambda: [librosa.sequence.dtw(C=cost)[1] for cost in costs], convert
    pairs = [(x.T, y.T) for x, y in zip(arrays["x"], arrays["y"], strict=True)]
    return lambda: [librosa.sequence.dtw(x, y, metric="sqeuclidean")[1] for x, y in pairs], convert


def padded(paths: list[Path], length: int) -> tuple[Path]:
    """Turn paths around and fill them up with -1."""
    answer = np.full((len(paths), length, 2), -1)
    for row, path in zip(answer, paths, strict=True):
        row[: len(path)] = path[::-1]
    return (answer,)
