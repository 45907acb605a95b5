"""How far the boundaries of an alignment are from those of a reference."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hmm_metrics._interval import Interval, IntervalSequence, Tier, check_positive, check_tier
from hmm_metrics._labels import fold_phone
from hmm_metrics._pairing import pair_labels

# Nobody placed a boundary at the first or the last sample of a recording; files round that time differently.
_EDGE = 1e-3
# Two times on a 10 ms grid are "within 20 ms" of each other although their float difference may exceed 0.02.
_ROUNDING = 1e-6

TOLERANCES = (0.01, 0.02, 0.025, 0.05, 0.1)


class BoundaryErrors(NamedTuple):
    """Errors of one utterance's boundaries, and how much of the reference they cover.

    Attributes
    ----------
    error : ndarray, shape (n,)
        Hypothesis minus reference, seconds, one per boundary of a paired phone, in order of time.
    time : ndarray, shape (n,)
        Where each of these boundaries is in the reference, seconds.
    num_boundaries : int
        Boundaries of the reference, paired or not (n of them are in `error`).
    num_reference, num_hypothesis : int
        Phones of each tier, silence not counted.
    num_paired : int
        Phones of the reference that have a partner in the hypothesis.
    num_substituted : int
        Those of them whose partner has another label.
    """

    error: NDArray[np.float64]
    time: NDArray[np.float64]
    num_boundaries: int
    num_reference: int
    num_hypothesis: int
    num_paired: int
    num_substituted: int

    @property
    def coverage(self) -> float:
        """Paired share of the reference's phones; NaN without any."""
        return self.num_paired / self.num_reference if self.num_reference else float("nan")


class BoundarySummary(NamedTuple):
    """Boundary errors of a whole corpus in a few numbers; ``str()`` gives a table.

    Attributes
    ----------
    num_boundaries : int
        Boundaries that were measured.
    coverage : float
        Paired share of the reference's phones.
    mean, median : float
        Of the absolute error, seconds.
    bias : float
        Mean of the signed error, seconds; positive if the hypothesis is late.
    within : dict of float to float
        For each tolerance in seconds the share of measured boundaries whose absolute error does not exceed
        it.
    """

    num_boundaries: int
    coverage: float
    mean: float
    median: float
    bias: float
    within: dict[float, float]

    def rows(self) -> list[tuple[str, str]]:
        """Name and value of each number, as text for a table."""
        return [
            ("boundaries", f"{self.num_boundaries}"),
            ("phones paired", f"{self.coverage:.1%}"),
            ("mean error", f"{1e3 * self.mean:.1f} ms"),
            ("median error", f"{1e3 * self.median:.1f} ms"),
            ("bias", f"{1e3 * self.bias:+.1f} ms"),
            *((f"within {1e3 * tolerance:g} ms", f"{share:.1%}") for tolerance, share in self.within.items()),
        ]

    def __str__(self) -> str:
        """Table of two columns."""
        rows = self.rows()
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        return "\n".join(f"{name:<{widths[0]}}  {value:>{widths[1]}}" for name, value in rows)


class Tokens(NamedTuple):
    """The phones of a tier without its silences, and which of them a silence follows."""

    start: NDArray[np.float64]
    end: NDArray[np.float64]
    label: list[str]
    before_silence: NDArray[np.bool_]


def tokens_of(tier: Tier) -> Tokens:
    """Remove silence from a tier; a gap between intervals and the end of the tier are silence as well."""
    spoken = np.array([label != "" for label in tier.label], dtype=np.bool_)
    next_start = np.append(tier.start[1:], np.inf)
    next_spoken = np.append(spoken[1:], False)
    before_silence = ~next_spoken | (next_start > tier.end + _EDGE)
    return Tokens(
        tier.start[spoken], tier.end[spoken], [label for label in tier.label if label], before_silence[spoken]
    )


def pair_tokens(
    reference: IntervalSequence, hypothesis: IntervalSequence, fold: Callable[[str], str]
) -> tuple[Tokens, Tokens, list[tuple[int, int]]]:
    """Phones of both tiers and the pairs of their indices."""
    ref = tokens_of(check_tier("reference", reference, fold))
    hyp = tokens_of(check_tier("hypothesis", hypothesis, fold))
    return ref, hyp, pair_labels(ref.label, hyp.label)


