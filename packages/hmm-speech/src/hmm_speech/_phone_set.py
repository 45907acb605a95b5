"""The phones of languages, in the IPA, and which phone of one language is nearest to that of another."""

# ruff: noqa: RUF001 - the letters of the IPA look like those of other alphabets

from collections.abc import Iterator, Mapping
from functools import cache

from ._articulation import Articulation, articulation, articulatory_class, articulatory_distance

_ENGLISH = {
    "AA": "ɑ", "AE": "æ", "AH": "ʌ", "AO": "ɔ", "AW": "aʊ", "AY": "aɪ", "EH": "ɛ", "ER": "ɝ", "EY": "eɪ",
    "IH": "ɪ", "IY": "i", "OW": "oʊ", "OY": "ɔɪ", "UH": "ʊ", "UW": "u", "B": "b", "CH": "tʃ", "D": "d",
    "DH": "ð", "F": "f", "G": "ɡ", "HH": "h", "JH": "dʒ", "K": "k", "L": "l", "M": "m", "N": "n", "NG": "ŋ",
    "P": "p", "R": "ɹ", "S": "s", "SH": "ʃ", "T": "t", "TH": "θ", "V": "v", "W": "w", "Y": "j", "Z": "z",
    "ZH": "ʒ",
}  # fmt: skip
# Revised Romanization; kf, tf, pf are unreleased, l closes a syllable, r opens it.
_KOREAN = {
    "a": "a", "ae": "ɛ", "e": "e", "eo": "ʌ", "eu": "ɯ", "i": "i", "o": "o", "u": "u", "y": "j", "w": "w",
    "g": "k", "kk": "k͈", "k": "kʰ", "d": "t", "tt": "t͈", "t": "tʰ", "b": "p", "pp": "p͈", "p": "pʰ",
    "j": "tɕ", "jj": "tɕ͈", "ch": "tɕʰ", "s": "s", "ss": "s͈", "h": "h", "m": "m", "n": "n", "ng": "ŋ",
    "r": "ɾ", "l": "l", "kf": "k̚", "tf": "t̚", "pf": "p̚",
}  # fmt: skip
# Jamo as pronounced: those that open a syllable, its vowels, and those that close it.
_JAMO = {
    "ㄱ": "k", "ㄲ": "k͈", "ㅋ": "kʰ", "ㄷ": "t", "ㄸ": "t͈", "ㅌ": "tʰ", "ㅂ": "p", "ㅃ": "p͈", "ㅍ": "pʰ",
    "ㅈ": "tɕ", "ㅉ": "tɕ͈", "ㅊ": "tɕʰ", "ㅅ": "s", "ㅆ": "s͈", "ㅎ": "h", "ㅁ": "m", "ㄴ": "n", "ㄹ": "ɾ",
    "ㅏ": "a", "ㅐ": "ɛ", "ㅑ": "ja", "ㅒ": "jɛ", "ㅓ": "ʌ", "ㅔ": "e", "ㅕ": "jʌ", "ㅖ": "je", "ㅗ": "o",
    "ㅘ": "wa", "ㅙ": "wɛ", "ㅚ": "we", "ㅛ": "jo", "ㅜ": "u", "ㅝ": "wʌ", "ㅞ": "we", "ㅟ": "wi", "ㅠ": "ju",
    "ㅡ": "ɯ", "ㅢ": "ɯi", "ㅣ": "i",
    "ㄱ\u0332": "k̚", "ㄴ\u0332": "n", "ㄷ\u0332": "t̚", "ㄹ\u0332": "l", "ㅁ\u0332": "m", "ㅂ\u0332": "p̚",
    "ㅇ\u0332": "ŋ",
}  # fmt: skip
# As Open JTalk writes them; a long vowel is two.
_JAPANESE = {
    "a": "a", "i": "i", "u": "ɯ", "e": "e", "o": "o", "k": "k", "ky": "kʲ", "g": "ɡ", "gy": "ɡʲ", "s": "s",
    "sh": "ɕ", "z": "z", "j": "dʑ", "t": "t", "ty": "tʲ", "ch": "tɕ", "ts": "ts", "d": "d", "dy": "dʲ",
    "n": "n", "ny": "ɲ", "h": "h", "hy": "ç", "f": "ɸ", "b": "b", "by": "bʲ", "p": "p", "py": "pʲ", "m": "m",
    "my": "mʲ", "y": "j", "r": "ɾ", "ry": "ɾʲ", "w": "w", "v": "v", "N": "ɴ", "cl": "ʔ",
}  # fmt: skip
# Pinyin: initials, what comes before n and ng or ends a syllable (with or without a tone), and these two.
_MANDARIN = {
    "b": "p", "p": "pʰ", "m": "m", "f": "f", "d": "t", "t": "tʰ", "n": "n", "l": "l", "g": "k", "k": "kʰ",
    "h": "x", "j": "tɕ", "q": "tɕʰ", "x": "ɕ", "zh": "ʈʂ", "ch": "ʈʂʰ", "sh": "ʂ", "r": "ʐ", "z": "ts",
    "c": "tsʰ", "s": "s", "y": "j", "w": "w", "yu": "ɥ", "ng": "ŋ", "a": "a", "o": "o", "e": "ə", "i": "i",
    "u": "u", "v": "y", "ii": "ɨ", "er": "ɚ", "ai": "ai", "ei": "ei", "ao": "au", "ou": "ou", "ia": "ia",
    "ie": "iɛ", "iao": "iau", "iou": "iou", "ua": "ua", "uo": "uo", "ue": "uə", "uai": "uai", "uei": "uei",
    "ve": "yɛ",
}  # fmt: skip
_INVENTORIES = {
    "en": _ENGLISH,
    "ko": _KOREAN,
    "ko-jamo": _JAMO,
    "ja": _JAPANESE,
    "cmn": _MANDARIN,
}
LANGUAGES = tuple(_INVENTORIES)
TONES = "¹²³⁴"
_MARKS = {"en": "012", "cmn": TONES}


