"""The same model in hmmlearn gives the same numbers."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hmm_models import FullGaussianMixtures, GaussianHMM, HiddenMarkovModel

hmmlearn = pytest.importorskip("hmmlearn.hmm", reason="hmmlearn is not installed")
LENGTHS = [40, 25, 1]


def numpy(value: Tensor) -> np.ndarray:
    return value.detach().numpy()


def packed(x: Tensor) -> np.ndarray:
    return np.concatenate([numpy(x[i, :n]) for i, n in enumerate(LENGTHS)])


@pytest.fixture
def model() -> GaussianHMM:
    model = GaussianHMM(3, 2, 2).double()
    with torch.no_grad():
        for table in (model.initial.logits, model.transition.logits, model.emission.weight_logits):
            table.normal_()
        model.transition.logits[0, 2] = -torch.inf
        dict(model.emission.named_parameters())["log_variance"].normal_(std=0.3)
    return model


@pytest.fixture
def x() -> Tensor:
    return torch.randn(3, 40, 2).double() * 2


def peer(model: GaussianHMM, **options: object) -> object:
    """Build the same model there."""
    mixtures = model.num_mixtures > 1
    if mixtures:
        options["n_mix"] = model.num_mixtures
    other = (hmmlearn.GMMHMM if mixtures else hmmlearn.GaussianHMM)(
        model.num_states, covariance_type="diag", init_params="", **options
    )
    part = slice(None) if mixtures else 0
    other.startprob_ = numpy(model.initial().exp())
    other.transmat_ = numpy(model.transition().exp())
    other.n_features = model.feature_dim
    other.means_ = numpy(model.emission.mean)[:, part]
    other.covars_ = numpy(model.emission.variance)[:, part]
    if mixtures:
        other.weights_ = numpy(model.emission.weight)
    return other


@pytest.mark.parametrize("num_mixtures", [1, 2])
def test_scores_posteriors_and_paths_agree(model: GaussianHMM, x: Tensor, num_mixtures: int) -> None:
    if num_mixtures == 1:
        model.emission.update(model.emission.accumulate(x[0], torch.rand(40, 3)), min_occupancy=1e9)
        with torch.no_grad():
            model.emission.weight_logits[:, 1:] = -torch.inf
        single = GaussianHMM(3, 2).double()
        single.load_state_dict(
            {
                name: value[:, :1] if name.startswith("emission.") and value.ndim > 1 else value
                for name, value in model.state_dict().items()
            }
        )
        model = single
    other, lengths = peer(model), torch.tensor(LENGTHS)
    score, state = other.score_samples(packed(x), LENGTHS)  # type: ignore[attr-defined]  # untyped package
    posterior = model.posterior(x, lengths)
    assert float(posterior.log_likelihood.sum().detach()) == pytest.approx(score, rel=1e-10)
    # Both are float64; hmmlearn sums in another order.
    np.testing.assert_allclose(packed(posterior.state), state, rtol=1e-8, atol=1e-10)
    score, states = other.decode(packed(x), LENGTHS)  # type: ignore[attr-defined]  # untyped package
    path = model.viterbi(x, lengths)
    assert float(path.log_score.sum().detach()) == pytest.approx(score, rel=1e-10)
    np.testing.assert_array_equal(packed(path.states), states)


def test_one_iteration_of_em_agrees(x: Tensor) -> None:
    model = GaussianHMM(3, 2).double()
    with torch.no_grad():
        for table in (model.initial.logits, model.transition.logits):
            table.normal_()
        model.transition.logits[0, 2] = -torch.inf
    priors = {"means_weight": 0.0, "covars_prior": 0.0, "covars_weight": 0.0, "min_covar": 0.0}
    other = peer(model, n_iter=1, params="stmc", **priors)
    other.fit(packed(x), LENGTHS)  # type: ignore[attr-defined]  # untyped package
    model.fit(x, torch.tensor(LENGTHS), max_iterations=1, initialize=False)
    expected = {
        "startprob_": model.initial().exp(),
        "transmat_": model.transition().exp(),
        "means_": model.emission.mean[:, 0],
    }
    for name, value in expected.items():
        np.testing.assert_allclose(numpy(value), getattr(other, name), rtol=1e-8, atol=1e-10)
    variance = np.diagonal(other.covars_, axis1=1, axis2=2)  # type: ignore[attr-defined]  # untyped package
    np.testing.assert_allclose(numpy(model.emission.variance[:, 0]), variance, rtol=1e-8)


def random_model(covariance_type: str, num_mixtures: int, shared: str = "") -> Any:
    """Draw a model of any covariance type."""
    if shared:
        model: Any = HiddenMarkovModel(FullGaussianMixtures(3, num_mixtures, 2, shared=shared)).double()
    else:
        model = GaussianHMM(3, 2, num_mixtures, covariance_type=covariance_type).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.5)
        model.emission.variance_floor.fill_(1e-10)
    return model


def other_covariances(model: Any, covariance_type: str, num_mixtures: int) -> np.ndarray:
    """In hmmlearn's shape."""
    value = model.emission.covariance
    if num_mixtures == 1:
        return numpy(value[0, 0] if covariance_type == "tied" else value[:, 0])
    return numpy(value[:, 0] if covariance_type == "tied" else value)


