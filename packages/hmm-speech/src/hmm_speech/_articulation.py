"""How the sounds of the IPA are made, as numbers: what makes phones of different languages comparable."""

# ruff: noqa: RUF001, RUF002 - the letters of the IPA look like those of other alphabets

import math
import unicodedata
from functools import cache
from typing import NamedTuple


class Articulation(NamedTuple):
    """How a sound is made, each from 0 (not at all) to 1 (fully).

    Parameters
    ----------
    syllabic, sonorant, continuant, strident, nasal, lateral, rhotic, voiced : float
        Manner: whether it carries a syllable, rings, lets air through the mouth, hisses, and so on.
    affricate, aspirated, tense : float
        How a stop is released, and whether the larynx is tense (the Korean fortis).
    place : float
        Of the narrowest point: 0 the lips, 1 the glottis.
    rounded : float
        The lips.
    height, backness : float
        The body of the tongue: 0 close and front (as in [i]), 1 open, 1 back.
    long : float
        Whether length is marked.

    Examples
    --------
    >>> sound = articulation("u")
    >>> sound.syllabic, sound.rounded, sound.height, sound.backness
    (1.0, 1.0, 0.0, 1.0)
    """

    syllabic: float
    sonorant: float
    continuant: float
    strident: float
    nasal: float
    lateral: float
    rhotic: float
    voiced: float
    affricate: float
    aspirated: float
    tense: float
    place: float
    rounded: float
    height: float
    backness: float
    long: float


# How much a difference counts: manner above place, place above the shades.
_WEIGHTS = Articulation(
    syllabic=3.0, sonorant=2.0, continuant=2.0, strident=2.0, nasal=2.0, lateral=1.0, rhotic=1.0, voiced=1.0,
    affricate=1.5, aspirated=0.5, tense=0.5, place=3.0, rounded=1.0, height=2.0, backness=2.0, long=0.3,
)  # fmt: skip

_PLACES = {
    "bilabial": 0.0, "labiodental": 0.05, "dental": 0.2, "alveolar": 0.25, "postalveolar": 0.4,
    "retroflex": 0.4, "alveolopalatal": 0.42, "palatal": 0.45, "velar": 0.7, "uvular": 0.8, "glottal": 1.0,
}  # fmt: skip
_NEUTRAL = 0.5  # of a tongue body that a consonant leaves free
_TONGUE = {"alveolopalatal": (0.1, 0.1), "palatal": (0.0, 0.0), "velar": (0.2, 1.0), "uvular": (0.5, 1.0)}

# Voiceless and voiced letters of each place, "." where there is none.
_OBSTRUENTS = {
    "stop": {
        "bilabial": "p b", "alveolar": "t d", "retroflex": "ʈ ɖ", "palatal": "c ɟ", "velar": "k ɡ",
        "uvular": "q ɢ", "glottal": "ʔ .",
    },
    "fricative": {
        "bilabial": "ɸ β", "labiodental": "f v", "dental": "θ ð", "palatal": "ç ʝ", "velar": "x ɣ",
        "uvular": "χ ʁ", "glottal": "h ɦ", "alveolar": "ɬ ɮ",
    },
    "sibilant": {"alveolar": "s z", "postalveolar": "ʃ ʒ", "retroflex": "ʂ ʐ", "alveolopalatal": "ɕ ʑ"},

    "affricate": {
        "alveolar": "ts dz", "postalveolar": "tʃ dʒ", "retroflex": "ʈʂ ɖʐ", "alveolopalatal": "tɕ dʑ",
    },
}  # fmt: skip
_NASALS = {
    "m": "bilabial", "ɱ": "labiodental", "n": "alveolar", "ɳ": "retroflex", "ɲ": "palatal", "ŋ": "velar",
    "ɴ": "uvular",
}  # fmt: skip
_RHOTICS = {
    "r": "alveolar",
    "ɾ": "alveolar",
    "ɽ": "retroflex",
    "ɹ": "postalveolar",
    "ɻ": "retroflex",
    "ʀ": "uvular",
}
_LATERALS = {"l": "alveolar", "ɭ": "retroflex", "ʎ": "palatal", "ɫ": "alveolar"}
_GLIDES = {"j": ("palatal", 0.0, 0.0, 0.0), "ɥ": ("palatal", 1.0, 0.0, 0.0), "w": ("velar", 1.0, 0.0, 1.0),
           "ɰ": ("velar", 0.0, 0.0, 1.0), "ʋ": ("labiodental", 0.5, 0.3, 0.5)}  # fmt: skip
