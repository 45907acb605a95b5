"""LDA against scikit-learn, MLLT against gradients; statistics, invariances, degenerate data."""

import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor, nn

from hmm_models import (
    AffineTransform,
    FullGaussianMixtures,
    FullMixtureStatistics,
    GaussianMixtures,
    SingularStatisticsError,
    accumulate_lda,
    accumulate_mllt,
    estimate_lda,
    estimate_mllt,
    transform_statistics,
)


def classes(N: int = 600, P: int = 4, D: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Correlated frames (N, D) in float64 of classes (N,), each class with covariances of its own."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(P, (N,), generator=generator)
    mix = torch.randn(D, D, generator=generator).double()
    own = torch.rand(P, D, generator=generator).double() * 2.0 + 0.2
    mean = torch.randn(P, D, generator=generator).double() * 2.0
    noise = torch.randn(N, D, generator=generator).double()
    return (own[index] * noise) @ mix.T + mean[index], index


def test_statistics_of_classes_are_their_definition() -> None:
    x, index = classes()
    member = nn.functional.one_hot(index, 4).double()
    weight = torch.rand(600).double()
    for found in (
        accumulate_lda(x, 4, member, weight=weight),
        accumulate_lda(x, 4, density_index=index, weight=weight),
        accumulate_lda(x[:99], 4, density_index=index[:99], weight=weight[:99])
        + accumulate_lda(x[99:], 4, density_index=index[99:], weight=weight[99:]),
    ):
        # Sums in another order.
        torch.testing.assert_close(found.occupancy[:, 0], member.T @ weight, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(found.first[:, 0], (member.T * weight) @ x, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(found.second[0, 0], (x.T * weight) @ x, rtol=1e-10, atol=1e-10)


def test_frames_without_a_class_are_left_out() -> None:
    x, index = classes()
    found = accumulate_lda(x, 4, density_index=torch.where(index == 3, -1, index))
    expected = accumulate_lda(x[index < 3], 4, density_index=index[index < 3])
    for some, other in zip(found.tensors(), expected.tensors(), strict=True):
        torch.testing.assert_close(some, other, rtol=1e-10, atol=1e-10)  # another centre
    assert float(accumulate_lda(x[:0], 4, density_index=index[:0]).occupancy.sum()) == 0.0


def test_it_parts_the_classes_as_scikit_learn_does() -> None:
    x, index = classes()
    estimate = estimate_lda(accumulate_lda(x, 4, density_index=index), 3)
    peer = LinearDiscriminantAnalysis(solver="eigen", n_components=3).fit(x.numpy(), index.numpy())
    rows = torch.from_numpy(peer.scalings_[:, :3].T)
    mine = estimate.transform.weight
    cosine = nn.functional.cosine_similarity(mine, rows).abs()
    torch.testing.assert_close(cosine, torch.ones(3).double(), rtol=0, atol=1e-9)
    share = estimate.ratio / estimate_lda(accumulate_lda(x, 4, density_index=index)).ratio.sum()
    torch.testing.assert_close(
        share, torch.from_numpy(peer.explained_variance_ratio_.copy()), rtol=1e-9, atol=0
    )


def test_transformed_frames_are_centred_and_white_within_classes() -> None:
    x, index = classes()
    y = estimate_lda(accumulate_lda(x, 4, density_index=index)).transform(x)
    torch.testing.assert_close(y.mean(0), torch.zeros(5).double(), rtol=0, atol=1e-10)
    within = sum((index == p).double().mean() * y[index == p].T.cov(correction=0) for p in range(4))
    torch.testing.assert_close(within, torch.eye(5).double(), rtol=0, atol=1e-9)


def test_an_affine_change_of_the_features_changes_nothing() -> None:
    x, index = classes()
    change = AffineTransform(torch.randn(5, 5).double(), torch.randn(5).double())
    direct = estimate_lda(accumulate_lda(x, 4, density_index=index), 3).transform(x)
    changed = change(x)
    detour = estimate_lda(accumulate_lda(changed, 4, density_index=index), 3).transform(changed)
    # Up to a sign, which belongs to the largest entry of each row, and the conditioning of the change.
    same = (direct * detour).sum(0).sign()
    torch.testing.assert_close(detour * same, direct, rtol=1e-6, atol=1e-6)


def test_the_largest_entry_of_each_row_is_positive() -> None:
    x, index = classes()
    weight = estimate_lda(accumulate_lda(x, 4, density_index=index)).transform.weight
    assert bool((weight.gather(1, weight.abs().argmax(1, keepdim=True)) > 0.0).all())
    turned = estimate_lda(accumulate_lda(-x, 4, density_index=index)).transform.weight
    torch.testing.assert_close(turned, weight, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["constant", "copied", "alike", "few"])
def test_degenerate_frames_give_finite_projections(kind: str) -> None:
    x, index = classes()
    if kind == "constant":
        x[:, 2] = 7.0
    elif kind == "copied":
        x[:, 2] = x[:, 1]
    elif kind == "alike":
        x[:] = 3.0
    else:
        x, index = x[:3], index[:3]
    estimate = estimate_lda(accumulate_lda(x, 4, density_index=index), 3)
    assert bool(torch.isfinite(estimate.transform.weight).all())
    mllt = estimate_mllt(
        accumulate_mllt(GaussianMixtures(4, 1, 5).double(), x, density_index=index), smoothing=5.0
    )
    assert bool(torch.isfinite(mllt.transform.weight).all())


def per_class(x: Tensor, index: Tensor) -> FullMixtureStatistics:
    """Statistics of four classes of one component."""
    return accumulate_mllt(GaussianMixtures(4, 1, x.shape[1]).double(), x, density_index=index)


def test_component_statistics_are_those_of_full_covariances() -> None:
    x, index = classes()
    densities = GaussianMixtures(4, 3, 5).double()
    with torch.no_grad():
        densities.weight_logits.normal_()
    full = FullGaussianMixtures(4, 3, 5).double()
    full.load_state_dict(densities.state_dict(), strict=False)
    with torch.no_grad():
        excess = densities.variance - densities.variance_floor
        full.covariance_factor.copy_(torch.diag_embed(excess.sqrt()))
    share = torch.rand(600, 4).double()
    for found, expected in (
        (accumulate_mllt(densities, x, density_index=index), full.accumulate(x, density_index=index)),
        (accumulate_mllt(densities, x, share), full.accumulate(x, share)),
    ):
        for some, other in zip(found.tensors(), expected.tensors(), strict=True):
            torch.testing.assert_close(some, other, rtol=1e-8, atol=1e-8)  # square roots of variances


def objective(weight: Tensor, x: Tensor, index: Tensor) -> Tensor:
    """Log-likelihood per frame of the best diagonal Gaussians in transformed features, up to a constant."""
    y = x @ weight.T
    spread = sum(
        (index == p).double().mean() * y[index == p].var(0, correction=0).log().sum() for p in range(4)
    )
    value: Tensor = torch.linalg.slogdet(weight).logabsdet - 0.5 * spread
    return value


def test_mllt_is_the_maximum_that_gradients_find() -> None:
    x, index = classes(2000)
    estimate = estimate_mllt(per_class(x, index), smoothing=0.0)
    weight = estimate.transform.weight
    start = objective(torch.eye(5).double(), x, index)
    assert estimate.log_likelihood[-1] == pytest.approx(float(objective(weight, x, index) - start), rel=1e-9)
    free = torch.eye(5).double().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [free], max_iter=1000, tolerance_change=1e-13, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = -objective(free, x, index)
        value.backward()  # type: ignore[no-untyped-call]  # torch's
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]  # torch's
    best = float(objective(free.detach(), x, index) - start)
    assert estimate.log_likelihood[-1] == pytest.approx(best, abs=1e-5)  # where both stop
    assert best > 0.1


def test_mllt_undoes_a_rotation_of_independent_dimensions() -> None:
    generator = torch.Generator().manual_seed(0)
    own = torch.rand(4, 3, generator=generator).double() * 3.0 + 0.1
    index = torch.arange(40_000) % 4
    x = own[index] * torch.randn(40_000, 3, generator=generator).double()
    mix = torch.linalg.qr(torch.randn(3, 3, generator=generator).double()).Q
    back = estimate_mllt(per_class(x @ mix.T, index)).transform.weight @ mix
    # Each row finds one of the dimensions again, up to a standard error.
    largest = back.abs().max(1).values
    others = (back.abs().sum(1) - largest) / largest
    assert float(others.max()) < 0.1
    assert sorted(back.abs().argmax(1).tolist()) == [0, 1, 2]


def test_every_pass_of_mllt_gains_and_rows_are_scaled() -> None:
    x, index = classes()
    estimate = estimate_mllt(per_class(x, index), smoothing=0.0)
    assert bool((torch.tensor(estimate.log_likelihood).diff() >= -1e-9).all())  # rounding
    y = estimate.transform(x)
    within = sum((index == p).double().mean() * y[index == p].var(0, correction=0) for p in range(4))
    torch.testing.assert_close(within, torch.ones(5).double(), rtol=0, atol=1e-9)
    assert bool((estimate.transform.weight.amax(1) == estimate.transform.weight.abs().amax(1)).all())


def test_a_model_moves_into_the_new_features_without_the_data() -> None:
    x, index = classes()
    densities = GaussianMixtures(4, 2, 5).double()
    statistics = accumulate_mllt(densities, x, density_index=index)
    transform = AffineTransform(torch.randn(3, 5).double(), torch.randn(3).double())
    found = transform_statistics(transform, statistics)
    y = transform(x)
    for p in range(4):
        total = found.first[p].sum(0), found.second[p].sum(0)
        expected = y[index == p].sum(0), y[index == p].square().sum(0)
        torch.testing.assert_close(total, expected, rtol=1e-9, atol=1e-9)  # sums in another order
    moved = GaussianMixtures(4, 2, 3).double()
    assert moved.update(found).starved == ()


def test_few_frames_need_smoothing() -> None:
    x, index = classes(6)
    with pytest.raises(SingularStatisticsError, match="singular"):
        estimate_mllt(per_class(x, index), smoothing=0.0)


def test_wrong_arguments_are_named() -> None:
    x, index = classes(20)
    statistics = accumulate_lda(x, 4, density_index=index)
    with pytest.raises(ValueError, match=r"output_dim must be in 1..D = 1..5; got 6"):
        estimate_lda(statistics, 6)
    with pytest.raises(ValueError, match="statistics must be of at least one frame"):
        estimate_lda(statistics.zeros_like())
    with pytest.raises(ValueError, match="statistics must be of at least one frame"):
        estimate_mllt(per_class(x, index).zeros_like())
    with pytest.raises(ValueError, match="statistics must be finite"):
        estimate_lda(statistics * torch.nan)
    with pytest.raises(ValueError, match=r"statistics.second must have shape \(P, M, D, D\)"):
        estimate_mllt(statistics)
    with pytest.raises(ValueError, match=r"statistics.second must have shape \(P, M, D, D\)"):
        transform_statistics(AffineTransform.identity(5), statistics)
    with pytest.raises(ValueError, match="transform must be of D = 5 features; got 3"):
        transform_statistics(AffineTransform.identity(3), per_class(x, index))
    with pytest.raises(ValueError, match="smoothing must be >= 0"):
        estimate_mllt(per_class(x, index), smoothing=-1.0)
    with pytest.raises(ValueError, match="num_classes must be >= 1"):
        accumulate_lda(x, 0, density_index=index)
    with pytest.raises(TypeError, match="densities must be GaussianMixtures; got FullGaussianMixtures"):
        accumulate_mllt(FullGaussianMixtures(2, 1, 5), x, density_index=index)  # type: ignore[arg-type]  # the point
    with pytest.raises(ValueError, match="give exactly one of density_posterior and density_index"):
        accumulate_lda(x, 4)
