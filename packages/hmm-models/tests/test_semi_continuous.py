import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from hmm_models import (
    FullGaussianMixtures,
    GaussianMixtures,
    HiddenMarkovModel,
    MixturePrior,
    SemiContinuousMixtures,
    load_model,
    save_model,
)


def make(
    P: int = 3, M: int = 4, D: int = 2, book: Callable[..., Any] = GaussianMixtures
) -> SemiContinuousMixtures:
    model = SemiContinuousMixtures(P, book(M, 1, D)).double()
    with torch.no_grad():
        model.weight_logits.normal_()
    return model


def joint(model: SemiContinuousMixtures, x: Tensor) -> Tensor:
    """Log of weight times density (N, P, M), all at once."""
    return (model.codebook.log_prob(x).unsqueeze(1) + model.weight.log()).detach()


@pytest.mark.parametrize("book", [GaussianMixtures, FullGaussianMixtures])
def test_densities_mix_the_codewords(book: Callable[..., Any]) -> None:
    model, x = make(book=book), torch.randn(2, 5, 2).double()
    expected = joint(model, x.view(-1, 2)).logsumexp(-1).view(2, 5, 3)
    torch.testing.assert_close(model(x), expected, rtol=1e-12, atol=1e-12)
    assert model.log_prob(x[:0]).shape == (0, 5, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_density_far_from_the_best_codeword_is_exact(dtype: torch.dtype) -> None:
    model = make(P=3, M=4, D=1).to(dtype)
    with torch.no_grad():
        model.codebook.mean.copy_(torch.tensor([0.0, 30.0, 60.0, 90.0]).view(4, 1, 1))
        model.weight_logits[0, 1:] = -torch.inf
        model.weight_logits[1, 0] = -1e4
    x = torch.tensor([[0.0], [89.0], [45.0]], dtype=dtype, requires_grad=True)
    exact = joint(model, x.detach()).logsumexp(-1)
    torch.testing.assert_close(model.log_prob(x), exact, rtol=1e-6, atol=1e-6)
    gradients = torch.autograd.grad(model.log_prob(x).sum(), (x, *model.parameters()))
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    share = torch.rand(3, 3, dtype=torch.float64)
    found = model.accumulate(x.detach(), share, dtype=dtype)
    component = joint(model.double(), x.detach().double()).softmax(-1) * share.unsqueeze(-1)
    # Posteriors from logarithms near -4000, which float32 holds to 2e-4.
    tolerance = 1e-3 if dtype == torch.float32 else 1e-9
    torch.testing.assert_close(found.occupancy, component.sum(0), rtol=tolerance, atol=tolerance)


def test_statistics_are_sums_over_codeword_posteriors(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, share = make(), torch.randn(20, 2).double(), torch.rand(20, 3).double()
    component = joint(model, x).softmax(-1) * share.unsqueeze(-1)
    for block in (1 << 20, 20):
        monkeypatch.setattr("hmm_models.emissions._semi_continuous._BLOCK", block)
        found = model.accumulate(x, share)
        torch.testing.assert_close(found.occupancy, component.sum(0), rtol=1e-11, atol=1e-11)
        own = component.sum(1)
        torch.testing.assert_close(found.codebook.first[:, 0], own.T @ x, rtol=1e-11, atol=1e-11)
        torch.testing.assert_close(found.codebook.second[:, 0], own.T @ x.square(), rtol=1e-11, atol=1e-11)


def test_gradients_are_those_of_finite_differences() -> None:
    model = make(P=2, M=3)
    x = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in model.named_parameters()]

    def log_prob(x: Tensor, *parameters: Tensor) -> Tensor:
        changed = dict(zip(names, parameters, strict=True))
        result: Tensor = torch.func.functional_call(model, changed, (x,))
        return result

    assert torch.autograd.gradcheck(log_prob, (x, *model.parameters()))


@pytest.mark.parametrize("prior", [None, MixturePrior(torch.zeros(2), 2.0, weight_strength=0.5)])
@pytest.mark.parametrize("missing", [True, False])
def test_em_never_lowers_the_objective(prior: MixturePrior | None, missing: bool) -> None:
    x = torch.randn(2, 80, 2).double() + torch.randn(2, 8, 2).repeat_interleave(10, 1).double() * 4
    observed = torch.rand(2, 80, 2) < 0.7 if missing else None
    model = HiddenMarkovModel(SemiContinuousMixtures(3, GaussianMixtures(6, 1, 2))).double()
    emission: Any = model.emission
    options: dict[str, Any] = {"observed": observed}
    history = []
    model.initialize(x, **options)
    for _ in range(10):
        penalty = 0.0 if prior is None else emission.log_prior(prior)
        history.append(float(model.log_likelihood(x, **options).sum().detach()) + penalty)
        model.update(model.accumulate(x, **options), prior=prior)
    assert all(after >= before - 1e-9 * abs(before) for before, after in itertools.pairwise(history))
    assert history[-1] > history[0] + 1
    result = model.fit(x, initialize=False, max_iterations=3, prior=prior, **options)
    assert len(result.reports) > 0


def test_densities_without_frames_keep_their_weights() -> None:
    model, x = make(), torch.randn(20, 2).double()
    before = model.weight.detach().clone()
    share = torch.zeros(20, 3)
    share[:, 0] = 1.0
    report = model.update(model.accumulate(x, share))
    assert report.starved == (1, 2)
    torch.testing.assert_close(model.weight.detach()[1:], before[1:])
    assert not torch.equal(model.weight[0], before[0])


def test_parameters_are_counted_and_files_hold_everything(tmp_path: Any) -> None:
    model, x = make(), torch.randn(5, 2).double()
    assert model.num_parameters == 3 * 3 + 4 * 2 * 2
    save_model(model, tmp_path / "a")
    again = load_model(tmp_path / "a")
    assert torch.equal(again(x), model(x))
    hmm = HiddenMarkovModel(model)
    save_model(hmm, tmp_path / "b")
    assert torch.equal(load_model(tmp_path / "b")(x[None]), hmm(x[None]))


def test_sampled_features_have_the_densitys_mean() -> None:
    model = make()
    x = model.sample(torch.ones(40_000, dtype=torch.int64), torch.Generator().manual_seed(0))
    mean = model.weight[1] @ model.codebook.mean[:, 0]
    # Five standard errors of 40,000 frames with a deviation below 2.
    torch.testing.assert_close(x.mean(0), mean.detach(), atol=0.05, rtol=0.0)
    assert model.sample(torch.zeros(2, 3, dtype=torch.int64)).shape == (2, 3, 2)


def test_compiles_as_one_graph() -> None:
    model, x = make().float(), torch.randn(4, 2)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), model(x))