# Height, backness, rounding.
_VOWELS = {
    "i": (0.0, 0.0, 0), "y": (0.0, 0.0, 1), "ɨ": (0.0, 0.5, 0), "ᵻ": (0.1, 0.4, 0), "ʉ": (0.0, 0.5, 1),
    "ɯ": (0.0, 1.0, 0), "u": (0.0, 1.0, 1), "ɪ": (0.2, 0.2, 0), "ʏ": (0.2, 0.2, 1), "ʊ": (0.2, 0.8, 1),
    "e": (0.35, 0.0, 0), "ø": (0.35, 0.0, 1), "ɘ": (0.35, 0.5, 0), "ɵ": (0.35, 0.5, 1), "ɤ": (0.35, 1.0, 0),
    "o": (0.35, 1.0, 1), "ə": (0.5, 0.5, 0), "ɚ": (0.5, 0.5, 0), "ɛ": (0.65, 0.0, 0), "œ": (0.65, 0.0, 1),
    "ɜ": (0.65, 0.5, 0), "ɝ": (0.65, 0.5, 0), "ɞ": (0.65, 0.5, 1), "ʌ": (0.65, 0.8, 0), "ɔ": (0.65, 1.0, 1),
    "æ": (0.85, 0.1, 0), "ɐ": (0.85, 0.5, 0), "a": (1.0, 0.3, 0), "ɶ": (1.0, 0.1, 1), "ɑ": (1.0, 1.0, 0),
    "ɒ": (1.0, 1.0, 1),
}  # fmt: skip
_CHANGES = {
    "ʰ": {"aspirated": 1.0},
    "ʱ": {"aspirated": 1.0},
    "\u0348": {"tense": 1.0},
    "ʼ": {"tense": 1.0},
    "ː": {"long": 1.0},
    "ʲ": {"height": 0.3, "backness": 0.3},
    "ʷ": {"rounded": 1.0},
    "\u0303": {"nasal": 1.0},
    "\u0325": {"voiced": 0.0},
    "\u030a": {"voiced": 0.0},
    "\u032c": {"voiced": 1.0},
    "\u0329": {"syllabic": 1.0},
    "\u032f": {"syllabic": 0.0},
    "˞": {"rhotic": 1.0},
}
# Shades that are not told apart: unreleased, raised, lowered, advanced, centred, compressed, ties.
_IGNORED = frozenset("\u031a\u031d\u031e\u031f\u0320\u0308\u033d\u031c\u0339\u0361\u035c\u032a\u033b\u033aᵝˑ")


def articulation(ipa: str) -> Articulation:
    """Describe a sound of the IPA by how it is made.

    Parameters
    ----------
    ipa : str
        A letter with its diacritics, an affricate (with or without tie), or several sounds in a row, such as
        a diphthong, which are averaged. Stress and tone marks do not count.

    Returns
    -------
    Articulation
        A row of numbers from 0 to 1.

    Raises
    ------
    ValueError
        If there is no sound, or a character is not of the IPA.

    Examples
    --------
    >>> articulation("kʰ").aspirated, articulation("aɪ").height
    (1.0, 0.6)
    """
    sounds = _sounds(ipa)
    columns = zip(*(sound for _, sound in sounds), strict=True)
    return Articulation(*(round(sum(column) / len(sounds), 6) for column in columns))


def articulatory_class(ipa: str) -> str:
    """Name the manner class of a sound of the IPA.

    Parameters
    ----------
    ipa : str
        As for :func:`articulation`. Among several sounds in a row a vowel decides, else the first.

    Returns
    -------
    str
        ``"vowel"``, ``"glide"``, ``"liquid"``, ``"nasal"``, ``"stop"``, ``"affricate"``, ``"sibilant"`` or
        ``"fricative"`` (one that does not hiss).

    Raises
    ------
    ValueError
        As for :func:`articulation`.

    Examples
    --------
    >>> [articulatory_class(ipa) for ipa in ("oːɹ", "tɕʰ", "χ", "ʃ")]
    ['vowel', 'affricate', 'fricative', 'sibilant']
    """
    kinds = [kind for kind, _ in _sounds(ipa)]
    return "vowel" if "vowel" in kinds else kinds[0]


