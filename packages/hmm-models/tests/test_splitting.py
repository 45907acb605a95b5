from collections.abc import Callable

import pytest
import torch

from hmm_models import GaussianMixtures, split_targets

Make = Callable[..., GaussianMixtures]


def test_splitting_keeps_mass_mean_and_variance_of_the_component() -> None:
    model = GaussianMixtures.flat(2, torch.tensor([1.0, -2.0]), torch.tensor([4.0, 9.0]))
    model.split([2, 1])
    assert model.weight.tolist() == [[0.5, 0.5], [1.0, 0.0]]
    torch.testing.assert_close(model.mean.detach()[0].mean(0), torch.tensor([1.0, -2.0]))
    torch.testing.assert_close(model.variance.detach()[0], torch.tensor([[4.0, 9.0]]).expand(2, 2))
    # 0.2 standard deviations, root mean square over the dimensions.
    reach = (model.mean.detach()[0, 0] - torch.tensor([1.0, -2.0])) / torch.tensor([2.0, 3.0])
    torch.testing.assert_close(reach.square().mean().sqrt(), torch.tensor(0.2))


@pytest.mark.parametrize("D", [1, 39])
def test_components_split_at_once_are_all_different(D: int) -> None:
    model = GaussianMixtures.flat(1, torch.zeros(D), torch.ones(D), num_mixtures=16)
    model.split([16])
    assert model.weight.flatten().tolist() == [1 / 16] * 16
    distance = torch.cdist(model.mean.detach()[0], model.mean.detach()[0]) + torch.eye(16)
    assert float(distance.min()) > 1e-3


def test_the_heaviest_component_is_split_first_and_splitting_is_deterministic(mixtures: Make) -> None:
    model, again = mixtures(P=1, M=2), mixtures(P=1, M=2)
    with torch.no_grad():
        model.weight_logits.copy_(torch.tensor([[0.3, 0.7]]).log())
    again.load_state_dict(model.state_dict())
    light = model.mean[0, 0].clone()
    model.split([3])
    again.split(torch.tensor([3]))
    assert model.weight[0].tolist() == pytest.approx([0.3, 0.35, 0.35])
    assert torch.equal(model.mean[0, 0], light)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))


def test_growing_keeps_requires_grad_dtype_and_lower_targets(mixtures: Make) -> None:
    model = mixtures(P=2, M=1).requires_grad_(requires_grad=False)
    model.split([1, 4])
    assert model.num_mixtures == 4
    assert model.num_components.tolist() == [1, 4]
    assert not model.mean.requires_grad
    assert model.mean.dtype == torch.float64
    model.split([1, 2])
    assert model.num_components.tolist() == [1, 4]


def test_a_budget_is_handed_out_by_occupancy() -> None:
    model = GaussianMixtures.flat(3, torch.zeros(2), torch.ones(2))
    occupancy = torch.tensor([[1000.0], [100.0], [30.0]])
    model.split(8, occupancy)
    assert model.num_components.tolist() == split_targets(occupancy[:, 0], 8).tolist() == [4, 3, 1]
    uniform = GaussianMixtures.flat(3, torch.zeros(2), torch.ones(2))
    uniform.split(7)
    assert uniform.num_components.tolist() == [3, 2, 2]


def test_a_budget_stops_where_frames_run_out_and_gives_every_density_one() -> None:
    assert split_targets(torch.tensor([100.0, 0.0]), 50, min_occupancy=20).tolist() == [5, 1]
    assert split_targets(torch.tensor([100.0, 100.0]), 1).tolist() == [1, 1]
    assert split_targets(torch.tensor([900.0, 100.0]), 10, power=1.0, min_occupancy=0).tolist() == [9, 1]


def test_wrong_targets_are_named() -> None:
    model = GaussianMixtures.flat(2, torch.zeros(2), torch.ones(2))
    with pytest.raises(ValueError, match=r"integers >= 1 of shape \(P,\) = \(2,\).*got \[1, 0\]"):
        model.split([1, 0])
    with pytest.raises(ValueError, match=r"occupancy must have shape \(P,\) = \(2,\) or \(P, M\)"):
        model.split(4, torch.ones(3))
    with pytest.raises(ValueError, match="num_components must be >= 1; got 0"):
        model.split(0)
    with pytest.raises(ValueError, match="finite and >= 0"):
        split_targets(torch.tensor([torch.nan]), 3)
