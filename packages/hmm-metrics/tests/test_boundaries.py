import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmm_metrics import (
    Interval,
    boundary_errors,
    calculate_boundary_accuracy,
    fold_word,
    merge_closures,
    overlap_rate,
    summarize_boundaries,
)

PHONES = ["aa", "ih", "s", "z", "t", "n", "l", ""]


@st.composite
def tiers(draw: st.DrawFn) -> list[Interval]:
    """Contiguous tier on a millisecond grid that begins and ends with silence and holds a phone."""
    labels = draw(st.lists(st.sampled_from(PHONES), max_size=8))
    labels = ["", draw(st.sampled_from(PHONES[:-1])), *labels, ""]
    durations = draw(st.lists(st.integers(2, 400), min_size=len(labels), max_size=len(labels)))
    ends = np.cumsum(durations) / 1000
    starts = [0.0, *ends[:-1]]
    return [Interval(float(a), float(b), label) for a, b, label in zip(starts, ends, labels, strict=True)]


def shifted(tier: list[Interval], delay: float) -> list[Interval]:
    return [Interval(start + delay, end + delay, label) for start, end, label in tier]


@given(tiers())
def test_a_tier_has_no_error_against_itself(tier: list[Interval]) -> None:
    errors = boundary_errors(tier, tier)
    assert not errors.error.any()
    assert len(errors.error) == errors.num_boundaries
    assert errors.coverage == 1.0
    assert errors.num_substituted == 0
    assert calculate_boundary_accuracy(tier, tier) == 1.0
    assert overlap_rate(tier, tier) == 1.0


@given(tiers(), st.integers(-300, 300))
def test_a_shift_is_the_bias_and_every_error(tier: list[Interval], milliseconds: int) -> None:
    delay = milliseconds / 1000
    errors = boundary_errors(tier, shifted(tier, delay))
    np.testing.assert_allclose(errors.error, delay, atol=1e-12)  # float sums of times below 4 s
    summary = summarize_boundaries([errors])
    assert summary.bias == pytest.approx(delay, abs=1e-12)
    assert summary.mean == pytest.approx(abs(delay), abs=1e-12)
    assert summary.within[0.1] == (1.0 if abs(milliseconds) <= 100 else 0.0)


@given(tiers(), st.data())
def test_exchanging_two_tiers_of_equal_labels_negates_the_errors(
    tier: list[Interval], data: st.DataObject
) -> None:
    ends = sorted(data.draw(st.sets(st.integers(1, 2500), min_size=len(tier), max_size=len(tier))))
    starts = [0, *ends[:-1]]
    other = [Interval(a / 500, b / 500, t.label) for a, b, t in zip(starts, ends, tier, strict=True)]
    there, back = boundary_errors(tier, other), boundary_errors(other, tier)
    np.testing.assert_array_equal(there.error, -back.error)


@given(tiers())
def test_silence_as_a_gap_is_silence_as_an_interval(tier: list[Interval]) -> None:
    spoken = [interval for interval in tier if interval.label]
    late = shifted(tier, 0.01)
    with_gaps = boundary_errors(spoken, late, duration=tier[-1].end)
    np.testing.assert_array_equal(with_gaps.error, boundary_errors(tier, late).error)


def test_one_boundary_between_phones_and_two_around_a_pause() -> None:
    labels = ["", "k", "ae", "sp", "t", ""]
    reference = [(i / 10, (i + 1) / 10, label) for i, label in enumerate(labels)]
    errors = boundary_errors(reference, reference)
    assert errors.time.tolist() == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_the_edges_of_the_recording_are_not_boundaries() -> None:
    reference = [(0.0, 0.2, "k"), (0.2, 0.4995, "ae")]
    assert boundary_errors(reference, reference).time.tolist() == [0.2]
    assert boundary_errors(reference, reference, duration=0.5).time.tolist() == [0.2]
    assert boundary_errors(reference, reference, duration=0.6).time.tolist() == [0.2, 0.4995]