def articulatory_distance(a: str, b: str) -> float:
    """Measure how differently two sounds of the IPA are made.

    Parameters
    ----------
    a, b : str
        As for :func:`articulation`.

    Returns
    -------
    float
        0 if nothing that is described differs; manner weighs more than place, place more than shades. Of
        several sounds in a row the first and the last are compared.

    Raises
    ------
    ValueError
        As for :func:`articulation`.

    Examples
    --------
    >>> articulatory_distance("t", "d") < articulatory_distance("t", "s") < articulatory_distance("t", "a")
    True
    """
    (first, last), (other_first, other_last) = _ends(a), _ends(b)
    return math.hypot(math.dist(first, other_first), math.dist(last, other_last)) / math.sqrt(2.0)


@cache
def _ends(ipa: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the first and the last of the sounds, weighted: what distances are measured between."""
    sounds = _sounds(ipa)
    first, last = (
        tuple(weight * value for weight, value in zip(_WEIGHTS, sound, strict=True))
        for _, sound in (sounds[0], sounds[-1])
    )
    return first, last


@cache
def _sounds(ipa: str) -> tuple[tuple[str, Articulation], ...]:
    """Split a transcription into sounds, each with its class."""
    letters = _letters()
    found: list[tuple[str, Articulation]] = []
    rest = "".join(c for c in unicodedata.normalize("NFD", ipa).replace("g", "ɡ") if c not in _IGNORED)
    rest = rest.replace("c\u0327", "ç").strip("ˈˌ˥˦˧˨˩")
    while rest:
        letter = rest[:2] if rest[:2] in letters else rest[:1]
        if letter in letters:
            found.append(letters[letter])
        elif letter in _CHANGES and found:
            kind, sound = found[-1]
            found[-1] = (kind, sound._replace(**_CHANGES[letter]))
        else:
            raise ValueError(f"ipa must be written in letters of the IPA; got {letter!r} in {ipa!r}")
        rest = rest[len(letter) :]
    if not found:
        raise ValueError(f"ipa must hold a sound; got {ipa!r}")
    return tuple(found)


@cache
def _letters() -> dict[str, tuple[str, Articulation]]:
    """Return every letter's class and articulation."""
    blank = Articulation(*[0.0] * len(Articulation._fields))
    letters: dict[str, tuple[str, Articulation]] = {}
    for kind, places in _OBSTRUENTS.items():
        for place, pair in places.items():
            for voiced, letter in enumerate(pair.split()):
                height, backness = _TONGUE.get(place, (_NEUTRAL, _NEUTRAL))
                letters[letter] = (
                    kind,
                    blank._replace(
                        continuant=float(kind in {"fricative", "sibilant"}),
                        strident=float(kind in {"sibilant", "affricate"}),
                        affricate=float(kind == "affricate"),
                        lateral=float(letter in {"ɬ", "ɮ"}),
                        voiced=float(voiced),
                        place=_PLACES[place],
                        height=height,
                        backness=backness,
                    ),
                )
    del letters["."]
    ringing = blank._replace(sonorant=1.0, voiced=1.0, height=_NEUTRAL, backness=_NEUTRAL)
    for letter, place in _NASALS.items():
        letters[letter] = "nasal", ringing._replace(nasal=1.0, place=_PLACES[place])
    for letter, place in _RHOTICS.items():
        flap = letter in {"ɾ", "ɽ"}
        letters[letter] = (
            "liquid",
            ringing._replace(rhotic=1.0, continuant=0.5 if flap else 1.0, place=_PLACES[place]),
        )
    for letter, place in _LATERALS.items():
        back = 1.0 if letter == "ɫ" else _NEUTRAL
        letters[letter] = (
            "liquid",
            ringing._replace(lateral=1.0, continuant=1.0, place=_PLACES[place], backness=back),
        )
    for letter, (at, rounded, height, backness) in _GLIDES.items():
        letters[letter] = (
            "glide",
            ringing._replace(
                continuant=1.0, place=_PLACES[at], rounded=rounded, height=height, backness=backness
            ),
        )
    for letter, (height, backness, round_lips) in _VOWELS.items():
        point = _PLACES["palatal"] + backness * (_PLACES["velar"] - _PLACES["palatal"])
        letters[letter] = "vowel", ringing._replace(
            syllabic=1.0, continuant=1.0, place=point, rounded=float(round_lips), height=height,
            backness=backness, rhotic=float(letter in {"ɚ", "ɝ"}),
        )  # fmt: skip
    return letters
