"""Soft dynamic time warping on CUDA, against the float64 reference."""

from typing import Any

import pytest
import torch
from torch import Tensor

from hmm_core import Itakura, SakoeChiba, soft_dtw, soft_dtw_divergence
from hmm_core.backends.cuda import _warping


def random_costs(B: int, N: int, M: int, device: torch.device, *, forbidden: float = 0.05) -> Tensor:
    """Costs between 0 and 4 with some cells forbidden."""
    generator = torch.Generator().manual_seed(N)
    cost = 4 * torch.rand((B, N, M), generator=generator, dtype=torch.float64)
    cost[torch.rand((B, N, M), generator=generator) < forbidden] = torch.inf
    return cost.to(device)


def value_and_gradient(cost: Tensor, *lengths: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    """Soft minimum, and the gradient of a weighted sum of its finite entries."""
    leaf = cost.detach().clone().requires_grad_()
    value = soft_dtw(leaf, *lengths, **options)
    weight = torch.arange(1, len(value) + 1, device=cost.device).to(value.dtype)
    (gradient,) = torch.autograd.grad((value * weight)[value < torch.inf].sum(), leaf)
    return value.detach(), gradient


@pytest.fixture
def small_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several strips, each in several chunks, for small problems."""
    monkeypatch.setattr(_warping, "ROWS", 8)
    monkeypatch.setattr(_warping, "CHUNK", 4)


@pytest.mark.usefixtures("small_strips")
@pytest.mark.parametrize("window", [None, SakoeChiba(0), SakoeChiba(2), Itakura()], ids=str)
def test_values_and_gradients_are_those_of_the_reference(device: torch.device, window: Any) -> None:
    N, M = 17, 14
    cost = random_costs(4, N, M, device)
    lengths = torch.tensor([N, 9, 10, 0], device=device), torch.tensor([M, 11, 3, M], device=device)
    options = {"gamma": 0.3, "window": window}
    expected = value_and_gradient(cost, *lengths, backend="reference", **options)
    actual = value_and_gradient(cost, *lengths, backend="cuda", **options)
    # A few roundings in float64.
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)
    if window is None:
        single = value_and_gradient(cost.float(), *lengths, backend="cuda", **options)
        # The exponentials of 30 cells in float32.
        torch.testing.assert_close([x.double() for x in single], list(expected), rtol=1e-5, atol=1e-5)


def test_strips_of_the_usual_size(device: torch.device) -> None:
    cost = random_costs(1, 66, 9, device)
    expected, actual = (value_and_gradient(cost, gamma=1.0, backend=x) for x in ("reference", "cuda"))
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("small_strips")
@pytest.mark.parametrize(("N", "M"), [(1, 1), (1, 5), (5, 1), (0, 3), (3, 0), (0, 0)])
def test_the_smallest_problems(device: torch.device, N: int, M: int) -> None:
    cost = torch.ones(2, N, M, device=device, dtype=torch.float64)
    expected, actual = (value_and_gradient(cost, backend=backend) for backend in ("reference", "cuda"))
    torch.testing.assert_close(actual, expected)


@pytest.mark.usefixtures("small_strips")
def test_no_temperature_underflows(device: torch.device) -> None:
    cost = random_costs(2, 9, 10, device, forbidden=0.0) * 1e3
    for gamma in (1e-8, 1e8):
        options = {"gamma": gamma}
        expected, actual = (value_and_gradient(cost, backend=x, **options) for x in ("reference", "cuda"))
        torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("small_strips")
def test_a_wall_leaves_no_path_and_no_gradient(device: torch.device) -> None:
    cost = random_costs(2, 9, 10, device, forbidden=0.0)
    cost[0, :, 4] = torch.inf
    value, gradient = value_and_gradient(cost, backend="cuda")
    assert value[0] == torch.inf
    assert (gradient[0] == 0).all()
    assert gradient[1].sum() > 0


@pytest.mark.usefixtures("small_strips")
def test_what_is_wrong_makes_its_own_pair_nan(device: torch.device) -> None:
    cost = random_costs(3, 9, 10, device, forbidden=0.0)
    expected = soft_dtw(cost, backend="cuda")
    cost[1, 8, 0] = torch.nan
    actual = soft_dtw(cost, torch.tensor([9, 9, 10], device=device), backend="cuda")
    assert actual[0] == expected[0]
    assert actual[1:].isnan().all()


@pytest.mark.usefixtures("small_strips")
def test_gradcheck(device: torch.device) -> None:
    cost = random_costs(1, 3, 4, device, forbidden=0.0).requires_grad_()

    def value(x: Tensor) -> Tensor:
        return soft_dtw(x, gamma=0.7, backend="cuda")

    assert torch.autograd.gradcheck(value, cost, fast_mode=True)
    assert torch.autograd.gradgradcheck(value, cost, fast_mode=True)


@pytest.mark.usefixtures("small_strips")
def test_the_divergence_is_that_of_the_reference(device: torch.device) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn((2, n, 3), generator=generator, dtype=torch.float64) for n in (7, 9))
    found = []
    for backend in ("reference", "cuda"):
        leaves = [v.to(device).clone().requires_grad_() for v in (x, y)]
        value = soft_dtw_divergence(*leaves, gamma=0.5, backend=backend)
        found.append((value, *torch.autograd.grad(value.sum(), leaves)))
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-9)
