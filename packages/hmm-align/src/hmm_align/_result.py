"""What an aligner returns: labelled times with a confidence, or the reason why there are none."""

import math
from dataclasses import dataclass
from typing import NamedTuple, Self

SHORTEST = 1e-3  # seconds; no sound of speech is shorter
RESOLUTION = 1e-6  # seconds; what the file formats keep
UNEXPLAINED = "<unk>"  # the label of speech that no word of the transcript explains


class AlignedInterval(NamedTuple):
    """A stretch of speech with its label.

    Parameters
    ----------
    start, end : float
        Seconds from the beginning of the recording, ``start < end``.
    label : str
        The word or phone, without white space; ``""`` is silence, ``"<unk>"`` speech that no word of the
        transcript explains (which only a loose alignment finds).
    confidence : float
        Between 0 (a guess) and 1 (certain), given that the transcript is right.
    log_ratio : float
        How much better its states explain its frames than the average of all states does: mean difference of
        log densities per frame, in nats. Far below 0 where something else was said. 0 if unknown.
    end_uncertainty : float
        Seconds, at least 0: the true end lies within so much of ``end`` in four cases of five, if the
        transcript is right. 0 if unknown, and where the recording ends.

    Examples
    --------
    >>> AlignedInterval(0.25, 0.5, "HH", 0.9).label
    'HH'
    """

    start: float
    end: float
    label: str
    confidence: float
    log_ratio: float = 0.0
    end_uncertainty: float = 0.0


class SkippedWord(NamedTuple):
    """A word of the transcript that a loose alignment did not hear.

    Parameters
    ----------
    time : float
        Seconds; where it should have begun.
    label : str
        The word.
    place : int
        Its number in the transcript, from 0.

    Examples
    --------
    >>> SkippedWord(1.25, "very", 3).label
    'very'
    """

    time: float
    label: str
    place: int


@dataclass(frozen=True)
class Alignment:
    """Words and phones of one utterance with their times, or the reason why there are none.

    Parameters
    ----------
    id : str
        The utterance's name in its corpus, such as ``"speaker/clip"``.
    duration : float
        Length of the recording in seconds.
    words, phones : tuple of AlignedInterval
        Two tiers. The intervals of a tier run from 0 to ``duration``, each starting exactly where the one
        before ends and at least 1 ms long, and every word boundary is a phone boundary. Both tiers are empty
        if the alignment failed.
    ok : bool
        Whether the utterance was aligned.
    reason : str
        Why it was not; ``""`` if it was.
    log_likelihood_per_frame : float
        Natural logarithm, per frame; ``-inf`` if the alignment failed.
    skipped : tuple of SkippedWord
        Words that were not heard, in order; they are in no tier. Always empty unless ``loose``.
    loose : bool
        Whether the transcript was not trusted.

    Raises
    ------
    ValueError
        If the tiers break one of these rules.

    Examples
    --------
    >>> word = AlignedInterval(0.0, 0.3, "a", 1.0)
    >>> phone = AlignedInterval(0.0, 0.3, "AH0", 1.0)
    >>> Alignment("clip", 0.3, (word,), (phone,)).ok
    True
    """

    id: str
    duration: float
    words: tuple[AlignedInterval, ...]
    phones: tuple[AlignedInterval, ...]
    ok: bool = True
    reason: str = ""
    log_likelihood_per_frame: float = 0.0
    skipped: tuple[SkippedWord, ...] = ()
    loose: bool = False

    def __post_init__(self) -> None:
        if self.ok == bool(self.reason):
            raise ValueError(
                f"reason must be empty if and only if ok; got ok={self.ok}, reason={self.reason!r} "
                f"for {self.id!r}"
            )
        if math.isnan(self.log_likelihood_per_frame):
            raise ValueError(f"log_likelihood_per_frame must be a number or -inf; got nan for {self.id!r}")
        if not self.ok:
            if self.words or self.phones:
                raise ValueError(f"words and phones must be empty where ok is False; {self.id!r} has some")
            return
        check_tier(self.words, self.duration, f"words of {self.id!r}")
        check_tier(self.phones, self.duration, f"phones of {self.id!r}")
        phone_ends = {phone.end for phone in self.phones}
        for word in self.words:
            if word.end not in phone_ends:
                raise ValueError(
                    f"every word boundary must be a phone boundary; {word.label!r} of {self.id!r} ends at "
                    f"{word.end} s inside a phone"
                )

    @classmethod
    def failure(cls, id: str, reason: str, duration: float = 0.0) -> Self:  # noqa: A002 - the field's name
        """Record that an utterance could not be aligned.

        Parameters
        ----------
        id : str
            The utterance's name.
        reason : str
            Why, for a human reader; not empty.
        duration : float
            Length of the recording in seconds; 0 if it could not be read.

        Returns
        -------
        Alignment
            With ``ok`` False and no intervals.

        Examples
        --------
        >>> Alignment.failure("clip", "the transcript is empty").ok
        False
        """
        return cls(id, duration, (), (), ok=False, reason=reason, log_likelihood_per_frame=-math.inf)


def check_tier(tier: tuple[AlignedInterval, ...], duration: float, name: str) -> None:
    """Raise unless the intervals run from 0 to ``duration`` without a gap, well formed."""
    if not tier:
        raise ValueError(f"{name} must cover 0 to {duration} s; got no interval")
    before = 0.0
    for index, (start, end, label, confidence, log_ratio, end_uncertainty) in enumerate(tier):
        where = f"{name}, interval {index} ({label!r})"
        if start != before:
            raise ValueError(f"{where} must start where the one before ends, at {before} s; got {start} s")
        if not end - start >= SHORTEST - 2 * RESOLUTION:
            raise ValueError(f"{where} must last {SHORTEST} s or more; got {start} to {end} s")
        if not 0.0 <= confidence <= 1.0:
            raise ValueError(f"{where} must have a confidence in 0..1; got {confidence}")
        if not math.isfinite(log_ratio):
            raise ValueError(f"{where} must have a finite log_ratio; got {log_ratio}")
        if not 0.0 <= end_uncertainty < math.inf:
            raise ValueError(f"{where} must have a finite end_uncertainty >= 0; got {end_uncertainty}")
        if any(character.isspace() or not character.isprintable() for character in label):
            raise ValueError(f"{where} must have a label of printable characters without white space")
        before = end
    if before != duration:
        raise ValueError(f"{name} must end at duration = {duration} s; got {before} s")