def test_float32_frames_are_computed_in_float32() -> None:
    model, x, share = make().float(), torch.randn(500, 2), torch.rand(500, 3)
    assert model.working_dtype(torch.float32) == torch.float32
    exact, fast = model.accumulate(x, share), model.accumulate(x, share, dtype=torch.float32)
    # Sums of 500 terms below 10, each rounded to 6e-8 of it and multiplied by a rounded posterior.
    torch.testing.assert_close(fast.occupancy, exact.occupancy, rtol=2e-5, atol=1e-3)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="num_densities must be >= 1; got 0"):
        SemiContinuousMixtures(0, GaussianMixtures(2, 1, 3))
    with pytest.raises(ValueError, match="codebook must have num_mixtures = 1; got 2"):
        SemiContinuousMixtures(1, GaussianMixtures(2, 2, 3))
    model = make()
    with pytest.raises(ValueError, match=r"x must have shape \(N, D\) = \(N, 2\); got \(1, 4, 2\)"):
        model.accumulate(torch.zeros(1, 4, 2), torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"statistics must have shape \(P, M\) = \(3, 4\); got \(2, 4\)"):
        model.update(make(P=2).zero_statistics())
    statistics = model.zero_statistics()
    statistics.occupancy[0, 0] = torch.nan
    with pytest.raises(ValueError, match="statistics must be finite"):
        model.update(statistics)
