"""Trajectories: the closed form by a dense solve, ragged batches, gradients, global variance."""

import pytest
import torch
from torch import Tensor

from hmm_models import global_variance, mlpg, mlpg_global_variance
from hmm_models.generation._mlpg import WINDOWS

WIDE = ((1.0,), (-0.2, -0.1, 0.0, 0.1, 0.2), (0.25, 0.0, -0.5, 0.0, 0.25))


def dense(mean: Tensor, variance: Tensor, windows: tuple[tuple[float, ...], ...]) -> Tensor:
    """Solve the normal equations of one sequence (T, N S) with full matrices."""
    T, N = len(mean), len(windows)
    S = mean.shape[1] // N
    rows, keep = [], []
    for window in windows:
        half = len(window) // 2
        for t in range(T):
            row = torch.zeros(T, dtype=torch.float64)
            inside = half <= t < T - half
            if inside:
                row[t - half : t + half + 1] = torch.tensor(window, dtype=torch.float64)
            rows.append(row)
            keep.append(inside)
    W = torch.stack(rows)
    result = torch.empty(T, S, dtype=torch.float64)
    for s in range(S):
        precision = variance[:, s::S].T.reshape(-1).double().reciprocal() * torch.tensor(keep)
        target = mean[:, s::S].T.reshape(-1).double()
        result[:, s] = torch.linalg.solve(W.T * precision @ W, W.T @ (precision * target))
    return result


