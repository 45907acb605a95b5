"""From paths and posteriors to intervals: conventions of time, order, and certainty."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from hmm_align import AlignedInterval, AlignerConfig, _decode
from hmm_align._acoustic import AcousticModel
from hmm_align._calibration import MIXTURES
from hmm_align._decode import (
    UnitTimes,
    intervals,
    look_up,
    path_units,
    unit_posteriors,
    unit_ratios,
    unit_times,
    word_intervals,
)
from hmm_align._graph import SILENCE, Unit, build_graph
from hmm_core.testing import Arguments, enumerate_paths

MODEL = AcousticModel(["a", "b"], 2, states_per_phone=1, silence_states=3, variance_floor=0.01)
CHAIN = [Unit("", -1, 0, 0), Unit("a", 0, 0, 5), Unit("b", 0, 0, 8), Unit("", -1, 0, 11)]


def hard(*frames: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return the posteriors of units that last the given numbers of frames for certain."""
    return np.repeat(np.eye(len(frames)), frames, axis=0)


def certain(*frames: int) -> UnitTimes:
    """Return the times of units that last the given numbers of frames for certain."""
    return _decode._times(hard(*frames))


def test_the_units_of_a_path_are_named_once_each_even_twins() -> None:
    graph = build_graph([[("a",)], [("a",)]], MODEL.units, silence_prob=0.2)
    # Silence 0-2, a 3, silence 4-6, a 7, silence 8-10.
    units, starts = path_units(graph, np.array([3, 3, 7, 8, 9, 10, 10]))
    assert starts.tolist() == [0, 2, 3]
    assert [(unit.label, unit.word) for unit in units] == [("a", 0), ("a", 1), ("", -1)]
    units, _ = path_units(graph, np.array([0, 1, 2, 3, 4, 5, 6, 7]))
    assert [(unit.label, unit.word) for unit in units] == [("", -1), ("a", 0), ("", -1), ("a", 1)]


@pytest.mark.parametrize("period", [0.01, 0.005])
def test_a_boundary_stands_halfway_between_two_frame_centres(period: float) -> None:
    config = AlignerConfig(frame_period=period, boundary_shift=0.0)
    # Frames 0..9 are centred at 0 to 9 periods: after 3 of them it is 2.5 periods.
    found = intervals(CHAIN, certain(3, 2, 4, 1), np.zeros(4), 9.3 * period, config, MIXTURES)
    assert [phone.label for phone in found] == ["", "a", "b", ""]
    assert [phone.end for phone in found] == pytest.approx(
        [2.5 * period, 4.5 * period, 8.5 * period, 9.3 * period]
    )
    assert found[0].start == 0.0
    assert [phone.confidence for phone in found] == [1.0] * 4


def test_a_frame_shared_by_two_units_puts_the_boundary_inside_it() -> None:
    probability = hard(3, 3)
    probability[3] = [0.3, 0.7]
    one, two = intervals(
        CHAIN[:2], _decode._times(probability), np.zeros(2), 0.06, AlignerConfig(boundary_shift=0.0), MIXTURES
    )
    assert one.end == two.start == pytest.approx((3.3 - 0.5) * 0.01)
    assert two.confidence == pytest.approx((0.7 + 1 + 1) / 3)
    moved, _ = intervals(
        CHAIN[:2],
        _decode._times(probability),
        np.zeros(2),
        0.06,
        AlignerConfig(boundary_shift=-0.004),
        MIXTURES,
    )
    assert moved.end == pytest.approx(one.end - 0.004)


@pytest.mark.parametrize("shift", [-1.0, 1.0])
def test_no_boundary_leaves_the_recording_or_passes_another(shift: float) -> None:
    found = intervals(
        CHAIN, certain(3, 2, 4, 1), np.zeros(4), 0.095, AlignerConfig(boundary_shift=shift), MIXTURES
    )
    assert (found[0].start, found[-1].end) == (0.0, 0.095)
    for before, after in pairwise(found):
        assert before.end == after.start
    assert min(phone.end - phone.start for phone in found) >= 0.005 - 1e-6  # microseconds are kept


def test_the_deviation_of_a_boundary_is_that_of_where_it_may_be() -> None:
    # The first unit may end before frame 2, 3 or 6, the second before frame 7 or 8.
    chances, first, second = np.array([0.5, 0.3, 0.2]), np.array([2, 3, 6]), np.array([7, 8, 8])
    probability = sum(
        chance * hard(one, two - one, 10 - two)
        for chance, one, two in zip(chances, first, second, strict=True)
    )
    found = _decode._times(np.asarray(probability), start=100)
    for unit, ends in enumerate((first, second)):
        mean = chances @ ends
        assert found.ends[unit] == pytest.approx(100 + mean)
        assert found.deviation[unit] == pytest.approx(np.sqrt(chances @ (ends - mean) ** 2))
    assert found.deviation[2] == 0.0
    assert certain(3, 2, 4, 1).deviation == pytest.approx(0.0, abs=1e-6)


def test_a_boundary_is_more_uncertain_the_wider_it_may_be_and_the_end_is_not() -> None:
    times = certain(3, 2, 4, 1)._replace(deviation=np.array([0.2, 1.0, 3.0, 0.0]))
    found = intervals(CHAIN, times, np.zeros(4), 0.095, AlignerConfig(), MIXTURES)
    uncertainty = [phone.end_uncertainty for phone in found]
    assert 0.0 < uncertainty[0] < uncertainty[1] < uncertainty[2]
    assert uncertainty[3] == 0.0
    words = word_intervals(CHAIN, found, ["ab"])
    assert [word.end_uncertainty for word in words] == [uncertainty[0], uncertainty[2], 0.0]
    finer = replace(AlignerConfig(), frame_period=0.005)
    half = intervals(
        CHAIN, times._replace(deviation=2 * times.deviation), np.zeros(4), 0.048, finer, MIXTURES
    )
    assert [phone.end_uncertainty for phone in half] == uncertainty


