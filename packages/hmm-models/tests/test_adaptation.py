"""Models adapted to speakers: what is recovered, what may not change, likelihoods that never fall."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hmm_models import (
    Adaptation,
    AffineTransform,
    CategoricalEmission,
    EMSequenceModel,
    FullGaussianMixtures,
    GaussianHMM,
    GaussianMixtures,
    HiddenMarkovModel,
    MixturePrior,
    MixtureStatistics,
    RegressionTree,
    SemiMarkovHMM,
    TransformedEmission,
    adapt,
    adapt_cmllr,
    adapt_map,
    adapt_mllr,
    cmllr_prior,
    collect_cmllr,
    estimate_mllr,
    fit_speakers,
    load_model,
    map_prior,
    regression_tree,
    save_model,
)
from hmm_models.adaptation._map import Prior
from hmm_models.adaptation._mllr import log_prior

AnyModel = EMSequenceModel[Any, Any]
METHODS = ("cmllr", "mllr", "map")


def model(
    K: int = 5, D: int = 3, M: int = 2, dtype: torch.dtype = torch.float64, **options: Any
) -> GaussianHMM:
    """Make a model of states that are far apart."""
    result = GaussianHMM(K, D, M, **options).to(dtype)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        result.emission.mean.copy_(3.0 * torch.randn(K, M, D, generator=generator))
    return result


def spoken(
    speaker: AnyModel, transform: AffineTransform | None = None, frames: int = 60, B: int = 8, seed: int = 4
) -> tuple[Tensor, Tensor]:
    """Ragged sequences (B, T, D) that the transform takes to the model's, and lengths (B,)."""
    x = speaker.sample(frames, B, generator=torch.Generator().manual_seed(seed)).features
    x = x if transform is None else transform.inverse()(x.to(transform.weight))
    return x, torch.arange(frames - B + 1, frames + 1)


def distortion(D: int = 3, dtype: torch.dtype = torch.float64) -> AffineTransform:
    """Return a transform not far from the identity."""
    generator = torch.Generator().manual_seed(5)
    weight = torch.eye(D) + 0.1 * torch.randn(D, D, generator=generator)
    return AffineTransform(weight.to(dtype), torch.randn(D, generator=generator).to(dtype))


def semi_markov() -> SemiMarkovHMM:
    """Make a model with durations."""
    result = SemiMarkovHMM(4, 3, 20, censoring="right").double()
    with torch.no_grad():
        result.emission.get_parameter("mean").normal_(std=3.0)
    return result


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("make", [model, semi_markov])
def test_the_reported_likelihoods_are_those_of_both_models(method: Any, make: Callable[[], AnyModel]) -> None:
    plain = make()
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    x, lengths = spoken(plain, distortion())
    found = adapt(plain, x, lengths, method=method, strength=20.0)
    assert found.log_likelihood[0] == pytest.approx(plain.score(x, lengths), rel=1e-9)
    assert found.log_likelihood[-1] == pytest.approx(found.model.score(x, lengths), rel=1e-9)
    assert found.log_likelihood[-1] > found.log_likelihood[0] + 10.0
    assert found.num_frames == float(lengths.sum())
    assert all(torch.equal(value, before[name]) for name, value in plain.state_dict().items())


@pytest.mark.parametrize("method", METHODS)
def test_without_a_prior_no_iteration_lowers_the_likelihood(method: Any) -> None:
    plain = model()
    x, lengths = spoken(plain, distortion())
    strength = 1e-6 if method == "map" else 0.0
    options: dict[str, Any] = {"max_iterations": 30, "tolerance": 1e-9, "strength": strength}
    if method == "mllr":
        options["tree"] = 1
    found = adapt(plain, x, lengths, method=method, **options)
    steps = torch.tensor(found.log_likelihood, dtype=torch.float64).diff()
    assert bool((steps >= -1e-6).all())  # rounding of 30 000 nats
    assert len(steps) >= 3


@pytest.mark.parametrize("method", METHODS)
def test_padding_is_never_read(method: Any) -> None:
    plain = model()
    x, lengths = spoken(plain, distortion())
    expected = adapt(plain, x, lengths, method=method)
    behind = torch.arange(60) >= lengths.unsqueeze(-1)
    found = adapt(plain, x.masked_fill(behind.unsqueeze(-1), torch.nan), lengths, method=method)
    assert found.log_likelihood == expected.log_likelihood
    for some, other in zip(
        found.model.state_dict().values(), expected.model.state_dict().values(), strict=True
    ):
        assert torch.equal(some, other)


