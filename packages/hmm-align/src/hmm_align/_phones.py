"""Which unit models which phone."""

import re
from collections.abc import Iterable, Sequence

from hmm_speech import TextError

from ._corpus import Prepared
from ._graph import Pronunciation

# A vowel of ARPABET with its stress, or a phone of Mandarin with its tone.
_MARKED = re.compile(r"[A-Z]{2}[012]|[a-z]+[¹²³⁴]")


def unit_of(phone: str) -> str:
    """Return the label of a phone's unit: vowels share theirs whatever their stress or tone.

    >>> unit_of("AH0"), unit_of("AH1"), unit_of("NG"), unit_of("ai⁴"), unit_of("a5")
    ('AH', 'AH', 'NG', 'ai', 'a5')
    """
    return phone[:-1] if _MARKED.fullmatch(phone) else phone


def inventory(utterances: Iterable[Prepared]) -> list[str]:
    """Return the units that a start can hear: those of each word's first pronunciation."""
    return sorted(
        {unit_of(phone) for item in utterances for variants in item.pronunciations for phone in variants[0]}
    )


def labels_of(utterances: Iterable[Prepared]) -> set[str]:
    """Return the phones of all pronunciations."""
    return {
        phone
        for item in utterances
        for variants in item.pronunciations
        for phones in variants
        for phone in phones
    }


def keep_known(item: Prepared, known: Sequence[str]) -> Prepared:
    """Drop the pronunciations that need a phone without a unit; raise where a word has no other."""
    units = set(known)
    kept: list[tuple[Pronunciation, ...]] = []
    for word, variants in zip(item.words, item.pronunciations, strict=True):
        kept.append(tuple(phones for phones in variants if units.issuperset(map(unit_of, phones))))
        if not kept[-1]:
            missing = sorted({unit_of(phone) for phone in variants[0]} - units)
            raise TextError(word, f"the model was trained without the phone {' '.join(missing)} of this word")
    return item._replace(pronunciations=tuple(kept))
