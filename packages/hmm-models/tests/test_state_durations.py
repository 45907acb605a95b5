"""Durations that fill a number of frames: sums, bounds, the optimum, batches."""

import pytest
import torch
from torch import Tensor

from hmm_models import state_durations


def statistics(B: int, N: int) -> tuple[Tensor, Tensor]:
    """Random means and variances."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(B, N, generator=generator) * 9 + 1.5, torch.rand(B, N, generator=generator) * 6 + 0.2


@pytest.mark.parametrize("total", [12, 40, 61, 300])
def test_they_sum_to_the_frames_asked_and_follow_mean_plus_rho_variance(total: int) -> None:
    mean, variance = statistics(5, 12)
    found = state_durations(mean, variance, num_frames=total)
    assert found.sum(1).tolist() == [total] * 5
    assert int(found.min()) >= 1
    free = found > 2
    rho = torch.where(free, (found - mean) / variance, torch.nan)
    # Rounding moves a duration by less than a frame, and rho by less than that over the variance.
    slack = torch.where(free, 1.0 / variance, torch.nan)
    for row, room in zip(rho, slack, strict=True):
        low, high = (row - room)[~row.isnan()], (row + room)[~row.isnan()]
        assert not len(low) or float(low.max()) <= float(high.min())


def test_they_are_the_most_likely_integers_that_fill_the_frames() -> None:
    mean, variance = torch.tensor([[3.3, 5.1, 2.2]]), torch.tensor([[1.0, 4.0, 2.0]])
    for total in range(5, 25):
        found = state_durations(mean, variance, num_frames=total)[0]
        every = torch.cartesian_prod(*[torch.arange(1, 25)] * 3)
        every = every[every.sum(1) == total]
        cost = ((every - mean).square() / variance).sum(1)
        own = float(((found - mean[0]).square() / variance[0]).sum())
        # The largest fractions are not always the best ones; they cost less than a frame of the widest state.
        assert own <= float(cost.min()) + 0.25


def test_a_rate_scales_the_sum_of_the_means() -> None:
    mean, variance = statistics(3, 7)
    natural = mean.double().sum(1).round().long()
    assert torch.equal(state_durations(mean, variance).sum(1), natural)
    rates = torch.tensor([0.5, 1.0, 2.0])
    expected = (mean.double().sum(1) / rates.double()).round().long()
    assert torch.equal(state_durations(mean, variance, rate=rates).sum(1), expected)
    assert state_durations(mean, variance, rate=1e6).tolist() == [[1] * 7] * 3
    assert state_durations(mean, variance, rate=1e-6, max_duration=9).tolist() == [[9] * 7] * 3


@pytest.mark.parametrize("total", [4, 17, 30, 32])
def test_no_state_lasts_longer_than_it_may(total: int) -> None:
    mean, variance = torch.tensor([[2.0, 8.0, 3.0, 1.0]]), torch.tensor([[0.0, 1.0, 50.0, 0.5]])
    found = state_durations(mean, variance, num_frames=total, max_duration=8)
    assert int(found.sum()) == total
    assert int(found.min()) >= 1
    assert int(found.max()) <= 8


def test_a_sequence_in_a_batch_is_what_it_is_alone_and_padding_is_not_read() -> None:
    mean, variance = statistics(3, 6)
    lengths, totals = torch.tensor([6, 0, 3]), torch.tensor([50, 0, 20])
    behind = torch.arange(6) >= lengths.unsqueeze(-1)
    mean[behind], variance[behind] = torch.nan, -1.0
    found = state_durations(mean, variance, lengths, num_frames=totals)
    assert not found[behind].any()
    for b in (0, 2):
        n = int(lengths[b])
        alone = state_durations(mean[b : b + 1, :n], variance[b : b + 1, :n], num_frames=int(totals[b]))
        assert torch.equal(found[b, :n], alone[0])


def test_durations_that_never_vary_give_way_together() -> None:
    found = state_durations(torch.full((1, 4), 5.0), torch.zeros(1, 4), num_frames=10)
    assert found.tolist() == [[3, 3, 2, 2]]


def test_wrong_arguments_are_named() -> None:
    mean, variance = torch.full((1, 3), 4.0), torch.ones(1, 3)
    with pytest.raises(ValueError, match=r"at least the number of states 3 in sequence 0; got 2"):
        state_durations(mean, variance, num_frames=2)
    with pytest.raises(ValueError, match=r"states 3 and at most 15 in sequence 0; got 16"):
        state_durations(mean, variance, num_frames=16, max_duration=5)
    with pytest.raises(ValueError, match=r"rate must be finite and > 0.*; got 0"):
        state_durations(mean, variance, rate=0.0)
    with pytest.raises(ValueError, match=r"one shape \(B, N\); got \(1, 3\) and \(3,\)"):
        state_durations(mean, variance[0])
    with pytest.raises(ValueError, match=r"mean must be finite and > 0; got inf at \(0, 1\)"):
        state_durations(torch.tensor([[1.0, torch.inf]]), variance[:, :2])
    with pytest.raises(ValueError, match=r"variance must be finite and >= 0; got -1.0 at \(0, 0\)"):
        state_durations(mean, -variance)
    with pytest.raises(ValueError, match=r"lengths must be in 0..N = 0..3"):
        state_durations(mean, variance, torch.tensor([4]))
    with pytest.raises(ValueError, match="max_duration must be >= 1; got 0"):
        state_durations(mean, variance, max_duration=0)
    with pytest.raises(ValueError, match=r"num_frames must be a number or of shape \(B,\) = \(1,\)"):
        state_durations(mean, variance, num_frames=torch.tensor([4, 4]))
