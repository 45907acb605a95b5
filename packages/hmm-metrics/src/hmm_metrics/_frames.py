"""Agreement of two alignments frame by frame."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hmm_metrics._interval import IntervalSequence, Tier, check_positive, check_tier
from hmm_metrics._labels import fold_phone


def _labels_at(tier: Tier, times: NDArray[np.floating]) -> list[str]:
    """Label of the interval that holds each time; silence in gaps and outside the tier."""
    index = np.searchsorted(tier.start, times, side="right") - 1
    return [tier.label[i] if i >= 0 and t < tier.end[i] else "" for i, t in zip(index, times, strict=True)]


def frame_accuracy(
    reference: IntervalSequence,
    hypothesis: IntervalSequence,
    *,
    fold: Callable[[str], str] = fold_phone,
    frame_period: float = 0.01,
) -> float:
    """Share of frames that have the same label in both tiers.

    Parameters
    ----------
    reference, hypothesis : sequence of (start, end, label)
        Two tiers of one utterance, in seconds, in order of time.
    fold : callable, default :func:`fold_phone`
        Brings labels to a common form, silence to ``""``.
    frame_period : float, default 0.01
        In seconds. Labels are read at the centre of each period, ``(i + 0.5) * frame_period``, up to the end
        of the longer tier, and at least once.

    Returns
    -------
    float
        0 to 1. Silence counts like a phone: where both are silent, they agree.

    Raises
    ------
    ValueError
        If both tiers are empty, times are not finite, not in order, or overlap, or `frame_period` is not
        positive.

    Examples
    --------
    >>> frame_accuracy([(0.0, 0.5, "ah"), (0.5, 1.0, "m")], [(0.0, 0.4, "AH1"), (0.4, 1.0, "M")])
    0.9
    """
    check_positive("frame_period", frame_period)
    ref, hyp = check_tier("reference", reference, fold), check_tier("hypothesis", hypothesis, fold)
    if not ref.label and not hyp.label:
        raise ValueError("reference or hypothesis must hold at least one interval; got two empty tiers")
    duration = float(max(*ref.end[-1:], *hyp.end[-1:], 0.0))
    num_frames = max(1, round(duration / frame_period))
    times = (np.arange(num_frames, dtype=np.float64) + 0.5) * frame_period
    same = [left == right for left, right in zip(_labels_at(ref, times), _labels_at(hyp, times), strict=True)]
    return sum(same) / num_frames


def calculate_alignment_accuracy(alignment: ArrayLike, reference: ArrayLike) -> float:
    """Share of frames that two frame-level alignments give the same state or token.

    Parameters
    ----------
    alignment, reference : array_like of int, any equal shape, for example (B, T)
        State or token number of each frame. Frames where the reference is negative are padding and do not
        count; a negative number in `alignment` alone is a frame without an answer, hence wrong.

    Returns
    -------
    float
        0 to 1; NaN if every frame is padding.

    Raises
    ------
    ValueError
        If the shapes differ.
    TypeError
        If either holds anything but integers.

    Examples
    --------
    >>> calculate_alignment_accuracy([[0, 0, 1, 2]], [[0, 1, 1, -1]])
    0.6666666666666666
    """
    got, expected = np.asarray(alignment), np.asarray(reference)
    if got.shape != expected.shape:
        raise ValueError(f"alignment must have the shape of reference, {expected.shape}; got {got.shape}")
    for name, array in (("alignment", got), ("reference", expected)):
        if not np.issubdtype(array.dtype, np.integer):
            raise TypeError(f"{name} must hold integers; got {array.dtype}")
    counts = expected >= 0
    return float(np.mean(got[counts] == expected[counts])) if counts.any() else float("nan")
