# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["flashlight-text==0.0.7", "numpy<2"]
# ///
"""flashlight-text: CTC beam search in C++, without lexicon and language model."""

from collections.abc import Callable
from importlib import metadata
from itertools import groupby
from typing import Any

import numpy as np
from flashlight.lib.text.decoder import CriterionType, LexiconFreeDecoder, LexiconFreeDecoderOptions, ZeroLM
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
_BEAM_WIDTH = 16


def version() -> str:
    """Version of flashlight-text."""
    return metadata.version("flashlight-text")


def ctc_decode(
    arrays: Arrays, threads: int
) -> tuple[Callable[[], list[list[int]]], Callable[[list[list[int]]], tuple[NDArray[Any]]]]:
    """``LexiconFreeDecoder.decode`` of each sequence, sums of paths, nothing pruned but by the beam."""
    del threads
    scores = np.ascontiguousarray(arrays["log_prob"], dtype=np.float32)
    B, T, P = scores.shape
    options = LexiconFreeDecoderOptions(
        beam_size=_BEAM_WIDTH,
        beam_size_token=P,
        beam_threshold=1e9,
        lm_weight=0.0,
        sil_score=0.0,
        log_add=True,
        criterion_type=CriterionType.CTC,
    )
    decoder = LexiconFreeDecoder(options, ZeroLM(), -1, 0, [])

    def convert(paths: list[list[int]]) -> tuple[NDArray[Any]]:
        """Turn the labels of frames into labels padded by blanks."""
        labels = np.zeros((B, T), dtype=np.int64)
        for row, path in zip(labels, paths, strict=True):
            spelt = [label for label, _ in groupby(path) if label > 0]
            row[: len(spelt)] = spelt
        return (labels,)

    return lambda: [decoder.decode(item.ctypes.data, T, P)[0].tokens for item in scores], convert