@pytest.mark.parametrize("method", METHODS)
def test_missing_frames_are_not_read_and_weights_are_copies(method: Any) -> None:
    plain = model()
    x, lengths = spoken(plain, distortion())
    observed = torch.rand(8, 60) > 0.2
    holes = x.masked_fill(~observed.unsqueeze(-1), torch.nan)
    found = adapt(plain, holes, lengths, method=method, observed=observed)
    zero = adapt(plain, x, lengths, method=method, frame_weights=observed.double())
    assert found.log_likelihood == pytest.approx(zero.log_likelihood, rel=1e-12)
    twice = adapt(plain, torch.cat([x, x[:4]]), torch.cat([lengths, lengths[:4]]), method=method)
    weights = torch.tensor([2.0] * 4 + [1.0] * 4)
    weighted = adapt(plain, x, lengths, weights, method=method)
    assert weighted.log_likelihood == pytest.approx(twice.log_likelihood, rel=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_float32_gives_what_float64_gives(method: Any) -> None:
    plain = model()
    x, lengths = spoken(plain, distortion())
    expected = adapt(plain, x, lengths, method=method)
    single = model(dtype=torch.float32)
    single.load_state_dict(plain.state_dict())
    found = adapt(single, x.float(), lengths, method=method)
    # Parameters and features are rounded to float32.
    assert found.log_likelihood == pytest.approx(expected.log_likelihood, rel=1e-5)
    assert all(value.dtype == torch.float32 for value in found.model.parameters())
    again = adapt(single, x.float(), lengths, method=method)
    assert again.log_likelihood == found.log_likelihood


@pytest.mark.parametrize("method", METHODS)
def test_labels_beat_what_the_model_believes(method: Any) -> None:
    plain = model(M=1)
    generator = torch.Generator().manual_seed(6)
    sample = plain.sample(100, 4, generator=generator)
    # So far away that the nearest states are wrong ones.
    far = AffineTransform(torch.eye(3).double(), torch.tensor([6.0, -6.0, 6.0]).double())
    x = far.inverse()(sample.features)
    allowed = torch.nn.functional.one_hot(sample.states, 5).bool()
    blind = adapt(plain, x, method=method, strength=1.0, max_iterations=3)
    told = adapt(plain, x, method=method, strength=1.0, max_iterations=3, allowed=allowed)
    shares = [float((found.model.predict(x) == sample.states).double().mean()) for found in (blind, told)]
    assert shares[1] > shares[0]
    assert shares[1] > 0.9


@pytest.mark.parametrize("method", METHODS)
def test_adapted_models_are_saved_and_adapted_again(method: Any, tmp_path: Path) -> None:
    plain = model()
    x, lengths = spoken(plain, distortion())
    first = adapt(plain, x, lengths, method=method, max_iterations=2)
    save_model(first.model, tmp_path / "speaker.safetensors")
    loaded = load_model(tmp_path / "speaker.safetensors")
    assert isinstance(loaded, HiddenMarkovModel)
    assert torch.equal(loaded.log_likelihood(x, lengths), first.model.log_likelihood(x, lengths))
    for other in METHODS:
        second = adapt(loaded, x, lengths, method=other, max_iterations=2)  # type: ignore[arg-type]  # of a tuple
        assert second.log_likelihood[0] == pytest.approx(first.log_likelihood[-1], rel=1e-9)
        assert second.log_likelihood[-1] == pytest.approx(second.model.score(x, lengths), rel=1e-9)


def test_cmllr_finds_the_distortion_and_shares_the_other_parts() -> None:
    plain, truth = model(), distortion()
    x, _ = spoken(plain, truth, frames=1000)
    found = adapt_cmllr(plain, x, strength=0.0, tolerance=1e-6)
    transform = found.classes[0].transform
    # Standard errors of 8000 frames.
    torch.testing.assert_close(transform.weight, truth.weight, rtol=0, atol=0.05)
    torch.testing.assert_close(transform.bias, truth.bias, rtol=0, atol=0.1)
    assert found.classes[0].structure == "full"
    assert found.classes[0].occupancy == pytest.approx(8000.0)
    assert len(found.classes[0].components) == 10
    assert isinstance(found.model.emission, TransformedEmission)
    assert found.model.emission.emission is plain.emission
    assert found.model.get_submodule("transition") is plain.transition


def test_cmllr_of_several_models_adds() -> None:
    words = [model(K=3, topology="left_to_right"), model(K=4)]
    data = [spoken(word, distortion()) for word in words]
    parts = [
        collect_cmllr(word, x, lengths, transform=distortion())
        for word, (x, lengths) in zip(words, data, strict=True)
    ]
    total: Any = parts[0].emission + parts[1].emission
    assert float(total.occupancy) == pytest.approx(2 * float(data[0][1].sum()))
    adapted = words[1].with_emission(TransformedEmission(distortion(), words[1].emission))
    assert float(parts[1].log_likelihood) == pytest.approx(adapted.score(*data[1]), rel=1e-9)


@pytest.mark.parametrize(
    ("frames", "structure"), [(41, "full"), (39, "block"), (19, "bias"), (5, "identity")]
)
def test_few_frames_give_what_they_can(frames: int, structure: str) -> None:
    plain = model()
    x, _ = spoken(plain, distortion(), frames=frames, B=1)
    cmllr = adapt_cmllr(plain, x, num_blocks=2)
    mllr = adapt_mllr(plain, x, num_blocks=2)
    assert [item.structure for item in cmllr.classes] == [structure]
    assert [item.structure for item in mllr.classes] == [structure]
    for found in (cmllr, mllr, adapt_map(plain, x)):
        assert all(bool(torch.isfinite(value).all()) for value in found.model.parameters())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("frames", [0, 1, 3])
def test_hardly_any_frames_do_no_harm(method: Any, frames: int) -> None:
    plain = model()
    x = torch.full((2, frames, 3), 7.0, dtype=torch.float64)
    options: dict[str, Any] = {} if method == "map" else {"min_count": 0.0}
    found = adapt(plain, x, torch.tensor([frames, 0]), method=method, **options)
    assert all(bool(torch.isfinite(value).all()) for value in found.model.parameters())
    assert found.log_likelihood[-1] >= found.log_likelihood[0] - 1e-9


def test_mllr_is_weighted_least_squares() -> None:
    plain = model(K=6, M=1)
    x, _ = spoken(plain, distortion(), frames=40, B=2)
    share = torch.rand(80, 6, generator=torch.Generator().manual_seed(7)).double()
    frames = x.flatten(0, 1)
    emission = plain.emission
    assert isinstance(emission, GaussianMixtures)
    statistics = emission.accumulate(frames, share)
    groups = torch.tensor([0, 0, 0, 0, 0, -1]).unsqueeze(-1)
    found = estimate_mllr(emission, statistics, groups, strength=0.0, min_count=0.0)
    assert len(found) == 1
    assert found[0].components == ((0, 0), (1, 0), (2, 0), (3, 0), (4, 0))
    assert found[0].occupancy == pytest.approx(float(share[:, :5].sum()))
    inputs = torch.cat([emission.mean.detach()[:5, 0], torch.ones(5, 1).double()], -1)
    for row in range(3):
        scale = (share[:, :5] / emission.variance.detach()[:5, 0, row]).sqrt()
        left = (scale.unsqueeze(-1) * inputs).reshape(-1, 4)
        right = (scale * frames[:, row : row + 1]).reshape(-1, 1)
        expected = torch.linalg.lstsq(left, right).solution[:, 0]
        mine = torch.cat([found[0].transform.weight[row], found[0].transform.bias[row : row + 1]])
        torch.testing.assert_close(mine, expected, rtol=1e-7, atol=1e-7)  # normal equations


def test_mllr_maximises_the_likelihood_and_the_prior_that_the_loop_watches() -> None:
    plain = model(K=6, M=1)
    emission = plain.emission
    assert isinstance(emission, GaussianMixtures)
    x, _ = spoken(plain, distortion(), frames=40, B=2)
    statistics = plain.accumulate(x).emission
    assert isinstance(statistics, MixtureStatistics)
    together = torch.zeros(6, 1, dtype=torch.int64)
    (best,) = estimate_mllr(emission, statistics, together, strength=30.0, min_count=0.0)
    hold = cmllr_prior(emission, 30.0).second.diagonal(dim1=-2, dim2=-1)

    def objective(transform: AffineTransform) -> float:
        mean = transform(emission.mean.detach())
        square = statistics.occupancy.unsqueeze(-1) * mean.square() - 2.0 * statistics.first * mean
        likelihood = -0.5 * float((square / emission.variance.detach()).sum())
        return likelihood + log_prior((best._replace(transform=transform),), hold)

    for entry in range(12):
        for step in (-1e-3, 1e-3):
            change = (step * torch.eye(12).double()[entry]).view(3, 4)
            weight, bias = best.transform.weight + change[:, :3], best.transform.bias + change[:, 3]
            assert objective(AffineTransform(weight, bias)) < objective(best.transform)


def test_mllr_moves_gaussians_that_were_never_heard() -> None:
    plain = model(K=12, M=1)
    moved = model(K=12, M=1)
    shift = torch.tensor([1.0, -2.0, 1.5]).double()
    moved.emission.mean.data += shift
    with torch.no_grad():
        moved.transition.logits[:, 8:] = -torch.inf
        moved.initial.logits[8:] = -torch.inf
    x, _ = spoken(moved, frames=200)
    allowed = (torch.arange(12) < 8).expand(8, 200, 12)
    found = adapt_mllr(plain, x, allowed=allowed, structure="bias", strength=1.0)
    unheard = (found.model.get_submodule("emission").get_parameter("mean") - plain.emission.mean)[8:, 0]
    # A standard error of 1600 frames.
    torch.testing.assert_close(unheard.detach(), shift.expand(4, 3), rtol=0, atol=0.15)
    by_map = adapt_map(plain, x, allowed=allowed)
    same = by_map.model.get_submodule("emission").get_parameter("mean")[8:]
    torch.testing.assert_close(same, plain.emission.mean[8:], rtol=1e-12, atol=1e-12)


def test_more_data_are_divided_among_more_classes() -> None:
    plain = model(K=8)
    sizes = []
    for frames in (10, 40, 400):
        x, lengths = spoken(plain, distortion(), frames=frames)
        found = adapt_mllr(plain, x, lengths, tree=4, max_iterations=1)
        sizes.append(len(found.classes))
        assert sum(len(item.components) for item in found.classes) == 16
        assert found.classes[0].occupancy <= float(lengths.sum())
        if len(found.classes) > 1:
            assert all(item.occupancy >= 40.0 for item in found.classes)
    assert sizes[0] == 1
    assert sizes[0] < sizes[2]
    assert sizes == sorted(sizes)


def test_the_prior_holds_means_where_they_are() -> None:
    plain = model()
    x, lengths = spoken(plain, distortion(), frames=20)
    moved = []
    for strength in (0.1, 1e2, 1e8):
        found = adapt_mllr(plain, x, lengths, strength=strength)
        mean = found.model.get_submodule("emission").get_parameter("mean")
        moved.append(float((mean - plain.emission.mean).detach().norm()))
    assert moved[0] > moved[1] > moved[2]
    assert moved[2] < 1e-3


def test_a_tree_divides_what_is_far_apart_and_is_cut_by_frames() -> None:
    densities = GaussianMixtures(4, 2, 1)
    with torch.no_grad():
        densities.mean.copy_(torch.tensor([[0.0, 1.0], [20.0, 21.0], [40.0, 41.0], [0.5, 0.0]]).unsqueeze(-1))
        densities.weight_logits[3, 1] = -torch.inf
    tree = regression_tree(densities, 3)
    assert tree.parent == (-1, 0, 0, *tree.parent[3:])
    assert len(tree.parent) == 5
    leaves = tree.leaf.tolist()
    assert leaves[0][0] == leaves[0][1] == leaves[3][0]
    assert len({leaves[0][0], leaves[1][0], leaves[2][0]}) == 3
    assert leaves[3][1] == -1
    assert torch.equal(regression_tree(densities, 3).leaf, tree.leaf)
    occupancy = torch.full((4, 2), 10.0)
    assert torch.equal(tree.cut(occupancy, 5.0), tree.leaf)
    assert set(tree.cut(occupancy, 1e3).flatten().tolist()) == {-1, 0}
    few = occupancy.clone()
    few[1] = 1.0
    found = tree.cut(few, 15.0)
    assert found[1, 0] != tree.leaf[1, 0]
    assert len(set(found[found >= 0].tolist())) == (2 if found[0, 0] == tree.leaf[0, 0] else 1)
    assert len(regression_tree(densities, 100).parent) == 2 * 7 - 1  # as many distinct means


def test_map_is_the_average_of_data_and_belief() -> None:
    plain = model(K=1, M=1)
    x = torch.randn(1, 30, 3).double() + 5.0
    found = adapt_map(plain, x, strength=10.0)
    mean = found.model.get_submodule("emission").get_parameter("mean")
    expected = (x.sum((0, 1)) + 10.0 * plain.emission.mean[0, 0]) / 40.0
    torch.testing.assert_close(mean[0, 0], expected)
    assert torch.equal(
        found.model.get_submodule("emission").get_parameter("log_variance"),
        plain.emission.get_parameter("log_variance"),
    )
    assert found.classes == ()


def test_what_densities_expect_leaves_them_as_they_are_and_weighs_as_many_frames() -> None:
    densities = model(K=2, M=3).emission
    assert isinstance(densities, GaussianMixtures)
    known = map_prior(densities, 20.0)
    torch.testing.assert_close(known.occupancy.sum(1), torch.full((2,), 20.0).double())
    before = [value.clone() for value in (densities.weight, densities.mean, densities.variance)]
    densities.update(known)
    for value, expected in zip((densities.weight, densities.mean, densities.variance), before, strict=True):
        torch.testing.assert_close(value, expected)
    heard = densities.accumulate(torch.full((60, 3), 5.0).double(), density_index=torch.zeros(60).long())
    densities.update(heard + known)
    average = (densities.weight[0].unsqueeze(1) * densities.mean[0]).sum(0)
    expected = (60 * 5.0 + 20.0 * (before[0][0].unsqueeze(1) * before[1][0]).sum(0)) / 80.0
    torch.testing.assert_close(average, expected)
    torch.testing.assert_close(densities.mean[1], before[1][1])
    with pytest.raises(ValueError, match="strength must be >= 0 and finite; got -1"):
        map_prior(densities, -1.0)


@pytest.mark.parametrize("covariance_type", ["spherical", "diag", "tied", "full"])
def test_map_of_all_parts_never_lowers_its_objective(covariance_type: str) -> None:
    plain = model(covariance_type=covariance_type, topology="left_to_right")
    x, lengths = spoken(plain, distortion())
    # The loop itself refuses a fall of likelihood plus prior.
    found = adapt_map(
        plain,
        x,
        lengths,
        parts=("mean", "covariance", "weight", "transition"),
        max_iterations=20,
        tolerance=1e-8,
    )
    assert found.log_likelihood[-1] > found.log_likelihood[0]
    assert isinstance(found.model, GaussianHMM)
    chain = found.model.topology
    assert torch.equal(chain.log_transition == -torch.inf, plain.topology.log_transition == -torch.inf)
    for name, value in found.model.state_dict().items():
        if name != "initial.logits" and "floor" not in name:
            assert not torch.equal(value, plain.state_dict()[name]), name


def test_map_of_means_and_covariances_is_the_update_with_that_prior() -> None:
    plain = model(M=1)
    x, lengths = spoken(plain, distortion())
    found = adapt_map(plain, x, lengths, parts=("mean", "covariance"), strength=7.0, max_iterations=1)
    twin = model(M=1)
    prior = MixturePrior(
        mean=plain.emission.mean.detach(),
        mean_strength=7.0,
        covariance=plain.emission.covariance.detach(),
        covariance_strength=7.0,
    )
    twin.emission.update(plain.accumulate(x, lengths).emission, prior=prior)
    for name in ("mean", "log_variance"):
        mine = found.model.get_submodule("emission").get_parameter(name)
        torch.testing.assert_close(mine, twin.emission.get_parameter(name), rtol=1e-9, atol=1e-9)


def test_the_prior_that_the_loop_of_map_watches_is_that_of_the_update() -> None:
    plain = model()
    x, lengths = spoken(plain, distortion())
    adapted = adapt_map(plain, x, lengths, parts=("mean", "covariance"), strength=7.0).model
    watched = Prior(plain, 7.0, frozenset({"mean", "covariance"}))
    prior = MixturePrior(
        mean=plain.emission.mean.detach(),
        mean_strength=7.0,
        covariance=plain.emission.covariance.detach(),
        covariance_strength=7.0,
    )
    emission = adapted.emission
    assert isinstance(emission, GaussianMixtures)
    with torch.no_grad():
        found = watched.log_density(adapted) - watched.log_density(plain)
    assert found == pytest.approx(emission.log_prior(prior) - plain.emission.log_prior(prior), rel=1e-9)
    assert found < -1.0


def voices(plain: AnyModel) -> list[dict[str, Tensor]]:
    """Three speakers of one model."""
    data = []
    for seed, size in enumerate((0.8, 1.0, 1.25)):
        bias = 10.0 * (size - 1.0) * torch.tensor([1.0, 0.0, -1.0])
        x, lengths = spoken(plain, AffineTransform(size * torch.eye(3).double(), bias), seed=seed, frames=100)
        data.append({"x": x, "lengths": lengths})
    return data


def test_speaker_adaptive_training_gains_on_the_model_of_all_and_never_falls() -> None:
    truth = model(M=1)
    data = voices(truth)
    everyone, lengths = torch.cat([v["x"] for v in data]), torch.cat([v["lengths"] for v in data])
    pooled = GaussianHMM(5, 3).double()
    unadapted = pooled.fit(everyone, lengths, max_iterations=30)
    canonical = GaussianHMM(5, 3).double()
    canonical.load_state_dict(pooled.state_dict())
    fit = fit_speakers(canonical, data, strength=1.0, max_iterations=15, tolerance=1e-6)
    assert fit.log_likelihood[0] == pytest.approx(unadapted.log_likelihood[-1], rel=1e-6)
    steps = torch.tensor(fit.log_likelihood).diff()
    assert bool((steps > -1.0).all())  # the priors' part
    assert fit.log_likelihood[-1] > fit.log_likelihood[0] + 100.0
    assert fit.structures == ("full",) * 3
    assert len(fit.reports) == len(steps)
    total = sum(
        canonical.with_emission(TransformedEmission(transform, canonical.emission)).score(**voice)
        for transform, voice in zip(fit.transforms, data, strict=True)
    )
    assert fit.log_likelihood[-1] == pytest.approx(total, rel=1e-9)


def test_speaker_adaptive_training_helps_a_new_speaker() -> None:
    truth = model(M=1)
    data = voices(truth)
    pooled, canonical = model(M=1), model(M=1)
    everyone, lengths = torch.cat([v["x"] for v in data]), torch.cat([v["lengths"] for v in data])
    pooled.fit(everyone, lengths, initialize=False)
    canonical.load_state_dict(pooled.state_dict())
    fit_speakers(canonical, data)
    x, lengths = spoken(truth, AffineTransform(1.3 * torch.eye(3).double()), seed=9)
    found = [adapt_cmllr(each, x, lengths).log_likelihood[-1] for each in (pooled, canonical)]
    assert found[1] > found[0]


@pytest.mark.parametrize("method", METHODS)
def test_a_model_behind_a_transform_is_adapted_behind_it(method: Any) -> None:
    projection = AffineTransform(torch.randn(3, 7).double())
    plain = model()
    front = plain.with_emission(TransformedEmission(projection, plain.emission))
    spliced = torch.randn(4, 50, 7).double()
    direct = adapt(plain, projection(spliced), method=method)
    found = adapt(front, spliced, method=method)
    assert found.log_likelihood == pytest.approx(direct.log_likelihood, rel=1e-12)
    expected = direct.model.log_likelihood(projection(spliced))
    torch.testing.assert_close(found.model.log_likelihood(spliced), expected, rtol=1e-9, atol=1e-9)


def test_missing_dimensions_are_left_to_mllr_and_map() -> None:
    plain = model()
    x, lengths = spoken(plain, distortion())
    observed = torch.rand(x.shape) > 0.2
    holes = x.masked_fill(~observed, torch.nan)
    for method in ("mllr", "map"):
        found: Adaptation = adapt(plain, holes, lengths, method=method, observed=observed)
        assert found.log_likelihood[-1] > found.log_likelihood[0]
    with pytest.raises(TypeError, match=r"observed must have shape \(B, T\): transforms need whole frames"):
        adapt(plain, holes, lengths, observed=observed)


def test_wrong_arguments_are_named() -> None:
    plain = model()
    x, _ = spoken(plain)
    with pytest.raises(ValueError, match=r"method must be one of .*got 'vtln'"):
        adapt(plain, x, method="vtln")  # type: ignore[arg-type]  # the point
    full = HiddenMarkovModel(FullGaussianMixtures(2, 1, 3))
    for method in ("cmllr", "mllr"):
        with pytest.raises(TypeError, match=r"emission must be GaussianMixtures .* got FullGaussianMixtures"):
            adapt(full, x, method=method)
    with pytest.raises(TypeError, match=r"emission must be GaussianMixtures .* got CategoricalEmission"):
        adapt_map(HiddenMarkovModel(CategoricalEmission(2, 5)), torch.zeros(1, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="strength must be > 0 and finite"):
        adapt_map(plain, x, strength=0.0)
    with pytest.raises(ValueError, match=r"parts must be of .* got \('covariance',\)"):
        adapt_map(plain, x, parts=("covariance",))
    with pytest.raises(ValueError, match=r"parts must be of .* got \('means',\)"):
        adapt_map(plain, x, parts=("means",))  # type: ignore[arg-type]  # the point
    with pytest.raises(ValueError, match="strength must be >= 0"):
        adapt_mllr(plain, x, strength=-1.0)
    with pytest.raises(ValueError, match="num_classes must be >= 1"):
        adapt_mllr(plain, x, tree=0)
    with pytest.raises(ValueError, match=r"tree.leaf must have shape \(P, M\)"):
        adapt_mllr(plain, x, tree=RegressionTree((-1,), torch.zeros(2, 2, dtype=torch.int64)))
    with pytest.raises(ValueError, match="structure must be one of"):
        adapt_mllr(plain, x, structure="half")  # type: ignore[arg-type]  # the point
    with pytest.raises(ValueError, match="statistics and groups must be of"):
        estimate_mllr(plain.emission, plain.accumulate(x).emission, torch.zeros(1, 1).long())  # type: ignore[arg-type]  # any emission
    with pytest.raises(ValueError, match="speakers must hold at least one"):
        fit_speakers(plain, [])
    ended = model(K=3, topology="left_to_right")
    allowed = torch.zeros(8, 60, 3, dtype=torch.bool)
    allowed[:, :, 2] = True
    for method in METHODS:
        with pytest.raises(ValueError, match="at least one has no path"):
            adapt(ended, x, method=method, allowed=allowed)  # type: ignore[arg-type]  # of a tuple


def test_emissions_behind_a_transform_train_as_on_transformed_features() -> None:
    truth, transform = model(M=1), distortion()
    x, lengths = spoken(truth, transform)
    front = HiddenMarkovModel(TransformedEmission(transform, GaussianMixtures(5, 1, 3).double()))
    plain = HiddenMarkovModel(GaussianMixtures(5, 1, 3).double())
    found, expected = (
        front.fit(x, lengths, max_iterations=5),
        plain.fit(transform(x), lengths, max_iterations=5),
    )
    volume = float(transform.log_det) * float(lengths.sum())
    assert [value - volume for value in found.log_likelihood] == pytest.approx(
        expected.log_likelihood, rel=1e-9
    )
    assert front.num_parameters == plain.num_parameters
    assert torch.equal(front.zero_statistics().emission.first, torch.zeros(5, 1, 3).double())  # type: ignore[attr-defined]  # of Gaussians


def test_gradient_descent_leaves_a_transform_until_asked() -> None:
    plain, transform = model(dtype=torch.float32), distortion(dtype=torch.float32)
    x, lengths = spoken(plain, transform)
    front = plain.with_emission(TransformedEmission(transform, plain.emission))
    before = transform.weight.clone()
    front.fit_sgd(x, lengths, max_epochs=2)
    assert torch.equal(transform.weight, before)
    transform.requires_grad_()
    front.fit_sgd(x, lengths, max_epochs=2)
    assert not torch.equal(transform.weight, before)


def test_a_transformed_model_compiles() -> None:
    plain = model()
    front = plain.with_emission(TransformedEmission(distortion(), plain.emission))
    x, _ = spoken(plain)
    compiled = torch.compile(front, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), front(x))


def test_emissions_behind_a_transform_need_what_is_asked_of_them() -> None:
    class Scores(torch.nn.Module):
        num_densities = 3

        def log_prob(self, x: Tensor) -> Tensor:
            return x

    front = TransformedEmission(distortion(), Scores())
    assert HiddenMarkovModel(front).viterbi(torch.randn(1, 5, 3).double()).states.shape == (1, 5)
    with pytest.raises(TypeError, match="EM cannot train a Scores"):
        front.zero_statistics()
    with pytest.raises(TypeError, match="emission must have sample; Scores does not"):
        front.sample(torch.zeros(3, dtype=torch.int64))
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        fit_speakers(model(), [{"x": torch.randn(2, 20, 3).double()}], floor=1.0)
