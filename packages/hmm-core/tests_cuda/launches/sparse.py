"""Calls that launch the kernels for sparse transitions in every configuration."""

from collections.abc import Callable
from unittest import mock

import torch

from hmm_core import (
    Sparse,
    backward,
    entropy,
    expected_transitions,
    forward,
    kbest,
    log_likelihood,
    posterior,
    sample,
    viterbi,
)
from hmm_core.testing import Arguments


def problem(
    states: int,
    slots: int,
    *,
    frames: int = 40,
    densities: int | None = None,
    dtype: torch.dtype = torch.float32,
    arc: tuple[int, int] | None = None,
) -> Arguments:
    """States that follow the ``slots`` states up to themselves, and one more arc from one to another."""
    state = torch.arange(states)
    predecessors = (state[:, None] - torch.arange(slots - 1, -1, -1)).clamp(min=-1)
    predecessors = predecessors.sort(dim=1, descending=False).values
    predecessors = torch.where(predecessors >= 0, predecessors, states).sort(dim=1).values
    predecessors = torch.where(predecessors < states, predecessors, -1)
    if arc is not None:
        predecessors[arc[1], int(arc[0] > 0)] = arc[0]
    index = None if densities is None else torch.zeros(states, dtype=torch.int64)
    return Arguments(
        torch.zeros(states, dtype=dtype),
        Sparse(predecessors, torch.zeros((states, slots), dtype=dtype)),
        torch.zeros((2, frames, densities or states), dtype=dtype),
        None,
        None,
        index,
    )


def gradient(hmm: Arguments, *, checkpoint: bool = False) -> None:
    """Differentiate the log-likelihood by everything."""
    assert isinstance(hmm.log_transition, Sparse)
    moved = hmm._replace(
        log_emission=hmm.log_emission.requires_grad_(),
        log_transition=Sparse(
            hmm.log_transition.predecessors, hmm.log_transition.log_weight.requires_grad_()
        ),
    )
    torch.autograd.backward(moved.apply(log_likelihood, backend="cuda", checkpoint=checkpoint).sum())


def every_sum(hmm: Arguments) -> None:
    """Sum over paths in every way but that of a gradient."""
    for op in (forward, backward, posterior, expected_transitions, entropy):
        hmm.apply(op, backend="cuda")


def every_path(hmm: Arguments) -> None:
    """Find paths in every way."""
    hmm.apply(viterbi, backend="cuda")
    hmm.apply(kbest, num_paths=3, backend="cuda")
    hmm.apply(sample, num_samples=2, backend="cuda")


def together(hmm: Arguments) -> None:
    """Let three programs share a sequence, in every way that goes through the frames."""
    from hmm_core.backends.cuda.sparse import _plan  # noqa: PLC0415  (imports Triton)

    with mock.patch.object(_plan, "processors", return_value=6):
        for op in (backward, expected_transitions, posterior, viterbi):
            hmm.apply(op, backend="cuda")


# Blocks of 32 to 1024 states, a pipeline, programs that meet; graphs of 2, 3 and more slots.
CASES: list[Callable[[], object]] = [
    lambda: every_sum(problem(100, 2)),
    lambda: every_sum(problem(3000, 3, densities=5)),
    lambda: problem(1000, 3, densities=5).apply(posterior, backend="cuda"),
    lambda: together(problem(3000, 3, densities=5, arc=(2999, 0))),
    lambda: problem(3000, 3, densities=5, arc=(0, 2999)).apply(posterior, backend="cuda"),
    lambda: every_path(problem(200, 4)),
    lambda: problem(3000, 3, densities=5).apply(viterbi, backend="cuda"),
    lambda: gradient(problem(20, 3, densities=5, dtype=torch.float64), checkpoint=True),
]
SMALLEST: list[Callable[[], object]] = [
    lambda: every_sum(problem(1, 1)),
    lambda: every_path(problem(1, 1)),
    lambda: every_sum(problem(40, 1, densities=1)),
    lambda: every_sum(problem(1025, 2, densities=1)),
    lambda: problem(1025, 2, arc=(1024, 0)).apply(posterior, backend="cuda"),
    lambda: gradient(problem(1, 1), checkpoint=True),
]
