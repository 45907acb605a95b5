"""CMLLR: the exact maximum, known distortions, structures, little data, sums."""

import logging
from functools import partial

import pytest
import scipy.optimize
import torch
from torch import Tensor, nn

from hmm_models import (
    AffineTransform,
    CMLLRStatistics,
    FullGaussianMixtures,
    GaussianMixtures,
    SingularStatisticsError,
    TransformedEmission,
    accumulate_cmllr,
    cmllr_prior,
    estimate_cmllr,
    load_model,
    save_model,
)


def densities(P: int = 12, M: int = 2, D: int = 4, seed: int = 0) -> GaussianMixtures:
    """Random mixtures in float64."""
    generator = torch.Generator().manual_seed(seed)
    model = GaussianMixtures(P, M, D).double()
    with torch.no_grad():
        model.mean.copy_(3.0 * torch.randn(P, M, D, generator=generator))
        model.log_variance.copy_(0.3 * torch.randn(P, M, D, generator=generator))
        model.weight_logits.copy_(torch.randn(P, M, generator=generator))
    return model


def distorted(model: GaussianMixtures, N: int, transform: AffineTransform) -> tuple[Tensor, Tensor]:
    """Frames of known densities that the transform takes back to the model's."""
    index = torch.arange(N) % model.num_densities
    generator = torch.Generator().manual_seed(1)
    return transform.inverse()(model.sample(index, generator)), index


