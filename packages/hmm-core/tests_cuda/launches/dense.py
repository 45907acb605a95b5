"""Calls that launch the kernels of dense transitions in every configuration."""

from collections.abc import Callable
from functools import partial
from unittest import mock

import torch

from hmm_core import entropy, expected_transitions, kbest, log_likelihood, sample, viterbi
from hmm_core.testing import random_hmm


def _smooth(states: int, dtype: torch.dtype, *, chunks: int = 1, varying: bool = False) -> None:
    """Launch the recursion in both directions and what follows from it."""
    from hmm_core.backends.cuda.dense import _narrow  # noqa: PLC0415  (imports Triton)

    hmm = random_hmm(2, 5, states, dtype=dtype, time_varying=varying)
    with mock.patch.object(_narrow, "chunk_count", return_value=chunks):
        hmm.apply(expected_transitions, backend="cuda")
    hmm.apply(viterbi, backend="cuda")


def _paths(states: int, dtype: torch.dtype) -> None:
    """Launch what keeps lists of paths or draws them."""
    hmm = random_hmm(2, 5, states, dtype=dtype)
    hmm.apply(kbest, num_paths=2, backend="cuda")
    hmm.apply(sample, backend="cuda")
    hmm.apply(entropy, backend="cuda")


def _gradient(dtype: torch.dtype) -> None:
    """Launch what only the derivative needs."""
    hmm = random_hmm(2, 5, 3, dtype=dtype, densities=2)
    total = hmm._replace(log_emission=hmm.log_emission.requires_grad_()).apply(log_likelihood, backend="cuda")
    torch.autograd.grad(total.sum(), hmm.log_emission)


SINGLE, DOUBLE = torch.float32, torch.float64

CASES: list[Callable[[], object]] = [
    *(partial(_smooth, K, dtype, chunks=2) for K in (16, 32) for dtype in (SINGLE, DOUBLE)),
    *(partial(_smooth, K, dtype) for K, dtype in ((64, SINGLE), (64, DOUBLE), (128, SINGLE))),
    *(partial(_smooth, K, dtype, varying=True) for K, dtype in ((32, SINGLE), (32, DOUBLE), (64, SINGLE))),
    *(partial(_smooth, K, dtype) for K in (144, 257) for dtype in (SINGLE, DOUBLE)),
    *(partial(_gradient, dtype) for dtype in (SINGLE, DOUBLE)),
    *(partial(_paths, K, dtype) for K in (32, 33, 257) for dtype in (SINGLE, DOUBLE)),
]
SMALLEST: list[Callable[[], object]] = [
    *(partial(_smooth, K, SINGLE) for K in (1, 129)),
    partial(_paths, 1, SINGLE),
    partial(_gradient, SINGLE),
]
