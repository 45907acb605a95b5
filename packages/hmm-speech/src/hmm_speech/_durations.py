"""Integer durations of tokens from times, and back, without losing a frame."""

import math
from collections.abc import Sequence
from typing import TypeAlias, TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Any sequence of (start, end, label) tuples; further fields (a confidence, say) are ignored.
IntervalSequence: TypeAlias = Sequence[tuple[float, float, str, *tuple[object, ...]]]

# In frames: a time such as 0.07 s at 0.01 s per frame is on frame 7 although 0.07 / 0.01 > 7 in floats.
_ROUNDING = 1e-6


def _check_frame_period(frame_period: float) -> None:
    """Frame periods are finite and positive."""
    if not (math.isfinite(frame_period) and frame_period > 0):
        raise ValueError(f"frame_period must be a finite number of seconds > 0; got {frame_period}")


def _check_first_centre(first_centre: float) -> None:
    """Frames are centred at the start of the recording or behind it."""
    if not (math.isfinite(first_centre) and first_centre >= 0):
        raise ValueError(f"first_centre must be a finite number of seconds >= 0; got {first_centre}")


def _check_end(name: str, end: float, frame_period: float, num_frames: int, first_centre: float) -> None:
    """Refuse a last time that no rounding of the number of frames explains."""
    # As far behind the last centre as the first is behind the start, and a frame more or less.
    low = (num_frames - 2) * frame_period + 2 * first_centre
    high = low + 3 * frame_period
    slack = _ROUNDING * frame_period
    if not low - slack <= end <= high + slack:
        raise ValueError(
            f"{name} must end within a frame of its last one, {low:g} to {high:g} s "
            f"for num_frames = {num_frames} and frame_period = {frame_period:g}; got {end:g}"
        )


def _is_tier(intervals: object) -> TypeGuard[IntervalSequence]:
    """Tell intervals from boundary times."""
    return isinstance(intervals, Sequence) and len(intervals) > 0 and isinstance(intervals[0], Sequence)


def _boundaries(intervals: IntervalSequence | ArrayLike, frame_period: float) -> NDArray[np.float64]:
    """Return the times (N + 1,) between tokens, checked to be in order, from either form."""
    if _is_tier(intervals):
        times = np.array([intervals[0][0], *(interval[1] for interval in intervals)], dtype=np.float64)
        for index in range(1, len(intervals)):
            gap = intervals[index][0] - intervals[index - 1][1]
            if not abs(gap) <= _ROUNDING * frame_period:
                raise ValueError(
                    f"intervals[{index}] must start where intervals[{index - 1}] ends, "
                    f"{intervals[index - 1][1]} s (a pause is an interval, too); got {intervals[index][0]}"
                )
    else:
        times = np.asarray(intervals, dtype=np.float64)
    if times.ndim != 1 or times.size < 2:
        raise ValueError(
            f"intervals must be N >= 1 intervals (start, end, label) or N + 1 boundary times; "
            f"got shape {times.shape}"
        )
    if not (np.isfinite(times).all() and (np.diff(times) >= 0).all()):
        raise ValueError(f"intervals must have finite times that never decrease; got {times.tolist()}")
    if abs(times[0]) > frame_period * (1 + _ROUNDING):
        raise ValueError(
            f"intervals must start at time 0, up to a frame of {frame_period:g} s; got {times[0]:g}"
        )
    return times