def test_one_unit_covers_the_recording() -> None:
    assert intervals(CHAIN[:1], certain(4), np.zeros(1), 0.035, AlignerConfig(), MIXTURES) == [
        AlignedInterval(0.0, 0.035, "", 1.0)
    ]


def test_posteriors_are_those_of_the_paths_one_by_one() -> None:
    log_emission = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0))
    chains = [CHAIN[1:], [Unit("b", 0, 0, 0), Unit("a", 1, 0, 1)]]
    for scale in (1.0, 0.3):
        scores = [look_up(table) for table in log_emission]
        one, two = unit_posteriors(chains, MODEL.units, scores, [slice(0, 6), slice(0, 4)], scale)
        assert (one.shape, two.shape) == ((6, 3), (4, 2))
        initial = torch.tensor([0.0, -torch.inf])
        stay = torch.from_numpy(np.exp(MODEL.units["a"].log_transition)).float()[0, 0]
        arcs = torch.tensor([[stay, 1 - stay], [0.0, stay]]).log()
        final = torch.tensor([-torch.inf, float(1 - stay)])
        scaled = Arguments(initial, arcs, log_emission[1:, :4, [4, 3]] * scale, None, final)
        # Arcs are in float32.
        torch.testing.assert_close(
            torch.from_numpy(two), enumerate_paths(scaled).state[0], rtol=1e-5, atol=1e-6
        )
        np.testing.assert_allclose(one.sum(axis=1), 1.0, rtol=1e-5)


def long_chain() -> tuple[list[Unit], torch.Tensor, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Return sixty units of 4 to 9 frames, emissions in their favour, and the frame in which each begins."""
    chance = np.random.default_rng(0)
    labels = [label for _ in range(20) for label in ("a", "b", "")]
    frames = chance.integers(4, 10, len(labels))
    density = {"a": 3, "b": 4, "": 1}
    favoured = np.repeat([density[label] for label in labels], frames)
    log_emission = torch.randn(len(favoured), 5, generator=torch.Generator().manual_seed(0))
    log_emission[torch.arange(len(favoured)), torch.from_numpy(favoured)] += 5.0
    return [Unit(label, 0, 0, 0) for label in labels], log_emission, frames.cumsum() - frames


@pytest.mark.parametrize("longest", [1, 40, 150])
def test_a_long_utterance_in_pieces_has_the_times_of_the_whole(
    longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain, log_emission, starts = long_chain()
    scores = [look_up(log_emission), look_up(log_emission[:7])]
    (whole,) = unit_times([chain], [starts], MODEL.units, scores[:1], [len(log_emission)], 1.0)
    monkeypatch.setattr(_decode, "_LONGEST_PIECE", longest)
    monkeypatch.setattr(_decode, "_CONTEXT", 60)
    lengths = [len(log_emission), 7]
    found = list(unit_times([chain, chain[:1]], [starts, starts[:1]], MODEL.units, scores, lengths, 1.0))
    # Sixty frames away the ends of a piece are forgotten.
    np.testing.assert_allclose(found[0].ends, whole.ends, atol=0.01, rtol=0.0)
    np.testing.assert_allclose(found[0].confidence, whole.confidence, atol=0.01, rtol=0.0)
    np.testing.assert_allclose(found[0].deviation, whole.deviation, atol=0.01, rtol=0.0)
    assert found[0].ends[-1] == len(log_emission)
    assert found[1].ends.tolist() == [7.0]
    assert len(list(_decode._pieces(starts, len(log_emission)))) > (1 if longest < 200 else 0)


def test_pieces_cover_a_path_without_overlap_but_for_their_context() -> None:
    starts = np.array([0, 2500, 2900, 9000, 9010, 9020])
    pieces = list(_decode._pieces(starts, 9100))
    covered = [range(piece.first, piece.last)[piece.core] for piece in pieces]
    assert [list(part) for part in covered] == [[0, 1], [2], [3, 4, 5]]
    assert all(piece.start == starts[piece.first] for piece in pieces)
    assert [(piece.start, piece.end) for piece in pieces] == [(0, 9000), (2500, 9020 + 80), (2900, 9100)]


def test_words_join_their_phones_and_weigh_their_confidence_by_length() -> None:
    phones = [
        AlignedInterval(0.0, 0.1, "", 0.9),
        AlignedInterval(0.1, 0.2, "a", 1.0, 2.0),
        AlignedInterval(0.2, 0.5, "b", 0.6, -2.0),
        AlignedInterval(0.5, 0.6, "a", 0.5),
    ]
    chain = [*CHAIN[:3], Unit("a", 1, 0, 11)]
    words = word_intervals(chain, phones, ["ab", "a"])
    assert [word[:3] for word in words] == [(0.0, 0.1, SILENCE), (0.1, 0.5, "ab"), (0.5, 0.6, "a")]
    assert [word.confidence for word in words] == pytest.approx([0.9, 0.7, 0.5])
    assert [word.log_ratio for word in words] == pytest.approx([0.0, -1.0, 0.0])


def test_a_ratio_compares_the_densities_of_the_path_with_their_average() -> None:
    log_emission = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 6.0]], dtype=torch.float64)
    found = unit_ratios(log_emission, torch.tensor([0, 0, 0]), np.array([0, 2]), 2)
    averages = [0.0, np.log((np.exp(2.0) + 1.0) / 2.0), np.log((np.exp(6.0) + 1.0) / 2.0)]
    assert found == pytest.approx([(0.0 + 2.0 - averages[1]) / 2, -averages[2]])
