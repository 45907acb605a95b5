# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["pyctcdecode==0.5.0", "numpy<2"]
# ///
"""pyctcdecode: CTC beam search in Python, without a language model.

With its defaults it leaves out labels below a log-probability of -5 and prefixes 10 below the best.
"""

from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyctcdecode import build_ctcdecoder

Arrays = dict[str, NDArray[Any]]
_BEAM_WIDTH = 16
_FIRST = 0x4E00  # labels are characters, none of them a space


def version() -> str:
    """Version of pyctcdecode."""
    return metadata.version("pyctcdecode")


def ctc_decode(
    arrays: Arrays, threads: int
) -> tuple[Callable[[], list[str]], Callable[[list[str]], tuple[NDArray[Any]]]]:
    """``decode_beams`` of each sequence; it has no threads."""
    del threads
    scores = arrays["log_prob"].astype(np.float32)
    B, T, P = scores.shape
    decoder = build_ctcdecoder(["", *(chr(_FIRST + label) for label in range(1, P))])

    def convert(texts: list[str]) -> tuple[NDArray[Any]]:
        """Turn texts into labels padded by blanks."""
        labels = np.zeros((B, T), dtype=np.int64)
        for row, text in zip(labels, texts, strict=True):
            row[: len(text)] = [ord(character) - _FIRST for character in text]
        return (labels,)

    return lambda: [decoder.decode_beams(item, beam_width=_BEAM_WIDTH)[0][0] for item in scores], convert
