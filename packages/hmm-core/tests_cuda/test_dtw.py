"""Dynamic time warping on CUDA: the reference's distances and paths, to the bit."""

from typing import Any

import pytest
import torch
from torch import Tensor

from hmm_core import Itakura, SakoeChiba, dtw
from hmm_core._windows import band
from hmm_core.backends.cuda import _warping

PATTERNS = ["symmetric1", "symmetric2", "asymmetric"]
WINDOWS = [None, SakoeChiba(0), SakoeChiba(2), Itakura()]


def random_costs(B: int, N: int, M: int, device: torch.device, *, forbidden: float = 0.1) -> Tensor:
    """Small integers, which make ties, with some cells forbidden."""
    generator = torch.Generator().manual_seed(N)
    cost = torch.randint(0, 5, (B, N, M), generator=generator).double()
    cost[torch.rand((B, N, M), generator=generator) < forbidden] = torch.inf
    return cost.to(device)


def same(actual: Any, expected: Any) -> None:
    """Compare all fields to the bit."""
    for have, want in zip(actual, expected, strict=True):
        assert torch.equal(have, want)


@pytest.fixture
def small_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several strips, each in several chunks, for small problems."""
    monkeypatch.setattr(_warping, "ROWS", 8)
    monkeypatch.setattr(_warping, "CHUNK", 4)


@pytest.mark.usefixtures("small_strips")
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_distances_and_paths_are_those_of_the_reference(
    device: torch.device, pattern: Any, window: Any
) -> None:
    N, M = 19, 21
    # Tenths: the order of the additions shows in the last bit.
    cost = random_costs(4, N, M, device) * 0.1
    lengths = torch.tensor([N, N, 10, 0], device=device), torch.tensor([M, 11, M, M], device=device)
    expected, actual = (
        dtw(cost, *lengths, step_pattern=pattern, window=window, backend=backend)
        for backend in ("reference", "cuda")
    )
    same(actual, expected)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_strips_of_the_usual_size(device: torch.device, pattern: Any) -> None:
    cost = random_costs(1, 67, 35, device, forbidden=0.0).float() * 0.1
    expected, actual = (dtw(cost, step_pattern=pattern, backend=x) for x in ("reference", "cuda"))
    assert actual.distance.dtype is torch.float32
    same(actual, expected)


@pytest.mark.usefixtures("small_strips")
@pytest.mark.parametrize(("N", "M"), [(1, 1), (1, 5), (5, 1), (0, 3), (3, 0), (0, 0)])
def test_the_smallest_problems(device: torch.device, N: int, M: int) -> None:
    cost = torch.ones(2, N, M, device=device)
    for pattern in PATTERNS:
        expected, actual = (
            dtw(cost, step_pattern=pattern, backend=backend)  # type: ignore[arg-type]  # one of them
            for backend in ("reference", "cuda")
        )
        same(actual, expected)
    without = dtw(cost, return_path=False, backend="cuda")
    assert torch.equal(without.distance, dtw(cost, backend="cuda").distance)


@pytest.mark.usefixtures("small_strips")
def test_what_is_not_read_changes_nothing(device: torch.device) -> None:
    cost = random_costs(3, 19, 17, device)
    lengths_x = torch.tensor([19, 12, 5], device=device)
    lengths_y = torch.tensor([11, 17, 6], device=device)
    window = SakoeChiba(3)
    expected = dtw(cost, lengths_x, lengths_y, window=window, backend="cuda")
    poisoned = cost.clone()
    begin, end = band(window, lengths_x, lengths_y, 19)
    column = torch.arange(17, device=device)
    poisoned[(column < begin[..., None]) | (column >= end[..., None])] = torch.nan
    poisoned[torch.arange(19, device=device) >= lengths_x[:, None]] = -torch.inf
    same(dtw(poisoned, lengths_x, lengths_y, window=window, backend="cuda"), expected)


@pytest.mark.usefixtures("small_strips")
@pytest.mark.parametrize("wrong", [torch.nan, -torch.inf])
def test_what_is_wrong_makes_its_own_pair_nan(device: torch.device, wrong: float) -> None:
    cost = random_costs(4, 12, 9, device, forbidden=0.0)
    expected = dtw(cost, backend="cuda")
    cost[1, 9, 0] = wrong
    lengths = torch.tensor([12, 12, 13, -1], device=device)
    actual = dtw(cost, lengths, backend="cuda")
    assert actual.distance[0] == expected.distance[0]
    assert actual.distance[1:].isnan().all()
    assert actual.path is not None
    assert (actual.path[1:] == -1).all()


@pytest.mark.usefixtures("small_strips")
@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_gradient_is_that_of_the_reference(device: torch.device, pattern: Any) -> None:
    cost = random_costs(3, 10, 9, device) * 0.1
    cost[0, :, 4:6] = torch.inf
    found = []
    for backend in ("reference", "cuda"):
        leaf = cost.clone().requires_grad_()
        result = dtw(leaf, step_pattern=pattern, return_path=False, backend=backend)
        assert result.distance[0] == torch.inf
        found.append(torch.autograd.grad(result.distance.sum(), leaf)[0])
    assert torch.equal(found[1], found[0])
