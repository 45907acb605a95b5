"""Duration distributions: their densities, their M-steps, their limits."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy import optimize, stats
from torch import Tensor

from hmm_models import DurationModel, load_model, save_model
from hmm_models.durations._families import FAMILIES

L = 25
D = torch.arange(1, L + 1, dtype=torch.float64)
ALL = ["categorical", *FAMILIES, "neural"]


def model(family: Any, parameter: list[float]) -> DurationModel:
    """One state with the parameters given."""
    made = DurationModel(1, L, family).double()
    with torch.no_grad():
        made.parameter.copy_(torch.tensor([parameter], dtype=torch.float64))
    return made


DENSITIES: dict[str, tuple[list[float], Callable[[Any], Any]]] = {
    "gaussian": ([7.0, 1.1], lambda d: stats.norm(7.0, math.exp(1.1)).pdf(d)),
    "lognormal": ([2.0, -0.5], lambda d: stats.lognorm(math.exp(-0.5), scale=math.exp(2.0)).pdf(d)),
    "gamma": ([1.2, -0.3], lambda d: stats.gamma(math.exp(1.2), scale=math.exp(0.3)).pdf(d)),
    "poisson": ([1.5], lambda d: stats.poisson(math.exp(1.5)).pmf(d - 1)),
    "negative_binomial": (
        [1.0, 0.4],
        lambda d: stats.nbinom(math.exp(1.0), 1 / (1 + math.exp(0.4))).pmf(d - 1),
    ),
}


@pytest.mark.parametrize("family", DENSITIES)
def test_weights_are_the_density_cut_off_at_the_longest_duration(family: str) -> None:
    parameter, density = DENSITIES[family]
    expected = torch.from_numpy(density(D.numpy()))
    found = model(family, parameter).log_prob()[0].exp().detach()
    torch.testing.assert_close(found, expected / expected.sum(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_m_step_finds_the_maximum(family: Any) -> None:
    counts = torch.zeros(2, L, dtype=torch.float64)
    counts[0, 2:9] = torch.tensor([1.0, 4.0, 7.0, 5.0, 4.0, 1.0, 0.5])
    counts[1] = torch.exp(-0.5 * ((D - 12) / 4).square())
    made = DurationModel(2, L, family).double()
    made.update(counts)
    for k in range(2):

        def loss(theta: Any, k: int = k) -> float:
            row = made._log_prob(torch.tensor(theta[None], dtype=torch.float64))[0]
            return -float((counts[k] * row).sum())

        found = loss(made.parameter[k].detach().numpy())
        best = optimize.minimize(loss, made.parameter[k].detach().numpy() + 0.05, method="Nelder-Mead")
        # The simplex stops when it moves less than 1e-4.
        assert found <= best.fun + 1e-6


@pytest.mark.parametrize("family", ALL)
@pytest.mark.parametrize("method", ["likelihood", "moments"])
@pytest.mark.parametrize("shape", ["one", "flat", "both ends", "shortest", "longest", "nothing"])
def test_an_m_step_never_loses_and_gradients_are_finite(family: Any, method: Any, shape: str) -> None:
    torch.manual_seed(0)
    counts = torch.zeros(2, L, dtype=torch.float64)
    rows = {
        "one": [6],
        "flat": range(L),
        "both ends": [0, -1],
        "shortest": [0],
        "longest": [-1],
        "nothing": [],
    }
    counts[0, list(rows[shape])] = 3.0
    made = DurationModel(2, L, family).double()

    def score() -> Tensor:
        table = made.log_prob()
        return torch.where(counts > 0.0, counts * table, 0.0).sum()

    before = float(score().detach())
    other = made.log_prob()[1].detach().clone()
    made.update(counts, method=method, steps=5)
    assert float(score().detach()) >= before - 1e-12 * abs(before)
    gradients = torch.autograd.grad(score(), list(made.parameters()))
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
    # Log-weights reach 1e5, of which a rounding is 1e-11.
    torch.testing.assert_close(made.log_prob().exp().sum(-1), torch.ones(2).double(), rtol=1e-10, atol=0)
    if family != "neural":  # in a network states share parameters
        torch.testing.assert_close(made.log_prob()[1].detach(), other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("family", [*FAMILIES, "neural"])
def test_gradients_are_right(family: Any) -> None:
    torch.manual_seed(0)
    made = DurationModel(2, 6, family, hidden_dim=3).double()
    names = [name for name, _ in made.named_parameters()]

    def run(*values: Tensor) -> Any:
        return torch.func.functional_call(made, dict(zip(names, values, strict=True)), ())

    inputs = tuple(value.detach().clone().requires_grad_() for value in made.parameters())
    assert torch.autograd.gradcheck(run, inputs)


def test_matched_moments_are_those_of_the_counts_far_from_the_limits() -> None:
    counts = torch.exp(-0.5 * ((D - 12) / 2).square()).unsqueeze(0)
    made = DurationModel(1, L, "gaussian").double()
    made.update(counts, method="moments")
    share = counts / counts.sum()
    torch.testing.assert_close(made.mean.detach(), share @ D, rtol=1e-3, atol=0)
    torch.testing.assert_close(made.variance.detach(), (share * (D - 12).square()).sum(-1), rtol=1e-3, atol=0)


def test_a_duration_that_was_never_seen_stays_forbidden_in_a_table() -> None:
    made = DurationModel(1, 3, "categorical")
    made.update(torch.tensor([[2.0, 0.0, 2.0]]))
    made.update(torch.tensor([[1.0, 5.0, 1.0]]))
    assert made.log_prob().exp().tolist() == [[0.5, 0.0, 0.5]]
    assert made.num_parameters == 1
    assert set(made.sample(torch.zeros(50, dtype=torch.int64)).tolist()) == {1, 3}


@pytest.mark.parametrize("family", ALL)
def test_a_file_holds_all_of_it(family: Any, tmp_path: Any) -> None:
    made = DurationModel(2, 7, family)
    save_model(made, tmp_path / "duration.safetensors")
    loaded = load_model(tmp_path / "duration.safetensors")
    assert isinstance(loaded, DurationModel)
    assert torch.equal(loaded.log_prob(), made.log_prob())
    assert repr(loaded) == repr(made)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"family must be one of .*'gamma'.*; got 'weibull'"):
        DurationModel(2, 5, "weibull")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="max_duration must be >= 1; got 0"):
        DurationModel(2, 0)
    with pytest.raises(ValueError, match=r"mean must be in 1\.\.max_duration = 1\.\.5; got 9"):
        DurationModel(2, 5, mean=9)
    with pytest.raises(ValueError, match=r"counts must have shape \(K, L\) = \(2, 5\); got \(5,\)"):
        DurationModel(2, 5).update(torch.ones(5))
    with pytest.raises(ValueError, match=r'method must be "likelihood" or "moments"; got \'map\''):
        DurationModel(2, 5).update(torch.ones(2, 5), method="map")  # type: ignore[arg-type]
