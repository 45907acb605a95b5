"""Grids of large problems: beyond its first axis, a GPU's grid holds no more than 65535 programs an axis."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from gpu_calls import FIRST_ORDER, SEGMENTS, moved

from hmm_core import dtw, pairwise_cost, soft_dtw
from hmm_core.backends.cuda._launch import recording
from hmm_core.testing import random_hmm

MANY = 70_000


def fits(run: Callable[[], Any]) -> None:
    """Write down the launches of a call, and look at their grids."""
    with recording() as launches:
        run()
    assert launches
    for launch in launches:
        assert max(launch.grid[1:], default=1) <= 65535, launch.kernel
        assert launch.grid[0] < 2**31, launch.kernel


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("op", FIRST_ORDER)
def test_many_sequences_fit(op: str, *, sparse: bool, device: torch.device) -> None:
    hmm = moved(random_hmm(MANY, 2, 2, sparse=sparse, ragged=False), device, torch.float32)
    fits(lambda: FIRST_ORDER[op](hmm))


@pytest.mark.parametrize("op", SEGMENTS)
def test_many_sequences_of_segments_fit(op: str, device: torch.device) -> None:
    initial, transition, duration = (
        torch.zeros(shape, device=device).log_softmax(-1) for shape in ((2,), (2, 2), (2, 3))
    )
    emission = torch.zeros((MANY, 2, 2), device=device)
    fits(lambda: SEGMENTS[op](initial, transition, duration, emission, backend="cuda"))


def test_many_pairs_fit(device: torch.device) -> None:
    cost = torch.ones((MANY, 2, 2), device=device, requires_grad=True)
    fits(lambda: dtw(cost.detach(), backend="cuda"))
    fits(lambda: torch.autograd.grad(soft_dtw(cost, backend="cuda").sum(), cost))


@pytest.mark.parametrize(("N", "M"), [(2**21 + 1, 2), (2, 2**21 + 1)])
def test_costs_of_two_million_frames_fit(N: int, M: int, device: torch.device) -> None:
    x, y = torch.zeros((1, N, 1), device=device), torch.zeros((1, M, 1), device=device)
    fits(lambda: pairwise_cost(x, y, backend="cuda"))
