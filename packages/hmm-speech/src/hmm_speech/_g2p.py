"""Pronunciations of unlisted English words, from the letter-to-sound rules of eSpeak NG."""

# ruff: noqa: RUF001 - the letters of the IPA look like those of other alphabets

import ctypes
import importlib
import re
from functools import lru_cache
from threading import Lock
from typing import NoReturn

_VOWELS = {
    "i": "IY", "iː": "IY", "ɪ": "IH", "ᵻ": "IH", "eɪ": "EY", "ɛ": "EH", "e": "EH", "eː": "EY",
    "æ": "AE", "a": "AE", "aː": "AE", "ɑ": "AA", "ɑː": "AA", "ɔ": "AO", "ɔː": "AO", "o": "OW",
    "oː": "AO", "oʊ": "OW", "ʊ": "UH", "u": "UW", "uː": "UW", "ʌ": "AH", "ə": "AH", "ɐ": "AH",
    "ɜ": "ER", "ɜː": "ER", "ɚ": "ER", "aɪ": "AY", "aʊ": "AW", "ɔɪ": "OY", "iə": "IY AH0",
    "aɪə": "AY AH0", "aɪɚ": "AY ER0", "əl": "AH L", "n̩": "AH N", "ɪɹ": "IH R", "ɛɹ": "EH R",
    "ɑːɹ": "AA R", "ɔːɹ": "AO R", "oːɹ": "AO R", "ʊɹ": "UH R", "ɑ̃": "AA N", "ɔ̃": "AO N",
}  # fmt: skip
_CONSONANTS = {
    "p": "P", "b": "B", "t": "T", "ɾ": "T", "ʔ": "T", "d": "D", "k": "K", "x": "K", "ɡ": "G",
    "tʃ": "CH", "dʒ": "JH", "f": "F", "v": "V", "θ": "TH", "ð": "DH", "s": "S", "z": "Z", "ʃ": "SH",
    "ʒ": "ZH", "h": "HH", "m": "M", "n": "N", "ŋ": "NG", "l": "L", "ɬ": "L", "ɹ": "R", "r": "R",
    "w": "W", "j": "Y",
}  # fmt: skip
_STRESS = {"ˈ": "1", "ˌ": "2"}
_SPELLING = re.compile(r"[a-z']*[a-z][a-z']*")

# Of speak_lib.h: synthesise to a callback, never to a sound card; report errors, never end the process.
_AUDIO_OUTPUT_SYNCHRONOUS, _DONT_EXIT = 0x02, 0x8000
_UTF8, _IPA_WITH_SEPARATOR = 1, 0x02 | ord("_") << 8
_LOCK = Lock()


class EnglishG2P:
    """American English pronunciations, in ARPABET with stress digits, of words that no dictionary lists.

    Needs the extra ``[g2p]``: eSpeak NG as a library, from the package ``espeakng-loader``; no program, no
    network. eSpeak NG is under the GNU General Public License 3 or later, which nothing else here is; hence
    the extra.

    Raises
    ------
    ImportError
        If the extra is not installed.
    RuntimeError
        If the library cannot load its data, which must lie under a path of fewer than 160 characters.

    Notes
    -----
    Deterministic. On random words of the CMU dictionary, which these rules were not made from, about one
    phone in ten differs, stress aside, mostly in foreign names; ``tests/test_g2p.py`` measures it. The
    library keeps one state per process; calls take turns.

    Examples
    --------
    >>> g2p = EnglishG2P()
    >>> g2p("woodcutters")
    ('W', 'UH1', 'D', 'K', 'AH0', 'T', 'ER0', 'Z')
    >>> from hmm_speech import Lexicon
    >>> Lexicon.english(fallback=g2p).pronounce("woodcutter's")
    (('W', 'UH1', 'D', 'K', 'AH0', 'T', 'ER0', 'Z'),)
    """

    def __init__(self) -> None:
        self._library = _load_library()

    def __call__(self, word: str) -> tuple[str, ...]:
        """Pronounce one word of ``a-z`` and apostrophes; the result is empty if that is not what it is."""
        word = word.lower()
        return _to_arpabet(_to_ipa(self._library, word)) if _SPELLING.fullmatch(word) else ()


@lru_cache(maxsize=1)
def _load_library() -> ctypes.CDLL:
    """Load and start eSpeak NG."""
    try:
        loader = importlib.import_module("espeakng_loader")
    except ModuleNotFoundError as error:
        _raise_missing(error)
    library = ctypes.CDLL(loader.get_library_path())
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int]
    data = loader.get_data_path()
    if library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, data.encode(), _DONT_EXIT) < 0:
        raise RuntimeError(f"eSpeak NG cannot start with its data in {data}")
    _choose_voice(library)
    return library


def _choose_voice(library: ctypes.CDLL) -> None:
    """Speak American English."""
    if library.espeak_SetVoiceByName(b"en-us") != 0:
        raise RuntimeError(
            "eSpeak NG cannot load its voice en-us; the path to its data must be shorter than 160 characters"
        )


def _raise_missing(error: ModuleNotFoundError) -> NoReturn:
    """Name the extra."""
    raise ImportError(
        'EnglishG2P needs eSpeak NG, which is an extra: pip install "hmm-speech[g2p]"', name="espeakng_loader"
    ) from error


def _to_ipa(library: ctypes.CDLL, word: str) -> str:
    """Phonemes of a word in IPA, separated by underscores."""
    with _LOCK:
        # Whoever else uses the library in this process may have chosen another voice.
        _choose_voice(library)
        pointer = ctypes.c_char_p(word.encode())
        phonemes: bytes = library.espeak_TextToPhonemes(ctypes.byref(pointer), _UTF8, _IPA_WITH_SEPARATOR)
    return phonemes.decode()


def _to_arpabet(ipa: str) -> tuple[str, ...]:
    """Translate as the CMU dictionary writes: no R after ER, IY and not IH before a vowel; () if unknown."""
    phones: list[str] = []
    for symbol in re.split(r"[_\s]+", ipa):
        stress = _STRESS.get(symbol[:1], "0")
        bare = symbol.strip("ˈˌ").replace("ʲ", "").replace("ːː", "ː")
        if bare in _VOWELS:
            vowel, *rest = _VOWELS[bare].split()
            if phones and phones[-1] == "IH0":
                phones[-1] = "IY0"
            phones += [vowel + stress, *rest]
        elif bare in _CONSONANTS:
            if bare != "ɹ" or not phones or not phones[-1].startswith("ER"):
                phones.append(_CONSONANTS[bare])
        elif bare:
            return ()
    return tuple(phones)