def test_edges_depend_on_the_reference_alone() -> None:
    reference = [(0.0, 0.2, "k"), (0.2, 0.5, "ae")]
    late = [(0.0, 0.1, ""), (0.1, 0.25, "k"), (0.25, 0.45, "ae"), (0.45, 0.5, "")]
    assert boundary_errors(reference, late).error.round(3).tolist() == [0.05]


def test_a_pause_that_only_the_hypothesis_has_adds_no_boundary() -> None:
    reference = [(0.0, 0.1, ""), (0.1, 0.3, "k"), (0.3, 0.5, "ae"), (0.5, 0.6, "")]
    paused = [(0.0, 0.1, ""), (0.1, 0.26, "k"), (0.26, 0.3, ""), (0.3, 0.5, "ae"), (0.5, 0.6, "")]
    assert boundary_errors(reference, paused).error.round(3).tolist() == [0.0, 0.0, 0.0]


def test_substitutions_are_pairs_and_unpaired_phones_lower_the_coverage() -> None:
    reference = [(0.0, 0.1, ""), (0.1, 0.2, "ih"), (0.2, 0.3, "n"), (0.3, 0.4, "t"), (0.4, 0.5, "")]
    hypothesis = [(0.0, 0.1, ""), (0.1, 0.21, "AH0"), (0.21, 0.4, "N"), (0.4, 0.5, "")]
    errors = boundary_errors(reference, hypothesis)
    assert (errors.num_reference, errors.num_hypothesis) == (3, 2)
    assert (errors.num_paired, errors.num_substituted) == (2, 1)
    assert errors.coverage == pytest.approx(2 / 3)
    assert errors.error.round(3).tolist() == [0.0, 0.01]
    assert (
        calculate_boundary_accuracy(reference, hypothesis) == 0.5
    )  # of four boundaries, two belong to the t


def test_word_tiers_are_compared_without_case() -> None:
    reference = [(0.0, 0.1, ""), (0.1, 0.5, "While"), (0.5, 0.9, "Mrs."), (0.9, 1.0, "")]
    hypothesis = [(0.0, 0.1, ""), (0.1, 0.52, "while"), (0.52, 0.9, "mrs"), (0.9, 1.0, "")]
    errors = boundary_errors(reference, hypothesis, fold=fold_word)
    assert errors.num_substituted == 0
    assert errors.error.round(3).tolist() == [0.0, 0.02, 0.0]


def test_an_error_of_exactly_the_tolerance_is_within_it() -> None:
    # 0.58 - 0.56 < 0.02 < 0.07 - 0.05 in floats.
    reference = [(0.0, 0.05, ""), (0.05, 0.56, "ah"), (0.56, 0.9, "n"), (0.9, 1.0, "")]
    late = [(0.0, 0.07, ""), (0.07, 0.58, "ah"), (0.58, 0.92, "n"), (0.92, 1.0, "")]
    assert summarize_boundaries([boundary_errors(reference, late)]).within[0.02] == 1.0
    assert calculate_boundary_accuracy(reference, late, 0.02) == 1.0
    assert calculate_boundary_accuracy(reference, late, 0.019) == 0.0


def test_a_summary_weighs_boundaries_not_utterances() -> None:
    short = [(0.0, 0.5, "ah"), (0.5, 1.0, "n")]
    long = [(0.0, 0.5, "ah"), (0.5, 1.0, "n"), (1.0, 1.5, "ah"), (1.5, 2.0, "n")]
    late = [(0.0, 0.54, "ah"), (0.54, 1.0, "n")]
    summary = summarize_boundaries([boundary_errors(short, late), boundary_errors(long, long)])
    assert summary.num_boundaries == 4
    assert summary.mean == pytest.approx(0.01)
    assert summary.median == 0.0
    assert summary.within == {0.01: 0.75, 0.02: 0.75, 0.025: 0.75, 0.05: 1.0, 0.1: 1.0}
    assert ("within 25 ms", "75.0%") in summary.rows()


def test_mean_and_median_are_of_absolute_errors_and_the_bias_is_signed() -> None:
    reference = [(0.0, 0.5, "ah"), (0.5, 1.0, "n"), (1.0, 1.5, "ah"), (1.5, 2.0, "n")]
    other = [(0.0, 0.46, "ah"), (0.46, 0.97, "n"), (0.97, 1.52, "ah"), (1.52, 2.0, "n")]
    summary = summarize_boundaries([boundary_errors(reference, other)])
    assert summary.mean == pytest.approx(0.03)
    assert summary.median == pytest.approx(0.03)
    assert summary.bias == pytest.approx(-0.05 / 3)


