import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hmm_models import GaussianMixtures

Make = Callable[..., GaussianMixtures]
Joint = Callable[[GaussianMixtures, Tensor], Tensor]


def test_log_prob_equals_torch_distributions(mixtures: Make, log_joint: Joint) -> None:
    model, x = mixtures(), torch.randn(2, 7, 5, dtype=torch.float64) * 3
    assert model.log_prob(x).shape == (2, 7, 3)
    # Float64 rounding of the expanded square.
    torch.testing.assert_close(model(x), log_joint(model, x).logsumexp(-1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1e3, -1e5])
def test_a_common_offset_costs_no_digits(mixtures: Make, log_joint: Joint, offset: float) -> None:
    model = mixtures(dtype=torch.float32)
    with torch.no_grad():
        model.mean.add_(offset)
    x = torch.randn(100, 5) + offset
    # A few float32 roundings of sums of about 30 nats; without centring the error at 1e3 is about 1.
    torch.testing.assert_close(
        model.log_prob(x).double(), log_joint(model, x).logsumexp(-1), rtol=2e-6, atol=2e-5
    )


def test_components_not_in_use_change_nothing(mixtures: Make, log_joint: Joint) -> None:
    model, x = mixtures(M=1), torch.randn(6, 5, dtype=torch.float64)
    before = model.log_prob(x)
    model.split([1, 3, 1])
    assert model.num_mixtures == 3
    assert model.num_components.tolist() == [1, 3, 1]
    after = model.log_prob(x)
    torch.testing.assert_close(after[:, [0, 2]], before[:, [0, 2]], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(after, log_joint(model, x).logsumexp(-1), rtol=1e-12, atol=1e-12)


def test_without_gradients_the_components_in_use_alone_are_computed(mixtures: Make, log_joint: Joint) -> None:
    model, x = mixtures(P=7, M=5), torch.randn(6, 5, dtype=torch.float64)
    with torch.no_grad():
        used = torch.rand(7, 5) < torch.tensor([0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 0.5]).unsqueeze(1)
        model.weight_logits.masked_fill_(~used, -torch.inf)
        recorded, found = torch.enable_grad()(model.log_prob)(x), model.log_prob(x)
    assert (found[:, 0] == -torch.inf).all()
    torch.testing.assert_close(found, log_joint(model, x).logsumexp(-1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found, recorded, rtol=1e-12, atol=1e-12)


def test_selected_densities_are_a_model_of_their_own(mixtures: Make) -> None:
    model, x = mixtures(M=2), torch.randn(6, 5, dtype=torch.float64)
    model.set_variance_floor(torch.full((5,), 0.2, dtype=torch.float64), 0.5)
    chance = torch.get_rng_state()
    chosen = model.select(torch.tensor([2, 0, 2]))
    assert torch.equal(torch.get_rng_state(), chance)
    assert (chosen.num_densities, chosen.num_mixtures) == (3, model.num_mixtures)
    torch.testing.assert_close(chosen.log_prob(x), model.log_prob(x)[:, [2, 0, 2]], rtol=1e-12, atol=1e-12)
    assert torch.equal(chosen.variance_floor, model.variance_floor)
    chosen.reset_flat(torch.zeros(5, dtype=torch.float64), torch.ones(5, dtype=torch.float64))
    assert not torch.equal(chosen.mean[0], model.mean[2])


@pytest.mark.parametrize(
    ("index", "rule"),
    [
        (torch.tensor([3]), r"must be in 0\.\.P-1 = 0\.\.2; got 3\.\.3"),
        (torch.tensor([-1, 0]), r"must be in 0\.\.P-1 = 0\.\.2; got -1\.\.0"),
        (torch.tensor([0.0]), r"must be int64 of shape \(Q,\), Q >= 1; got torch.float32 of shape \(1,\)"),
        (torch.empty(0, dtype=torch.int64), r"got torch.int64 of shape \(0,\)"),
    ],
)
def test_densities_that_there_are_not_are_refused(mixtures: Make, index: Tensor, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        mixtures().select(index)


def test_gradients_are_finite_and_zero_for_components_not_in_use(mixtures: Make) -> None:
    model, x = mixtures(), torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    inputs = {"x": x, **dict(model.named_parameters())}
    gradients = dict(
        zip(inputs, torch.autograd.grad(model.log_prob(x).sum(), tuple(inputs.values())), strict=True)
    )
    assert all(torch.isfinite(value).all() for value in gradients.values())
    for name in ("weight_logits", "mean", "log_variance"):
        assert gradients[name][0, 1].count_nonzero() == 0
        assert gradients[name][0, 0].count_nonzero() > 0


def test_gradients_are_those_of_finite_differences(mixtures: Make) -> None:
    model = mixtures(P=2, M=2, D=2)
    x = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    parameters = (model.mean, model.log_variance)

    def log_prob(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
        changed = {"mean": mean, "log_variance": log_variance}
        result: Tensor = torch.func.functional_call(model, changed, (x,))
        return result

    assert torch.autograd.gradcheck(log_prob, (x, *parameters))


def test_a_density_without_components_is_minus_infinity_with_zero_gradients(mixtures: Make) -> None:
    model, x = mixtures(), torch.randn(4, 5, dtype=torch.float64)
    with torch.no_grad():
        model.weight_logits[1] = -torch.inf
    log_prob = model.log_prob(x)
    assert (log_prob[:, 1] == -torch.inf).all()
    for gradient in torch.autograd.grad(log_prob, tuple(model.parameters()), torch.ones_like(log_prob)):
        assert torch.isfinite(gradient).all()
        assert gradient[1].count_nonzero() == 0


def test_a_far_frame_is_finite_and_its_gradient_too(mixtures: Make) -> None:
    model, x = mixtures(dtype=torch.float32), torch.full((1, 5), 1e15, requires_grad=True)
    log_prob = model.log_prob(x)
    assert torch.isfinite(log_prob).all()
    assert torch.isfinite(torch.autograd.grad(log_prob.sum(), x)[0]).all()


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 1e30])
def test_a_frame_that_is_not_finite_is_named(mixtures: Make, value: float) -> None:
    x = torch.zeros(2, 4, 5)
    x[1, 2, 3] = value
    with pytest.raises(ValueError, match=r"x must be finite and at most .* at \(1, 2, 3\), 1 such values"):
        mixtures(dtype=torch.float32).log_prob(x)


@pytest.mark.parametrize("x", [torch.zeros(3, 4), torch.zeros(()), torch.zeros(3, 5).long()])
def test_features_of_another_width_or_kind_are_refused(mixtures: Make, x: Tensor) -> None:
    with pytest.raises(ValueError, match=r"x must (have shape .* = \(\.\.\., 5\)|be floating point)"):
        mixtures().log_prob(x)


def test_half_precision_is_computed_in_the_parameters_precision(mixtures: Make) -> None:
    model, x = mixtures(dtype=torch.float32), torch.randn(5, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = model.log_prob(x)
    assert torch.equal(inside, model.log_prob(x))
    assert model.log_prob(x.bfloat16()).dtype == torch.float32
    assert model.log_prob(x.double()).dtype == torch.float64


def test_compiles_as_one_graph(mixtures: Make) -> None:
    model, x = mixtures(dtype=torch.float32), torch.randn(4, 5)
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), model(x))


def test_features_that_are_no_batch_of_frames_work_too(mixtures: Make) -> None:
    model, x = mixtures(), torch.randn(5, dtype=torch.float64)
    torch.testing.assert_close(model.log_prob(x), model.log_prob(x.unsqueeze(0))[0])
    assert model.log_prob(torch.zeros(2, 0, 5)).shape == (2, 0, 3)


def test_a_collapsed_variance_counts_as_the_floor(mixtures: Make) -> None:
    model = mixtures(dtype=torch.float32)
    model.set_variance_floor(torch.ones(5), 0.5)
    with torch.no_grad():
        model.log_variance.fill_(-500.0)
    assert torch.equal(model.variance, torch.full_like(model.variance, 0.5))
    assert torch.isfinite(model.log_prob(torch.randn(3, 5))).all()


def test_flat_densities_are_the_global_gaussian() -> None:
    x = torch.randn(1000, 3, dtype=torch.float64) * torch.tensor([1.0, 2.0, 0.0]).double() + 7
    model = GaussianMixtures.flat(4, x.mean(0), x.var(0), num_mixtures=2)
    assert model.mean.dtype == torch.float64
    assert model.num_components.tolist() == [1, 1, 1, 1]
    distance = ((x - x.mean(0)) ** 2)[:, :2] / x.var(0)[:2]
    normalizer = torch.tensor([*x.var(0)[:2].tolist(), 1e-10]).double().log() + math.log(2 * math.pi)
    expected = -0.5 * (distance.sum(-1) + normalizer.sum())
    torch.testing.assert_close(model.log_prob(x), expected.unsqueeze(-1).expand(-1, 4), rtol=1e-6, atol=1e-6)


def test_sampled_features_have_the_densitys_moments(mixtures: Make) -> None:
    model = mixtures(P=2, M=2, D=2)
    index = torch.ones(40_000, dtype=torch.int64)
    x = model.sample(index, torch.Generator().manual_seed(1))
    weight = model.weight[1].unsqueeze(-1)
    mean = (weight * model.mean[1]).sum(0)
    second = (weight * (model.variance[1] + model.mean[1].square())).sum(0)
    # Five standard errors of a mean of 40,000 frames with variance about 2.
    torch.testing.assert_close(x.mean(0), mean, atol=0.04, rtol=0.0)
    torch.testing.assert_close(x.square().mean(0), second, atol=0.15, rtol=0.0)
    assert model.sample(index.view(200, 200)).shape == (200, 200, 2)


@pytest.mark.parametrize("sizes", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_sizes_below_one_are_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"must be >= 1; got 0"):
        GaussianMixtures(*sizes)


def test_a_wrong_global_variance_or_mean_is_named() -> None:
    one = torch.ones(2)
    with pytest.raises(ValueError, match=r"global_variance must have shape \(D,\) = \(2,\); got \(3,\)"):
        GaussianMixtures.flat(1, one, torch.ones(3))
    with pytest.raises(ValueError, match="global_variance must be finite and >= 0"):
        GaussianMixtures.flat(1, one, torch.tensor([1.0, -1.0]))
    with pytest.raises(ValueError, match="global_mean must have shape"):
        GaussianMixtures.flat(1, torch.tensor([torch.nan, 0.0]), one)
    with pytest.raises(ValueError, match="floor must be > 0; got 0"):
        GaussianMixtures.flat(1, one, one, variance_floor=0.0)
