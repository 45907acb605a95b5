"""Alignment by warping: hmm-core's paths as matrices, peers' distances, features of two kinds."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hmm_align import DTWAligner
from hmm_core import Itakura, SakoeChiba, pairwise_cost, soft_dtw

PATTERNS = ["symmetric1", "symmetric2", "asymmetric"]


def frames(B: int, N: int, D: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(B, N, D, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def warped(B: int, N: int, D: int, seed: int = 0) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Smooth sequences, the same with frames held for one to three, and which frame each of those is."""
    chance = torch.Generator().manual_seed(seed)
    x = torch.randn(B, N, D, generator=chance, dtype=torch.float64).cumsum(1)
    index = [torch.arange(N).repeat_interleave(torch.randint(1, 4, (N,), generator=chance)) for _ in range(B)]
    y = torch.zeros(B, max(map(len, index)), D, dtype=torch.float64)
    for b, which in enumerate(index):
        y[b, : len(which)] = x[b, which]
    return x, y, index


def test_the_matrix_has_a_one_wherever_the_path_is() -> None:
    x, y = frames(3, 7, 4), frames(3, 11, 4, seed=1)
    aligner = DTWAligner()
    alignment = aligner.align(x, y)
    assert alignment.shape == (3, 7, 11)
    for matrix, path in zip(alignment, aligner.path, strict=True):
        assert matrix.nonzero().tolist() == sorted(cell for cell in path.tolist() if cell[0] >= 0)
    assert torch.equal(aligner(x, y), alignment)


def test_held_frames_are_found_again() -> None:
    x, y, index = warped(4, 20, 3)
    lengths = torch.tensor([len(which) for which in index])
    alignment = DTWAligner().align(x, y, None, lengths)
    for b, which in enumerate(index):
        assert alignment[b, :, : len(which)].argmax(0).tolist() == which.tolist()
        assert not alignment[b, :, len(which) :].any()


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_the_cost_and_the_path_are_those_of_librosa(metric: Any) -> None:
    librosa = pytest.importorskip("librosa")
    x, y = frames(1, 23, 5), frames(1, 31, 5, seed=1)
    table, path = librosa.sequence.dtw(x[0].T.numpy(), y[0].T.numpy(), metric=metric)
    aligner = DTWAligner(metric)
    aligner.align(x, y)
    # Sums of some forty numbers, and scipy's distances, in another order.
    assert float(aligner.get_alignment_cost()) == pytest.approx(table[-1, -1], rel=1e-10)
    assert [cell for cell in aligner.path[0].tolist() if cell[0] >= 0] == path[::-1].tolist()


@pytest.mark.parametrize("window", [None, 5])
def test_the_cost_and_the_path_are_those_of_dtaidistance(window: int | None) -> None:
    dtaidistance = pytest.importorskip("dtaidistance")
    x, y = frames(1, 40, 1), frames(1, 40, 1, seed=1)
    a, b = x[0, :, 0].numpy(), y[0, :, 0].numpy()
    # Its window counts the diagonal, its distance is the root of the sum of squares.
    path = dtaidistance.dtw.warping_path(a, b, window=None if window is None else window + 1)
    distance = dtaidistance.dtw.distance(a, b, window=None if window is None else window + 1)
    aligner = DTWAligner("sqeuclidean", window=None if window is None else SakoeChiba(window))
    aligner.align(x, y)
    # Sums of some sixty numbers in another order.
    assert float(aligner.get_alignment_cost().sqrt()) == pytest.approx(distance, rel=1e-10)
    assert [tuple(cell) for cell in aligner.path[0].tolist() if cell[0] >= 0] == path


@pytest.mark.parametrize("pattern", PATTERNS)
def test_step_patterns_and_reductions_reach_the_recursion(pattern: Any) -> None:
    dtw_python = pytest.importorskip("dtw")
    x, y = frames(2, 15, 3), frames(2, 12, 3, seed=1)
    aligner = DTWAligner(step_pattern=pattern)
    aligner.align(x, y)
    costs = aligner.get_alignment_cost("none")
    wanted = [dtw_python.dtw(pairwise_cost(x, y)[b].numpy(), step_pattern=pattern).distance for b in range(2)]
    assert costs.tolist() == pytest.approx(wanted, rel=1e-10)  # sums of some twenty numbers
    assert float(aligner.get_alignment_cost("sum")) == pytest.approx(sum(wanted), rel=1e-10)
    assert float(aligner.get_alignment_cost()) == pytest.approx(sum(wanted) / 2, rel=1e-10)


