"""From a corpus to what is trained on and aligned: words, pronunciations, features, and what went wrong."""

import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from hmm_speech import (
    Audio,
    AudioError,
    Lexicon,
    Problem,
    TextError,
    UnknownWordError,
    Utterance,
    load_audio,
    normalize_text,
)

from ._config import AlignerConfig
from ._features import Extractor, FeatureExtractor, FeatureStore
from ._graph import Pronunciation
from ._journal import Record
from ._pool import Pool
from ._refine import per_frame, spectral_change

Progress = Callable[[str, int, int], None]

# A recording whose loudest sample is softer than this holds nothing to align.
_SILENT = 1e-3  # of full scale: -60 dB
# Of a steady sound, pieces of so many seconds differ in power by no more than this factor: noise keeps well
# below, and speech is far above as soon as it has a stop or a pause.
_PIECE, _STEADY = 0.05, 4.0


class Prepared(NamedTuple):
    """An utterance that can be read: its words, their pronunciations, its features."""

    id: str
    words: tuple[str, ...]
    pronunciations: tuple[tuple[Pronunciation, ...], ...]
    number: int  # in the feature store
    num_frames: int
    duration: float  # seconds
    is_steady: bool = False  # the recording sounds the same throughout: no speech does


def pronounce(text: str, lexicon: Lexicon) -> tuple[tuple[str, ...], tuple[tuple[Pronunciation, ...], ...]]:
    """Return a transcript's words and their pronunciations; the error names every word that has none."""
    words = tuple(normalize_text(text, lexicon.language))
    if not words:
        raise TextError(text.strip(), "the transcript holds no word")
    pronunciations, unknown = [], []
    for word in words:
        try:
            pronunciations.append(lexicon.pronounce(word))
        except UnknownWordError:
            unknown.append(word)
    if unknown:
        raise UnknownWordError(", ".join(dict.fromkeys(unknown)))
    return words, tuple(pronunciations)


def prepare(
    utterances: Sequence[Utterance],
    lexicon: Lexicon,
    config: AlignerConfig,
    store: FeatureStore,
    progress: Progress | None = None,
    pool: Pool | None = None,
    front_end: Extractor | None = None,
) -> tuple[list[Prepared], list[Problem]]:
    """Read every utterance's text and audio; return those that can be used, and why the others cannot.

    What the store has kept of the same utterances is not read again.
    """
    reasons: dict[str, str] = {}
    spoken: list[tuple[Utterance, tuple[str, ...], tuple[tuple[Pronunciation, ...], ...]]] = []

    def advance(done: int) -> None:
        if progress is not None:
            progress("reading", done, len(utterances))

    for utterance in utterances:
        try:
            spoken.append((utterance, *pronounce(utterance.text, lexicon)))
        except (TextError, UnknownWordError) as error:
            reasons[utterance.id] = str(error)
            advance(len(reasons))
    front_end = front_end or FeatureExtractor(config)
    notes = list(store.resume(_described([item[0] for item in spoken], front_end)))
    rest = [item[0] for item in spoken[len(notes) :]]
    heard = (pool or Pool(1)).map(partial(hear, front_end, config), rest)
    for utterance, sound in zip(rest, heard, strict=True):
        if isinstance(sound, str):
            notes.append({"reason": sound})
        else:
            store.append(torch.cat([sound.features, sound.change], dim=1), utterance.speaker)
            note: Record = {"frames": len(sound.features), "speaker": utterance.speaker}
            notes.append(note | {"duration": sound.duration, "steady": sound.is_steady})
        store.note(notes[-1])
        advance(len(utterances) - len(spoken) + len(notes))
    usable: list[Prepared] = []
    for (utterance, words, pronunciations), note in zip(spoken, notes, strict=True):
        if "reason" in note:
            reasons[utterance.id] = note["reason"]
        else:
            number, frames, duration = len(usable), note["frames"], note["duration"]
            steady = note.get("steady", False)
            usable.append(Prepared(utterance.id, words, pronunciations, number, frames, duration, steady))
    return usable, [Problem(item.id, reasons[item.id]) for item in utterances if item.id in reasons]


def feature_store(
    folder: Path, feature_dim: int, config: AlignerConfig, *, normalize: bool = True
) -> FeatureStore:
    """Return where features are kept, with the changes of the spectrum behind them if they are asked for."""
    others = per_frame(config.sample_rate, config.frame_period) if config.change_weight else 0
    return FeatureStore(folder, feature_dim, normalize=normalize, num_others=others)


class Sound(NamedTuple):
    """What is heard in a recording."""

    features: Tensor  # (T, D)
    change: Tensor  # (T, C), C = 0 if it is not asked for
    duration: float  # seconds
    is_steady: bool


def hear(front_end: Extractor, config: AlignerConfig, utterance: Utterance) -> Sound | str:
    """Return an utterance's features, or why it has none."""
    sample_rate = config.sample_rate
    try:
        audio = load_audio(utterance.audio, sample_rate)
        _check_audible(audio, utterance)
        features = front_end(audio)
        _check_finite(features, audio, utterance)
    except AudioError as error:
        return str(error)
    change = features[:, :0]
    if config.change_weight:
        change = spectral_change(audio).in_frames(len(features), sample_rate, config.frame_period)
    return Sound(features, change, audio.duration, _is_steady(audio))


def _described(utterances: Iterable[Utterance], front_end: Extractor) -> str:
    """Return what identifies the features of these utterances, without reading them."""
    digest = hashlib.sha256(front_end.described.encode())
    for item in utterances:
        try:
            state = item.audio.stat()
            described = (item.id, item.speaker, str(item.audio), state.st_size, state.st_mtime_ns)
        except OSError:
            described = (item.id, item.speaker, str(item.audio), 0, 0)
        digest.update(repr(described).encode())
    return digest.hexdigest()


def _check_audible(audio: Audio, utterance: Utterance) -> None:
    """Refuse a recording in which nothing is to be heard."""
    peak = float(audio.waveform.abs().max())
    if peak < _SILENT:
        level = f"{20 * math.log10(peak):.0f} dB" if peak > 0 else "digital zero"
        raise AudioError(utterance.audio, f"the recording is silent: its peak is {level} of full scale")


def _is_steady(audio: Audio) -> bool:
    """Tell whether a recording sounds the same throughout."""
    slope = audio.waveform.diff()  # leaves little of the rumble that rises and falls in a quiet room
    size = round(_PIECE * audio.sample_rate)
    if len(slope) < size:
        return True
    power = slope[: len(slope) // size * size].view(-1, size).square().mean(1)
    return bool(power.max() <= _STEADY * power.min())


def _check_finite(features: Tensor, audio: Audio, utterance: Utterance) -> None:
    """Refuse samples whose power overflows; one such recording would spoil its speaker's mean."""
    if not torch.isfinite(features).all():
        peak = float(audio.waveform.abs().max())
        raise AudioError(
            utterance.audio, f"the samples are too large: full scale is 1, their peak is {peak:.0e}"
        )


def minibatches(utterances: Iterable[Prepared], batch_frames: int) -> list[list[Prepared]]:
    """Group utterances of like length so that no batch holds more frames, padding included."""
    batches: list[list[Prepared]] = []
    for utterance in sorted(utterances, key=lambda item: (-item.num_frames, item.id)):
        if batches and (len(batches[-1]) + 1) * batches[-1][0].num_frames <= batch_frames:
            batches[-1].append(utterance)
        else:
            batches.append([utterance])
    return batches