def problem(B: int, T: int, D: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random means and variances."""
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(B, T, D, generator=generator, dtype=torch.float64)
    return mean, torch.rand(B, T, D, generator=generator, dtype=torch.float64) + 0.1


@pytest.mark.parametrize("windows", [WINDOWS, WINDOWS[:2], WINDOWS[:1], WIDE])
def test_it_is_the_dense_solution(windows: tuple[tuple[float, ...], ...]) -> None:
    mean, variance = problem(2, 20, 2 * len(windows))
    found = mlpg(mean, variance, windows)
    for b in range(2):
        expected = dense(mean[b], variance[b], windows)
        torch.testing.assert_close(found[b], expected, rtol=1e-10, atol=1e-10)


def test_it_is_what_nnmnkwii_gives() -> None:
    t, n = torch.arange(7.0, dtype=torch.float64).unsqueeze(-1), torch.arange(3)
    mean, variance = (1.0 + t * (n + 1)).sin(), 1.0 + 0.5 * (t + 2.0 * n).cos()
    # paramgen.mlpg of nnmnkwii 0.1.3, which must be compiled and is therefore not asked each time.
    theirs = [
        0.524703064321,
        0.719221310684,
        -0.133560451822,
        -0.448841615291,
        -0.597438394018,
        -0.208998069376,
        -0.084233538589,
    ]
    found = mlpg(mean.unsqueeze(0), variance.unsqueeze(0), WINDOWS)[0, :, 0]
    torch.testing.assert_close(found, torch.tensor(theirs, dtype=torch.float64), rtol=0.0, atol=1e-11)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 7])
def test_a_sequence_in_a_batch_is_what_it_is_alone(length: int) -> None:
    mean, variance = problem(2, 7, 6)
    lengths = torch.tensor([7, length])
    poisoned = mean.clone()
    poisoned[1, length:] = torch.nan
    found = mlpg(poisoned, variance, lengths=lengths)
    assert torch.equal(found[1, length:], torch.zeros(7 - length, 2).double())
    if length:
        alone = mlpg(mean[1:, :length], variance[1:, :length])
        torch.testing.assert_close(found[1:, :length], alone, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found[:1], mlpg(mean[:1], variance[:1]), rtol=1e-12, atol=1e-12)


def test_gradients_are_right() -> None:
    mean, variance = problem(2, 6, 6)
    lengths = torch.tensor([6, 4])
    assert torch.autograd.gradcheck(
        lambda m, v: mlpg(m, v, WINDOWS, lengths), (mean.requires_grad_(), variance.requires_grad_())
    )


def test_one_variance_serves_all_frames_and_dtypes_are_kept() -> None:
    mean, variance = problem(1, 9, 3)
    shared = variance[0, 0]
    found = mlpg(mean.float(), shared.float())
    assert found.dtype == torch.float32
    expected = mlpg(mean, shared.expand(1, 9, 3))
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


def test_ten_thousand_frames_stay_exact() -> None:
    mean, variance = problem(1, 10_000, 3, seed=1)
    found = mlpg(mean, variance)
    middle = dense(mean[0, 4900:5100], variance[0, 4900:5100], WINDOWS)
    # What happens a hundred frames away is forgotten.
    torch.testing.assert_close(found[0, 5000], middle[100], rtol=1e-9, atol=1e-9)


def test_global_variance_comes_back() -> None:
    time = torch.arange(60, dtype=torch.float64)
    mean = torch.zeros(2, 60, 3, dtype=torch.float64)
    mean[:, :, 0] = torch.sin(time / 2)
    lengths = torch.tensor([60, 41])
    variance = torch.tensor([1.0, 0.05, 0.05], dtype=torch.float64)
    flat = global_variance(mlpg(mean, variance, lengths=lengths), lengths)
    target, spread = torch.tensor([0.5]).double(), torch.tensor([1e-3]).double()
    lively = mlpg_global_variance(mean, variance, target, spread, lengths=lengths)
    found = global_variance(lively, lengths)
    assert bool(((found - 0.5).abs() < 0.25 * (flat - 0.5).abs()).all())
    assert torch.equal(lively[1, 41:], torch.zeros(19, 1).double())
    plain = mlpg_global_variance(mean, variance, target, spread, lengths=lengths, weight=0.0)
    assert torch.equal(plain, mlpg(mean, variance, lengths=lengths))


def test_a_constant_trajectory_stays_finite() -> None:
    mean, ones = torch.zeros(1, 5, 3), torch.ones(1)
    assert torch.isfinite(mlpg_global_variance(mean, torch.ones(3), ones, ones)).all()


def test_wrong_arguments_are_named() -> None:
    mean, variance = torch.zeros(1, 4, 6), torch.ones(1, 4, 6)
    with pytest.raises(ValueError, match=r"windows must have odd lengths.*; got \[\[1.0\], \[-1.0, 1.0\]\]"):
        mlpg(mean, variance, ((1.0,), (-1.0, 1.0)))
    with pytest.raises(ValueError, match=r"mean must have shape .* with N = 3 windows; got \(1, 4, 5\)"):
        mlpg(mean[..., :5], variance)
    with pytest.raises(ValueError, match=r"variance must have shape .* or \(N S,\) = \(6,\); got \(4, 6\)"):
        mlpg(mean, variance[0])
    with pytest.raises(ValueError, match=r"lengths must be in 0..T = 0..4, of shape .*; got \[5\]"):
        mlpg(mean, variance, lengths=torch.tensor([5]))
    with pytest.raises(ValueError, match=r"variance must be finite and > 0; got 0.0\.\.0.0"):
        mlpg(mean, torch.zeros(6))
    with pytest.raises(ValueError, match=r"mean must be finite; got NaN or infinity"):
        mlpg(mean + torch.nan, variance)
    with pytest.raises(ValueError, match=r"natural_mean must be > 0, of shape \(S,\) = \(2,\); got \[0.0\]"):
        mlpg_global_variance(mean, variance, torch.zeros(1), torch.ones(2))
    with pytest.raises(ValueError, match=r"weight must be >= 0; got -1\.0"):
        mlpg_global_variance(mean, variance, torch.ones(2), torch.ones(2), weight=-1.0)
    with pytest.raises(ValueError, match=r"x must have shape \(B, T, S\); got \(4, 6\)"):
        global_variance(mean[0])
    with pytest.raises(ValueError, match=r"lengths must have shape \(B,\) = \(1,\); got \(2,\)"):
        global_variance(mean, torch.tensor([1, 2]))
