"""Signs that an alignment is wrong, without knowing the right one."""

import math
from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._result import UNEXPLAINED, AlignedInterval, Alignment

# A phone that is heard less often says nothing about how long it usually is.
_FEWEST = 5
# Standard deviation of the logarithm of a duration before any was seen, and how many phones that is worth.
_PRIOR_DEVIATION, _PRIOR_COUNT = 0.4, 10.0
# How far from the middle is suspicious, in standard deviations; and confidences that are.
FAR = 4.0
_UNSURE = 0.4
# Ratio of densities below which something else than the word was said, in nats per frame.
MISFIT = -3.0
# So many utterances say what is usual for one.
_FEWEST_UTTERANCES = 10
# Of log-likelihoods per frame; a smaller spread is none.
_LEAST_DEVIATION = 1e-3
# From the median absolute deviation to the standard deviation of a normal distribution.
_NORMAL = 1.4826
# The share of lengths between the tails, and how many standard deviations of a normal distribution it spans
# to either side.
_MIDDLE, _MIDDLE_DEVIATIONS = 0.8, 1.2816


class _UsualLength(NamedTuple):
    """What is usual for the logarithm of a label's length: the middle, and deviations to either side."""

    middle: float
    below: float
    above: float


@dataclass(frozen=True)
class Diagnosis:
    """How much an alignment can be trusted, and why not.

    Parameters
    ----------
    id : str
        The utterance.
    ok : bool
        Whether it was aligned.
    coverage : float
        Share of the recording that lies in words, 0..1.
    confidence : float
        Mean confidence of its words, weighted by their length, 0..1.
    lowest_confidence : float
        That of its least certain word.
    lowest_log_ratio : float
        That of the word or silence that fits the sound least.
    likelihood_z : float
        How far its log-likelihood per frame lies above (or below, < 0) the median of all utterances, in
        robust standard deviations; 0 where there are fewer than ten.
    duration_z : tuple of float
        How far the logarithm of each phone's length lies above (or below, < 0) the median of its label, in
        robust deviations of that side; 0 for silence, for speech that no word explains and for labels that
        occur less than five times.
    signs : tuple of str
        What is suspicious, worst first, for a human reader; the only one of a failure is its reason.
    misfit : float, default -3.0
        What `diagnose` was told.

    Examples
    --------
    >>> Diagnosis("clip", True, 0.8, 0.9, 0.2, 1.5, 0.0, (), ("word 'a' is uncertain (0.20)",)).suspicious
    True
    """

    id: str
    ok: bool
    coverage: float
    confidence: float
    lowest_confidence: float
    lowest_log_ratio: float
    likelihood_z: float
    duration_z: tuple[float, ...]
    signs: tuple[str, ...]
    misfit: float = MISFIT

    @property
    def suspicious(self) -> bool:
        """Whether there is any sign."""
        return bool(self.signs)

    @property
    def rank(self) -> tuple[bool, float]:
        """What to sort by: failures first, then the most suspicious."""
        length = max((abs(z) for z in self.duration_z), default=0.0)
        doubt = (1.0 - self.lowest_confidence) + (1.0 - self.confidence)
        misfit = max(0.0, self.lowest_log_ratio / self.misfit)
        return self.ok, -doubt - misfit - (max(0.0, -self.likelihood_z) + length) / FAR


def diagnose(alignments: Iterable[Alignment], *, misfit: float = MISFIT) -> list[Diagnosis]:
    """Look for signs that alignments are wrong.

    Parameters
    ----------
    alignments : iterable of Alignment
        Of one corpus and one model: what is usual is learned from them.
    misfit : float, default -3.0
        Words and silences whose ``log_ratio`` is lower do not fit the sound; nats per frame.

    Returns
    -------
    list of Diagnosis
        One each, in order.

    Raises
    ------
    ValueError
        If ``misfit`` is not below 0.

    Notes
    -----
    Suspicious are words and silences that the average of all states explains better, by more than
    ``-misfit``: another word was said, or one too many or too few is in the transcript. Of a loose alignment
    it is, instead, speech that no word explains and words that are not heard. Further words less certain than
    0.4, phones whose logarithmic length lies more than four robust deviations from the median of their label,
    and utterances whose log-likelihood per frame lies so far below the median.

    Deviations are robust, so that the outliers that are looked for do not hide each other: those of
    likelihoods from the median absolute deviation; those of lengths, which have a longer tail above the
    median, to either side from the distance between the median and the outermost tenth, drawn to a usual 0.4
    where phones are few. Four of these name less than one of twenty clips of read speech with right
    transcripts by the lengths in it.

    References
    ----------
    .. [1] P. J. Rousseeuw and C. Croux, "Alternatives to the median absolute deviation", J. American
       Statistical Association 88(424), 1993.

    Examples
    --------
    >>> word = AlignedInterval(0.0, 0.3, "a", 0.25)
    >>> diagnose([Alignment("clip", 0.3, (word,), (word._replace(label="AH0"),))])[0].signs
    ("word 'a' at 0.00 s is uncertain (0.25)",)
    """
    alignments = list(alignments)
    usual = Usual(alignments, misfit)
    return [usual.diagnose(item) for item in alignments]