def boundary_errors(
    reference: IntervalSequence,
    hypothesis: IntervalSequence,
    *,
    fold: Callable[[str], str] = fold_phone,
    duration: float | None = None,
) -> BoundaryErrors:
    r"""Signed distance of each phone boundary from the same boundary of a reference, in seconds.

    Parameters
    ----------
    reference, hypothesis : sequence of (start, end, label)
        Two tiers of one utterance, in seconds, in order of time; :class:`Interval` or any tuple that begins
        like it. Silence may be an interval or a gap.
    fold : callable, default :func:`fold_phone`
        Brings labels to a common form, silence to ``""``. :func:`fold_word` for words.
    duration : float, optional
        Length of the recording. The end of the last reference interval if omitted.

    Returns
    -------
    BoundaryErrors
        ``error = hypothesis - reference`` (positive: late) and counts.

    Raises
    ------
    ValueError
        If a tier's times are not finite, not in order, or overlap, or `duration` is not positive.

    Notes
    -----
    The convention, in full:

    1. *Silence is removed* from both tiers; aligners disagree on where pauses are, and optional ones are not
       an error.
    2. *Phones are paired by their labels alone*, through a minimum-edit-distance alignment: equal labels cost
       0, a substitution within one manner class (vowels; stops and affricates; fricatives; nasals; liquids
       and glides) 1, any other 1.6, a phone on one side only 1. Among equal costs a pair is preferred, then
       an unpaired reference phone, seen from the end. Times play no part, so a bad alignment cannot improve
       its score by pairing with whatever is near; a pair of different labels counts, because dictionary and
       reference may differ in a vowel.
    3. *The boundaries* are the start of each phone, and its end where silence or the end of the tier follows
       in the reference. A boundary between two phones counts once.
    4. *Edges do not count*: a reference boundary within 1 ms of time 0 or of `duration` was placed by nobody.
       This depends on the reference only, hence all systems are measured on the same boundaries.
    5. Boundaries of unpaired phones have no error; read errors together with
       :attr:`~BoundaryErrors.coverage`.

    Absolute differences at the boundaries of matched phones, and their shares within 10, 25, 50 and 100 ms,
    are what aligner papers report since [1]_; pairing by manner class keeps a flapped or reduced sound with
    its partner. O(N M) time and memory for N and M phones.

    References
    ----------
    .. [1] M. McAuliffe et al., "Montreal Forced Aligner: trainable text-speech alignment using Kaldi",
       Interspeech 2017.

    Examples
    --------
    >>> reference = [(0.0, 0.1, ""), (0.1, 0.2, "k"), (0.2, 0.35, "ae"), (0.35, 0.5, "t"), (0.5, 0.6, "")]
    >>> hypothesis = [(0.0, 0.11, "sil"), (0.11, 0.2, "K"), (0.2, 0.33, "AE1"), (0.33, 0.6, "T")]
    >>> boundary_errors(reference, hypothesis).error.round(3).tolist()
    [0.01, 0.0, -0.02, 0.1]
    """
    ref, hyp, pairs = pair_tokens(reference, hypothesis, fold)
    if duration is None:
        duration = reference[-1][1] if reference else 0.0
    else:
        check_positive("duration", duration)

    def inside(time: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Not an edge of the recording."""
        return (np.abs(time) > _EDGE) & (np.abs(time - duration) > _EDGE)

    has_start, has_end = inside(ref.start), inside(ref.end) & ref.before_silence
    time, error = [], []
    for i, j in pairs:
        if has_start[i]:
            time.append(ref.start[i])
            error.append(hyp.start[j] - ref.start[i])
        if has_end[i]:
            time.append(ref.end[i])
            error.append(hyp.end[j] - ref.end[i])
    return BoundaryErrors(
        error=np.array(error, dtype=np.float64),
        time=np.array(time, dtype=np.float64),
        num_boundaries=int(has_start.sum() + has_end.sum()),
        num_reference=len(ref.label),
        num_hypothesis=len(hyp.label),
        num_paired=len(pairs),
        num_substituted=sum(ref.label[i] != hyp.label[j] for i, j in pairs),
    )


def _share_within(error: NDArray[np.float64], tolerance: float) -> float:
    """Share of errors of at most the tolerance; NaN without errors."""
    return float(np.mean(np.abs(error) <= tolerance + _ROUNDING)) if error.size else float("nan")


def summarize_boundaries(
    utterances: Iterable[BoundaryErrors], *, tolerances: Sequence[float] = TOLERANCES
) -> BoundarySummary:
    """Statistics over all boundaries of several utterances, each boundary with equal weight.

    Parameters
    ----------
    utterances : iterable of BoundaryErrors
        What :func:`boundary_errors` returned for each utterance.
    tolerances : sequence of float, default (0.01, 0.02, 0.025, 0.05, 0.1)
        In seconds. An error of exactly a tolerance is within it (up to 1 µs, for times on a grid).

    Returns
    -------
    BoundarySummary
        NaN for every statistic of nothing.

    Examples
    --------
    >>> reference = [(0.0, 0.2, "ah"), (0.2, 0.5, "m"), (0.5, 0.9, "ah")]
    >>> late = [(0.0, 0.23, "ah"), (0.23, 0.51, "m"), (0.51, 0.9, "ah")]
    >>> print(summarize_boundaries([boundary_errors(reference, late)], tolerances=(0.01, 0.05)))
    boundaries            2
    phones paired    100.0%
    mean error      20.0 ms
    median error    20.0 ms
    bias           +20.0 ms
    within 10 ms      50.0%
    within 50 ms     100.0%
    """
    for tolerance in tolerances:
        check_positive("tolerances", tolerance)
    everything = list(utterances)
    error = np.concatenate([np.empty(0), *(utterance.error for utterance in everything)])
    num_reference = sum(utterance.num_reference for utterance in everything)
    num_paired = sum(utterance.num_paired for utterance in everything)
    nan = float("nan")
    return BoundarySummary(
        num_boundaries=error.size,
        coverage=num_paired / num_reference if num_reference else nan,
        mean=float(np.abs(error).mean()) if error.size else nan,
        median=float(np.median(np.abs(error))) if error.size else nan,
        bias=float(error.mean()) if error.size else nan,
        within={tolerance: _share_within(error, tolerance) for tolerance in tolerances},
    )


def calculate_boundary_accuracy(
    reference: IntervalSequence,
    hypothesis: IntervalSequence,
    tolerance: float = 0.02,
    *,
    fold: Callable[[str], str] = fold_phone,
) -> float:
    """Share of the reference's boundaries that the hypothesis has within a tolerance.

    Parameters
    ----------
    reference, hypothesis : sequence of (start, end, label)
        As in :func:`boundary_errors`, whose convention this follows.
    tolerance : float, default 0.02
        In seconds, inclusive.
    fold : callable, default :func:`fold_phone`
        As in :func:`boundary_errors`.

    Returns
    -------
    float
        0 to 1. Unlike :attr:`BoundarySummary.within`, a boundary of an unpaired phone counts as missed. NaN
        if the reference has no boundary.

    Examples
    --------
    >>> reference = [(0.0, 0.2, "ah"), (0.2, 0.5, "m"), (0.5, 0.9, "ah")]
    >>> calculate_boundary_accuracy(reference, [(0.0, 0.23, "ah"), (0.23, 0.51, "m"), (0.51, 0.9, "ah")])
    0.5
    """
    check_positive("tolerance", tolerance)
    errors = boundary_errors(reference, hypothesis, fold=fold)
    if not errors.num_boundaries:
        return float("nan")
    return int(np.sum(np.abs(errors.error) <= tolerance + _ROUNDING)) / errors.num_boundaries


def overlap_rate(
    reference: IntervalSequence, hypothesis: IntervalSequence, *, fold: Callable[[str], str] = fold_phone
) -> float:
    r"""Mean overlap of paired phones, independent of how long phones are.

    .. math:: \mathrm{OvR} = \frac{\text{common}}{\text{reference} + \text{hypothesis} - \text{common}}

    of the durations of each pair, averaged over pairs [1]_.

    Parameters
    ----------
    reference, hypothesis : sequence of (start, end, label)
        As in :func:`boundary_errors`, which also defines the pairs.
    fold : callable, default :func:`fold_phone`
        As in :func:`boundary_errors`.

    Returns
    -------
    float
        0 to 1; a pair of two empty intervals at one time overlaps fully. NaN without a pair.

    References
    ----------
    .. [1] S. Paulo and L. C. Oliveira, "Automatic phonetic alignment and its confidence measures", Advances
       in Natural Language Processing (EsTAL), 2004.

    Examples
    --------
    >>> overlap_rate(
    ...     [(0.0, 0.5, "ah"), (0.5, 1.0, "m")], [(0.0, 0.25, "ah"), (0.25, 1.0, "m")]
    ... )  # 1/2 and 2/3
    0.5833333333333333
    """
    ref, hyp, pairs = pair_tokens(reference, hypothesis, fold)
    if not pairs:
        return float("nan")
    left, right = (list(side) for side in zip(*pairs, strict=True))
    start, end = np.maximum(ref.start[left], hyp.start[right]), np.minimum(ref.end[left], hyp.end[right])
    common = np.maximum(end - start, 0.0)
    union = (ref.end - ref.start)[left] + (hyp.end - hyp.start)[right] - common
    point = (union == 0) & (end == start)
    return float(np.mean(np.where(point, 1.0, common / np.where(union > 0, union, 1.0))))


def merge_closures(intervals: IntervalSequence) -> list[Interval]:
    """Join each of TIMIT's stop closures with the release that follows it.

    Parameters
    ----------
    intervals : sequence of (start, end, label)
        A phone tier of TIMIT, where a released stop is two intervals, ``kcl k``, and an affricate ``tcl ch``
        or ``dcl jh``.

    Returns
    -------
    list of Interval
        Closure and release as one interval with the release's label; everything else as it came, an
        unreleased closure included.

    Examples
    --------
    >>> merge_closures([(0.0, 0.05, "kcl"), (0.05, 0.08, "k"), (0.08, 0.2, "ae"), (0.2, 0.3, "tcl")])
    [Interval(start=0.0, end=0.08, label='k'), Interval(start=0.08, end=0.2, label='ae'), \
Interval(start=0.2, end=0.3, label='tcl')]
    """
    affricates = {"ch": "tcl", "jh": "dcl"}
    merged: list[Interval] = []
    for start, end, label, *_ in intervals:
        closure = affricates.get(label, f"{label}cl")
        if merged and merged[-1].label == closure:
            merged[-1] = Interval(merged[-1].start, end, label)
        else:
            merged.append(Interval(start, end, label))
    return merged
