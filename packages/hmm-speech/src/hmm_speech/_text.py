"""Written text to the words that are spoken."""

import re
import unicodedata
from functools import partial

from num2words import num2words

from . import _japanese, _korean, _mandarin
from ._phone_set import check_language

# Typographic variants of ASCII punctuation, by code point because they look alike.
_APOSTROPHES = "\u2018\u2019\u201a\u201b\u02bc\u02bb\u2032`\u00b4\uff07"
_HYPHENS = "\u2010\u2011\u2043\u2212\ufe63\uff0d"
_QUOTES = "\u00ab\u00bb\u2039\u203a\u201c\u201d\u201e\u201f\u2033"
_DASHES_AND_DOTS = "\u2012\u2013\u2014\u2015\u2026\u00b7\u2022\u00bf\u00a1"
_SLASHES = "\u2044\u2215"
_FOLD = str.maketrans(
    dict.fromkeys(_APOSTROPHES, "'")
    | dict.fromkeys(_HYPHENS, "-")
    | dict.fromkeys(_QUOTES + _DASHES_AND_DOTS, " ")
    | dict.fromkeys(_SLASHES, "/")
    # Letters that Unicode does not decompose.
    | {
        "ß": "ss",
        "ẞ": "SS",
        "æ": "ae",
        "Æ": "Ae",
        "œ": "oe",
        "Œ": "Oe",
        "ø": "o",
        "Ø": "O",
        "ł": "l",
        "Ł": "L",
    }
    | {"đ": "d", "Đ": "D", "ð": "th", "Ð": "Th", "þ": "th", "Þ": "Th", "\u0131": "i"}
    # Signs that are read out.
    | {"½": " 1/2", "⅓": " 1/3", "⅔": " 2/3", "¼": " 1/4", "¾": " 3/4", "⅛": " 1/8", "⅜": " 3/8", "⅝": " 5/8"}
    | {"⅞": " 7/8", "№": "No. ", "°": " degrees ", "§": " section ", "¢": " cents ", "÷": " divided by "}
    | {"\u00d7": " times "}
)
_READERS = {
    "ko": _korean.words,
    "ko-jamo": _korean.words,
    "ja": _japanese.words,
    "cmn": _mandarin.words,
}
_READABLE = re.compile(r"[ -~£€¥]*")

# Read with or without the full stop.
_SAFE_ABBREVIATIONS = {
    "mr": "mister", "mrs": "missus", "ms": "ms", "messrs": "messrs", "dr": "doctor", "drs": "doctors",
    "jr": "junior", "sr": "senior", "vs": "versus", "etc": "et cetera", "ltd": "limited", "prof": "professor",
    "capt": "captain", "lt": "lieutenant", "sgt": "sergeant", "mss": "manuscripts",
}  # fmt: skip
# Read only when capitalised and followed by the full stop.
_ABBREVIATIONS = {
    "Co": "company", "Hon": "honorable", "Rev": "reverend", "Gen": "general", "Col": "colonel",
    "Maj": "major", "Gov": "governor", "Esq": "esquire", "Inc": "incorporated", "Ft": "fort", "Mt": "mount",
    "Jan": "january", "Feb": "february", "Apr": "april", "Aug": "august", "Sept": "september",
    "Oct": "october", "Nov": "november", "Dec": "december",
}  # fmt: skip
_CURRENCIES = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
    "¥": ("yen", "yen", "sen", "sen"),
}
_SYMBOLS = {"&": " and ", "%": " percent ", "+": " plus ", "=": " equals ", "@": " at ", **{
    symbol: f" {plural} " for symbol, (_, plural, _, _) in _CURRENCIES.items()
}}  # fmt: skip
# Words that begin with an apostrophe in the dictionary; elsewhere it is a quotation mark.
_ELIDED = frozenset({"'bout", "'cause", "'course", "'cuse", "'em", "'kay", "'n", "'til", "'tis", "'twas"})
_ROMAN_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}

_NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d*\.\d+|\d+)"
_AMOUNT = re.compile(
    rf"([$£€¥])\s?({_NUMBER})(?:\s+(hundred|thousand|million|billion|trillion)\b)?", re.IGNORECASE
)
_TIME = re.compile(r"(?<![\d:])([01]?\d|2[0-3]):([0-5]\d)(?![\d:])(\s*[ap]\b)?", re.IGNORECASE)
_FRACTION = re.compile(r"(?:(?<![\d/.,])(\d+)\s+)?(?<![\d/.,])(\d)/(\d\d?)(?![\d/])")
_ORDINAL = re.compile(r"\b(\d{1,3}(?:,\d{3})+|\d{1,15})(?:st|nd|rd|th)\b", re.IGNORECASE)
_DECADE = re.compile(r"(?:\b(1[1-9]\d0|20\d0)|'?\b([2-9]0))'?s\b")
_ROMAN = re.compile(
    r"\b(?:(Chapter|Volume|Act|Scene|War)\s+(I)|"
    r"(Chapter|Volume|Act|Scene|War|Book|Part|Section|Article|Psalm|Canto)\s+([IVXLC]{2,}|[VX])|"
    r"(Henry|Edward|George|William|Richard|James|Charles|Louis|Napoleon|Elizabeth|Philip|Frederick|Pius|Leo)"
    r"\s+([IVX]{2,}|V))\b(?!'[^s])"
)
_ROMAN_SHAPE = re.compile(r"C{0,3}(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})")
_WORD = re.compile(r"[a-z']+")


class TextError(ValueError):
    """A part of a text cannot be read.

    Parameters
    ----------
    token : str
        The part, as it stands in the text.
    reason : str
        Why not, in one line.

    Examples
    --------
    >>> print(TextError("안녕", "the character '안' is not read in language 'en'"))
    cannot read '안녕': the character '안' is not read in language 'en'
    """

    def __init__(self, token: str, reason: str) -> None:
        super().__init__(token, reason)
        self.token = token
        self.reason = reason

    def __str__(self) -> str:
        return f"cannot read {self.token!r}: {self.reason}"


def normalize_text(text: str, language: str = "en") -> list[str]:
    """Spell a text out as the lower-case words that a reader says.

    Parameters
    ----------
    text : str
        Written text: numbers, abbreviations and punctuation as they come.
    language : str
        ``"en"`` (American readings), ``"ko"`` or ``"ko-jamo"`` (Korean), ``"ja"`` (Japanese) or ``"cmn"``
        (Mandarin).

    Returns
    -------
    list of str
        Words as :meth:`Lexicon.pronounce` takes them: of ``a-z`` and apostrophes; of Hangul; of kana; of
        pinyin with tone numbers (5 is the neutral tone).

    Raises
    ------
    TextError
        If a character cannot be read in the language (another script, an emoji); it names the token.
    ImportError
        If the text holds kanji or Chinese characters and the extra that reads them, ``[ja]`` or ``[cmn]``, is
        not installed.
    ValueError
        If the language is not supported.

    Notes
    -----
    Korean, Japanese and Mandarin words are divided at spaces and punctuation, kanji and Chinese characters by
    the extra's dictionary; numbers are read out in full, Latin letters in Korean by name.

    What is read out in English, in this order:

    - accents and ligatures go (café, œuvre); dashes, hyphens and other punctuation separate words;
    - abbreviations: Mr., Dr., etc., vs., Ltd., Co., Hon., ...; "St." is saint before a capital and street
      elsewhere; "No." is number before a digit; initials (U.S., e.g.) are letters;
    - Roman numerals, only after words such as Chapter or Henry;
    - money ($3.50, £1, €2 million), times (10:30), fractions (1/2), ordinals (21st), decades (1920s),
      decimals;
    - four digits 1100..2099 without a comma are a year (fourteen fifty five, two thousand five), other
      numbers are cardinals without "and"; numbers with a leading zero or more than 15 digits are read digit
      by digit;
    - ``& % + = @ #5`` and degrees; any other ASCII sign is silent.

    Apostrophes inside words stay (don't, o'clock); at the edges they are quotation marks, except in 'em,
    'tis, 'twas and the like.

    Examples
    --------
    >>> normalize_text("Dr. Smith didn't pay $3.50.")
    ['doctor', 'smith', "didn't", 'pay', 'three', 'dollars', 'fifty', 'cents']
    >>> " ".join(normalize_text("the “lower-case” 2nd edition of 1455"))
    'the lower case second edition of fourteen fifty five'
    >>> normalize_text("3월의 날씨", "ko"), normalize_text("Nǐ hǎo!", "cmn")
    (['삼월의', '날씨'], ['ni3', 'hao3'])
    """
    if check_language(language) != "en":
        return _READERS[language](text, partial(_refusal, language))
    text = " ".join(_fold(token, language) for token in text.split())
    text = _expand_abbreviations(text)
    text = _ROMAN.sub(_read_roman, text)
    text = _expand_numbers(text)
    for symbol, reading in _SYMBOLS.items():
        text = text.replace(symbol, reading)
    words = (_strip_quotes(word) for word in _WORD.findall(text.lower()))
    return [word for word in words if word]


