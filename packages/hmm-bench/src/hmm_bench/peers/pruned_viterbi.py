# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["hirschberg-viterbi==0.1.0", "torch"]
# ///
"""hirschberg-viterbi's pruned search, which is not exact: it keeps to a window around the diagonal."""

from collections.abc import Callable
from importlib import metadata
from typing import Any

import torch
from hirschberg_viterbi import pruned_viterbi
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


def version() -> str:
    """Version of hirschberg-viterbi."""
    return metadata.version("hirschberg-viterbi")


def ctc_alignment(arrays: Arrays, _threads: int) -> Callable[[], tuple[Any, ...]]:
    """``pruned_viterbi`` in a loop."""
    scores = torch.split(torch.from_numpy(arrays["log_prob"]), 1)
    targets = torch.split(torch.from_numpy(arrays["targets"]).int(), 1)
    return lambda: (torch.cat([pruned_viterbi(*pair)[0] for pair in zip(scores, targets, strict=True)]),)