def random_transform(D: int, seed: int = 2) -> AffineTransform:
    """Return a transform not far from the identity."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.eye(D).double() + 0.2 * torch.randn(D, D, generator=generator).double()
    return AffineTransform(weight, torch.randn(D, generator=generator).double())


def test_statistics_are_their_definition() -> None:
    model, transform = densities(3, 2, 3), random_transform(3)
    x, share = torch.randn(7, 3).double(), torch.rand(7, 3).double()
    found = accumulate_cmllr(TransformedEmission(transform, model), x, share)
    normal = torch.distributions.Normal(model.mean, model.variance.sqrt())
    joint = normal.log_prob(transform(x)[:, None, None]).sum(-1) + model.weight.log()  # type: ignore[no-untyped-call]  # torch's
    gamma = joint.softmax(-1) * share.unsqueeze(-1)
    inputs = torch.cat([x, torch.ones(7, 1).double()], -1)
    second = torch.einsum("npm,pmd,ne,nf->def", gamma, 1.0 / model.variance, inputs, inputs)
    first = torch.einsum("npm,pmd,ne->de", gamma, model.mean / model.variance, inputs)
    # Sums in another order.
    close = partial(torch.testing.assert_close, rtol=1e-10, atol=1e-10)
    close(found.occupancy, share.sum())
    close(found.second, second.detach())
    close(found.first, first.detach())


@pytest.mark.parametrize("soft", [True, False])
def test_statistics_of_parts_add_up(soft: bool) -> None:
    model = densities()
    x, index = distorted(model, 1000, random_transform(4))
    share = nn.functional.one_hot(index, 12).double()

    def collect(rows: slice) -> CMLLRStatistics:
        if soft:
            return accumulate_cmllr(model, x[rows], share[rows])
        return accumulate_cmllr(model, x[rows], density_index=index[rows])

    whole, parts = collect(slice(None)), collect(slice(400)) + collect(slice(400, None))
    parts += CMLLRStatistics.zeros(4)
    for found, expected in zip(parts.tensors(), whole.tensors(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-8)  # sums in another order


def test_the_objective_is_the_expected_log_likelihood() -> None:
    model, transform = densities(5, 1, 3), random_transform(3)
    x, index = distorted(model, 200, transform)
    statistics = accumulate_cmllr(model, x, density_index=index)

    def expected(transform: AffineTransform) -> float:
        log_prob = TransformedEmission(transform, model).log_prob(x).detach()
        return float(log_prob[torch.arange(200), index].sum())

    identity = AffineTransform.identity(3, torch.float64)
    found = statistics.auxiliary(transform) - statistics.auxiliary(identity)
    assert found == pytest.approx(expected(transform) - expected(identity), rel=1e-9)


def test_a_known_distortion_is_recovered() -> None:
    model, truth = densities(), random_transform(4)
    x, index = distorted(model, 100_000, truth)
    estimate = estimate_cmllr(accumulate_cmllr(model, x, density_index=index))
    # Standard errors of 100 000 frames.
    torch.testing.assert_close(estimate.transform.weight, truth.weight, rtol=0, atol=0.02)
    torch.testing.assert_close(estimate.transform.bias, truth.bias, rtol=0, atol=0.02)
    assert estimate.structure == "full"
    assert estimate.occupancy == pytest.approx(100_000)


def gradient_maximum(statistics: CMLLRStatistics) -> tuple[float, Tensor]:
    """Maximum of the objective by L-BFGS on its gradient."""
    D = len(statistics.first)
    rows = torch.eye(D, D + 1).double().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [rows], max_iter=500, tolerance_grad=1e-9, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        square = torch.einsum("ie,ief,if->", rows, statistics.second, rows)
        volume = torch.linalg.slogdet(rows[:, :D]).logabsdet
        value = 0.5 * square - (rows * statistics.first).sum() - statistics.occupancy * volume
        average: Tensor = value / statistics.occupancy
        average.backward()  # type: ignore[no-untyped-call]  # torch's
        return average

    optimizer.step(loss)  # type: ignore[no-untyped-call]  # torch's
    return -float(loss().detach() * statistics.occupancy), rows.detach()


def test_it_is_the_maximum_that_gradients_find() -> None:
    model = densities()
    x, index = distorted(model, 3000, random_transform(4))
    statistics = accumulate_cmllr(model, x, density_index=index)
    estimate = estimate_cmllr(statistics)
    value, rows = gradient_maximum(statistics)
    assert estimate.auxiliary[-1] == pytest.approx(value, rel=1e-6)
    # Both stop near the maximum.
    torch.testing.assert_close(estimate.transform.weight, rows[:, :4], rtol=0, atol=1e-3)
    torch.testing.assert_close(estimate.transform.bias, rows[:, 4], rtol=0, atol=3e-3)


def test_in_one_dimension_it_is_what_scipy_finds() -> None:
    model = densities(3, 1, 1)
    x, index = distorted(model, 500, AffineTransform(torch.tensor([[1.7]]).double(), torch.tensor([0.4])))
    statistics = accumulate_cmllr(model, x, density_index=index)

    def loss(rows: list[float]) -> float:
        return -statistics.auxiliary(AffineTransform(torch.tensor([[rows[0]]]), torch.tensor([rows[1]])))

    found = scipy.optimize.minimize(loss, [1.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-7})
    transform = estimate_cmllr(statistics).transform
    # Nelder-Mead's own accuracy.
    assert transform.weight.item() == pytest.approx(found.x[0], abs=1e-3)
    assert transform.bias.item() == pytest.approx(found.x[1], abs=1e-3)


@pytest.mark.parametrize("structure", ["full", "block", "diagonal", "bias"])
def test_every_pass_gains_and_the_history_is_the_objective(structure: str) -> None:
    model = densities(D=6)
    x, index = distorted(model, 800, random_transform(6))
    statistics = accumulate_cmllr(model, x, density_index=index)
    estimate = estimate_cmllr(statistics, structure=structure, num_blocks=2)  # type: ignore[arg-type]  # parametrised
    steps = torch.tensor(estimate.auxiliary).diff()
    assert bool((steps >= -1e-9).all())  # rounding
    assert estimate.auxiliary[-1] > estimate.auxiliary[0]
    assert estimate.auxiliary[-1] == pytest.approx(statistics.auxiliary(estimate.transform), rel=1e-10)


def test_simpler_structures_leave_zeros_and_gain_less() -> None:
    model = densities(D=6)
    x, index = distorted(model, 5000, random_transform(6))
    statistics = accumulate_cmllr(model, x, density_index=index)
    full = estimate_cmllr(statistics)
    block = estimate_cmllr(statistics, structure="block", num_blocks=2)
    diagonal = estimate_cmllr(statistics, structure="diagonal")
    bias = estimate_cmllr(statistics, structure="bias")
    assert full.auxiliary[-1] > block.auxiliary[-1] > diagonal.auxiliary[-1] > bias.auxiliary[-1]
    assert torch.equal(block.transform.weight[:3, 3:], torch.zeros(3, 3).double())
    assert bool((block.transform.weight[:3, :3] != 0.0).all())
    assert torch.equal(diagonal.transform.weight, diagonal.transform.weight.diagonal().diag())
    assert torch.equal(bias.transform.weight, torch.eye(6).double())


def test_a_bias_alone_is_the_weighted_mean_of_the_deviations() -> None:
    model = densities(2, 1, 3)
    x, index = distorted(model, 50, random_transform(3))
    found = estimate_cmllr(accumulate_cmllr(model, x, density_index=index), structure="bias").transform
    precision = (1.0 / model.variance)[index, 0]
    expected = (precision * (model.mean[index, 0] - x)).sum(0) / precision.sum(0)
    torch.testing.assert_close(found.bias, expected, rtol=1e-9, atol=1e-9)  # sums in another order


def test_features_transformed_before_need_the_rest_of_the_transform() -> None:
    model, before = densities(), random_transform(4, seed=3)
    x, index = distorted(model, 3000, random_transform(4))
    direct = estimate_cmllr(accumulate_cmllr(model, x, density_index=index)).transform
    changed = before(x)
    # The maximum is local: start where the composition does.
    rest = estimate_cmllr(
        accumulate_cmllr(TransformedEmission(before.inverse(), model), changed, density_index=index),
        initial=before.inverse(),
    ).transform
    composed = rest.compose(before)
    # Both stop near the maximum.
    torch.testing.assert_close(composed.weight, direct.weight, rtol=0, atol=1e-3)
    torch.testing.assert_close(composed.bias, direct.bias, rtol=0, atol=3e-3)


@pytest.mark.parametrize(
    ("frames", "structure"),
    [(70, "full"), (69, "block"), (29, "diagonal"), (19, "bias"), (9, "identity"), (0, "identity")],
)
def test_too_few_frames_give_a_simpler_transform_and_say_so(
    frames: int, structure: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = densities(D=6)
    x, index = distorted(model, frames, random_transform(6))
    with caplog.at_level(logging.INFO, "hmm_models"):
        estimate = estimate_cmllr(accumulate_cmllr(model, x, density_index=index))
    assert estimate.structure == structure
    assert bool(caplog.records) == (structure != "full")
    assert bool(torch.isfinite(estimate.transform.weight).all())


def test_without_data_the_prior_gives_the_identity() -> None:
    prior = cmllr_prior(densities(), 50.0)
    estimate = estimate_cmllr(CMLLRStatistics.zeros(4), prior=prior, min_count=0.0)
    assert estimate.structure == "full"
    assert estimate.occupancy == 0.0
    torch.testing.assert_close(estimate.transform.weight, torch.eye(4).double(), rtol=0, atol=1e-10)
    torch.testing.assert_close(estimate.transform.bias, torch.zeros(4).double(), rtol=0, atol=1e-10)


def test_with_few_frames_the_prior_brings_the_transform_nearer_to_the_truth() -> None:
    model, truth = densities(D=8), random_transform(8)
    x, index = distorted(model, 12, truth)
    statistics = accumulate_cmllr(model, x, density_index=index)
    errors = [
        float((found.transform.weight - truth.weight).norm())
        for found in (
            estimate_cmllr(statistics, min_count=0.0),
            estimate_cmllr(statistics, min_count=0.0, prior=cmllr_prior(model, 5.0)),
        )
    ]
    assert errors[1] < errors[0]


def test_singular_statistics_are_refused_unless_a_prior_helps() -> None:
    model = densities()
    x = torch.randn(1, 4).double().expand(20, 4)
    statistics = accumulate_cmllr(model, x, density_index=torch.zeros(20, dtype=torch.int64))
    with pytest.raises(SingularStatisticsError, match="those of row 0 are singular"):
        estimate_cmllr(statistics, min_count=0.0)
    estimate = estimate_cmllr(statistics, min_count=0.0, prior=cmllr_prior(model, 1.0))
    assert bool(torch.isfinite(estimate.transform.weight).all())


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_constant_dimensions_do_no_harm(offset: float) -> None:
    model = GaussianMixtures.flat(1, torch.full((3,), offset), torch.tensor([1.0, 0.0, 1.0])).double()
    x = torch.randn(100, 3).double() + offset
    x[:, 1] = offset
    statistics = accumulate_cmllr(model, x, density_index=torch.zeros(100, dtype=torch.int64))
    estimate = estimate_cmllr(statistics, prior=cmllr_prior(model, 10.0))
    assert bool(torch.isfinite(estimate.transform.weight).all())
    assert list(estimate.auxiliary) == sorted(estimate.auxiliary)


def test_wrong_arguments_are_named() -> None:
    model, x = densities(), torch.randn(5, 4)
    index = torch.zeros(5, dtype=torch.int64)
    statistics = accumulate_cmllr(model, x, density_index=index)
    with pytest.raises(TypeError, match="got FullGaussianMixtures"):
        accumulate_cmllr(FullGaussianMixtures(2, 1, 4), x, density_index=index)
    with pytest.raises(ValueError, match=r"x must be floating point of shape \(N, D\) = \(N, 4\)"):
        accumulate_cmllr(model, x[:, :3], density_index=index)
    twice = TransformedEmission(random_transform(4), TransformedEmission(random_transform(4), model))
    with pytest.raises(ValueError, match="emission must have at most one transform"):
        accumulate_cmllr(twice, x, density_index=index)
    with pytest.raises(ValueError, match="x must be finite; got nan"):
        accumulate_cmllr(model, x.fill_(torch.nan), density_index=index)
    with pytest.raises(ValueError, match="got 'half'"):
        estimate_cmllr(statistics, structure="half")  # type: ignore[arg-type]  # the point
    with pytest.raises(ValueError, match="num_blocks must be >= 1"):
        estimate_cmllr(statistics, num_blocks=0)
    with pytest.raises(ValueError, match="min_count must be >= 0"):
        estimate_cmllr(statistics, min_count=-1.0)
    with pytest.raises(ValueError, match="strength must be >= 0"):
        cmllr_prior(model, -1.0)
    with pytest.raises(ValueError, match="prior must be finite"):
        estimate_cmllr(statistics, prior=CMLLRStatistics.zeros(4) * torch.nan)
    with pytest.raises(ValueError, match="initial must be of 4 features to 4, and of the structure"):
        estimate_cmllr(statistics, structure="bias", initial=random_transform(4))
    with pytest.raises(ValueError, match="transform must be of 4 features to as many"):
        statistics.auxiliary(AffineTransform.identity(3))
    with pytest.raises(ValueError, match=r"first and second must have shapes \(D, D \+ 1\)"):
        CMLLRStatistics(torch.zeros(()), torch.zeros(2, 2, 2), torch.zeros(2, 3))


def test_a_transform_is_a_change_of_variables() -> None:
    transform, model = random_transform(2), densities(1, 1, 2)
    emission = TransformedEmission(transform, model)
    grid = torch.cartesian_prod(*[torch.linspace(-25.0, 25.0, 1001).double()] * 2)
    area = (50.0 / 1000) ** 2
    assert float(emission.log_prob(grid).detach().exp().sum() * area) == pytest.approx(1.0, rel=1e-6)
    drawn = emission.sample(torch.zeros(50_000, dtype=torch.int64), torch.Generator().manual_seed(0))
    expected = transform.inverse()(model.mean[0, 0])
    torch.testing.assert_close(drawn.mean(0), expected.detach(), rtol=0, atol=0.03)  # standard errors


def test_transforms_compose_invert_and_are_saved(tmp_path: object) -> None:
    first, second = random_transform(3), random_transform(3, seed=5)
    x = torch.randn(2, 6, 3).double()
    torch.testing.assert_close(second.compose(first)(x), second(first(x)), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(first.inverse()(first(x)), x, rtol=1e-10, atol=1e-10)  # conditioning
    torch.testing.assert_close(second.compose(first).log_det, first.log_det + second.log_det)
    emission = TransformedEmission(first, densities(2, 1, 3))
    save_model(emission, f"{tmp_path}/a.safetensors")
    loaded = load_model(f"{tmp_path}/a.safetensors")
    assert torch.equal(loaded(x), emission(x))
    assert torch.autograd.gradcheck(
        lambda x, weight: torch.func.functional_call(first, {"weight": weight}, (x,)),
        (x.requires_grad_(), first.requires_grad_().weight),
    )
    projection = AffineTransform(torch.randn(2, 3))
    assert projection(torch.randn(5, 3)).shape == (5, 2)
    with pytest.raises(ValueError, match="this one has 2 outputs"):
        _ = projection.log_det
    with pytest.raises(ValueError, match="first must have 3 outputs; got 2"):
        projection.compose(projection)
    with pytest.raises(ValueError, match=r"x must have shape \(..., D\) = \(..., 3\)"):
        projection(torch.randn(5, 2))
    with pytest.raises(ValueError, match="weight must have shape"):
        AffineTransform(torch.full((2, 2), torch.nan))
    with pytest.raises(ValueError, match="bias must have shape"):
        AffineTransform(torch.eye(2), torch.zeros(3))
    with pytest.raises(ValueError, match="transform must have as many outputs"):
        TransformedEmission(projection, densities())