def _refusal(language: str, token: str, character: str) -> TextError:
    """Say which character of a token cannot be read."""
    name = unicodedata.name(character, f"U+{ord(character):04X}")
    return TextError(token, f"the character {character!r} ({name}) is not read in language {language!r}")


def _fold(token: str, language: str) -> str:
    """Reduce a token to ASCII and currency signs, or say which character cannot be."""
    folded = []
    for character in token:
        plain = unicodedata.normalize("NFKD", character.translate(_FOLD)).translate(_FOLD)
        plain = "".join(c for c in plain if unicodedata.category(c) not in {"Mn", "Me", "Cf", "Cc"})
        if not _READABLE.fullmatch(plain):
            raise _refusal(language, token, character)
        folded.append(plain)
    return "".join(folded)


def _expand_abbreviations(text: str) -> str:
    """Spell abbreviations and initials out."""
    text = re.sub(r"(?<=\d)\s?([ap])\.?m\b\.?", r" \1 m ", text, flags=re.IGNORECASE)
    text = re.sub(r"\bnos?\.\s*(?=\d)|#(?=\d)", "number ", text, flags=re.IGNORECASE)
    text = re.sub(r"\bSt\.\s+(?=[A-Z])", "saint ", text)
    text = re.sub(r"\bSt\.(?!\w)", "street", text)
    text = re.sub(
        rf"(?<![\w'])({'|'.join(_ABBREVIATIONS)})\.(?!\w)", lambda m: _ABBREVIATIONS[m[1]] + _gap(m), text
    )
    text = re.sub(
        rf"(?<![\w'])({'|'.join(_SAFE_ABBREVIATIONS)})(?:\.(?!\w)|\b(?!['.]))",
        lambda m: _SAFE_ABBREVIATIONS[m[1].lower()] + _gap(m),
        text,
        flags=re.IGNORECASE,
    )
    text = re.sub(
        r"(?<![\w'.])(?:[A-Za-z]\.){2,}(?![a-z])|(?<![\w'.])(?:[A-Za-z]\.)+[A-Za-z](?![\w'])",
        lambda m: " ".join(m[0].replace(".", "")) + _gap(m),
        text,
    )
    return re.sub(r"(?<=[A-Za-z]{2})\.(?=[a-z]{2})", " dot ", text)


def _gap(match: re.Match[str]) -> str:
    """Space after an expansion, unless a possessive follows (Jr.'s)."""
    return "" if match.string.startswith("'", match.end()) else " "


def _read_roman(match: re.Match[str]) -> str:
    """Turn "Chapter IV" into "Chapter 4" and "Henry VIII" into "Henry the 8th"."""
    heading, king = match[1] or match[3], match[5]
    numeral = match[2] or match[4] or match[6]
    if not _ROMAN_SHAPE.fullmatch(numeral):
        return match[0]
    values = [_ROMAN_VALUES[letter] for letter in numeral]
    number = sum(-v if v < max(values[i:]) else v for i, v in enumerate(values))
    return f"{heading} {_cardinal(str(number))}" if heading else f"{king} the {_ordinal(number)}"