def shifts(old: Tensor, model: Any, covariance_type: str) -> np.ndarray:
    """What is added to covariances around the means before the step, as hmmlearn's mixtures have them."""
    shift = old - model.emission.mean.detach()
    products = shift.unsqueeze(-1) * shift.unsqueeze(-2)
    weight = model.emission.weight.detach()[..., None, None]
    return numpy(
        {
            "spherical": shift.square().mean(-1),
            "diag": shift.square(),
            "tied": (weight * products).sum(1),
            "full": products,
        }[covariance_type]
    )


@pytest.mark.parametrize("num_mixtures", [1, 2])
@pytest.mark.parametrize("covariance_type", ["spherical", "diag", "tied", "full"])
def test_every_covariance_type_scores_and_learns_as_there(
    x: Tensor, covariance_type: str, num_mixtures: int
) -> None:
    # Its mixtures share a covariance within a state, its single Gaussians over all states.
    mixtures = num_mixtures > 1
    model = random_model(
        covariance_type, num_mixtures, "components" if covariance_type == "tied" and mixtures else ""
    )
    options: dict[str, Any] = {"covariance_type": covariance_type, "n_iter": 1, "init_params": ""}
    if mixtures:
        other = hmmlearn.GMMHMM(3, num_mixtures, params="stmcw", **options)
    else:
        priors = {"means_weight": 0.0, "covars_prior": 0.0, "covars_weight": 0.0, "min_covar": 0.0}
        other = hmmlearn.GaussianHMM(3, params="stmc", **options, **priors)
    part = slice(None) if mixtures else 0
    other.n_features = 2
    other.startprob_, other.transmat_ = numpy(model.initial().exp()), numpy(model.transition().exp())
    other.means_ = numpy(model.emission.mean)[:, part]
    other.covars_ = other_covariances(model, covariance_type, num_mixtures)
    if mixtures:
        other.weights_ = numpy(model.emission.weight)
    score, state = other.score_samples(packed(x), LENGTHS)
    posterior = model.posterior(x, torch.tensor(LENGTHS))
    assert float(posterior.log_likelihood.sum().detach()) == pytest.approx(score, rel=1e-9)
    np.testing.assert_allclose(packed(posterior.state), state, rtol=1e-7, atol=1e-9)

    before = model.emission.mean.detach().clone()
    other.fit(packed(x), LENGTHS)
    model.fit(x, torch.tensor(LENGTHS), max_iterations=1, initialize=False)
    np.testing.assert_allclose(numpy(model.emission.mean)[:, part], other.means_, rtol=1e-7, atol=1e-9)
    found, expected = other_covariances(model, covariance_type, num_mixtures), other.covars_
    if mixtures:
        found = found + shifts(before, model, covariance_type)
    elif covariance_type == "tied":
        expected = expected[0]
    elif covariance_type == "diag":
        expected = np.diagonal(expected, axis1=1, axis2=2)
    elif covariance_type == "spherical":
        expected = other._covars_[:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)