def test_statistics_of_nothing_are_nan() -> None:
    nothing = boundary_errors([], [])
    assert math.isnan(nothing.coverage)
    summary = summarize_boundaries([nothing])
    assert summary.num_boundaries == 0
    assert all(math.isnan(x) for x in (summary.coverage, summary.mean, summary.median, summary.bias))
    assert all(math.isnan(share) for share in summary.within.values())
    assert math.isnan(calculate_boundary_accuracy([], []))
    assert math.isnan(overlap_rate([], []))


@pytest.mark.parametrize("hypothesis", [[], [(0.0, 1.0, "sil")]])
def test_a_hypothesis_without_phones_covers_nothing(hypothesis: list[tuple[float, float, str]]) -> None:
    reference = [(0.0, 0.5, "ah"), (0.5, 1.0, "n")]
    errors = boundary_errors(reference, hypothesis)
    assert errors.coverage == 0.0
    assert errors.error.shape == (0,)
    assert calculate_boundary_accuracy(reference, hypothesis) == 0.0


def test_disjoint_pairs_do_not_overlap_and_points_overlap_themselves() -> None:
    assert overlap_rate([(0.0, 0.2, "ah")], [(0.5, 0.7, "ah")]) == 0.0
    assert overlap_rate([(0.5, 0.5, "ah")], [(0.5, 0.5, "ah")]) == 1.0
    assert overlap_rate([(0.5, 0.5, "ah")], [(0.6, 0.6, "ah")]) == 0.0


def test_closures_join_their_releases_only() -> None:
    labels = ["tcl", "ch", "dcl", "jh", "bcl", "d"]
    tier = [(float(i), i + 1.0, label) for i, label in enumerate(labels)]
    assert merge_closures(tier) == [(0, 2, "ch"), (2, 4, "jh"), (4, 5, "bcl"), (5, 6, "d")]


@pytest.mark.parametrize(
    ("tier", "message"),
    [
        ([(0.2, 0.1, "ah")], r"reference\[0\] must have finite times with start <= end; got \(0.2, 0.1\)"),
        ([(0.0, math.nan, "ah")], r"reference\[0\] must have finite times"),
        (
            [(0.0, 0.2, "ah"), (0.1, 0.3, "n")],
            r"reference\[1\] must start at or after the end of reference\[0\], 0.2; got 0.1",
        ),
    ],
)
def test_a_tier_out_of_order_is_an_error(tier: list[tuple[float, float, str]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        boundary_errors(tier, [])


def test_times_and_tolerances_must_be_positive() -> None:
    with pytest.raises(ValueError, match="duration must be a finite number of seconds > 0; got 0"):
        boundary_errors([], [], duration=0)
    with pytest.raises(ValueError, match="tolerance must be"):
        calculate_boundary_accuracy([], [], -0.01)
    with pytest.raises(ValueError, match="tolerances must be"):
        summarize_boundaries([], tolerances=(0.0,))


@pytest.mark.parametrize("folder", ["ljspeech", "synth/en_hts"])
def test_real_tiers_are_read_in_full(
    folder: str, speech_data: Path, read_tier: Callable[[Path, str], list[Interval]]
) -> None:
    paths = sorted((speech_data / folder).glob("*.TextGrid"))[:20]
    assert paths
    for path in paths:
        for name in ("phones", "words"):
            tier = read_tier(path, name)
            errors = boundary_errors(tier, shifted(tier, 0.03), fold=fold_word)
            assert errors.coverage == 1.0
            # One boundary per phone or word and one per pause, but for what stands at an edge.
            silences = sum(not fold_word(interval.label) for interval in tier)
            assert errors.num_reference - 1 <= errors.num_boundaries <= errors.num_reference + silences
            np.testing.assert_allclose(errors.error, 0.03, atol=1e-9)  # times with 15 digits