class Usual:
    """What is usual in a corpus, learned from all of it in one go."""

    def __init__(self, alignments: Iterable[Alignment], misfit: float = MISFIT) -> None:
        if not misfit < 0:
            raise ValueError(f"misfit must be below 0; got {misfit!r}")
        self.misfit = misfit
        lengths: dict[str, array[float]] = defaultdict(lambda: array("d"))
        good = array("d")
        for item in alignments:
            for phone in item.phones:
                lengths[phone.label].append(math.log(phone.end - phone.start))
            if item.ok:
                good.append(item.log_likelihood_per_frame)
        self._length = {
            label: _usual_length(np.asarray(values))
            for label, values in lengths.items()
            if label not in {"", UNEXPLAINED} and len(values) >= _FEWEST
        }
        self._level = (0.0, math.inf)
        if len(good) >= _FEWEST_UTTERANCES:
            middle, deviation = _middle(np.asarray(good))
            self._level = middle, max(deviation, _LEAST_DEVIATION)

    def diagnose(self, item: Alignment) -> Diagnosis:
        """Compare one alignment with what is usual."""
        return _diagnose(item, self._length, self._level, self.misfit)


def _middle(values: NDArray[np.float64]) -> tuple[float, float]:
    """Median, and standard deviation by the median absolute deviation."""
    median = float(np.median(values))
    return median, _NORMAL * float(np.median(np.abs(values - median)))


def _usual_length(values: NDArray[np.float64]) -> _UsualLength:
    """Median of logarithms, and deviations below and above it, drawn to what is usual in speech.

    Phones before a pause are long: the tail above the median is the heavier one, and measured on its own.
    """
    tail = (1 - _MIDDLE) / 2
    low, middle, high = np.quantile(values, [tail, 0.5, 1 - tail])

    def deviation(distance: float) -> float:
        variance = len(values) * (distance / _MIDDLE_DEVIATIONS) ** 2 + _PRIOR_COUNT * _PRIOR_DEVIATION**2
        return math.sqrt(variance / (len(values) + _PRIOR_COUNT))

    return _UsualLength(float(middle), deviation(middle - low), deviation(high - middle))


def _diagnose(
    item: Alignment, usual: dict[str, _UsualLength], level: tuple[float, float], misfit: float
) -> Diagnosis:
    """Compare one alignment with what is usual."""
    if not item.ok:
        return Diagnosis(
            id=item.id,
            ok=False,
            coverage=0.0,
            confidence=0.0,
            lowest_confidence=0.0,
            lowest_log_ratio=0.0,
            likelihood_z=0.0,
            duration_z=(),
            signs=(item.reason,),
            misfit=misfit,
        )
    words = [word for word in item.words if word.label not in {"", UNEXPLAINED}]
    spoken = sum(word.end - word.start for word in words)
    confidence = sum(word.confidence * (word.end - word.start) for word in words) / spoken if words else 1.0
    lowest = min((word.confidence for word in words), default=1.0)
    duration_z = tuple(_length_z(phone, usual) for phone in item.phones)
    likelihood_z = (item.log_likelihood_per_frame - level[0]) / level[1]
    signs = [] if likelihood_z >= -FAR else [f"sounds unlike the rest (z = {likelihood_z:.1f})"]
    signs += [
        f"no word explains the speech at {word.start:.2f} s ({word.end - word.start:.2f} s)"
        for word in item.words
        if word.label == UNEXPLAINED
    ]
    signs += [f"word {word.label!r} is not heard at {word.time:.2f} s" for word in item.skipped]
    signs += [
        f"{_named(word)} at {word.start:.2f} s does not fit the sound (log ratio {word.log_ratio:.1f})"
        for word in sorted(item.words, key=lambda word: word.log_ratio)
        if word.log_ratio < misfit and not item.loose
    ]
    signs += [
        f"word {word.label!r} at {word.start:.2f} s is uncertain ({word.confidence:.2f})"
        for word in sorted(words, key=lambda word: word.confidence)
        if word.confidence < _UNSURE
    ]
    signs += _odd_lengths(item.phones, duration_z)
    return Diagnosis(
        id=item.id,
        ok=True,
        coverage=spoken / item.duration,
        confidence=confidence,
        lowest_confidence=lowest,
        lowest_log_ratio=min(word.log_ratio for word in item.words),
        likelihood_z=likelihood_z,
        duration_z=duration_z,
        signs=tuple(signs),
        misfit=misfit,
    )


def _named(word: AlignedInterval) -> str:
    """Name a word or a silence."""
    return f"word {word.label!r}" if word.label else "silence"


def _length_z(phone: AlignedInterval, usual: dict[str, _UsualLength]) -> float:
    """How unusual a phone's length is."""
    if phone.label not in usual:
        return 0.0
    middle, below, above = usual[phone.label]
    distance = math.log(phone.end - phone.start) - middle
    return distance / (above if distance > 0 else below)


def _odd_lengths(phones: Sequence[AlignedInterval], duration_z: Sequence[float]) -> list[str]:
    """Name the phones of unusual length."""
    odd = sorted(zip(duration_z, phones, strict=True), key=lambda pair: -abs(pair[0]))
    return [
        f"phone {phone.label} at {phone.start:.2f} s lasts {phone.end - phone.start:.3f} s (z = {z:+.1f})"
        for z, phone in odd
        if abs(z) > FAR
    ]
