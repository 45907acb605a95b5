import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmm_metrics import calculate_alignment_accuracy, frame_accuracy


@given(st.lists(st.tuples(st.integers(1, 50), st.sampled_from(["ah", "n", ""])), min_size=1, max_size=6))
def test_frame_accuracy_against_itself_is_one(parts: list[tuple[int, str]]) -> None:
    ends = np.cumsum([duration for duration, _ in parts]) / 100
    tier = [(end - duration / 100, end, label) for end, (duration, label) in zip(ends, parts, strict=True)]
    tier = [(max(0.0, start), float(end), label) for start, end, label in tier]
    assert frame_accuracy(tier, tier) == 1.0


def test_frame_accuracy_is_symmetric_and_counts_the_longer_tier() -> None:
    short, long = [(0.0, 0.5, "ah")], [(0.0, 1.0, "ah")]
    assert frame_accuracy(short, long) == frame_accuracy(long, short) == 0.5


def test_gaps_are_silence() -> None:
    assert frame_accuracy([(0.1, 0.2, "ah")], [(0.0, 0.1, "sil"), (0.1, 0.2, "AH1")]) == 1.0


def test_a_tier_shorter_than_a_frame_is_read_once() -> None:
    assert frame_accuracy([(0.0, 0.006, "ah")], [(0.0, 0.006, "ah")]) == 1.0
    assert frame_accuracy([(0.0, 0.002, "ah")], []) == 1.0  # the one centre, 5 ms, is past both ends


def test_frames_are_read_at_their_centres() -> None:
    reference, hypothesis = [(0.0, 0.1, "ah"), (0.1, 0.2, "n")], [(0.0, 0.1149, "ah"), (0.1149, 0.2, "n")]
    assert frame_accuracy(reference, hypothesis) == pytest.approx(0.95)  # 0.105 differs, 0.115 does not


def test_two_empty_tiers_are_an_error() -> None:
    with pytest.raises(ValueError, match="at least one interval; got two empty tiers"):
        frame_accuracy([], [])


def test_alignment_accuracy_ignores_padding_of_the_reference() -> None:
    assert calculate_alignment_accuracy([[1, 1], [2, -1]], [[1, 1], [2, -1]]) == 1.0
    assert calculate_alignment_accuracy([[1, -1], [2, 5]], [[1, 1], [2, -1]]) == pytest.approx(2 / 3)
    assert calculate_alignment_accuracy([[-1, -1], [2, 5]], [[1, 1], [2, 5]]) == 0.5
    assert math.isnan(calculate_alignment_accuracy([-1], [-1]))


def test_alignment_accuracy_wants_integers_of_one_shape() -> None:
    with pytest.raises(ValueError, match=r"alignment must have the shape of reference, \(2,\); got \(3,\)"):
        calculate_alignment_accuracy([1, 2, 3], [1, 2])
    with pytest.raises(TypeError, match="reference must hold integers; got float64"):
        calculate_alignment_accuracy([1, 2], [1.0, 2.0])