def test_the_soft_alignment_is_the_derivative_of_the_soft_minimum_and_can_be_differentiated() -> None:
    x, y = frames(2, 4, 3).requires_grad_(), frames(2, 5, 3, seed=1).requires_grad_()
    lengths = torch.tensor([4, 3]), torch.tensor([5, 4])
    aligner = DTWAligner("sqeuclidean", soft=0.7)
    alignment = aligner.align(x, y, *lengths)
    cost = pairwise_cost(x.detach(), y.detach(), *lengths, metric="sqeuclidean").requires_grad_()
    value = soft_dtw(cost, *lengths, gamma=0.7)
    torch.testing.assert_close(alignment, torch.autograd.grad(value.sum(), cost)[0])
    torch.testing.assert_close(aligner.get_alignment_cost("none"), value)
    weight = frames(2, 4, 5, seed=2)

    def expected(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return (aligner(a, b, *lengths) * weight).sum(), aligner.get_alignment_cost()

    assert torch.autograd.gradcheck(expected, (x, y))


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_a_soft_alignment_needs_no_recording(off: Any) -> None:
    x, y = frames(1, 6, 2), frames(1, 8, 2, seed=1)
    aligner = DTWAligner(soft=1.0)
    wanted = aligner.align(x.requires_grad_(), y)
    with off():
        assert torch.equal(aligner.align(x.detach().clone(), y.clone()), wanted)
    assert not aligner.get_alignment_cost().requires_grad


def test_the_soft_alignment_becomes_the_path_as_it_cools() -> None:
    x, y, index = warped(2, 9, 3, seed=4)
    lengths = torch.tensor([len(which) for which in index])
    hard = DTWAligner("sqeuclidean")
    soft = DTWAligner("sqeuclidean", soft=1e-3)
    # Other paths cost more by far than a thousandth.
    torch.testing.assert_close(soft.align(x, y, None, lengths), hard.align(x, y, None, lengths))
    assert torch.equal(soft.path, hard.path)


def test_the_cost_can_be_differentiated() -> None:
    x, y = frames(2, 5, 3).requires_grad_(), frames(2, 6, 3, seed=1).requires_grad_()

    def cost(a: Tensor, b: Tensor) -> Tensor:
        aligner = DTWAligner("sqeuclidean")
        aligner.align(a, b)
        return aligner.get_alignment_cost()

    assert torch.autograd.gradcheck(cost, (x, y))


@pytest.mark.parametrize("soft", [None, 1.0])
@pytest.mark.parametrize("D2", [4, 6])
def test_padding_is_never_read(soft: float | None, D2: int) -> None:
    x, y = frames(3, 9, 4), frames(3, 12, D2, seed=1)
    lengths_x, lengths_y = torch.tensor([9, 5, 0]), torch.tensor([8, 12, 0])
    bad_x, bad_y = x.clone(), y.clone()
    for b in range(3):
        bad_x[b, lengths_x[b] :] = torch.nan
        bad_y[b, lengths_y[b] :] = torch.nan
    aligner = DTWAligner(soft=soft)
    alignment = aligner.align(bad_x.requires_grad_(), bad_y.requires_grad_(), lengths_x, lengths_y)
    cost = aligner.get_alignment_cost("none")
    for b in range(3):
        n, m = int(lengths_x[b]), int(lengths_y[b])
        alone = aligner.align(x[b : b + 1, :n], y[b : b + 1, :m])
        assert torch.equal(alignment[b, :n, :m], alone[0])
        assert torch.equal(cost[b], aligner.get_alignment_cost())
        assert not alignment[b, n:].any()
        assert not alignment[b, :, m:].any()
    cost.sum().backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    for item in (bad_x, bad_y):
        assert item.grad is not None
        assert item.grad.isfinite().all()


def test_a_window_without_a_path_costs_infinity_and_aligns_nothing() -> None:
    aligner = DTWAligner(window=Itakura(1.0))
    assert not aligner.align(frames(1, 2, 3), frames(1, 9, 3)).any()
    assert aligner.get_alignment_cost() == torch.inf
    assert (aligner.path == -1).all()


def test_features_in_another_basis_are_aligned_by_their_profiles() -> None:
    """y is x in other coordinates and twelve dimensions: distances within each side are alike."""
    x, y, index = warped(4, 60, 8, seed=2)
    turn, _ = torch.linalg.qr(frames(1, 12, 12, seed=3)[0])
    lengths = torch.tensor([len(which) for which in index])
    alignment = DTWAligner().align(x, 2.5 * y @ turn[:8], None, lengths)
    for b, which in enumerate(index):
        off = (alignment[b, :, : len(which)].argmax(0) - which).abs()
        assert off.double().mean() < 1.0
        straight = torch.linspace(0, 59, len(which)) - which
        assert off.double().mean() < 0.5 * straight.abs().mean(), "nearer than a straight line"


def test_a_projection_learns_what_makes_two_kinds_of_features_alike() -> None:
    x, y, index = warped(6, 20, 3, seed=5)
    mixing = frames(1, 3, 5, seed=6)[0]
    y = y @ mixing
    lengths = torch.tensor([len(which) for which in index])
    torch.manual_seed(0)
    projection = torch.nn.Linear(3, 5).double()
    aligner = DTWAligner("sqeuclidean", soft=1.0, projection=projection)
    assert set(aligner.parameters()) == set(projection.parameters())
    optimizer = torch.optim.Adam(aligner.parameters(), lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        with torch.no_grad():
            alignment = aligner.align(x, y, None, lengths)
        distance = pairwise_cost(projection(x), y, None, lengths, metric="sqeuclidean")
        (alignment * distance).mean().backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        optimizer.step()
    found = DTWAligner(projection=projection).align(x, y, None, lengths)
    right = [(found[b, :, : len(which)].argmax(0) == which).double().mean() for b, which in enumerate(index)]
    assert torch.stack(right).mean() > 0.9


def test_constant_sequences_have_a_profile() -> None:
    alignment = DTWAligner().align(torch.ones(1, 4, 2), torch.ones(1, 6, 3))
    assert alignment[0].any(0).all()


def test_bad_input_is_named() -> None:
    x, y = frames(2, 4, 3), frames(2, 5, 3)
    aligner = DTWAligner()
    with pytest.raises(RuntimeError, match="get_alignment_cost needs an alignment"):
        aligner.get_alignment_cost()
    with pytest.raises(RuntimeError, match="path needs an alignment"):
        _ = aligner.path
    with pytest.raises(ValueError, match=r"x must have shape \(B, N, D1\); got \(4, 3\)"):
        aligner.align(x[0], y)
    with pytest.raises(TypeError, match=r"y must have a floating dtype; got torch\.int64"):
        aligner.align(x, y.long())
    with pytest.raises(TypeError, match="x must be a Tensor; got ndarray"):
        aligner.align(x.numpy(), y)  # type: ignore[arg-type]  # that is the test
    with pytest.raises(TypeError, match=r"y must have dtype torch\.float64 like x; got torch\.float32"):
        aligner.align(x, y.float())
    with pytest.raises(ValueError, match="y must have B = 2 sequences like x; got 1"):
        aligner.align(x, y[:1])
    with pytest.raises(ValueError, match=r"lengths_y must lie in 0\.\.T = 0\.\.5; got 6"):
        aligner.align(x, y, None, torch.tensor([5, 6]))
    with pytest.raises(ValueError, match=r"lengths_x must have shape \(B,\) = \(2,\); got \(3,\)"):
        aligner.align(x, y, torch.tensor([1, 2, 3]))
    with pytest.raises(TypeError, match=r"lengths_x must have an integer dtype; got torch\.float32"):
        aligner.align(x, y, torch.tensor([1.0, 2.0]))
    x[1, 2, 0] = torch.nan
    with pytest.raises(ValueError, match=r"x must hold finite numbers; got nan at \[1, 2, 0\]"):
        aligner.align(x, y)
    with pytest.raises(ValueError, match="reduction must be"):
        aligner.get_alignment_cost("max")  # type: ignore[arg-type]  # that is the test


def test_bad_choices_are_named() -> None:
    for arguments, message in (
        ({"metric": "manhattan"}, "metric must be one of euclidean, sqeuclidean, cosine; got 'manhattan'"),
        ({"step_pattern": "rabiner"}, "step_pattern must be one of symmetric1"),
        ({"soft": 0.0}, r"soft must be a finite number above 0; got 0\.0"),
        ({"soft": 1.0, "step_pattern": "asymmetric"}, "soft must be None unless step_pattern"),
        ({"num_anchors": 0}, "num_anchors must be an integer of at least 1; got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            DTWAligner(**arguments)
    with pytest.raises(TypeError, match="window must be a SakoeChiba, an Itakura or None; got int"):
        DTWAligner(window=5)  # type: ignore[arg-type]  # that is the test
    x, y = torch.zeros(1, 4, 3), torch.zeros(1, 5, 2)
    with pytest.raises(ValueError, match="projection must turn x into D2 = 2 features"):
        DTWAligner(projection=torch.nn.Identity()).align(x, y)


def test_numpy_lengths_do() -> None:
    x, y = frames(2, 4, 3), frames(2, 5, 3)
    lengths: Any = np.array([4, 2])
    assert not DTWAligner().align(x, y, lengths)[1, 2:].any()
