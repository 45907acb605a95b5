# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["torch", "numpy"]
# ///
"""torch: its own CTC loss, whose gradient includes that of a log-softmax before it."""

from collections.abc import Callable
from typing import Any

import torch

Arrays = dict[str, Any]  # or tensors, wherever they are


def version() -> str:
    """Version of torch."""
    return str(torch.__version__)


def ctc_loss(arrays: Arrays, threads: int) -> Callable[[], tuple[Any, ...]]:
    """``torch.nn.functional.ctc_loss``, differentiated."""
    torch.set_num_threads(threads)
    scores = torch.as_tensor(arrays["log_prob"]).transpose(0, 1)
    scores = scores.clone(memory_format=torch.contiguous_format).requires_grad_()
    targets = torch.as_tensor(arrays["targets"])
    T, B, _ = scores.shape
    lengths = torch.full((B,), T), torch.full((B,), targets.shape[1])

    def run() -> tuple[Any, ...]:
        """Forward and backward."""
        loss = torch.nn.functional.ctc_loss(scores, targets, *lengths, reduction="none")
        (gradient,) = torch.autograd.grad(loss.sum(), scores)
        return loss.detach(), gradient.transpose(0, 1)

    return run