def _expand_numbers(text: str) -> str:
    """Spell every digit out."""
    text = _AMOUNT.sub(_read_amount, text)
    text = _TIME.sub(_read_time, text)
    text = _FRACTION.sub(_read_fraction, text)
    text = _ORDINAL.sub(lambda m: f" {_ordinal(int(m[1].replace(',', '')))} ", text)
    text = _DECADE.sub(lambda m: f" {_plural(_number(m[1] or m[2]))} ", text)
    text = re.sub(r"(?<![\w)\].])-(?=\.?\d)", " minus ", text)
    return re.sub(_NUMBER, lambda m: f" {_number(m[0])} ", text)


def _read_amount(match: re.Match[str]) -> str:
    """Money: "$3.50" has cents, "$2.5 million" and "$1.375" a decimal point."""
    one, many, small_one, small_many = _CURRENCIES[match[1]]
    digits, scale = match[2].replace(",", ""), match[3]
    units, _, cents = digits.partition(".")
    if scale or len(cents) not in {0, 2}:
        return f" {_cardinal(digits)} {scale or ''} {many} "
    parts = []
    if int(units or 0) or not int(cents or 0):
        parts += [_cardinal(units or "0"), one if int(units or 0) == 1 else many]
    if int(cents or 0):
        parts += [_cardinal(str(int(cents))), small_one if int(cents) == 1 else small_many]
    return f" {' '.join(parts)} "


def _read_time(match: re.Match[str]) -> str:
    """Clock times: ten thirty, ten oh five, ten o'clock."""
    hour, minute, half = _cardinal(str(int(match[1]))), int(match[2]), match[3] or ""
    if minute == 0:
        return f" {hour} " + (half or "o'clock ")
    oh = "oh " if minute < 10 else ""
    return f" {hour} {oh}{_cardinal(str(minute))} {half} "


def _read_fraction(match: re.Match[str]) -> str:
    """Proper fractions with a small denominator; others are left to be read number by number."""
    whole, top, bottom = match[1], int(match[2]), int(match[3])
    if not 0 < top < bottom <= 16:
        return match[0]
    name = {2: "half", 4: "quarter"}.get(bottom) or _ordinal(bottom)
    head = f"{_number(whole)} and " if whole else ""
    return f" {head}{_cardinal(str(top))} {name if top == 1 else _plural(name)} "


def _number(digits: str) -> str:
    """Read a number: a year if it looks like one, else a cardinal."""
    if re.fullmatch(r"1[1-9]\d\d|20\d\d", digits):
        return _without_and(num2words(int(digits), to="year"))
    return _cardinal(digits.replace(",", ""))


def _cardinal(digits: str) -> str:
    """Read digits with an optional decimal point."""
    units, point, decimals = digits.partition(".")
    if len(units) > 15 or (len(units) > 1 and units[0] == "0"):
        spoken = " ".join(num2words(int(digit)) for digit in units)
    else:
        spoken = _without_and(num2words(int(units))) if units else ""
    return f"{spoken} point {' '.join(num2words(int(d)) for d in decimals)}" if point else spoken


def _ordinal(number: int) -> str:
    """Read first, second, ..."""
    return _without_and(num2words(number, ordinal=True))


def _without_and(words: str) -> str:
    """Turn num2words' British "two thousand and five" into the American reading."""
    return re.sub(r"\band\b|[-,]", " ", words)


def _plural(words: str) -> str:
    """Pluralise the last word of a number: thirds, eighties."""
    return f"{words[:-1]}ies" if words.endswith("y") else f"{words}s"


def _strip_quotes(word: str) -> str:
    """Remove apostrophes at the edges, which are quotation marks unless the word is a known elision."""
    bare = word.strip("'")
    return f"'{bare}" if word.startswith("'") and f"'{bare}" in _ELIDED else bare
