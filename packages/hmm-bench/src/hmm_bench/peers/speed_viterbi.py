# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["speed-viterbi==0.1.0", "numpy"]
# ///
"""speed-viterbi: CTC alignment in Rust, batched; targets come with their blanks, and it returns states."""

from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np
import speed_viterbi
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


def version() -> str:
    """Version of speed-viterbi."""
    return metadata.version("speed-viterbi")


def ctc_alignment(
    arrays: Arrays, threads: int
) -> tuple[Callable[[], list[list[int]]], Callable[[list[list[int]]], tuple[NDArray[Any]]]]:
    """``viterbi_decoding``, or its serial form for one thread."""
    scores = arrays["log_prob"].astype(np.float32)
    B, T, _ = scores.shape
    symbols = np.zeros((B, 2 * arrays["targets"].shape[1] + 1), dtype=np.int64)
    symbols[:, 1::2] = arrays["targets"]
    lengths = np.full(B, T), np.full(B, symbols.shape[1])
    decode = speed_viterbi.viterbi_decoding_serial if threads == 1 else speed_viterbi.viterbi_decoding
    return (
        lambda: decode(scores, symbols, *lengths),
        lambda states: (np.take_along_axis(symbols, np.array(states), axis=1),),
    )
