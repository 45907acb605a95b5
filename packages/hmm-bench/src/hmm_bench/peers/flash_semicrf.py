# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["flash-semicrf==0.2.0", "numpy"]
# ///
"""flash-semicrf: a semi-Markov field's partition function; on a CPU by its PyTorch form.

It has no initial scores and moves from any label into the first segment, so these take the place of that.
"""

from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np
import torch
from flash_semicrf import semi_crf_streaming_forward
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


def version() -> str:
    """Version of flash-semicrf."""
    return metadata.version("flash-semicrf")


def semi_markov_log_likelihood(arrays: Arrays, threads: int) -> Callable[[], tuple[Any, ...]]:
    """``semi_crf_streaming_forward`` of cumulated emissions."""
    torch.set_num_threads(threads)
    transition = torch.from_numpy(np.maximum(arrays["log_transition"], -1e4))
    duration = torch.from_numpy(arrays["log_duration"].T.copy())
    emission = torch.from_numpy(arrays["log_emission"].astype(np.float64))
    B, T, K = emission.shape
    # As it asks for, in float64 and centred; what was subtracted is added to the result.
    mean = emission.mean((1, 2), keepdim=True)
    cumulated = torch.nn.functional.pad((emission - mean).cumsum(1), (0, 0, 1, 0))
    start = torch.zeros(B, T, K)
    start[:, 0] = torch.from_numpy(arrays["log_initial"]) - transition.logsumexp(0)
    lengths = torch.full((B,), T)
    offset = T * mean[:, 0, 0]

    def run() -> tuple[Any, ...]:
        """Sum over all segmentations."""
        with torch.no_grad():
            total = semi_crf_streaming_forward(
                cumulated, transition, duration, lengths, len(duration), proj_start=start, use_triton=False
            )
        return (total + offset,)

    return run
