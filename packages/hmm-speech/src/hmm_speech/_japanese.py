"""Japanese in kana, or with kanji through an extra, to phones."""

import importlib
import re
import unicodedata
from collections.abc import Callable
from functools import cache
from typing import Any

from num2words import num2words

_ROWS = {
    "": "アイウエオ", "k": "カキクケコ", "g": "ガギグゲゴ", "s": "サ.スセソ", "z": "ザ.ズゼゾ",
    "t": "タ..テト", "d": "ダ..デド",
    "n": "ナニヌネノ", "h": "ハヒ.ヘホ", "b": "バビブベボ", "p": "パピプペポ", "m": "マミムメモ",
    "y": "ヤ.ユ.ヨ", "r": "ラリルレロ",
    "w": "ワ...ヲ",
}  # fmt: skip
_KANA = {
    "シ": "sh i", "ジ": "j i", "チ": "ch i", "ヂ": "j i", "ツ": "ts u", "ヅ": "z u", "フ": "f u", "ヲ": "o",
    "ヰ": "i",
    "ヱ": "e", "ヴ": "v u", "ン": "N", "ッ": "cl", "ァ": "a", "ィ": "i", "ゥ": "u", "ェ": "e", "ォ": "o",
    "ャ": "y a", "ュ": "y u", "ョ": "y o", "ヮ": "w a",
}  # fmt: skip
_SMALL = {"ァ": "a", "ィ": "i", "ゥ": "u", "ェ": "e", "ォ": "o"}
_YOON = {"ャ": "a", "ュ": "u", "ョ": "o"}
# Consonants before ya, yu, yo, and before small vowels.
_PALATAL = {"k": "ky", "g": "gy", "n": "ny", "h": "hy", "b": "by", "p": "py", "m": "my", "r": "ry",
            "t": "ty", "d": "dy"}  # fmt: skip
_NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?")
_KANJI = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\u3005]")
_DIGITS = ("ゼロ", "イチ", "ニ", "サン", "ヨン", "ゴ", "ロク", "ナナ", "ハチ", "キュー")
_HUNDREDS = {3: "サンビャク", 6: "ロッピャク", 8: "ハッピャク"}
_THOUSANDS = {3: "サンゼン", 8: "ハッセン"}
# Particles that are not said as they are written.
_PARTICLES = {"ハ": "ワ", "ヘ": "エ", "ヲ": "オ"}


def words(text: str, refuse: Callable[[str, str], Exception]) -> list[str]:
    """Split a text into words of kana; kanji, and words where no space divides them, need the extra."""
    found: list[str] = []
    for token in unicodedata.normalize("NFKC", text).split():
        if _KANJI.search(token):
            found += _from_kanji(token, refuse)
            continue
        spelled = _NUMBER.sub(lambda m: _read_number(m[0]), token)
        for character in spelled:
            if not (_is_kana(character) or _is_silent(character)):
                raise refuse(token, character)
        found += "".join(c if _is_kana(c) else " " for c in spelled).split()
    return found


def phones(word: str) -> list[list[str]]:
    """Return the phones of a word of kana, in variants where the writing leaves a choice; none if it is not.

    A final は or へ may be the particle wa or e; です and ます may lose their u.
    """
    katakana = to_katakana(word)
    if not katakana or not all(_is_kana(character) for character in katakana):
        return []
    spellings = [katakana]
    if katakana[-1] in "ハヘ":
        particle = katakana[:-1] + _PARTICLES[katakana[-1]]
        spellings = [particle, katakana] if len(katakana) > 1 else [katakana, particle]
    variants = [_spell(item) for item in spellings]
    variants += [item[:-1] for item in variants if katakana.endswith(("デス", "マス")) and len(item) > 2]
    return [item for item in variants if item]


def to_katakana(word: str) -> str:
    """Write hiragana as katakana."""
    return "".join(
        chr(ord(c) + 0x60) if "ぁ" <= c <= "ゖ" else c for c in unicodedata.normalize("NFKC", word)
    )


@cache
def _table() -> dict[str, tuple[str, str]]:
    """Return the consonant and the vowel of each kana, either may be empty."""
    table = {
        kana: (consonant, vowel)
        for consonant, row in _ROWS.items()
        for kana, vowel in zip(row, "aiueo", strict=True)
        if kana != "."
    }
    for kana, sounds in _KANA.items():
        consonant, _, vowel = sounds.rpartition(" ")
        table[kana] = (consonant, vowel) if vowel in "aiueo" else (vowel, "")
    return table


