"""Costs of frames on CUDA, against the reference."""

from typing import Any

import pytest
import torch

from hmm_core import pairwise_cost
from hmm_core.backends.cuda import pairwise_cost as kernels


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "cosine"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_costs_and_gradients_are_those_of_the_reference(
    device: torch.device, metric: Any, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn((3, n, 7), generator=generator, dtype=dtype).to(device) for n in (37, 35))
    y[0, :20] = x[0, :20]
    x[1, 3] = 0.0
    lengths = torch.tensor([37, 30, 0], device=device), torch.tensor([34, 35, 3], device=device)
    # Padding may hold anything.
    x[1, 30:] = torch.nan
    y[0, 34:] = torch.nan
    found = []
    apply: Any = pairwise_cost
    for backend in ("reference", "cuda"):
        leaves = [v.clone().requires_grad_() for v in (x, y)]
        cost = apply(*leaves, *lengths, metric=metric, backend=backend)
        found.append((cost, *torch.autograd.grad(cost[cost < torch.inf].square().sum(), leaves)))
    rtol = 1e-12 if dtype is torch.float64 else 1e-5  # some roundings
    torch.testing.assert_close(found[1], found[0], rtol=rtol, atol=10 * rtol)
    if metric != "cosine":
        assert (found[1][0][0].diagonal()[:20] == 0).all()


def test_more_tiles_than_a_grid_holds_are_computed_in_parts(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn((2, n, 3), generator=generator).to(device) for n in (70, 40))
    expected = pairwise_cost(x, y, backend="cuda")
    monkeypatch.setattr(kernels, "_AXIS", 1)
    assert torch.equal(pairwise_cost(x, y, backend="cuda"), expected)


@pytest.mark.parametrize(("N", "M", "D"), [(0, 2, 3), (1, 1, 1), (2, 0, 3), (2, 2, 0)])
def test_the_smallest_problems(device: torch.device, N: int, M: int, D: int) -> None:
    x, y = torch.ones(2, N, D, device=device), torch.zeros(2, M, D, device=device)
    expected, actual = (pairwise_cost(x, y, backend=backend) for backend in ("reference", "cuda"))
    torch.testing.assert_close(actual, expected)
