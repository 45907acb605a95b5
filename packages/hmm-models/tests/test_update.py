import itertools
import logging
from collections.abc import Callable

import pytest
import torch

from hmm_models import GaussianMixtures, MixtureStatistics

Make = Callable[..., GaussianMixtures]


def certain(x: torch.Tensor) -> torch.Tensor:
    return torch.zeros(len(x), dtype=torch.int64)


def test_one_gaussian_gets_the_weighted_moments_of_its_frames() -> None:
    model, x, weight = (
        GaussianMixtures(1, 1, 3).double(),
        torch.randn(40, 3).double() * 5 + 1e3,
        torch.rand(40),
    )
    report = model.update(model.accumulate(x, density_index=certain(x), weight=weight))
    share = (weight.double() / weight.double().sum()).unsqueeze(-1)
    mean = (share * x).sum(0)
    # Squares of 1e3 in float64 leave nine digits of a variance of 25.
    torch.testing.assert_close(model.mean.detach()[0, 0], mean, rtol=1e-12, atol=0.0)
    torch.testing.assert_close(
        model.variance.detach()[0, 0], (share * (x - mean).square()).sum(0), rtol=1e-8, atol=0.0
    )
    assert report == ((), (), (), 0)


def test_em_never_lowers_the_likelihood_and_finds_two_clusters() -> None:
    x = torch.cat([torch.randn(200, 5) - 4, torch.randn(100, 5) + 4]).double()
    model = GaussianMixtures.flat(1, x.mean(0), x.var(0))
    model.split([2])
    history = []
    for _ in range(20):
        history.append(float(model.log_prob(x).sum().detach()))
        model.update(model.accumulate(x, density_index=certain(x)))
    assert all(b >= a - 1e-9 * abs(a) for a, b in itertools.pairwise(history))
    assert sorted(model.weight.flatten().tolist()) == pytest.approx([1 / 3, 2 / 3], rel=1e-6)


def test_variances_stop_at_the_floor_and_are_counted() -> None:
    model = GaussianMixtures(2, 1, 3)
    model.set_variance_floor(torch.tensor([1.0, 4.0, 0.0]), 0.25)
    x = torch.tensor([[5.0, 5.0, 5.0]]).expand(4, 3)
    report = model.update(model.accumulate(x, density_index=torch.tensor([0, 0, 1, 1])))
    torch.testing.assert_close(model.variance.detach()[0, 0], torch.tensor([0.25, 1.0, 1e-10]))
    assert torch.equal(model.log_variance.exp().detach(), model.variance.detach())
    assert report.num_floored == 6
    assert torch.isfinite(model.log_prob(x)).all()


def test_a_dead_component_is_removed_reported_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    x = torch.randn(50, 2)
    model = GaussianMixtures.flat(2, x.mean(0), x.var(0))
    model.split([2, 1])
    with torch.no_grad():
        model.mean[0, 1] = 1e3
    with caplog.at_level(logging.DEBUG, logger="hmm_models"):
        report = model.update(model.accumulate(x, density_index=torch.arange(50) % 2))
    assert report.removed == ((0, 1),)
    assert report.revived == ()
    assert model.num_components.tolist() == [1, 1]
    assert model.weight.tolist() == [[1.0, 0.0], [1.0, 0.0]]
    assert caplog.messages == ["removed 1 components with too few frames: ((0, 1),)"]


def test_a_dead_component_can_be_revived_from_the_heaviest_one() -> None:
    x = torch.randn(50, 2)
    model = GaussianMixtures.flat(1, x.mean(0), x.var(0))
    model.split([2])
    with torch.no_grad():
        model.mean[0, 1] = 1e3
    report = model.update(model.accumulate(x, density_index=certain(x)), revive=True)
    assert report.removed == report.revived == ((0, 1),)
    assert model.weight.tolist() == [[0.5, 0.5]]
    # The two halves lie around the mean of all frames.
    torch.testing.assert_close(model.mean.detach().mean(1)[0], x.mean(0), rtol=1e-5, atol=1e-6)
    assert not torch.equal(model.mean[0, 0], model.mean[0, 1])


def test_a_component_of_negligible_weight_is_removed() -> None:
    statistics = MixtureStatistics.zeros(1, 2, 1)
    statistics.occupancy.copy_(torch.tensor([[1e6, 2.0]]))
    statistics.second.fill_(1e6)
    report = GaussianMixtures(1, 2, 1).update(statistics, min_weight=1e-5)
    assert report.removed == ((0, 1),)


def test_densities_without_frames_keep_their_parameters_and_are_reported(
    mixtures: Make, caplog: pytest.LogCaptureFixture
) -> None:
    model, x = mixtures(), torch.randn(40, 5).double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with caplog.at_level(logging.INFO, logger="hmm_models"):
        report = model.update(model.accumulate(x, density_index=certain(x)))
    assert report.starved == (1, 2)
    for name in ("weight_logits", "mean", "log_variance"):
        assert torch.equal(model.state_dict()[name][1:], before[name][1:])
        assert not torch.equal(model.state_dict()[name][0], before[name][0])
    assert "kept 2 densities without enough frames: (1, 2)" in caplog.messages


def test_too_few_frames_for_every_component_change_nothing(mixtures: Make) -> None:
    model, x = mixtures(), torch.randn(30, 5)
    before = model.mean.clone()
    report = model.update(model.accumulate(x, density_index=torch.arange(30) % 3), min_occupancy=10.5)
    assert report.starved == (0, 1, 2)
    assert report.removed == ()
    assert torch.equal(model.mean, before)


def test_statistics_of_another_model_or_with_nan_are_refused(mixtures: Make) -> None:
    model = mixtures()
    with pytest.raises(ValueError, match=r"must have shape \(P, M, D\) = \(3, 4, 5\); got \(3, 4, 6\)"):
        model.update(MixtureStatistics.zeros(3, 4, 6))
    broken = MixtureStatistics.zeros(3, 4, 5)
    broken.first[0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="statistics must be finite"):
        model.update(broken)