def durations_from_intervals(
    intervals: IntervalSequence | ArrayLike,
    frame_period: float,
    num_frames: int,
    *,
    min_frames: int = 1,
    first_centre: float = 0.0,
) -> NDArray[np.int64]:
    r"""Frames of each token: integers that always add up to the number of frames.

    Frame t, centred at ``first_centre + t * frame_period``, belongs to the token whose interval holds its
    centre, so the token from ``start`` to ``end`` gets

    .. math:: d = \lceil (\mathrm{end} - c) / p \rceil - \lceil (\mathrm{start} - c) / p \rceil

    frames of period p, c being the centre of the first, with the first boundary at frame 0 and the last at
    `num_frames`.

    Parameters
    ----------
    intervals : sequence of (start, end, label), or array_like, shape (N + 1,)
        Contiguous intervals of the N tokens, pauses included, in seconds; or the N + 1 times between them.
        They start at 0 and end where the recording does.
    frame_period : float
        Seconds between frames, ``hop_length / sample_rate``.
    num_frames : int
        Frames of the features, for example ``1 + num_samples // hop_length``. Other roundings of
        ``num_samples / hop_length`` are fine; the last token ends with the last frame.
    min_frames : int, default 1
        Least duration of a token; 0 lets tokens shorter than a frame vanish.
    first_centre : float, default 0
        Centre of frame 0 in seconds: 0 where frames are centred (``center=True`` of librosa and torch), half
        of the window where frame 0 begins with the recording, half of the hop where a vocoder's front end
        pads by ``(window - hop) / 2``.

    Returns
    -------
    ndarray of int64, shape (N,)
        Durations, each at least `min_frames`; their sum is `num_frames`.

    Raises
    ------
    ValueError
        If ``N * min_frames > num_frames``; if the intervals leave gaps, run backwards, or end more than a
        frame away from `num_frames`.

    Notes
    -----
    Boundaries are rounded, not durations, hence errors do not accumulate: each boundary moves by at most half
    a frame. A token too short for `min_frames` takes frames from the tokens after it, or from those before it
    at the end of the utterance. A centre exactly on a boundary belongs to the later token.

    Examples
    --------
    >>> tier = [(0.0, 0.012, ""), (0.012, 0.055, "ah"), (0.055, 0.07, "t")]
    >>> durations_from_intervals(tier, 0.01, num_frames=8)
    array([2, 4, 2])
    >>> durations_from_intervals([0.0, 0.012, 0.055, 0.07], 0.0125, num_frames=6)
    array([1, 4, 1])
    """
    _check_frame_period(frame_period)
    if num_frames < 1 or min_frames < 0:
        raise ValueError(
            "num_frames must be >= 1 and min_frames >= 0; "
            f"got num_frames={num_frames}, min_frames={min_frames}"
        )
    times = _boundaries(intervals, frame_period)
    num_tokens = len(times) - 1
    if num_tokens * min_frames > num_frames:
        raise ValueError(
            f"num_frames must be >= N * min_frames = {num_tokens} * {min_frames} "
            f"= {num_tokens * min_frames}; got {num_frames}"
        )
    _check_first_centre(first_centre)
    _check_end("intervals", float(times[-1]), frame_period, num_frames, first_centre)

    first_frame = np.ceil((times - first_centre) / frame_period - _ROUNDING).astype(np.int64)
    first_frame[0], first_frame[-1] = 0, num_frames
    # Every token needs min_frames: push boundaries later where the one before is too near, then earlier where
    # the tokens that follow would run out of frames.
    least = min_frames * np.arange(num_tokens + 1, dtype=np.int64)
    first_frame = np.maximum.accumulate(np.maximum(first_frame, 0) - least) + least
    return np.diff(np.minimum(first_frame, num_frames - least[::-1]))


def intervals_from_durations(
    durations: ArrayLike,
    frame_period: float,
    labels: Sequence[str],
    *,
    end: float | None = None,
    first_centre: float = 0.0,
) -> list[tuple[float, float, str]]:
    """Contiguous intervals of tokens from their durations in frames.

    Parameters
    ----------
    durations : array_like of int, shape (N,)
        Frames of each token, >= 0, at least one in all.
    frame_period : float
        Seconds between frames.
    labels : sequence of str, length N
        One label for each token.
    end : float, optional
        Length of the recording in seconds, where the last interval ends. The end of the last frame,
        ``first_centre + (num_frames - 0.5) * frame_period``, if omitted.
    first_centre : float, default 0
        As in :func:`durations_from_intervals`.

    Returns
    -------
    list of (start, end, label)
        Times in seconds. Boundaries lie half-way between the centres of frames; the first is at 0.

    Raises
    ------
    ValueError
        If a duration is negative, all are zero, the number of labels differs, or `end` is more than a frame
        away from the last frame.
    TypeError
        If the durations are not integers.

    Notes
    -----
    The inverse of :func:`durations_from_intervals`: durations come back exactly (with ``min_frames=0`` where
    some are zero), and boundary times of tokens of a frame or longer to within half a frame.

    Examples
    --------
    >>> intervals_from_durations([2, 4, 2], 0.25, ["", "ah", "t"], end=1.8)
    [(0.0, 0.375, ''), (0.375, 1.375, 'ah'), (1.375, 1.8, 't')]
    """
    _check_frame_period(frame_period)
    frames = np.asarray(durations)
    if not np.issubdtype(frames.dtype, np.integer):
        raise TypeError(f"durations must be integers; got {frames.dtype}")
    if frames.ndim != 1 or (frames < 0).any() or not frames.any():
        raise ValueError(
            f"durations must have shape (N,), be >= 0 and add up to at least 1; got {frames.tolist()}"
        )
    if len(labels) != len(frames):
        raise ValueError(
            f"labels must have one entry for each of N = {len(frames)} durations; got {len(labels)}"
        )
    num_frames = int(frames.sum())
    _check_first_centre(first_centre)
    if end is None:
        end = first_centre + (num_frames - 0.5) * frame_period
    else:
        _check_end("end", end, frame_period, num_frames, first_centre)
    first_frame = np.append(0, np.cumsum(frames))
    times = np.clip(first_centre + (first_frame - 0.5) * frame_period, 0.0, end)
    times[first_frame == 0] = 0.0
    # Also where the last tokens have no frames.
    times[first_frame == num_frames] = end
    return [
        (float(start), float(stop), label)
        for start, stop, label in zip(times[:-1], times[1:], labels, strict=True)
    ]
