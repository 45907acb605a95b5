# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["pysdtw==0.0.5"]
# ///
"""pysdtw: soft-DTW for torch with a CPU form compiled by numba."""

from collections.abc import Callable
from importlib import metadata
from typing import Any

import pysdtw
import torch
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
GAMMA = 1.0


def version() -> str:
    """Version of pysdtw."""
    return metadata.version("pysdtw")


def soft_dtw(arrays: Arrays, threads: int) -> Callable[[], tuple[Any, ...]]:
    """``SoftDTW``, differentiated by the costs or the first features."""
    torch.set_num_threads(threads)
    if "cost" in arrays:
        leaf = torch.from_numpy(arrays["cost"]).requires_grad_()
        B, T, N = leaf.shape
        # Its distances are replaced by the costs that are given; the features say how many frames there are.
        module = pysdtw.SoftDTW(gamma=GAMMA, dist_func=lambda _x, _y: leaf, use_cuda=False)
        x, y = torch.zeros(B, T, 1), torch.zeros(B, N, 1)
    else:
        module = pysdtw.SoftDTW(gamma=GAMMA, use_cuda=False)
        x, y = (torch.from_numpy(arrays[name]) for name in "xy")
        leaf = x.requires_grad_()

    def run() -> tuple[Any, ...]:
        """Forward and backward."""
        value = module(x, y)
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
        return value.detach(), gradient

    return run
