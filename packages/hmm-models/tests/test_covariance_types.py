"""Gaussian mixtures of every covariance type against scipy, and EM on them."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from hmm_models import (
    FullGaussianMixtures,
    GaussianHMM,
    GaussianMixtures,
    HiddenMarkovModel,
    MixtureGaussianHMM,
    MixturePrior,
    SphericalGaussianMixtures,
    load_model,
    save_model,
)

KINDS: dict[str, Callable[[int, int, int], Any]] = {
    "spherical": SphericalGaussianMixtures,
    "diag": GaussianMixtures,
    "full": FullGaussianMixtures,
    "components": lambda P, M, D: FullGaussianMixtures(P, M, D, shared="components"),
    "all": lambda P, M, D: FullGaussianMixtures(P, M, D, shared="all"),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def make(kind: str, P: int = 3, M: int = 2, D: int = 3, dtype: torch.dtype = torch.float64) -> Any:
    """Draw parameters."""
    model = KINDS[kind](P, M, D).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.5)
        model.set_variance_floor(torch.ones(D, dtype=dtype), 0.01)
    return model


def covariances(model: Any) -> Tensor:
    """Covariance matrices of all components, (P, M, D, D)."""
    P, M, D = model.mean.shape
    value: Tensor = model.covariance.detach().double()
    if isinstance(model, FullGaussianMixtures):
        return value.expand(P, M, D, D)
    return torch.diag_embed(model.variance.detach().double())


def dense(model: Any, x: Tensor, observed: Tensor | None = None) -> Tensor:
    """Log of weight times density (N, P, M) by scipy, one frame and one component at a time."""
    P, M, _ = model.mean.shape
    weight, mean, covariance = model.weight.detach(), model.mean.detach(), covariances(model)
    result = torch.empty(len(x), P, M, dtype=torch.float64)
    for n, p, m in itertools.product(range(len(x)), range(P), range(M)):
        seen = np.ones(x.shape[1], bool) if observed is None else observed[n].numpy()
        log_prob = 0.0
        if seen.any():
            log_prob = stats.multivariate_normal.logpdf(
                x[n].numpy()[seen], mean[p, m].numpy()[seen], covariance[p, m].numpy()[seen][:, seen]
            )
        result[n, p, m] = weight[p, m].double().log() + log_prob
    return result


def of(model: HiddenMarkovModel) -> Any:
    """Emission of a model."""
    return model.emission


def all_patterns(D: int) -> Tensor:
    return torch.tensor(list(itertools.product([True, False], repeat=D)))


@every_kind
def test_log_prob_is_that_of_scipy(kind: str) -> None:
    model, x = make(kind), torch.randn(7, 3).double() * 2
    torch.testing.assert_close(model.log_prob(x), dense(model, x).logsumexp(-1), rtol=1e-10, atol=1e-10)
    assert torch.equal(model.log_prob(x.view(7, 1, 3)).squeeze(1), model.log_prob(x))
    assert model.log_prob(x[:0]).shape == (0, 3)


@every_kind
def test_float32_is_accurate_far_from_zero(kind: str) -> None:
    model = make(kind, D=20, dtype=torch.float32)
    with torch.no_grad():
        model.mean.add_(100.0)
        x = model.sample(torch.randint(3, (200,)))
    # Sums of some ten nats; what the shift of 100 itself costs is in the float32 parameters of both.
    torch.testing.assert_close(
        model.log_prob(x).double(), dense(model, x.double()).logsumexp(-1), rtol=1e-5, atol=1e-3
    )


@every_kind
def test_blocks_change_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, share = make(kind), torch.randn(40, 3).double(), torch.rand(40, 3).double()
    whole = model.log_prob(x).detach(), model.accumulate(x, share)
    monkeypatch.setattr("hmm_models.emissions._densities._BLOCK", 1)
    monkeypatch.setattr("hmm_models.emissions._densities._FEWEST_ROWS", 7)
    with torch.no_grad():
        torch.testing.assert_close(model.log_prob(x), whole[0], rtol=1e-12, atol=1e-12)
    for a, b in zip(model.accumulate(x, share).tensors(), whole[1].tensors(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@every_kind
def test_gradients_are_those_of_finite_differences(kind: str) -> None:
    model = make(kind, P=2, M=2, D=2)
    x = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in model.named_parameters()]

    def log_prob(x: Tensor, *parameters: Tensor) -> Tensor:
        changed = dict(zip(names, parameters, strict=True))
        result: Tensor = torch.func.functional_call(model, changed, (x,))
        return result

    assert torch.autograd.gradcheck(log_prob, (x, *model.parameters()))


@every_kind
def test_missing_dimensions_are_integrated_out(kind: str) -> None:
    model, observed = make(kind), all_patterns(3)
    x = torch.randn(8, 3).double()
    expected = dense(model, x, observed).logsumexp(-1)
    poisoned = x.masked_fill(~observed, torch.nan)
    found = model.log_prob(poisoned, observed=observed)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    gradients = torch.autograd.grad(found.sum(), tuple(model.parameters()))
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    everything = torch.ones_like(observed)
    torch.testing.assert_close(model.log_prob(x, observed=everything), model.log_prob(x))


def expected_moments(model: Any, x: Tensor, observed: Tensor, share: Tensor) -> tuple[Tensor, ...]:
    """Occupancy, first and second (P, M, D, D) moments, conditioned frame by frame."""
    component = dense(model, x, observed).softmax(-1) * share.unsqueeze(-1)
    P, M, D = model.mean.shape
    first, second = torch.zeros(P, M, D).double(), torch.zeros(P, M, D, D).double()
    covariance = covariances(model)
    for n, p, m in itertools.product(range(len(x)), range(P), range(M)):
        o, u = observed[n], ~observed[n]
        filled, rest = model.mean.detach()[p, m].clone(), covariance[p, m].clone()
        gain = rest[u][:, o] @ torch.linalg.inv(rest[o][:, o])
        filled[u] += gain @ (x[n, o] - filled[o])
        filled[o] = x[n, o]
        left = rest[u][:, u] - gain @ rest[o][:, u]
        rest.zero_()
        rest[u.nonzero(), u.nonzero().T] = left
        first[p, m] += component[n, p, m] * filled
        second[p, m] += component[n, p, m] * (torch.outer(filled, filled) + rest)
    return component.sum(0), first, second


@every_kind
@pytest.mark.parametrize("firm", [True, False])
def test_missing_values_add_what_is_expected_of_them(kind: str, firm: bool) -> None:
    model, observed = make(kind), all_patterns(3)
    x = torch.randn(8, 3).double()
    index = torch.arange(8) % 3
    share = torch.nn.functional.one_hot(index, 3).double() if firm else torch.rand(8, 3).double()
    occupancy, first, second = expected_moments(model, x, observed, share)
    x[~observed] = torch.nan
    if firm:
        found = model.accumulate(x, density_index=index, observed=observed)
    else:
        found = model.accumulate(x, share, observed=observed)
    if isinstance(model, FullGaussianMixtures):
        second = second.sum_to_size(found.second.shape)
    else:
        second = second.diagonal(dim1=-2, dim2=-1)
    for value, expected in zip(found.tensors(), (occupancy, first, second), strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9)


@every_kind
def test_firm_statistics_are_soft_ones_with_certain_shares(kind: str) -> None:
    model, x, index = make(kind), torch.randn(50, 3).double(), torch.randint(3, (50,))
    share = torch.nn.functional.one_hot(index, 3).double()
    firm, soft = model.accumulate(x, density_index=index), model.accumulate(x, share)
    for a, b in zip(firm.tensors(), soft.tensors(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@every_kind
def test_groups_of_frames_change_nothing(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, weight = make(kind), torch.randn(60, 3).double(), torch.rand(60).double()
    index = torch.randint(-1, 2, (60,))  # the last density has no frames
    x[index < 0] = torch.nan
    share = torch.nn.functional.one_hot(index.clamp_min(0), 3) * (weight * (index >= 0)).unsqueeze(1)
    soft = model.accumulate(x.nan_to_num(), share)
    monkeypatch.setattr("hmm_models.emissions._densities._BLOCK", 1)
    monkeypatch.setattr("hmm_models.emissions._densities._FEWEST_ROWS", 16)
    for size in (1, 7, 16, 100):
        monkeypatch.setattr("hmm_models.emissions._accumulation._SMALLEST_GROUP", size)
        monkeypatch.setattr("hmm_models.emissions._accumulation._LARGEST_GROUP", size)
        firm = model.accumulate(x, density_index=index, weight=weight)
        for a, b in zip(firm.tensors(), soft.tensors(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)
    nothing = model.accumulate(x, density_index=torch.full((60,), -1))
    assert not any(value.any() for value in nothing.tensors())


@every_kind
@pytest.mark.parametrize("missing", [True, False])
def test_em_never_lowers_the_likelihood(kind: str, missing: bool) -> None:
    truth, model = make(kind, M=1), make(kind)
    x = truth.sample(torch.randint(3, (300,)))
    observed = torch.rand(300, 3) < 0.6 if missing else None
    share = torch.ones(300, 3).double() / 3
    history = []
    for _ in range(15):
        history.append(float(model.log_prob(x, observed=observed).sum().detach()))
        model.update(model.accumulate(x, share, observed=observed))
    assert all(after >= before - 1e-9 * abs(before) for before, after in itertools.pairwise(history))
    assert history[-1] > history[0] + 10


@every_kind
def test_em_reaches_a_point_where_the_gradient_vanishes(kind: str) -> None:
    x, model = torch.randn(60, 3).double() @ torch.randn(3, 3).double(), make(kind, P=1)
    model.set_variance_floor(torch.ones(3), 1e-6)
    for _ in range(400):
        model.update(model.accumulate(x, torch.ones(60, 1)))
    gradients = torch.autograd.grad(model.log_prob(x).mean(), tuple(model.parameters()))
    assert all(float(gradient.abs().max()) < 1e-4 for gradient in gradients)


@every_kind
def test_the_floor_is_the_best_choice_under_its_constraint(kind: str) -> None:
    model, x = make(kind, P=1, M=1), torch.randn(4, 3).double() * torch.tensor([3.0, 0.01, 0.02])
    model.set_variance_floor(torch.ones(3), 0.5)
    report = model.update(model.accumulate(x, torch.ones(4, 1)))
    assert report.num_floored >= (kind != "spherical")
    best = float(model.log_prob(x).sum().detach())
    lowest = torch.linalg.eigvalsh(covariances(model)).min()
    assert lowest >= 0.5 * (1 - 1e-12)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(200):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.05)
        assert float(model.log_prob(x).sum().detach()) < best
        model.load_state_dict(start)


@every_kind
def test_sampled_features_have_the_covariance(kind: str) -> None:
    model = make(kind, P=2, M=1)
    x = model.sample(torch.ones(40_000, dtype=torch.int64), torch.Generator().manual_seed(1))
    found, expected = x.T.cov(), covariances(model)[1, 0]
    # Six standard errors of a covariance of 40,000 frames.
    scale = float(expected.diagonal().max())
    torch.testing.assert_close(found, expected, atol=6 * scale * (2 / 40_000) ** 0.5, rtol=0.0)


@every_kind
def test_splitting_keeps_the_density_nearly_and_grows(kind: str) -> None:
    model, x = make(kind, P=2, M=1), torch.randn(50, 3).double()
    before = model.log_prob(x).detach()
    model.split([3, 1], perturbation=1e-3)
    assert model.num_components.tolist() == [3, 1]
    torch.testing.assert_close(model.log_prob(x).detach(), before, atol=0.05, rtol=0.0)
    assert not torch.equal(model.mean[0, 0], model.mean[0, 1])
    model.update(model.accumulate(x, torch.rand(50, 2)))


def test_parameters_are_counted() -> None:
    D = 4
    expected = {
        "spherical": 3 + 5 * D + 5,
        "diag": 3 + 5 * D + 5 * D,
        "full": 3 + 5 * D + 5 * 10,
        "components": 3 + 5 * D + 2 * 10,
        "all": 3 + 5 * D + 10,
    }
    for kind, number in expected.items():
        model = make(kind, P=2, M=3, D=D)
        with torch.no_grad():
            model.weight_logits[1, 0] = -torch.inf
        assert model.num_parameters == number


@every_kind
@pytest.mark.parametrize(("num_mixtures", "dtype"), [(1, torch.float64), (2, torch.float32)])
def test_three_frames_a_state_in_eighty_dimensions_stay_finite(
    kind: str, num_mixtures: int, dtype: torch.dtype
) -> None:
    x = torch.randn(1, 9, 80, dtype=dtype) * 30
    model = HiddenMarkovModel(KINDS[kind](3, num_mixtures, 80), "left_to_right").to(dtype)
    assert_healthy(model, model.fit(x, max_iterations=4, tolerance=0.0).log_likelihood)


@every_kind
def test_identical_frames_and_constant_dimensions_stay_finite(kind: str) -> None:
    same = torch.full((2, 10, 3), 7.0)
    constant = torch.randn(2, 30, 3)
    constant[..., 1] = 1e3
    for x in (same, constant):
        for num_mixtures in (1, 3):
            model = HiddenMarkovModel(KINDS[kind](4, num_mixtures, 3))
            result = model.fit(x, max_iterations=8, tolerance=0.0)
            removed = any(report.removed for report in result.reports)
            assert_healthy(model, () if removed else result.log_likelihood)
            assert torch.isfinite(model(x)).all()


def assert_healthy(model: torch.nn.Module, history: tuple[float, ...]) -> None:
    assert all(not torch.isnan(value).any() for value in model.state_dict().values())
    assert all(after >= before - 1e-6 * abs(before) for before, after in itertools.pairwise(history))


@every_kind
def test_dead_and_starved_components_are_reported(kind: str) -> None:
    model, x = make(kind, P=2), torch.randn(30, 3).double()
    with torch.no_grad():
        model.mean[0, 1] = 1e4
    before = model.state_dict()["mean"].clone()
    report = model.update(model.accumulate(x, density_index=torch.zeros(30).long()))
    assert report.removed == ((0, 1),)
    assert report.starved == (1,)
    assert torch.equal(model.mean.detach()[1], before[1])
    assert torch.isfinite(model.log_prob(x)).all()
    revived = make(kind, P=1)
    with torch.no_grad():
        revived.mean[0, 1] = 1e4
    report = revived.update(revived.accumulate(x, torch.ones(30, 1)), revive=True)
    assert report.revived == ((0, 1),)
    assert revived.num_components.tolist() == [2]


@every_kind
def test_fits_with_missing_dimensions_recover_the_means(kind: str) -> None:
    x = torch.randn(4, 300, 2) + torch.tensor([[-4.0, 4.0], [4.0, -4.0]]).repeat(1, 150).view(300, 2)
    observed = torch.rand(4, 300, 2) < 0.7
    x[~observed] = torch.nan
    model = HiddenMarkovModel(KINDS[kind](2, 1, 2))
    result = model.fit(x, observed=observed, max_iterations=20)
    assert_healthy(model, result.log_likelihood)
    mean = of(model).mean.detach()[:, 0]
    found = mean[mean[:, 0].argsort()]
    # Seven standard errors of 420 values.
    torch.testing.assert_close(found, torch.tensor([[-4.0, 4.0], [4.0, -4.0]]), atol=0.35, rtol=0.0)


@every_kind
def test_compiles_as_one_graph(kind: str) -> None:
    model, x = make(kind, dtype=torch.float32), torch.randn(4, 3)
    compiled: Any = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), model(x))


@pytest.mark.parametrize("covariance_type", ["spherical", "diag", "tied", "full"])
def test_hmms_of_every_type_fit_save_and_load(covariance_type: str, tmp_path: Any) -> None:
    model, x = GaussianHMM(3, 2, 2, covariance_type=covariance_type), torch.randn(3, 40, 2).cumsum(1)
    result = model.fit(x, max_iterations=5)
    assert_healthy(model, result.log_likelihood)
    save_model(model, tmp_path / "a")
    again = load_model(tmp_path / "a")
    assert torch.equal(again(x), model(x))
    assert MixtureGaussianHMM is GaussianHMM
    assert f"covariance_type={covariance_type!r}" in repr(again)


def test_far_means_are_computed_in_float64_and_near_ones_in_float32() -> None:
    for kind in KINDS:
        model = make(kind, dtype=torch.float32)
        assert model.working_dtype(torch.float32) == torch.float32
        assert model.working_dtype(torch.float64) == torch.float64
        with torch.no_grad():
            model.mean[0] += 1e3
        assert model.working_dtype(torch.float32) == torch.float64
        assert model.double().working_dtype(torch.float32) == torch.float64


@every_kind
def test_statistics_in_float32_are_those_in_float64_but_for_rounding(kind: str) -> None:
    model, x, share = make(kind, D=20, dtype=torch.float32), torch.randn(3000, 20), torch.rand(3000, 3)
    for known in ({"density_posterior": share}, {"density_index": torch.randint(3, (3000,))}):
        exact = model.accumulate(x, **known)
        fast = model.accumulate(x, **known, dtype=torch.float32)
        for value, expected in zip(fast.tensors(), exact.tensors(), strict=True):
            # Sums of 3,000 terms near 1, each rounded to 6e-8 and multiplied by a rounded posterior.
            torch.testing.assert_close(value, expected, rtol=2e-5, atol=2e-2)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"shared must be one of \('none', 'components', 'all'\); got 'x'"):
        FullGaussianMixtures(1, 1, 1, shared="x")
    model = FullGaussianMixtures(2, 2, 3)
    with pytest.raises(ValueError, match=r"statistics.second must have shape \(2, 2, 3, 3\)"):
        model.update(FullGaussianMixtures(2, 2, 3, shared="all").zero_statistics())
    with pytest.raises(
        ValueError, match=r"observed must be bool of the shape of x, \(4, 3\); got .*\(4, 2\)"
    ):
        model.log_prob(torch.zeros(4, 3), observed=torch.ones(4, 2).bool())
    with pytest.raises(ValueError, match="mean_strength must be >= 0"):
        model.log_prior(MixturePrior(mean_strength=-1.0))
    with pytest.raises(ValueError, match=r"prior.mean must be given where mean_strength > 0"):
        model.log_prior(MixturePrior(mean_strength=1.0))
    with pytest.raises(ValueError, match=r"prior.mean must broadcast to \(2, 2, 3\); got \(4,\)"):
        model.log_prior(MixturePrior(mean=torch.ones(4)))


@every_kind
def test_a_priors_objective_never_falls_and_a_strong_one_wins(kind: str) -> None:
    model, x = make(kind), torch.randn(60, 3).double()
    share = torch.ones(60, 3).double() / 3
    believed = model.covariance.detach() * 2
    prior = MixturePrior(torch.ones(3), 3.0, believed, 5.0, 2.0)
    history = []
    for _ in range(10):
        history.append(float((model.log_prob(x) / 3).sum().detach()) + model.log_prior(prior))
        # Each frame belongs to each density with a share of a third, so the densities' sum is what counts.
        model.update(model.accumulate(x, share), prior=prior)
    assert all(after >= before - 1e-9 * abs(before) for before, after in itertools.pairwise(history))
    model.update(model.accumulate(x, share), prior=prior._replace(mean_strength=1e12))
    torch.testing.assert_close(model.mean.detach(), torch.ones_like(model.mean), rtol=1e-6, atol=1e-6)
    model.update(
        model.accumulate(x, share), prior=MixturePrior(covariance=believed, covariance_strength=1e12)
    )
    torch.testing.assert_close(model.covariance.detach(), believed, rtol=1e-6, atol=1e-6)


@every_kind
def test_fits_with_a_prior_watch_the_penalised_objective(kind: str) -> None:
    model, x = HiddenMarkovModel(KINDS[kind](2, 2, 3)).double(), torch.randn(2, 50, 3).double()
    prior = MixturePrior(torch.zeros(3), 20.0, weight_strength=1.0)
    model.fit(x, max_iterations=15, tolerance=0.0, prior=prior)
    pulled = float(of(model).mean.detach().abs().mean())
    free = HiddenMarkovModel(KINDS[kind](2, 2, 3)).double()
    free.fit(x, max_iterations=15, tolerance=0.0)
    assert pulled < float(of(free).mean.detach().abs().mean())


@every_kind
def test_a_map_estimate_is_the_best_of_its_objective(kind: str) -> None:
    model, x = make(kind, P=1, M=1), torch.randn(5, 3).double() + 2
    believed = model.covariance.detach().clone()
    prior = MixturePrior(torch.zeros(3), 4.0, believed, 3.0)
    model.update(model.accumulate(x, torch.ones(5, 1)), prior=prior)
    start = {name: value.clone() for name, value in model.state_dict().items()}

    def objective() -> float:
        return float(model.log_prob(x).sum().detach()) + float(model.log_prior(prior))

    best = objective()
    for _ in range(200):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.02)
        assert objective() < best
        model.load_state_dict(start)


def test_a_shared_covariance_is_around_the_means_that_starved_densities_keep() -> None:
    model, x = make("all", P=2, M=1), torch.randn(20, 3).double()
    share = torch.ones(20, 2).double() * torch.tensor([1.0, 1e-5])
    kept = model.mean.detach()[1, 0].clone()
    assert model.update(model.accumulate(x, share)).starved == (1,)
    inside, outside = x - x.mean(0), x - kept
    expected = (inside.T @ inside + 1e-5 * outside.T @ outside) / (20 * (1 + 1e-5))
    torch.testing.assert_close(model.covariance.detach()[0, 0], expected, rtol=1e-9, atol=1e-9)
