# /// script
# requires-python = "==3.11.*"
# dependencies = ["himap==1.4.0"]
# ///
"""himap: hidden semi-Markov models, Viterbi in Cython and the likelihood in NumPy, one sequence a call.

Its model computes emissions as well, so what is behind it is called; it fills its table of segment scores
(T, K, L) first, and so does this. The likelihood takes minutes for a batch and is left out.
"""

from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np
from himap.cython_build import fwd_bwd
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


def version() -> str:
    """Version of himap."""
    return metadata.version("himap")


def semi_markov_viterbi(arrays: Arrays, _threads: int) -> Callable[[], tuple[Any, ...]]:
    """``fwd_bwd._viterbi`` of each sequence."""
    initial, matrix, duration, emission = (
        arrays[f"log_{name}"].astype(np.float64) for name in ("initial", "transition", "duration", "emission")
    )
    B, T, K = emission.shape
    L = duration.shape[1]

    def run() -> tuple[Any, ...]:
        """Decode the batch."""
        states = np.empty((B, T), dtype=np.int64)
        for row, frames in zip(states, emission, strict=True):
            table = np.empty((T, K, L))
            fwd_bwd._u_only(T, K, L, frames, table)  # noqa: SLF001  (what its predict() calls)
            row[:] = fwd_bwd._viterbi(T, K, L, initial, matrix, duration, 0, 0, table)[0]  # noqa: SLF001
        return (states,)

    return run
