"""Speech whose phone times are known: eSpeak NG says a text and tells where each phone begins."""

import ctypes
import re
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hmm_metrics import Interval

VOICE = "en-us"

# The names of the phones of eSpeak's American voice in ARPABET. Where it gives one time to two phones ("o@"
# in "four" is AO and R), their interval bears the first: its start and its end are boundaries, there is none
# inside.
ARPABET = {
    "@": "AH", "@2": "AH", "@L": "AH L", "a#": "AH", "V": "AH",
    "a": "AE", "aa": "AE", "E": "EH", "e@": "EH R", "eI": "EY",
    "I": "IH", "I#": "IH", "I2": "IH", "i": "IY", "i:": "IY", "i@": "IY AH", "i@3": "IH R",
    "0": "AA", "A:": "AA", "A@": "AA R", "O2": "AO", "O:": "AO", "O@": "AO R", "o@": "AO R",
    "3": "ER", "3:": "ER", "U": "UH", "U@": "UH R", "u:": "UW",
    "aI": "AY", "aI@": "AY AH", "aI3": "AY ER", "aU": "AW", "OI": "OY", "oU": "OW",
    "b": "B", "d": "D", "g": "G", "p": "P", "t": "T", "t#": "T", "t2": "T", "k": "K",
    "dZ": "JH", "tS": "CH", "D": "DH", "f": "F", "h": "HH", "s": "S", "S": "SH", "T": "TH", "v": "V",
    "z": "Z", "Z": "ZH", "m": "M", "n": "N", "N": "NG", "j": "Y", "l": "L", "r": "R", "r-": "R", "w": "W",
}  # fmt: skip
_GLIDE = ";"  # the passage from "i:" to a following vowel; no phone of its own
_PAUSE = "_"

_SYNCHRONOUS = 2  # samples go to a callback before the call returns; no audio device is touched
_PHONEME_EVENTS, _DO_NOT_EXIT = 0x0001, 0x8000
_RATE, _PITCH = 1, 3
_CHARACTER, _UTF8 = 1, 1
_END_OF_LIST, _PHONEME = 0, 7


class Speech(NamedTuple):
    """A spoken sentence and its exact times in seconds; pauses are ``""``, and tiers cover everything."""

    samples: NDArray[np.int16]
    sample_rate: int
    words: tuple[Interval, ...]
    phones: tuple[Interval, ...]


class PhoneEvent(NamedTuple):
    """A phone as eSpeak announces it: its name, first sample, and the place of its word in the text."""

    name: str
    sample: int
    position: int


class _Identifier(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Identifier),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


def speak(text: str, words_per_minute: int = 165, pitch: int = 50) -> Speech:
    """Say an English sentence.

    Parameters
    ----------
    text : str
        A sentence of plain words.
    words_per_minute : int
        80 to 450.
    pitch : int
        0 to 100.

    Returns
    -------
    Speech
        Phones in ARPABET without stress.

    Raises
    ------
    ImportError
        If the extra is not installed.
    RuntimeError
        If eSpeak NG refuses.

    Notes
    -----
    eSpeak announces a phone after the pause that it makes before it, the closure of a stop above all. The
    pause is silence to the last bit, so that the phone's own beginning is the beginning of those zeros. Its
    library keeps one global state: not for several threads, and a sentence sounds minutely different after
    others.
    """
    library, sample_rate = start_engine()
    chunks: list[bytes] = []
    events: list[PhoneEvent] = []

    def receive(
        samples: "ctypes._Pointer[ctypes.c_short]", count: int, event: "ctypes._Pointer[_Event]"
    ) -> int:
        """Keep what eSpeak has made so far; 0 asks for more."""
        if count > 0:
            chunks.append(ctypes.string_at(samples, 2 * count))
        index = 0
        while event[index].type != _END_OF_LIST:
            if event[index].type == _PHONEME:
                name = event[index].id.string.decode("ascii").lstrip("',=%")
                events.append(PhoneEvent(name, event[index].sample, event[index].text_position))
            index += 1
        return 0

    callback = _Callback(receive)  # must live as long as eSpeak may call it
    library.espeak_SetSynthCallback(callback)
    library.espeak_SetParameter(_RATE, words_per_minute, 0)
    library.espeak_SetParameter(_PITCH, pitch, 0)
    # eSpeak has entries for pairs such as "of the"; a space that does not break keeps words apart.
    encoded = text.replace(" ", "\N{NO-BREAK SPACE}").encode() + b"\0"
    status = library.espeak_Synth(encoded, len(encoded), 0, _CHARACTER, 0, _UTF8, None, None)
    if status != 0 or library.espeak_Synchronize() != 0:
        raise RuntimeError(f"eSpeak NG did not say {text!r}; status {status}")
    samples = np.frombuffer(b"".join(chunks), dtype=np.int16)
    words, phones = tiers(text, samples, events, sample_rate)
    return Speech(samples, sample_rate, words, phones)


