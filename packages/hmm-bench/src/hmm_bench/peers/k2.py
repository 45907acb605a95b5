# /// script
# requires-python = "==3.10.*"
# dependencies = ["k2==1.23.4", "numpy<2"]
# ///
"""k2: the CTC loss as the total weight of a lattice, and its gradient.

Arcs that lie further than its default beam behind the best are left out, so the sum is not exact. Where the
scores are on a GPU, it computes there, in an environment with a wheel of k2 for that torch and CUDA: the
package index has none for a torch after 1.13.
"""

from collections.abc import Callable
from importlib import metadata
from typing import Any

import k2
import torch

Arrays = dict[str, Any]  # or tensors, wherever they are


def version() -> str:
    """Versions of k2 and of its torch."""
    return f"{metadata.version('k2')} (torch {torch.__version__})"


def ctc_loss(arrays: Arrays, threads: int) -> Callable[[], tuple[Any, ...]]:
    """``ctc_graph``, ``DenseFsaVec`` and ``ctc_loss``, differentiated."""
    torch.set_num_threads(threads)
    scores = torch.as_tensor(arrays["log_prob"], dtype=torch.float32).clone().requires_grad_()
    targets = arrays["targets"].tolist()
    B, T, _ = scores.shape
    segments = torch.tensor([[b, 0, T] for b in range(B)], dtype=torch.int32)

    def run() -> tuple[Any, ...]:
        """Forward and backward."""
        dense = k2.DenseFsaVec(scores, segments)
        loss = k2.ctc_loss(k2.ctc_graph(targets, device=scores.device), dense, reduction="none")
        (gradient,) = torch.autograd.grad(loss.sum(), scores)
        return loss.detach(), gradient

    return run
