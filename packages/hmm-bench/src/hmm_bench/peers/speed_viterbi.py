# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["speed-viterbi==0.1.0", "numpy"]
# ///
"""speed-viterbi: CTC alignment in Rust, batched."""

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


def ctc_alignment(arrays: Arrays, threads: int) -> Callable[[], tuple[Any, ...]]:
    """``viterbi_decoding``, or its serial form for one thread."""
    scores = arrays["log_prob"].astype(np.float32)
    targets = np.ascontiguousarray(arrays["targets"], dtype=np.int64)
    frames = np.full(len(scores), scores.shape[1], dtype=np.int64)
    tokens = np.full(len(scores), targets.shape[1], dtype=np.int64)
    decode = speed_viterbi.viterbi_decoding_serial if threads == 1 else speed_viterbi.viterbi_decoding
    return lambda: (decode(scores, targets, frames, tokens),)
