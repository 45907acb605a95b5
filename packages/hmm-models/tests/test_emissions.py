"""Emissions beside Gaussians: their densities, their EM, what they generate, what they refuse."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from hmm_models import (
    CategoricalEmission,
    GaussianMixtures,
    HiddenMarkovModel,
    MultiSpaceEmission,
    MultiStreamEmission,
    PoissonEmission,
    ScaledPosterior,
    StudentTEmission,
    TrainableEmission,
    load_model,
    register_model,
    save_model,
)


def gaussians(P: int = 3) -> GaussianMixtures:
    """Univariate, of two components."""
    return GaussianMixtures(P, 2, 1)


MAKERS: dict[str, Callable[[], Any]] = {
    "categorical": lambda: CategoricalEmission(3, 4),
    "poisson": lambda: PoissonEmission(3, 2),
    "student": lambda: StudentTEmission(3, 2),
    "multi-space": lambda: MultiSpaceEmission(gaussians()),
    "multi-stream": lambda: MultiStreamEmission([gaussians(), PoissonEmission(3, 1)], [1, 1], [1.0, 0.5]),
}


@pytest.fixture(params=MAKERS)
def emission(request: pytest.FixtureRequest) -> Any:
    """One of each, in float64."""
    return MAKERS[request.param]().double()


def draw(emission: Any, *shape: int) -> Tensor:
    """Observations of random densities."""
    index = torch.randint(emission.num_densities, shape)
    return emission.sample(index)  # type: ignore[no-any-return]


def test_em_never_lowers_the_likelihood(emission: Any) -> None:
    assert isinstance(emission, TrainableEmission)
    x = draw(emission, 4, 30)
    model = HiddenMarkovModel(cast(nn.Module, emission)).double()
    result = model.fit(x, torch.tensor([30, 1, 17, 25]), max_iterations=15, tolerance=-1.0)
    assert len(result.reports) == 15
    assert all(torch.isfinite(parameter).all() for parameter in model.emission.parameters())
    assert result.log_likelihood[-1] > result.log_likelihood[0]


def test_statistics_of_parts_add_up(emission: Any) -> None:
    x, share = draw(emission, 40), torch.rand(40, 3)
    total = emission.zero_statistics()
    for part in (slice(0, 7), slice(7, 40)):
        total += emission.accumulate(x[part], share[part])
    whole = list(emission.accumulate(x, share).tensors())
    for mine, expected in zip(total.tensors(), whole, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-10, atol=1e-10)
    assert len(whole) == len(list(emission.zero_statistics().tensors()))


@pytest.mark.parametrize("kind", ["categorical", "poisson"])
def test_the_m_step_is_the_maximum(kind: str) -> None:
    emission = MAKERS[kind]().double()
    x, share = draw(emission, 200), torch.rand(200, 3).double()
    emission.update(emission.accumulate(x, share))
    score = (share * emission.log_prob(x)).sum()
    for gradient in torch.autograd.grad(score, list(emission.parameters())):
        assert float(gradient.abs().max()) < 1e-9


def test_gradients_are_right(emission: Any) -> None:
    x = draw(emission, 3)
    names = [name for name, _ in emission.named_parameters()]

    def run(*values: Tensor) -> Any:
        return torch.func.functional_call(emission, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(
        run, tuple(p.detach().clone().requires_grad_() for p in emission.parameters())
    )


def test_a_model_with_it_is_saved_and_loaded(emission: Any, tmp_path: Path) -> None:
    model = HiddenMarkovModel(emission, topology="left_to_right").double()
    x = draw(emission, 2, 10)
    save_model(model, tmp_path / "model.safetensors")
    loaded = load_model(tmp_path / "model.safetensors")
    assert torch.equal(loaded(x), model(x))
    assert repr(loaded) == repr(model)


def test_a_density_without_frames_keeps_its_parameters(emission: Any) -> None:
    x, share = draw(emission, 20), torch.rand(20, 3).double()
    share[:, 1] = 0.0
    before = emission.log_prob(x)[:, 1].detach()
    report = emission.update(emission.accumulate(x, share))
    torch.testing.assert_close(emission.log_prob(x)[:, 1].detach(), before, rtol=1e-12, atol=1e-12)
    assert report.starved == (1,)


def test_samples_have_the_frequencies_of_the_density(emission: Any) -> None:
    # The M-step from many samples of one density gives that density back.
    index = torch.zeros(20_000, dtype=torch.int64)
    x = emission.sample(index, torch.Generator().manual_seed(3))
    expected = float(emission.log_prob(x)[:, 0].mean().detach())
    share = nn.functional.one_hot(index, 3).double()
    for _ in range(20):
        emission.update(emission.accumulate(x, share))
    # A fit gains half a nat for each of at most six parameters, here of 20,000 frames.
    assert float(emission.log_prob(x)[:, 0].mean().detach()) == pytest.approx(expected, abs=1e-2)


def test_student_t_is_scipy_s() -> None:
    emission = StudentTEmission(2, 3, 5.0).double()
    with torch.no_grad():
        emission.log_variance.normal_()
        emission.log_degrees.fill_(math.log(5.0))
    x = torch.randn(6, 3).double()
    for p in range(2):
        shape = np.diag(emission.log_variance[p].detach().exp().numpy())
        oracle = stats.multivariate_t(emission.mean[p].detach().numpy(), shape, df=5.0)
        expected = torch.from_numpy(oracle.logpdf(x.numpy()))
        torch.testing.assert_close(emission.log_prob(x)[:, p].detach(), expected, rtol=1e-10, atol=1e-10)


def test_student_t_finds_the_tails() -> None:
    x = torch.from_numpy(stats.t(df=4.0).rvs(size=(20_000, 1), random_state=0))
    emission = StudentTEmission(1, 1, 30.0).double()
    for _ in range(100):
        emission.update(emission.accumulate(x, torch.ones(len(x), 1)))
    # The standard error of the degrees of freedom is about 0.12 here.
    assert float(emission.degrees_of_freedom.detach()) == pytest.approx(4.0, abs=0.4)


def test_poisson_is_scipy_s_and_marginalises() -> None:
    emission = PoissonEmission(2, 3).double()
    x = torch.tensor([[0.0, 3.0, 1.0], [7.0, 0.0, 2.0]]).double()
    rate = emission.log_rate.detach().exp().numpy()
    each = torch.stack([torch.from_numpy(stats.poisson(rate[p]).logpmf(x.numpy())) for p in range(2)], 1)
    torch.testing.assert_close(emission.log_prob(x).detach(), each.sum(-1), rtol=1e-10, atol=1e-12)
    observed = torch.tensor([[True, False, True], [False, False, False]])
    expected = (each * observed.unsqueeze(1)).sum(-1)
    found = emission.log_prob(x.masked_fill(~observed, 0.0), observed=observed).detach()
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_missing_counts_are_left_out_of_the_rates() -> None:
    model = HiddenMarkovModel(PoissonEmission(1, 2)).double()
    x = torch.tensor([[[1.0, 10.0], [3.0, torch.nan], [5.0, 20.0]]]).double()
    model.fit(x, observed=~x.isnan())
    rate = model.emission.log_rate.detach().exp()  # type: ignore[operator]
    torch.testing.assert_close(rate, torch.tensor([[3.0, 15.0]]).double(), rtol=1e-9, atol=0)
    with pytest.raises(
        TypeError, match=r"CategoricalEmission cannot marginalise single dimensions; got \(1, 3, 2\)"
    ):
        HiddenMarkovModel(StudentTEmissionWithout()).log_likelihood(x, observed=~x.isnan())


class StudentTEmissionWithout(CategoricalEmission):
    """An emission of vectors that knows nothing of missing dimensions."""

    def __init__(self) -> None:
        super().__init__(1, 2)
        type(self).__name__ = "CategoricalEmission"


def test_a_forbidden_symbol_stays_forbidden() -> None:
    emission = CategoricalEmission(2, 3)
    with torch.no_grad():
        emission.logits[0, 2] = -torch.inf
    assert emission.num_parameters == 3
    x = torch.tensor([[0, 1, 2, 2, 0, 1, 1, 2]])
    HiddenMarkovModel(emission).fit(x, max_iterations=3)
    assert emission.log_prob(torch.tensor(2))[0].item() == -torch.inf
    (gradient,) = torch.autograd.grad(emission.log_prob(torch.tensor([0, 1])).sum(), emission.logits)
    assert torch.isfinite(gradient).all()


def test_a_value_that_is_not_there_is_not_read() -> None:
    emission = MultiSpaceEmission(gaussians())
    x = torch.tensor([[0.0, torch.nan], [1.0, 0.5]])
    with torch.no_grad():
        emission.presence_logit.fill_(1.0)
    found = emission.log_prob(x).detach()
    torch.testing.assert_close(
        found[0], torch.full((3,), float(nn.functional.logsigmoid(torch.tensor(-1.0))))
    )
    present = emission.value.log_prob(torch.tensor([0.5])) + nn.functional.logsigmoid(torch.tensor(1.0))  # type: ignore[operator]
    torch.testing.assert_close(found[1], present.detach())


def test_a_stream_of_weight_zero_is_not_looked_at() -> None:
    first, second = gaussians(), gaussians()
    x = torch.randn(5, 2)
    emission = MultiStreamEmission([first, second], [1, 1], [2.0, 0.0])
    torch.testing.assert_close(emission.log_prob(x), 2.0 * first.log_prob(x[:, :1]))
    emission = MultiStreamEmission([first], [1], [0.0])
    assert emission.log_prob(x[:, :1]).tolist() == [[0.0] * 3] * 5


@register_model
class Frames(nn.Module):
    """A classifier that can be saved."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(x)
        return logits

    def config(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_config(cls, config: Any) -> "Frames":
        return cls(**config)


def test_posteriors_are_divided_by_priors(tmp_path: Path) -> None:
    classifier, x = Frames(), torch.randn(2, 6, 4)
    emission = ScaledPosterior(classifier, 3, scale=0.5)
    prior = torch.tensor([0.7, 0.2, 0.1])
    emission.set_prior(1000.0 * prior)
    expected = classifier(x).log_softmax(-1) - 0.5 * prior.log()
    torch.testing.assert_close(emission.log_prob(x), expected)
    model = HiddenMarkovModel(emission)
    save_model(model, tmp_path / "hybrid.safetensors")
    assert torch.equal(load_model(tmp_path / "hybrid.safetensors")(x), model(x))
    with pytest.raises(ValueError, match="counts must be finite and > 0"):
        emission.set_prior(torch.tensor([1.0, 0.0, 1.0]))
    with pytest.raises(ValueError, match=r"classifier must give \(..., P\) = \(..., 2\) logits"):
        ScaledPosterior(classifier, 2).log_prob(x)


def score(emission: Any, x: list[Any]) -> Tensor:
    """Log-densities of one frame, or of symbols."""
    return emission.log_prob(torch.tensor(x))  # type: ignore[no-any-return]


REFUSALS: list[tuple[Callable[[], object], str]] = [
    (lambda: CategoricalEmission(0, 3), r"num_densities must be >= 1; got 0"),
    (lambda: PoissonEmission(2, 0), r"feature_dim must be >= 1; got 0"),
    (lambda: StudentTEmission(2, 0), r"feature_dim must be >= 1; got 0"),
    (lambda: StudentTEmission(2, 1, 0.5), r"degrees_of_freedom must be in 1\.\.200; got 0.5"),
    (
        lambda: MultiStreamEmission([gaussians(), gaussians(2)], [1, 1]),
        r"of densities; got \[2, 3\]",
    ),
    (lambda: MultiStreamEmission([gaussians()], [1, 1]), r"widths must be 1 integers >= 1; got \[1, 1\]"),
    (lambda: ScaledPosterior(nn.Identity(), 0), r"num_densities must be >= 1; got 0"),
    (lambda: ScaledPosterior(nn.Identity(), 1, -1.0), r"scale must be finite and >= 0; got -1.0"),
    (lambda: score(CategoricalEmission(2, 3), [0, 3]), r"x must be in 0\.\.V-1 = 0\.\.2; got 0\.\.3"),
    (lambda: score(CategoricalEmission(2, 3), [0.0]), r"x must be of int64 symbols; got torch.float32"),
    (lambda: score(PoissonEmission(2, 1), [0.5]), r"x must hold integers >= 0; got 0.5 at \(0,\)"),
    (lambda: score(PoissonEmission(2, 1), [0.5, 1.0]), r"x must have shape \(..., D\) = \(..., 1\)"),
    (lambda: score(PoissonEmission(2, 1), [1]), r"x must be floating point; got torch.int64"),
    (lambda: score(StudentTEmission(2, 1), [math.nan]), r"x must be finite; got nan at \(0,\)"),
    (lambda: score(StudentTEmission(2, 1), [0.0, 0.0]), r"x must have shape \(..., D\) = \(..., 1\)"),
    (lambda: score(StudentTEmission(2, 1), [1]), r"x must be floating point; got torch.int64"),
    (lambda: score(MultiSpaceEmission(gaussians()), [0.5, 1.0]), r"x\[..., 0\] must be 0 \(no value\) or 1"),
    (lambda: score(MultiSpaceEmission(gaussians()), [0.0]), r"x must have shape \(..., D\) = \(..., 2\)"),
    (
        lambda: score(MultiStreamEmission([gaussians()], [1]), [0.0, 0.0]),
        r"x must have shape \(..., D\) = \(..., 1\)",
    ),
]


@pytest.mark.parametrize(("make", "message"), REFUSALS)
def test_wrong_arguments_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_em_needs_parts_that_it_can_train() -> None:
    emission = MultiStreamEmission([ScaledPosterior(nn.Linear(1, 2), 2)], [1])
    with pytest.raises(TypeError, match="ScaledPosterior lacks what EM needs: train by gradient descent"):
        HiddenMarkovModel(emission).fit(torch.randn(1, 5, 1))
    statistics = StudentTEmission(2, 1).zero_statistics()
    with pytest.raises(ValueError, match=r"statistics.occupancy must be finite, of shape \(3,\); got \(2,\)"):
        StudentTEmission(3, 1).update(statistics)
