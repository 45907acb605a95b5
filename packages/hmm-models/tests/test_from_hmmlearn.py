"""Models that come from hmmlearn or go there give the same numbers on both sides."""

import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hmm_models import (
    AdaptiveTransitionMatrix,
    CategoricalEmission,
    FullGaussianMixtures,
    GaussianHMM,
    GaussianMixtures,
    HiddenMarkovModel,
    HierarchicalTransition,
    PoissonEmission,
    ProbabilityTable,
    StudentTEmission,
    collate_variable_length,
    from_hmmlearn,
    phone_topology,
    to_hmmlearn,
)

hmmlearn = pytest.importorskip("hmmlearn.hmm", reason="hmmlearn is not installed")
LENGTHS = [200, 125, 1]
COVARIANCE_TYPES = ["spherical", "diag", "tied", "full"]


def observations(kind: str) -> np.ndarray:
    """One behind the other, as hmmlearn takes them."""
    generator = np.random.default_rng(0)
    shape = (sum(LENGTHS), 2)
    if kind == "symbols":
        return generator.integers(0, 4, (shape[0], 1))
    if kind == "counts":
        return generator.poisson(3.0, shape)
    return generator.standard_normal(shape) * 2.0 + generator.integers(-3, 4, shape)


def batch(x: np.ndarray) -> tuple[Tensor, Tensor]:
    """The same as a batch."""
    if x.shape[1] == 1:
        x = x[:, 0]
    elif x.dtype == np.int64:
        x = x.astype(float)
    return collate_variable_length(np.split(x, np.cumsum(LENGTHS)[:-1]))


def assert_same(model: HiddenMarkovModel, other: Any, x: np.ndarray, tolerance: float = 1e-9) -> None:
    """Scores, posteriors and paths."""
    rows, lengths = batch(x)
    score, state = other.score_samples(x, LENGTHS)
    assert model.score(rows, lengths) == pytest.approx(score, rel=tolerance)
    valid = torch.arange(rows.shape[1]) < lengths.unsqueeze(-1)
    # Both are float64, and sum in another order.
    posterior = model.predict_proba(rows, lengths)[valid]
    np.testing.assert_allclose(posterior, state, rtol=0.0, atol=100 * tolerance)
    np.testing.assert_array_equal(model.predict(rows, lengths)[valid], other.predict(x, LENGTHS))


def fitted(kind: str) -> list[tuple[Any, np.ndarray]]:
    """Train models of hmmlearn on what they are for."""
    if kind == "symbols":
        models: list[Any] = [hmmlearn.CategoricalHMM(3, random_state=0)]
    elif kind == "counts":
        models = [hmmlearn.PoissonHMM(3, random_state=0)]
    else:
        models = [hmmlearn.GaussianHMM(3, covariance_type=name, random_state=0) for name in COVARIANCE_TYPES]
        models += [hmmlearn.GMMHMM(2, 2, covariance_type=name, random_state=0) for name in COVARIANCE_TYPES]
    x = observations(kind)
    return [(model.set_params(n_iter=3).fit(x, LENGTHS), x) for model in models]


@pytest.mark.parametrize("kind", ["features", "symbols", "counts"])
def test_trained_models_come_over(kind: str) -> None:
    for other, x in fitted(kind):
        assert_same(from_hmmlearn(other), other, x)