def tiers(
    text: str, samples: NDArray[np.int16], events: Sequence[PhoneEvent], sample_rate: int
) -> tuple[tuple[Interval, ...], tuple[Interval, ...]]:
    """Turn eSpeak's announcements into word and phone intervals that cover the sound."""
    written = {match.start() + 1: match[0].lower() for match in re.finditer(r"[A-Za-z']+", text)}
    # (first sample, phone, place of the word; 0 in a pause)
    marks: list[tuple[int, str, int]] = [(0, "", 0)]
    before = PhoneEvent(_PAUSE, 0, 0)
    for event in events:
        if event.name.startswith(_PAUSE):
            marks.append((event.sample, "", 0))
        elif event.name != _GLIDE:
            if event.name not in ARPABET:
                raise ValueError(
                    f"ARPABET must name every phone of the voice; {event.name!r} in {text!r} is new"
                )
            gap = samples[before.sample : event.sample]
            silent = 0 if before.name.startswith(_PAUSE) else len(gap) - _last_sound(gap)
            marks.append((event.sample - silent, ARPABET[event.name].split()[0], event.position))
        before = event
    # What lasts less than a millisecond is no pause, or a phone that eSpeak plays inside the vowel before it.
    shortest = sample_rate / 1000
    kept = [
        mark
        for mark, after in zip(marks, [*marks[1:], (len(samples), "", 0)], strict=True)
        if after[0] - mark[0] >= shortest
    ]
    words: list[Interval] = []
    phones: list[Interval] = []
    ends = [mark[0] for mark in kept[1:]] + [len(samples)]
    last_position = -1
    for (first, phone, position), last in zip(kept, ends, strict=True):
        start, end = first / sample_rate, last / sample_rate
        if phone == "" and phones and phones[-1].label == "":
            phones[-1] = phones[-1]._replace(end=end)
        else:
            phones.append(Interval(start, end, phone))
        if position == last_position:
            words[-1] = words[-1]._replace(end=end)
        else:
            words.append(Interval(start, end, written[position] if position else ""))
        last_position = position
    return tuple(words), tuple(phones)


def _last_sound(samples: NDArray[np.int16]) -> int:
    """Count the samples up to the last one that is not zero."""
    sounding = np.flatnonzero(samples)
    return int(sounding[-1]) + 1 if sounding.size else 0


@cache
def start_engine() -> tuple[ctypes.CDLL, int]:
    """Load and start eSpeak NG; with it comes the sample rate of its voice."""
    try:
        import espeakng_loader  # noqa: PLC0415 - an extra, needed here only
    except ImportError as error:
        raise ImportError('the demo speaks with eSpeak NG: pip install "pytorch-hmm[demo]"') from error
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    data = espeakng_loader.get_data_path()
    sample_rate = library.espeak_Initialize(_SYNCHRONOUS, 0, data.encode(), _PHONEME_EVENTS | _DO_NOT_EXIT)
    if sample_rate <= 0:
        raise RuntimeError(
            f"eSpeak NG did not start with its data in {data} (it takes at most 160 characters)"
        )
    if library.espeak_SetVoiceByName(VOICE.encode()) != 0:
        raise RuntimeError(f"eSpeak NG has no voice {VOICE} in {data}")
    return library, sample_rate
