# /// script
# requires-python = "==3.10.*"
# dependencies = ["k2==1.23.4", "numpy<2"]
# ///
"""k2: the CTC loss as the total weight of a lattice, and its gradient.

The beam keeps what is within 10,000 of the best, which is everything; with k2's own 10 it is not exact.
"""

from collections.abc import Callable
from importlib import metadata
from typing import Any

import k2
import numpy as np
import torch
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]


def version() -> str:
    """Versions of k2 and of its torch."""
    return f"{metadata.version('k2')} (torch {torch.__version__})"


def ctc_loss(arrays: Arrays, threads: int) -> Callable[[], tuple[Any, ...]]:
    """``ctc_graph``, ``DenseFsaVec`` and ``ctc_loss``, differentiated."""
    torch.set_num_threads(threads)
    scores = torch.from_numpy(arrays["log_prob"].astype(np.float32)).requires_grad_()
    targets = arrays["targets"].tolist()
    B, T, _ = scores.shape
    segments = torch.tensor([[b, 0, T] for b in range(B)], dtype=torch.int32)

    def run() -> tuple[Any, ...]:
        """Forward and backward."""
        dense = k2.DenseFsaVec(scores, segments)
        loss = k2.ctc_loss(k2.ctc_graph(targets), dense, output_beam=BEAM, reduction="none")
        (gradient,) = torch.autograd.grad(loss.sum(), scores)
        return loss.detach(), gradient

    return run


BEAM = 10_000.0
