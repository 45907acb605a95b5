import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmm_speech import durations_from_intervals, intervals_from_durations

periods = st.sampled_from([0.01, 0.005, 0.0125, 256 / 22050, 1 / 3])


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8).filter(any), periods)
def test_durations_come_back_from_their_intervals(durations: list[int], period: float) -> None:
    intervals = intervals_from_durations(durations, period, [""] * len(durations))
    back = durations_from_intervals(intervals, period, sum(durations), min_frames=0)
    assert back.tolist() == durations
    assert back.dtype == np.int64


@given(
    st.lists(st.floats(1.0, 20.0), min_size=1, max_size=8),
    st.sampled_from([80, 110, 256, 300]),
    st.sampled_from([16000, 22050]),
)
def test_times_come_back_within_half_a_frame(lengths: list[float], hop_length: int, sample_rate: int) -> None:
    period = hop_length / sample_rate
    times = np.append(0.0, np.cumsum(lengths)) * period
    num_samples = math.floor(times[-1] * sample_rate)
    durations = durations_from_intervals(times, period, 1 + num_samples // hop_length)
    intervals = intervals_from_durations(durations, period, [""] * len(durations), end=times[-1])
    back = np.array([0.0, *(end for _, end, _ in intervals)])
    np.testing.assert_allclose(
        back, times, atol=0.5001 * period
    )  # half a frame, and the float tolerance of a tie


@given(
    st.lists(st.floats(0.0, 3.0), min_size=1, max_size=12),
    periods,
    st.integers(0, 2),
    st.sampled_from(["1 + floor", "floor", "ceil"]),
)
def test_durations_add_up_and_none_is_too_short(
    lengths: list[float], period: float, least: int, count: str
) -> None:
    frames = sum(lengths)
    num_frames = {
        "1 + floor": 1 + math.floor(frames),
        "floor": math.floor(frames),
        "ceil": math.ceil(frames),
    }[count]
    times = np.append(0.0, np.cumsum(lengths)) * period
    if num_frames < max(1, least * len(lengths)):
        with pytest.raises(ValueError, match="num_frames must be >= "):
            durations_from_intervals(times, period, num_frames, min_frames=least)
        return
    durations = durations_from_intervals(times, period, num_frames, min_frames=least)
    assert durations.sum() == num_frames
    assert durations.min() >= least


@given(st.lists(st.floats(1.001, 20.0), min_size=1, max_size=8), periods)
def test_each_frame_belongs_to_the_interval_of_its_centre(lengths: list[float], period: float) -> None:
    times = np.append(0.0, np.cumsum(lengths)) * period
    num_frames = 1 + math.floor(times[-1] / period)
    durations = durations_from_intervals(times, period, num_frames)
    token = np.repeat(np.arange(len(lengths)), durations)
    centre = np.arange(num_frames) * period
    slack = 2e-6 * period
    assert (times[token] <= centre + slack).all()
    assert (centre <= times[token + 1] + slack).all()


def test_a_time_on_a_frame_is_on_it_in_floats_too() -> None:
    # 0.07 / 0.01 > 7 in floats: frame 7 is centred on the boundary and belongs to the second token.
    assert durations_from_intervals([0.0, 0.07, 0.1], 0.01, 11).tolist() == [7, 4]


def test_short_tokens_take_frames_from_their_neighbours() -> None:
    assert durations_from_intervals([0.0, 0.0, 0.0, 0.05], 0.01, 6).tolist() == [1, 1, 4]
    assert durations_from_intervals([0.0, 0.05, 0.05, 0.05], 0.01, 6).tolist() == [4, 1, 1]
    assert durations_from_intervals([0.0, 0.0, 0.05, 0.05], 0.01, 6, min_frames=0).tolist() == [0, 5, 1]


def test_as_many_tokens_as_frames_get_one_each() -> None:
    assert durations_from_intervals([0.0, 0.04, 0.04, 0.04, 0.05], 0.01, 4).tolist() == [1, 1, 1, 1]


def test_tokens_without_frames_take_no_time() -> None:
    intervals = intervals_from_durations([0, 2, 0], 0.25, ["a", "b", "c"], end=0.5)
    assert intervals == [(0.0, 0.0, "a"), (0.0, 0.5, "b"), (0.5, 0.5, "c")]


def test_intervals_may_hold_more_than_a_label() -> None:
    tier = [(0.0, 0.03, "a", 0.9), (0.03, 0.05, "b", 0.8)]
    assert durations_from_intervals(tier, 0.01, 6).tolist() == [3, 3]


@pytest.mark.parametrize(
    ("intervals", "message"),
    [
        (
            [(0.0, 0.02, "a"), (0.03, 0.05, "b")],
            r"intervals\[1\] must start where intervals\[0\] ends, 0.02 s",
        ),
        ([0.0, 0.03, 0.02, 0.05], "never decrease"),
        ([0.0, math.nan, 0.05], "finite"),
        ([0.02, 0.05], "start at time 0, up to a frame of 0.01 s; got 0.02"),
        ([0.0], r"N \+ 1 boundary times; got shape \(1,\)"),
        ([], r"N \+ 1 boundary times; got shape \(0,\)"),
        ([0.0, 0.5], "end within a frame of its last one, 0.04 to 0.07 s for num_frames = 6"),
        ([0.0, 0.03], "end within a frame of its last one"),
        (np.linspace(0.0, 0.05, 8), r"num_frames must be >= N \* min_frames = 7 \* 1 = 7; got 6"),
    ],
)
def test_intervals_that_do_not_fit_are_an_error(intervals: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        durations_from_intervals(intervals, 0.01, 6)


def test_numbers_out_of_range_are_an_error() -> None:
    with pytest.raises(ValueError, match="frame_period must be a finite number of seconds > 0; got 0"):
        durations_from_intervals([0.0, 1.0], 0.0, 10)
    with pytest.raises(ValueError, match="num_frames must be >= 1 and min_frames >= 0; got num_frames=0"):
        durations_from_intervals([0.0, 1.0], 0.01, 0)
    with pytest.raises(ValueError, match=r"durations must have shape \(N,\), be >= 0"):
        intervals_from_durations([1, -1], 0.01, ["a", "b"])
    with pytest.raises(ValueError, match="add up to at least 1"):
        intervals_from_durations([0], 0.01, ["a"])
    with pytest.raises(ValueError, match="labels must have one entry for each of N = 2 durations; got 1"):
        intervals_from_durations([1, 1], 0.01, ["a"])
    with pytest.raises(ValueError, match="end must end within a frame"):
        intervals_from_durations([1, 1], 0.01, ["a", "b"], end=1.0)
    with pytest.raises(TypeError, match="durations must be integers; got float64"):
        intervals_from_durations([1.5], 0.01, ["a"])


@pytest.mark.parametrize("hop_length", [80, 160, 200, 256, 512])
def test_real_phones_fill_the_frames_of_any_hop(hop_length: int, speech_data: Path) -> None:
    paths = sorted((speech_data / "synth" / "en_hts").glob("*.json"))
    assert paths
    for path in paths:
        record = json.loads(path.read_text())
        phones = [(phone["start"], phone["end"], phone["label"]) for phone in record["phones"]]
        num_frames = 1 + record["num_samples"] // hop_length
        durations = durations_from_intervals(phones, hop_length / record["sample_rate"], num_frames)
        assert durations.sum() == num_frames
        assert durations.min() >= 1


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=20),
    st.sampled_from(
        [(22050, 256, 0), (22050, 256, 512), (24000, 300, 150), (16000, 200, 400), (48000, 240, 600)]
    ),
)
def test_durations_come_back_wherever_the_first_frame_is_centred(
    durations: list[int], convention: tuple[int, int, int]
) -> None:
    sample_rate, hop_length, centre = convention
    period, first_centre = hop_length / sample_rate, centre / sample_rate
    tier = intervals_from_durations(durations, period, ["a"] * len(durations), first_centre=first_centre)
    assert tier[0][0] == 0.0
    # A recording goes on behind its last frame as far as its first frame is behind its start.
    tier[-1] = (tier[-1][0], (sum(durations) - 1) * period + 2 * first_centre, "a")
    back = durations_from_intervals(tier, period, sum(durations), first_centre=first_centre)
    assert back.tolist() == durations


def test_a_centre_before_the_recording_is_refused() -> None:
    with pytest.raises(ValueError, match="first_centre must be a finite number of seconds >= 0; got -1"):
        durations_from_intervals([0.0, 1.0], 0.1, 10, first_centre=-1)