@pytest.mark.parametrize("kind", ["features", "symbols", "counts"])
def test_what_came_over_goes_back(kind: str) -> None:
    for other, _ in fitted(kind):
        back = to_hmmlearn(from_hmmlearn(other))
        assert type(back) is type(other)
        names = ["startprob_", "transmat_", "means_", "covars_", "weights_", "emissionprob_", "lambdas_"]
        for name in names:
            if hasattr(other, name):
                found, expected = getattr(back, name), getattr(other, name)
                if found.shape != expected.shape:  # hmmlearn repeats spherical covariances after a fit
                    expected = expected[:: len(expected) // len(found)]
                np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def models(kind: str) -> list[HiddenMarkovModel]:
    """Models of this package with parameters at random."""
    if kind == "symbols":
        found = [HiddenMarkovModel(CategoricalEmission(3, 4))]
    elif kind == "counts":
        found = [HiddenMarkovModel(PoissonEmission(3, 2))]
    else:
        found = [GaussianHMM(3, 2, M, covariance_type=name) for name in COVARIANCE_TYPES for M in (1, 3)]
        found += [HiddenMarkovModel(FullGaussianMixtures(3, M, 2, shared="components")) for M in (1, 3)]
    with torch.no_grad():
        for model in found:
            model.double()
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.5)
            model.transition.logits[0, 2] = -torch.inf
    return found


@pytest.mark.parametrize("kind", ["features", "symbols", "counts"])
def test_models_go_there_and_learn(kind: str) -> None:
    x = observations(kind)
    for model in models(kind):
        other = to_hmmlearn(model)
        assert_same(model, other, x)
        before = other.score(x, LENGTHS)
        if not isinstance(other, hmmlearn.GMMHMM):  # whose priors may make its variances negative
            assert other.set_params(n_iter=2).fit(x, LENGTHS).score(x, LENGTHS) > before
        assert_same(model.float(), to_hmmlearn(model.float()), x, tolerance=1e-5)


def test_components_that_are_not_in_use_weigh_nothing_there() -> None:
    emission = GaussianMixtures(2, 3, 2)
    emission.reset_flat(torch.zeros(2), torch.ones(2))
    emission.split([2, 1])
    model = HiddenMarkovModel(emission).double()
    with np.errstate(divide="ignore"):
        assert_same(model, to_hmmlearn(model), observations("features"))


def test_structured_steps_go_there_as_one_table() -> None:
    steps = HierarchicalTransition([phone_topology(1), phone_topology(2)], torch.full((2, 2), 0.5))
    model = GaussianHMM(3, 2, transition=steps)
    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    assert to_hmmlearn(model).score(x.double().numpy()) == pytest.approx(model.score(x[None]), rel=1e-5)
    for context in (ProbabilityTable(torch.zeros(2, 3, 3)), AdaptiveTransitionMatrix(3, 2)):
        with pytest.raises(ValueError, match="transition must not depend on a context"):
            to_hmmlearn(GaussianHMM(3, 2, transition=context))


def test_what_cannot_be_taken_over_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TypeError, match=r"one of hmmlearn's \['CategoricalHMM', .*\]; got GaussianMixtures"):
        from_hmmlearn(GaussianMixtures(1, 1, 1))
    with pytest.raises(ValueError, match="call its fit first"):
        from_hmmlearn(hmmlearn.GaussianHMM(2))
    with pytest.raises(TypeError, match="got StudentTEmission"):
        to_hmmlearn(HiddenMarkovModel(StudentTEmission(2, 2)))
    with pytest.raises(ValueError, match="model must be without log_final"):
        to_hmmlearn(GaussianHMM(3, 2, topology=phone_topology(3)))
    monkeypatch.setitem(sys.modules, "hmmlearn.hmm", None)
    with pytest.raises(ImportError, match="to_hmmlearn needs hmmlearn: pip install hmmlearn"):
        to_hmmlearn(GaussianHMM(3, 2))


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_covariances_are_set_above_the_floor(covariance_type: str) -> None:
    emission = GaussianHMM(2, 3, covariance_type=covariance_type).double().emission
    wanted = emission.covariance.detach() * 2.5
    emission.set_covariance(wanted)
    torch.testing.assert_close(emission.covariance.detach(), wanted, rtol=1e-12, atol=1e-12)
    emission.set_covariance(wanted * 0.0)
    floor = emission.variance_floor.expand_as(emission.variance)
    torch.testing.assert_close(emission.variance.detach(), floor, rtol=1e-9, atol=0.0)
    with pytest.raises(ValueError, match="covariance must be finite and of shape"):
        emission.set_covariance(torch.ones(7))
