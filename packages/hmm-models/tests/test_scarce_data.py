"""What makes other toolkits fail: hardly any frames, frames all alike, dimensions that never vary."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hmm_models import (
    FullGaussianMixtures,
    GaussianHMM,
    GaussianMixtures,
    HiddenMarkovModel,
    MultiStreamEmission,
    NeuralHMM,
    SemiContinuousMixtures,
    SemiMarkovHMM,
    StudentTEmission,
)

K = 4
MODELS: dict[str, Callable[[int], Any]] = {
    "spherical": lambda D: GaussianHMM(K, D, 2, covariance_type="spherical", topology="left_to_right"),
    "diag": lambda D: GaussianHMM(K, D, topology="left_to_right"),
    "mixture": lambda D: GaussianHMM(K, D, 2, topology="left_to_right"),
    "tied": lambda D: GaussianHMM(K, D, covariance_type="tied", topology="left_to_right"),
    "full": lambda D: GaussianHMM(K, D, 2, covariance_type="full", topology="left_to_right"),
    "shared": lambda D: HiddenMarkovModel(
        FullGaussianMixtures(K, 2, D, shared="components"), "left_to_right"
    ),
    "ergodic": lambda D: GaussianHMM(K, D, 2),
    "semi-continuous": lambda D: HiddenMarkovModel(SemiContinuousMixtures(K, GaussianMixtures(3, 1, D))),
    "student-t": lambda D: HiddenMarkovModel(StudentTEmission(K, D), "left_to_right"),
    "streams": lambda D: HiddenMarkovModel(
        MultiStreamEmission([GaussianMixtures(K, 2, D - 1), GaussianMixtures(K, 1, 1)], [D - 1, 1])
    ),
    "semi-markov": lambda D: SemiMarkovHMM(K, D, 12, censoring="right"),
}


def cepstra(num_sequences: int, num_frames: int, feature_dim: int) -> Tensor:
    """Features like MFCCs: the first ones vary by tens, the last ones by less than one."""
    spread = 30.0 / torch.arange(1, feature_dim + 1)
    return torch.randn(num_sequences, num_frames, feature_dim).cumsum(1) * spread - 2.0 * spread


def constant_dimensions() -> Tensor:
    x = cepstra(2, 20, 24)
    x[..., 3], x[..., 7] = 1e3, 0.0
    return x


DATA: dict[str, Callable[[], Tensor]] = {
    "24 dimensions, 3 frames a state": lambda: cepstra(1, 3 * K, 24),
    "39 dimensions, 3 frames a state": lambda: cepstra(1, 3 * K, 39),
    "80 dimensions, 3 frames a state": lambda: cepstra(1, 3 * K, 80),
    "identical frames": lambda: torch.full((2, 10, 24), 7.0),
    "constant dimensions": constant_dimensions,
    "sequences of one frame": lambda: cepstra(6, 1, 24),
    "one frame": lambda: cepstra(1, 1, 24),
}


def assert_no_nan(model: nn.Module) -> None:
    for name, value in model.state_dict().items():
        assert not value.isnan().any(), name
        assert bool((value < torch.inf).all()), name


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("name", MODELS)
def test_em_stays_finite_and_never_loses(name: str, data: str) -> None:
    x = DATA[data]()
    model = MODELS[name](x.shape[-1])
    result = model.fit(x, max_iterations=6, tolerance=0.0)
    assert_no_nan(model)
    for (before, after), report in zip(
        itertools.pairwise(result.log_likelihood), result.reports, strict=True
    ):
        # What float32 parameters round, at most: run_em refuses more.
        assert after >= before - 1e-4 * abs(before) or report.removed
    assert bool(torch.isfinite(model.log_likelihood(x)).all())
    torch.autograd.backward(model.log_likelihood(x).sum())
    for parameter in model.parameters():
        assert parameter.grad is None or not bool(parameter.grad.isnan().any())


@pytest.mark.parametrize("seed", range(5))
def test_rounding_a_large_constant_costs_a_heavy_tailed_density_nothing(seed: int) -> None:
    torch.manual_seed(7 * seed + 3)
    model = HiddenMarkovModel(StudentTEmission(K, 24), "left_to_right")
    result = model.fit(constant_dimensions(), max_iterations=6, tolerance=0.0)
    for before, after in itertools.pairwise(result.log_likelihood):
        # 40 frames, of which float32 parameters cost little.
        assert after >= before - 0.1


@pytest.mark.parametrize("data", DATA)
def test_a_neural_model_stays_finite(data: str) -> None:
    x = DATA[data]()
    model = NeuralHMM(K, x.shape[-1], hidden_dim=8)
    result = model.fit_sgd(x / 10.0, max_epochs=3)
    assert_no_nan(model)
    assert max(result.log_likelihood) >= result.log_likelihood[0]


@pytest.mark.parametrize("name", ["mixture", "full"])
def test_a_hundred_restarts_stay_finite(name: str) -> None:
    x = cepstra(1, 3 * K, 24)
    scores = []
    for seed in range(100):
        model = MODELS[name](24)
        scores.append(model.fit(x, max_iterations=2, tolerance=0.0, seed=seed).log_likelihood[-1])
        assert_no_nan(model)
    assert bool(torch.isfinite(torch.tensor(scores)).all())
