"""Korean in Hangul to the sounds of the standard pronunciation, and numbers to words."""

import re
import unicodedata
from collections.abc import Callable
from itertools import pairwise

from num2words import num2words

_ONSETS = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ"
_VOWELS = "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"
_CODAS = ("", *"ㄱㄲㄳㄴㄵㄶㄷㄹㄺㄻㄼㄽㄾㄿㅀㅁㅂㅄㅅㅆㅇㅈㅊㅋㅌㅍㅎ")
_FIRST, _LAST = 0xAC00, 0xD7A3
_SILENT = "ㅇ"  # an onset without a sound

# What stays in a coda, and what moves on to a vowel.
_CLUSTERS = {
    "ㄳ": ("ㄱ", "ㅅ"), "ㄵ": ("ㄴ", "ㅈ"), "ㄶ": ("ㄴ", "ㅎ"), "ㄺ": ("ㄹ", "ㄱ"), "ㄻ": ("ㄹ", "ㅁ"),
    "ㄼ": ("ㄹ", "ㅂ"), "ㄽ": ("ㄹ", "ㅅ"), "ㄾ": ("ㄹ", "ㅌ"), "ㄿ": ("ㄹ", "ㅍ"), "ㅀ": ("ㄹ", "ㅎ"),
    "ㅄ": ("ㅂ", "ㅅ"),
}  # fmt: skip
_NEUTRAL = {
    "ㄲ": "ㄱ", "ㅋ": "ㄱ", "ㄳ": "ㄱ", "ㄺ": "ㄱ", "ㅅ": "ㄷ", "ㅆ": "ㄷ", "ㅈ": "ㄷ", "ㅊ": "ㄷ",
    "ㅌ": "ㄷ", "ㅎ": "ㄷ",
    "ㅍ": "ㅂ", "ㄿ": "ㅂ", "ㅄ": "ㅂ", "ㄵ": "ㄴ", "ㄶ": "ㄴ", "ㄼ": "ㄹ", "ㄽ": "ㄹ", "ㄾ": "ㄹ",
    "ㅀ": "ㄹ", "ㄻ": "ㅁ",
}  # fmt: skip
_ASPIRATED = {"ㄱ": "ㅋ", "ㄷ": "ㅌ", "ㅂ": "ㅍ", "ㅈ": "ㅊ"}
_TENSE = {"ㄱ": "ㄲ", "ㄷ": "ㄸ", "ㅂ": "ㅃ", "ㅅ": "ㅆ", "ㅈ": "ㅉ"}
_NASAL = {"ㄱ": "ㅇ", "ㄷ": "ㄴ", "ㅂ": "ㅁ"}
# Codas before ㅎ: what is left of them, and the onset that comes of both.
_BEFORE_H = {
    "ㄱ": ("", "ㅋ"), "ㄺ": ("ㄹ", "ㅋ"), "ㄷ": ("", "ㅌ"), "ㅅ": ("", "ㅌ"), "ㅊ": ("", "ㅌ"),
    "ㅌ": ("", "ㅌ"),
    "ㅂ": ("", "ㅍ"), "ㄼ": ("ㄹ", "ㅍ"), "ㅈ": ("", "ㅊ"), "ㄵ": ("ㄴ", "ㅊ"),
}  # fmt: skip
_PALATAL = {"ㄷ": ("", "ㅈ"), "ㅌ": ("", "ㅊ"), "ㄾ": ("ㄹ", "ㅊ")}

