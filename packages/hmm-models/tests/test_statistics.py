import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hmm_models import GaussianMixtures, MixtureStatistics

Make = Callable[..., GaussianMixtures]


def assert_same(a: MixtureStatistics, b: MixtureStatistics, tolerance: float) -> None:
    for name in ("occupancy", "first", "second"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_soft_statistics_are_sums_over_component_posteriors(
    mixtures: Make, log_joint: Callable[[GaussianMixtures, Tensor], Tensor], dtype: torch.dtype
) -> None:
    model, x = mixtures(dtype=dtype), torch.randn(50, 5, dtype=dtype)
    share, weight = torch.rand(50, 3), torch.rand(50)
    part = log_joint(model, x).softmax(-1) * (share.double() * weight.double().unsqueeze(-1)).unsqueeze(-1)
    expected = MixtureStatistics(
        part.sum(0),
        torch.einsum("npm,nd->pmd", part, x.double()),
        torch.einsum("npm,nd->pmd", part, x.double().square()),
    )
    # Float64 arithmetic whatever the dtype, so float64 rounding only.
    assert_same(model.accumulate(x, share, weight=weight), expected, 1e-11)


def test_firm_statistics_are_soft_ones_with_certain_shares(mixtures: Make) -> None:
    model, x = mixtures(dtype=torch.float32), torch.randn(50, 5)
    index, weight = torch.randint(3, (50,)), torch.rand(50)
    index[index == 1] = 0
    certain = torch.nn.functional.one_hot(index, 3).double()
    firm = model.accumulate(x, density_index=index, weight=weight)
    assert_same(firm, model.accumulate(x, certain, weight=weight), 1e-12)
    assert firm.occupancy[1].count_nonzero() == 0


def test_frames_of_density_minus_one_are_left_out(mixtures: Make) -> None:
    model, x, index = mixtures(), torch.randn(20, 5), torch.randint(-1, 3, (20,))
    assert (index < 0).any()
    kept = index >= 0
    assert_same(
        model.accumulate(x, density_index=index), model.accumulate(x[kept], density_index=index[kept]), 0.0
    )


def test_blocks_of_frames_change_nothing(mixtures: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x, share = mixtures(), torch.randn(50, 5), torch.rand(50, 3)
    whole = model.accumulate(x, share)
    monkeypatch.setattr("hmm_models.emissions._densities._BLOCK", 7 * 12)
    monkeypatch.setattr("hmm_models.emissions._densities._FEWEST_ROWS", 1)
    assert_same(model.accumulate(x, share), whole, 1e-12)


@settings(deadline=None, max_examples=30)
@given(cuts=st.lists(st.integers(0, 40), max_size=4), seed=st.integers(0, 2**32), soft=st.booleans())
def test_statistics_of_parts_add_up_to_those_of_the_whole(cuts: list[int], seed: int, soft: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    model = GaussianMixtures(3, 2, 2)
    x = torch.randn(40, 2, generator=generator) * 3
    share, index = torch.rand(40, 3, generator=generator), torch.randint(-1, 3, (40,), generator=generator)

    def accumulate(rows: slice) -> MixtureStatistics:
        if soft:
            return model.accumulate(x[rows], share[rows])
        return model.accumulate(x[rows], density_index=index[rows])

    whole = accumulate(slice(None))
    edges = [0, *sorted(cuts), 40]
    in_place, out_of_place = whole.zeros_like(), whole.zeros_like()
    for start, stop in itertools.pairwise(edges):
        part = accumulate(slice(start, stop))
        in_place += part
        out_of_place = out_of_place + part
    assert_same(in_place, whole, 1e-12)
    assert_same(out_of_place, in_place, 0.0)


def test_adding_in_place_keeps_the_tensors_and_adding_does_not(mixtures: Make) -> None:
    part = mixtures().accumulate(torch.randn(5, 5), torch.rand(5, 3))
    total = part.zeros_like()
    occupancy = total.occupancy
    total += part
    assert total.occupancy is occupancy
    before = part.occupancy.clone()
    _ = part + part
    assert torch.equal(part.occupancy, before)
    assert torch.equal(part.to("cpu").first, part.first)


def test_statistics_of_different_shapes_do_not_add() -> None:
    a, b = MixtureStatistics.zeros(2, 1, 3), MixtureStatistics.zeros(2, 2, 3)
    with pytest.raises(ValueError, match=r"one shape; occupancy has \(2, 1\) and \(2, 2\)"):
        _ = a + b
    with pytest.raises(ValueError, match="one shape"):
        a += b
    with pytest.raises(TypeError):
        _ = a + 1  # type: ignore[operator]  # what the test is about
    with pytest.raises(TypeError):
        a += 1  # type: ignore[arg-type]  # what the test is about
    with pytest.raises(
        ValueError, match=r"second must have shape \(P, M, D\) = \(2, 1, 3\); got \(2, 2, 3\)"
    ):
        MixtureStatistics(a.occupancy, a.first, b.second)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give exactly one of density_posterior and density_index"),
        ({"density_posterior": torch.zeros(4, 3), "density_index": torch.zeros(4).long()}, "exactly one"),
        ({"density_posterior": torch.zeros(4, 2)}, r"density_posterior must have shape \(N, P\) = \(4, 3\)"),
        ({"density_posterior": torch.full((4, 3), torch.nan)}, r"finite and >= 0; got nan at \(0, 0\)"),
        ({"density_index": torch.zeros(4)}, r"must be int64 of shape \(N,\) = \(4,\)"),
        (
            {"density_index": torch.tensor([0, 1, 3, 0])},
            r"must be in -1..P-1 = -1..2; got 0..3",
        ),
        (
            {"density_index": torch.zeros(4).long(), "weight": -torch.ones(4)},
            r"weight must be finite and >= 0",
        ),
    ],
)
def test_wrong_arguments_are_named(mixtures: Make, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mixtures().accumulate(torch.zeros(4, 5), **arguments)


def test_frames_must_be_in_one_list(mixtures: Make) -> None:
    with pytest.raises(ValueError, match=r"x must have shape \(N, D\) = \(N, 5\); got \(1, 4, 5\)"):
        mixtures().accumulate(torch.zeros(1, 4, 5), density_index=torch.zeros(4).long())


def test_no_frames_give_zero_statistics(mixtures: Make) -> None:
    model, x = mixtures(), torch.zeros(0, 5)
    for statistics in (
        model.accumulate(x, torch.zeros(0, 3)),
        model.accumulate(x, density_index=torch.zeros(0).long()),
    ):
        assert statistics.second.shape == (3, 4, 5)
        assert statistics.occupancy.count_nonzero() == 0
