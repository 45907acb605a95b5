"""Mandarin in pinyin, or in characters with an extra, to initials and finals with tones."""

import importlib
import re
import unicodedata
from collections.abc import Callable, Sequence

_INITIALS = ("zh", "ch", "sh", *"bpmfdtnlgkhjqxrzcs")
# What a final consists of: its vowel part and its coda.
_FINALS = {
    "a": "a", "o": "o", "e": "e", "i": "i", "u": "u", "v": "v", "ii": "ii", "er": "er", "ai": "ai",
    "ei": "ei",
    "ao": "ao", "ou": "ou", "an": "a n", "en": "e n", "ang": "a ng", "eng": "e ng", "ong": "o ng",
    "ia": "ia",
    "ie": "ie", "iao": "iao", "iou": "iou", "iu": "iou", "ian": "ie n", "in": "i n", "iang": "ia ng",
    "ing": "i ng", "iong": "y o ng", "ua": "ua", "uo": "uo", "uai": "uai", "ui": "uei", "uei": "uei",
    "uan": "ua n", "un": "ue n", "uen": "ue n", "uang": "ua ng", "ve": "ve", "ue": "ve", "van": "yu a n",
    "vn": "v n", "io": "y o",
}  # fmt: skip
# Syllables that begin with y or w: a glide before the rest, none before the vowel it would repeat.
_WITHOUT_INITIAL = {
    "yi": "i", "yin": "i n", "ying": "i ng", "wu": "u", "yu": "v", "yun": "v n", "yue": "yu e",
    "yuan": "yu a n",
    "ya": "y a", "yo": "y o", "ye": "y e", "yai": "y ai", "yao": "y ao", "you": "y ou", "yan": "y e n",
    "yang": "y a ng", "yong": "y o ng", "wa": "w a", "wo": "w o", "wai": "w ai", "wei": "w ei",
    "wan": "w a n",
    "wen": "w e n", "wang": "w a ng", "weng": "w e ng",
}  # fmt: skip
_INTERJECTIONS = {"m": "m", "n": "n", "ng": "ng", "hm": "h m", "hng": "h ng"}
_APICAL = frozenset({"zh", "ch", "sh", "r", "z", "c", "s"})
_TONE_OF_MARK = {"\u0304": "1", "\u0301": "2", "\u030c": "3", "\u0300": "4"}
_WRITTEN = frozenset("abcdefghijklmnopqrstuvwxyz012345\u0308").union(_TONE_OF_MARK)
_SUPERSCRIPTS = {"1": "¹", "2": "²", "3": "³", "4": "⁴"}
_CONSONANTS = frozenset({*_INITIALS, "y", "w", "yu", "n", "ng"})
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_DIGITS = ("ling2", "yi1", "er4", "san1", "si4", "wu3", "liu4", "qi1", "ba1", "jiu3")
_NUMBER = re.compile(r"(?<![a-zü:])\d+(?:,\d{3})*(?:\.\d+)?(?![a-z])")


def words(text: str, refuse: Callable[[str, str], Exception]) -> list[str]:
    """Split a text into words of pinyin with tone numbers; characters need the extra."""
    found: list[str] = []
    for token in _NUMBER.sub(
        lambda m: f" {_read_number(m[0])} ", unicodedata.normalize("NFKC", text)
    ).split():
        if _HAN.search(token):
            token = _from_characters(token)  # noqa: PLW2901 - the rest is the same for both
        for character in unicodedata.normalize("NFD", token.lower()):
            if not (character in _WRITTEN or _is_silent(character)):
                raise refuse(token, character)
        pieces = "".join(" " if _is_silent(c) and c not in "':" else c for c in token.lower()).split()
        found += [marked for piece in pieces if (marked := number_tones(piece).replace("'", "").strip(":"))]
    return found


def number_tones(word: str) -> str:
    """Turn tone marks into numbers after the syllable, ü into v, and 0 into 5.

    >>> number_tones("nǐhǎo"), number_tones("lǜ"), number_tones("tian1qi4")
    ('ni3hao3', 'lv4', 'tian1qi4')
    """
    plain = unicodedata.normalize("NFD", word).replace("u:", "v").replace("u\u0308", "v").replace("0", "5")
    if not any(mark in plain for mark in _TONE_OF_MARK):
        return unicodedata.normalize("NFC", plain)
    if "'" in plain:
        return "'".join(number_tones(piece) for piece in plain.split("'"))
    found = []
    for syllable in _split_marked(plain):
        tone = next((_TONE_OF_MARK[c] for c in syllable if c in _TONE_OF_MARK), "")
        letters = "".join(c for c in syllable if c not in _TONE_OF_MARK).replace("u\u0308", "v")
        found.append(letters + (tone or ("5" if letters.isalpha() else "")))
    return unicodedata.normalize("NFC", "".join(found))