def _spell(katakana: str) -> list[str]:
    """Translate kana by kana; small ones change the one before, the long mark repeats its vowel."""
    table = _table()
    found: list[str] = []
    before = ""
    for kana in katakana:
        if kana == "ー":
            found += [found[-1]] if found and found[-1] in {*"aiueo"} else []
        elif kana in _YOON and before and table[before][1] == "i" and table[before][0]:
            consonant = table[before][0]
            found[-2:] = [_PALATAL.get(consonant, consonant), _YOON[kana]]
        elif kana in _YOON and before in {"テ", "デ", "フ", "ヴ"}:
            consonant = {"テ": "ty", "デ": "dy", "フ": "hy", "ヴ": "by"}[before]
            found[-2:] = [consonant, _YOON[kana]]
        elif kana in _SMALL and before and table[before][0] and table[before][1]:
            consonant = "w" if before == "ウ" else table[before][0]
            found[-2:] = [
                _PALATAL.get(consonant, consonant) if table[before][1] == "i" else consonant,
                _SMALL[kana],
            ]
        elif kana in _SMALL and before == "ウ":
            found[-1:] = ["w", _SMALL[kana]]
        else:
            found += [sound for sound in table.get(kana, ("", "")) if sound]
        before = kana
    return _lengthen(found)


def _lengthen(sounds: list[str]) -> list[str]:
    """Say o u as a long o, and e i as a long e."""
    for number in range(1, len(sounds)):
        if (sounds[number - 1], sounds[number]) == ("o", "u"):
            sounds[number] = "o"
        elif (sounds[number - 1], sounds[number]) == ("e", "i"):
            sounds[number] = "e"
    return sounds


def _read_number(digits: str) -> str:
    """Read a number in katakana."""
    whole, _, decimals = digits.replace(",", "").partition(".")
    spoken = _read_whole(int(whole)) if len(whole) <= 8 else "".join(_DIGITS[int(digit)] for digit in whole)
    return spoken + ("テン" + "".join(_DIGITS[int(digit)] for digit in decimals) if decimals else "")


def _read_whole(number: int) -> str:
    """Read a cardinal below a hundred million."""
    if number == 0:
        return _DIGITS[0]
    if number >= 10_000:
        return (
            _read_whole(number // 10_000) + "マン" + (_read_whole(number % 10_000) if number % 10_000 else "")
        )
    thousands, hundreds, tens, ones = (number // power % 10 for power in (1000, 100, 10, 1))
    spoken = ""
    if thousands:
        spoken += _THOUSANDS.get(thousands, (_DIGITS[thousands] if thousands > 1 else "") + "セン")
    if hundreds:
        spoken += _HUNDREDS.get(hundreds, (_DIGITS[hundreds] if hundreds > 1 else "") + "ヒャク")
    if tens:
        spoken += (_DIGITS[tens] if tens > 1 else "") + "ジュー"
    return spoken + (_DIGITS[ones] if ones else "")


def _from_kanji(token: str, refuse: Callable[[str, str], Exception]) -> list[str]:
    """Read a stretch of text with a dictionary; auxiliaries and particles are joined to what they follow."""
    found: list[str] = []
    numerals = _NUMBER.sub(lambda m: str(num2words(m[0].replace(",", ""), lang="ja")), token)
    for morpheme in _tokenizer().tokenize(numerals):
        kind, reading = morpheme.part_of_speech()[0], morpheme.reading_form()
        if kind in {"補助記号", "空白", "記号"}:
            continue
        if not reading or not all(_is_kana(character) for character in reading):
            raise refuse(token, morpheme.surface()[0])
        if kind == "助詞":
            reading = _PARTICLES.get(reading, reading)
        if kind in {"助詞", "助動詞", "接尾辞"} and found:
            found[-1] += reading
        else:
            found.append(reading)
    return found


@cache
def _tokenizer() -> Any:  # noqa: ANN401 - the extra has no type here
    """Load the dictionary once."""
    try:
        return importlib.import_module("sudachipy").Dictionary(dict="small").tokenizer()
    except ModuleNotFoundError as error:
        raise ImportError(
            'kanji need SudachiPy, which is an extra: pip install "hmm-speech[ja]"', name="sudachipy"
        ) from error


def _is_kana(character: str) -> bool:
    """Tell hiragana and katakana, the long mark included."""
    return "ぁ" <= character <= "ゖ" or "ァ" <= character <= "ヴ" or character == "ー"


def _is_silent(character: str) -> bool:
    """Tell punctuation, spaces and signs."""
    return unicodedata.category(character)[0] in "PZSC" or character == "\u30fb"