_ONSET_PHONES = {
    "ㄱ": "g", "ㄲ": "kk", "ㄴ": "n", "ㄷ": "d", "ㄸ": "tt", "ㄹ": "r", "ㅁ": "m", "ㅂ": "b", "ㅃ": "pp",
    "ㅅ": "s",
    "ㅆ": "ss", "ㅈ": "j", "ㅉ": "jj", "ㅊ": "ch", "ㅋ": "k", "ㅌ": "t", "ㅍ": "p", "ㅎ": "h",
}  # fmt: skip
_VOWEL_PHONES = {
    "ㅏ": "a", "ㅐ": "ae", "ㅑ": "y a", "ㅒ": "y ae", "ㅓ": "eo", "ㅔ": "e", "ㅕ": "y eo", "ㅖ": "y e",
    "ㅗ": "o",
    "ㅘ": "w a", "ㅙ": "w ae", "ㅚ": "w e", "ㅛ": "y o", "ㅜ": "u", "ㅝ": "w eo", "ㅞ": "w e", "ㅟ": "w i",
    "ㅠ": "y u", "ㅡ": "eu", "ㅢ": "eu i", "ㅣ": "i",
}  # fmt: skip
_CODA_PHONES = {"ㄱ": "kf", "ㄴ": "n", "ㄷ": "tf", "ㄹ": "l", "ㅁ": "m", "ㅂ": "pf", "ㅇ": "ng"}
_LOW_LINE = "\u0332"

_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
_LETTER_NAMES = {
    "a": "에이", "b": "비", "c": "씨", "d": "디", "e": "이", "f": "에프", "g": "지", "h": "에이치",
    "i": "아이", "j": "제이", "k": "케이", "l": "엘", "m": "엠", "n": "엔", "o": "오", "p": "피", "q": "큐",
    "r": "알", "s": "에스", "t": "티", "u": "유", "v": "브이", "w": "더블유", "x": "엑스", "y": "와이",
    "z": "제트",
}  # fmt: skip


