# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["torch-struct==0.5", "torch", "numpy"]
# ///
"""torch-struct: linear chains as a parallel scan over log-potentials (B, T - 1, K, K), which are its input.

Frames are combined two by two, which takes (B, T / 2, K, K, K) numbers at once, several times over: few
states only. At 50, each sequence of 1000 frames takes 0.3 GB for a path, 0.5 for a likelihood, 1.0 for a
gradient and 1.5 for posteriors, so that a batch of 32 is left out on a CPU. Posteriors, best paths and
gradients are derivatives of sums; potentials are built once, save for the gradient, which goes through them.
Its ``SemiMarkovCRF`` holds (B, T, L, L, K, K) numbers, too many for speech, and is not here.

Where the tensors are on a GPU, it computes there.
"""

from collections.abc import Callable
from importlib import metadata
from typing import Any

import torch
from torch import Tensor
from torch_struct import LinearChain, LogSemiring, MaxSemiring

Arrays = dict[str, Any]  # or tensors, wherever they are
Tensors = dict[str, Tensor]
Run = Callable[[], tuple[Any, ...]]


def version() -> str:
    """Versions of torch-struct and of its torch."""
    return f"{metadata.version('torch-struct')} (torch {torch.__version__})"


def _tensors(arrays: Arrays, threads: int) -> Tensors:
    """Make tensors of arrays; tensors stay where they are."""
    if "log_transition" not in arrays:
        raise NotImplementedError("knows dense transitions only")
    if arrays["log_emission"].shape[1] < 2:
        raise NotImplementedError("needs two frames")
    torch.set_num_threads(threads)
    return {name: torch.as_tensor(array) for name, array in arrays.items()}


def _potentials(model: Tensors) -> Tensor:
    """Scores (B, T - 1, K, K) of arcs, to a state of the third axis from one of the last."""
    emission = model["log_emission"]
    scores = model["log_transition"].T + emission[:, 1:, :, None]
    scores[:, 0] += (model["log_initial"] + emission[:, 0])[:, None]
    scores[:, -1] += model["log_final"][:, None]
    return scores


def _states(parts: Tensor) -> Tensor:
    """Sum marginals (B, T - 1, K, K) of arcs to those of states (B, T, K)."""
    return torch.cat((parts[:, :1].sum(2), parts.sum(3)), 1)


def log_likelihood(arrays: Arrays, threads: int) -> Run:
    """Sum of ``LinearChain`` over the log semiring."""
    potentials = _potentials(_tensors(arrays, threads))
    chain = LinearChain(LogSemiring)

    def run() -> tuple[Any, ...]:
        """Sum over all paths."""
        with torch.no_grad():
            return (chain.sum(potentials),)

    return run


def posterior(arrays: Arrays, threads: int) -> Run:
    """Marginals over the log semiring."""
    potentials = _potentials(_tensors(arrays, threads))
    chain = LinearChain(LogSemiring)
    return lambda: (_states(chain.marginals(potentials).detach()),)


def viterbi(arrays: Arrays, threads: int) -> Run:
    """Marginals over the max semiring, which are those of the best path."""
    potentials = _potentials(_tensors(arrays, threads))
    chain = LinearChain(MaxSemiring)
    return lambda: (_states(chain.marginals(potentials).detach()).argmax(2),)


def gradient(arrays: Arrays, threads: int) -> Run:
    """Sum over the log semiring, differentiated through the potentials."""
    model = _tensors(arrays, threads)
    chain = LinearChain(LogSemiring)
    names = ("log_emission", "log_transition")
    leaves = {name: model[name].clone().requires_grad_() for name in names}

    def run() -> tuple[Any, ...]:
        """Forward and backward."""
        total = chain.sum(_potentials(model | leaves)).sum()
        return torch.autograd.grad(total, tuple(leaves.values()))

    return run
