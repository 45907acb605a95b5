# /// script
# requires-python = ">=3.11"
# dependencies = ["numpy>=2.1"]
# ///
"""The filter that anybody would write with NumPy: one product, one division."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
Converted = tuple[Callable[[], list[Any]], Callable[[list[Any]], tuple[Any]]]


def version() -> str:
    """Version of NumPy."""
    return np.__version__


def filter(arrays: Arrays, _threads: int) -> Converted:  # noqa: A001  (the operation's name)
    """Carry probabilities from frame to frame."""
    initial, matrix = (np.exp(arrays[f"log_{name}"]) for name in ("initial", "transition"))
    frames = list(arrays["log_emission"][0])

    def run() -> list[Any]:
        """Take in all frames."""
        predicted, answers = initial, []
        for frame in frames:
            joint = predicted * np.exp(frame - frame.max())
            filtered = joint / joint.sum()
            answers.append(filtered)
            predicted = filtered @ matrix
        return answers

    return run, lambda answers: (np.log(np.stack(answers))[None],)
