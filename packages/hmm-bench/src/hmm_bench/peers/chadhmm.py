# /// script
# requires-python = "==3.12.*"
# dependencies = ["chadhmm==0.4.0"]
# ///
"""chadhmm: a hidden semi-Markov model in PyTorch, float64, one sequence after the other.

Its likelihood lets the last segment go on behind the end; its forward messages are the same, and what ends
with the sequence is summed here.
"""

from collections.abc import Callable
from importlib import metadata
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from chadhmm.hsmm.BaseHSMM import BaseHSMM
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


def version() -> str:
    """Version of chadhmm."""
    return metadata.version("chadhmm")


def semi_markov_log_likelihood(arrays: Arrays, threads: int) -> Callable[[], tuple[Any, ...]]:
    """``BaseHSMM._forward`` with parameters of its own form."""
    torch.set_num_threads(threads)
    initial, matrix, duration, emission = (
        torch.from_numpy(arrays[f"log_{name}"].astype(np.float64))
        for name in ("initial", "transition", "duration", "emission")
    )
    B, T, K = emission.shape
    model = SimpleNamespace(pi=initial, A=matrix, D=duration, n_states=K, max_duration=duration.shape[1])
    data = SimpleNamespace(log_probs=list(emission), lengths=[T] * B)

    def run() -> tuple[Any, ...]:
        """Sum over what remains no frame of the last segment."""
        with torch.no_grad():
            messages = BaseHSMM._forward(model, data)  # noqa: SLF001  (what its score() calls)
            return (torch.stack([message[-1, :, 0].logsumexp(0) for message in messages]),)

    return run
