# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["hirschberg-viterbi==0.1.0", "torch"]
# ///
"""hirschberg-viterbi: CTC alignment in linear memory, one sequence a call."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from typing import Any

import torch
from hirschberg_viterbi import hirschberg_viterbi
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


def version() -> str:
    """Version of hirschberg-viterbi."""
    return metadata.version("hirschberg-viterbi")


def ctc_alignment(arrays: Arrays, threads: int) -> Callable[[], tuple[Any, ...]]:
    """``hirschberg_viterbi``, which is exact, in a loop; in a pool of threads where there are some."""
    scores = torch.split(torch.from_numpy(arrays["log_prob"]), 1)
    targets = torch.split(torch.from_numpy(arrays["targets"]).int(), 1)
    if threads == 1:
        return lambda: (
            torch.cat([hirschberg_viterbi(*pair)[0] for pair in zip(scores, targets, strict=True)]),
        )
    pool = ThreadPoolExecutor(threads)
    return lambda: (torch.cat([labels for labels, _ in pool.map(hirschberg_viterbi, scores, targets)]),)