class PhoneSet(Mapping[str, str]):
    """The phones of a language: a mapping of symbols to the IPA.

    Parameters
    ----------
    phones : mapping of str to str
        The IPA of each symbol, as :func:`articulation` reads it.
    marks : str
        Characters that may follow a symbol and leave the phone the same: the digits of stress, tones.

    Raises
    ------
    ValueError
        If there is no phone, or the IPA of one cannot be read.

    Notes
    -----
    Looking a symbol up drops a mark at its end: ``PhoneSet.of("en")["AH0"]`` is that of ``"AH"``. Iterating
    and counting see the symbols without marks.

    Examples
    --------
    >>> korean = PhoneSet.of("ko")
    >>> korean["eo"], korean.kind("ch"), korean.nearest("ɐ")
    ('ʌ', 'affricate', 'a')
    """

    def __init__(self, phones: Mapping[str, str], *, marks: str = "") -> None:
        if not phones:
            raise ValueError("phones must hold at least one phone")
        for symbol, ipa in phones.items():
            try:
                articulation(ipa)
            except ValueError as error:
                raise ValueError(f"the phone {symbol!r} cannot be described: {error}") from error
        self._ipa = dict(phones)
        self.marks = marks

    @classmethod
    def of(cls, language: str) -> "PhoneSet":
        """Return the phones that :class:`Lexicon` uses for a language.

        Parameters
        ----------
        language : str
            ``"en"`` (ARPABET), ``"ko"`` (Korean, romanised), ``"ko-jamo"`` (Korean jamo as pronounced, a low
            line under those that close a syllable), ``"ja"`` (Japanese, as Open JTalk writes them) or
            ``"cmn"`` (Mandarin: initials and parts of finals in pinyin, with superscript tones).

        Returns
        -------
        PhoneSet
            The same object at every call.

        Raises
        ------
        ValueError
            If the language is none of these.

        Examples
        --------
        >>> PhoneSet.of("cmn")["ai⁴"]
        'ai'
        """
        return _phone_set(check_language(language))

    def base(self, symbol: str) -> str:
        """Return a symbol without its mark of stress or tone.

        Parameters
        ----------
        symbol : str
            With or without a mark.

        Returns
        -------
        str
            The symbol that the set lists, or the one given if it lists none.
        """
        if symbol not in self._ipa and symbol[:-1] in self._ipa and symbol[-1] in self.marks:
            return symbol[:-1]
        return symbol

    def articulation(self, symbol: str) -> Articulation:
        """Return how a phone is made.

        Parameters
        ----------
        symbol : str
            One of the set's phones; ``KeyError`` otherwise.

        Returns
        -------
        Articulation
            See there.
        """
        return articulation(self[symbol])

    def kind(self, symbol: str) -> str:
        """Return the manner class of a phone.

        Parameters
        ----------
        symbol : str
            One of the set's phones; ``KeyError`` otherwise.

        Returns
        -------
        str
            See :func:`articulatory_class`.
        """
        return articulatory_class(self[symbol])

    def nearest(self, ipa: str) -> str:
        """Return the phone that is made most like a sound.

        Parameters
        ----------
        ipa : str
            Any sound, of any language; ``ValueError`` if it cannot be read.

        Returns
        -------
        str
            A symbol of the set; the first of equals.
        """
        return min(self._ipa, key=lambda symbol: articulatory_distance(self._ipa[symbol], ipa))

    def __getitem__(self, symbol: str) -> str:
        return self._ipa[self.base(symbol)]

    def __iter__(self) -> Iterator[str]:
        return iter(self._ipa)

    def __len__(self) -> int:
        return len(self._ipa)

    def __repr__(self) -> str:
        return f"<PhoneSet of {len(self)} phones>"


def map_phones(source: PhoneSet, target: PhoneSet) -> dict[str, str]:
    """Pair the phones of one language with those of another that are made most like them.

    Parameters
    ----------
    source, target : PhoneSet
        Two languages.

    Returns
    -------
    dict of str to str
        For each phone of the source the nearest of the target, by :func:`articulatory_distance`.

    Examples
    --------
    >>> mapping = map_phones(PhoneSet.of("ko"), PhoneSet.of("en"))
    >>> [mapping[phone] for phone in ("a", "kk", "ch", "r", "eu")]
    ['AE', 'K', 'CH', 'R', 'UW']
    """
    return {symbol: target.nearest(ipa) for symbol, ipa in source.items()}


def check_language(language: str) -> str:
    """Return a language that is known; raise otherwise."""
    if language not in _INVENTORIES:
        known = ", ".join(f'"{name}"' for name in LANGUAGES)
        raise ValueError(f"language must be one of {known}; got {language!r}")
    return language


@cache
def _phone_set(language: str) -> PhoneSet:
    """Build a language's phones once."""
    return PhoneSet(_INVENTORIES[language], marks=_MARKS.get(language, ""))