def _split_marked(word: str) -> list[str]:
    """Split a word with tone marks, in NFD, into syllables, the longest first."""
    marks = "".join(_TONE_OF_MARK)
    # A mark, or that of ü, may follow any letter.
    bare = re.sub(f"[{marks}]", "", word)
    sizes = _syllable_sizes(bare)
    found, rest = [], word
    for size in sizes:
        taken = 0
        for position, character in enumerate(rest):
            if character not in marks:
                if taken == size:
                    found.append(rest[:position])
                    rest = rest[position:]
                    break
                taken += 1
        else:
            found.append(rest)
            rest = ""
    return found + ([rest] if rest else [])


def _syllable_sizes(letters: str) -> list[int]:
    """Return the lengths of the syllables of a word without tones; the whole word if it is no pinyin."""
    best: list[list[int] | None] = [[]]
    for end in range(1, len(letters) + 1):
        candidates = [
            [*before, end - start]
            for start in range(max(0, end - 6), end)
            if (before := best[start]) is not None
            and (_syllable(letters[start:end]) or not letters[start:end].isalpha())
            # "xian", not "xi'an"; "fangan" is "fan'gan": a syllable starts with a consonant if it can.
        ]
        best.append(
            min(candidates, key=lambda sizes: (len(sizes), _vowel_starts(letters, sizes)), default=None)
        )
    return best[-1] or [len(letters)]


def _vowel_starts(letters: str, sizes: Sequence[int]) -> int:
    """Count the syllables inside a word that start with a vowel."""
    starts = [sum(sizes[:number]) for number in range(1, len(sizes))]
    return sum(letters[start] in "aeiouv" for start in starts)


def phones(word: str) -> list[list[str]]:
    """Return the phones of a word of pinyin, a tone after each vowel; none if it is no pinyin."""
    found: list[str] = []
    for match in re.finditer(r"([a-zü':]+)([0-5]?)", number_tones(word)):
        letters = match[1].replace("'", "")
        start = 0
        sizes = _syllable_sizes(letters)
        for number, size in enumerate(sizes):
            syllable = _syllable(letters[start : start + size])
            if not syllable:
                return []
            tone = _SUPERSCRIPTS.get(match[2], "") if number == len(sizes) - 1 else ""
            found += [phone if phone in _CONSONANTS else phone + tone for phone in syllable]
            start += size
    return [found] if found else []


def _syllable(letters: str) -> list[str]:
    """Return the phones of a syllable without its tone; none if there is no such syllable."""
    if letters in _WITHOUT_INITIAL:
        return _WITHOUT_INITIAL[letters].split()
    if letters in _INTERJECTIONS:
        return _INTERJECTIONS[letters].split()
    erhua = letters.endswith("r") and letters not in {"er", "r"}
    body = letters[:-1] if erhua else letters
    initial = next((item for item in _INITIALS if body.startswith(item)), "")
    final = body[len(initial) :]
    if initial in {"j", "q", "x"} and final.startswith("u"):
        final = f"v{final[1:]}"
    if initial in _APICAL and final == "i":
        final = "ii"
    if not initial and (final.startswith(("i", "u", "v")) or final == "ong"):
        return []
    if final not in _FINALS or (final == "ue" and initial not in {"n", "l"}):
        return []
    return [*([initial] if initial else []), *_FINALS[final].split(), *(["er"] if erhua else [])]


def _read_number(digits: str) -> str:
    """Read a number in pinyin."""
    whole, _, decimals = digits.replace(",", "").partition(".")
    spoken = _read_whole(whole) if len(whole) <= 8 and not (whole[0] == "0" and len(whole) > 1) else [
        _DIGITS[int(digit)] for digit in whole
    ]  # fmt: skip
    if decimals:
        spoken += ["dian3", *(_DIGITS[int(digit)] for digit in decimals)]
    return " ".join(spoken)


def _read_whole(digits: str) -> list[str]:
    """Read up to eight digits as a cardinal."""
    number = int(digits)
    if number >= 10_000:
        rest = number % 10_000
        low = [] if not rest else (["ling2"] if rest < 1000 else []) + _read_whole(str(rest))
        return [*_read_whole(str(number // 10_000)), "wan4", *low]
    if 10 <= number < 20:
        return ["shi2", *([_DIGITS[number - 10]] if number > 10 else [])]
    spoken: list[str] = []
    gap = False
    for power, unit in ((1000, "qian1"), (100, "bai3"), (10, "shi2"), (1, "")):
        digit = number // power % 10
        if digit:
            spoken += (["ling2"] if gap else []) + [_DIGITS[digit], *([unit] if unit else [])]
            gap = False
        else:
            gap = bool(spoken)
    return spoken or [_DIGITS[0]]


def _from_characters(token: str) -> str:
    """Read Chinese characters, word by word, with tone sandhi."""
    try:
        pypinyin = importlib.import_module("pypinyin")
    except ModuleNotFoundError as error:
        raise ImportError(
            'Chinese characters need pypinyin, which is an extra: pip install "hmm-speech[cmn]"',
            name="pypinyin",
        ) from error
    syllables = pypinyin.lazy_pinyin(
        token, style=pypinyin.Style.TONE3, neutral_tone_with_five=True, tone_sandhi=True, v_to_u=False
    )
    return " ".join(syllables)


def _is_silent(character: str) -> bool:
    """Tell punctuation, spaces and signs."""
    return unicodedata.category(character)[0] in "PZSC"