class Syllable:
    """Onset, vowel and coda of a syllable, as jamo; what is not there is empty."""

    __slots__ = ("coda", "onset", "vowel")

    def __init__(self, character: str) -> None:
        index = ord(character) - _FIRST
        self.onset = _ONSETS[index // 588]
        self.vowel = _VOWELS[index % 588 // 28]
        self.coda = _CODAS[index % 28]


def words(text: str, refuse: Callable[[str, str], Exception]) -> list[str]:
    """Split a text into words of Hangul; numbers are read in Sino-Korean, Latin letters by name."""
    found = []
    for token in unicodedata.normalize("NFKC", text).split():
        spelled = _NUMBER.sub(lambda m: str(num2words(m[0].replace(",", ""), lang="ko")), token).lower()
        spelled = "".join(_LETTER_NAMES.get(c, c) for c in spelled)
        for character in spelled:
            if not (_is_syllable(character) or _is_silent(character)):
                raise refuse(token, character)
        pieces = "".join(c if _is_syllable(c) else " " for c in spelled.replace("'", ""))
        found += pieces.split()
    return found


def phones(word: str) -> list[list[str]]:
    """Return the phones of a word."""
    found: list[str] = []
    for syllable in pronounced(word):
        if syllable.onset:
            found.append(
                "l" if syllable.onset == "ㄹ" and found[-1:] == ["l"] else _ONSET_PHONES[syllable.onset]
            )
        found += _VOWEL_PHONES[syllable.vowel].split()
        if syllable.coda:
            found.append(_CODA_PHONES[syllable.coda])
    return [found] if found else []


def jamo(word: str) -> list[list[str]]:
    """Return the jamo of a word as it is pronounced, a low line under those that close a syllable."""
    found: list[str] = []
    for syllable in pronounced(word):
        found += [syllable.onset] if syllable.onset else []
        found.append(syllable.vowel)
        found += [syllable.coda + _LOW_LINE] if syllable.coda else []
    return [found] if found else []


def pronounced(word: str) -> list[Syllable]:
    """Apply the rules of the standard pronunciation (National Institute of Korean Language, 1988) to a word.

    Chapters 4 to 6: codas, palatalisation, assimilation, tensification; where the rule depends on whether a
    morpheme ends there, the plain reading is taken. Nothing if the word is not in Hangul.
    """
    word = unicodedata.normalize("NFC", word)
    if not word or not all(_is_syllable(character) for character in word):
        return []
    syllables = [Syllable(character) for character in word]
    for left, right in pairwise(syllables):
        _join(left, right)
    last = syllables[-1]
    last.coda = _NEUTRAL.get(last.coda, last.coda)
    for number, syllable in enumerate(syllables):
        _shade_vowel(syllable, first=number == 0)
        if syllable.onset == _SILENT:
            syllable.onset = ""
    return syllables


def _join(left: Syllable, right: Syllable) -> None:
    """Let a coda and the onset after it change each other."""
    if left.coda in _PALATAL and right.onset in "ㅇㅎ" and _palatalises(right):
        aspirated = right.onset == "ㅎ"
        left.coda, right.onset = _PALATAL[left.coda]
        right.onset = "ㅊ" if aspirated else right.onset
        return
    if right.onset == "ㅎ" and left.coda in _BEFORE_H:
        left.coda, right.onset = _BEFORE_H[left.coda]
        return
    if left.coda in {"ㅎ", "ㄶ", "ㅀ"}:
        _join_h(left, right)
    elif right.onset == _SILENT:
        _link(left, right)
    if left.coda:
        _assimilate(left, right)


def _palatalises(syllable: Syllable) -> bool:
    """Tell the syllables that make a coda before them palatal: 이, 히 and what they become with an ending."""
    return syllable.vowel == "ㅣ" or (syllable.vowel == "ㅕ" and syllable.coda != "ㅇ")


def _join_h(left: Syllable, right: Syllable) -> None:
    """Let ㅎ go into the sound after it, or vanish."""
    rest = {"ㅎ": "", "ㄶ": "ㄴ", "ㅀ": "ㄹ"}[left.coda]
    if right.onset in _ASPIRATED:
        left.coda, right.onset = rest, _ASPIRATED[right.onset]
    elif right.onset == "ㅅ":
        left.coda, right.onset = rest, "ㅆ"
    elif right.onset == _SILENT:
        left.coda = rest
        _link(left, right)
    else:
        left.coda = rest or ("ㄴ" if right.onset == "ㄴ" else "ㄷ")


def _link(left: Syllable, right: Syllable) -> None:
    """Move a coda, or the second half of one, to a vowel."""
    if left.coda in _CLUSTERS:
        stays, moves = _CLUSTERS[left.coda]
        left.coda, right.onset = stays, "ㅆ" if moves == "ㅅ" else moves
    elif left.coda and left.coda != "ㅇ":
        left.coda, right.onset = "", left.coda


def _assimilate(left: Syllable, right: Syllable) -> None:
    """Make onsets tense after stops, stops nasal before nasals, and ㄴ and ㄹ alike."""
    tensing = left.coda in {"ㄵ", "ㄼ", "ㄾ"}
    if left.coda == "ㄺ" and right.onset == "ㄱ":
        left.coda, right.onset = "ㄹ", "ㄲ"
    left.coda = _NEUTRAL.get(left.coda, left.coda)
    if left.coda in _NASAL or tensing:
        right.onset = _TENSE.get(right.onset, right.onset)
    if right.onset == "ㄹ" and left.coda in {*_NASAL, "ㅁ", "ㅇ"}:
        right.onset = "ㄴ"
    if right.onset in {"ㄴ", "ㅁ"}:
        left.coda = _NASAL.get(left.coda, left.coda)
    if (left.coda, right.onset) in {("ㄴ", "ㄹ"), ("ㄹ", "ㄴ")}:
        left.coda = right.onset = "ㄹ"


def _shade_vowel(syllable: Syllable, *, first: bool) -> None:
    """Drop glides that are written and not said."""
    if syllable.onset in {"ㅈ", "ㅉ", "ㅊ"}:
        syllable.vowel = {"ㅕ": "ㅓ", "ㅑ": "ㅏ", "ㅛ": "ㅗ", "ㅠ": "ㅜ", "ㅖ": "ㅔ", "ㅒ": "ㅐ"}.get(
            syllable.vowel, syllable.vowel
        )
    elif syllable.vowel == "ㅢ" and not (first and syllable.onset == _SILENT):
        syllable.vowel = "ㅣ"
    elif syllable.vowel == "ㅖ" and syllable.onset not in {_SILENT, "ㄹ"}:
        syllable.vowel = "ㅔ"


def _is_syllable(character: str) -> bool:
    """Tell a syllable of Hangul."""
    return _FIRST <= ord(character) <= _LAST


def _is_silent(character: str) -> bool:
    """Tell punctuation, spaces and signs."""
    return unicodedata.category(character)[0] in "PZSC"
