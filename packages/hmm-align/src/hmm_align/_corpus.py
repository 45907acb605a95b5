"""From a corpus to what is trained on and aligned: words, pronunciations, features, and what went wrong."""

import math
from collections.abc import Callable, Iterable, Sequence
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
from ._features import FeatureExtractor, FeatureStore
from ._graph import Pronunciation

Progress = Callable[[str, int, int], None]

# A recording whose loudest sample is softer than this holds nothing to align.
_SILENT = 1e-3  # of full scale: -60 dB


class Prepared(NamedTuple):
    """An utterance that can be read: its words, their pronunciations, its features."""

    id: str
    words: tuple[str, ...]
    pronunciations: tuple[tuple[Pronunciation, ...], ...]
    number: int  # in the feature store
    num_frames: int
    duration: float  # seconds


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
    extract: Callable[[Audio], Tensor] | None = None,
) -> tuple[list[Prepared], list[Problem]]:
    """Read every utterance's text and audio; return those that can be used, and why the others cannot."""
    extract = extract or FeatureExtractor(config)
    usable: list[Prepared] = []
    problems: list[Problem] = []
    for done, utterance in enumerate(utterances, start=1):
        try:
            words, pronunciations = pronounce(utterance.text, lexicon)
            audio = load_audio(utterance.audio, config.sample_rate)
            _check_audible(audio, utterance)
            features = extract(audio)
            _check_finite(features, audio, utterance)
        except (AudioError, TextError, UnknownWordError) as error:
            problems.append(Problem(utterance.id, str(error)))
        else:
            number = store.append(features, utterance.speaker)
            usable.append(
                Prepared(utterance.id, words, pronunciations, number, len(features), audio.duration)
            )
        if progress is not None:
            progress("reading", done, len(utterances))
    return usable, problems


def _check_audible(audio: Audio, utterance: Utterance) -> None:
    """Refuse a recording in which nothing is to be heard."""
    peak = float(audio.waveform.abs().max())
    if peak < _SILENT:
        level = f"{20 * math.log10(peak):.0f} dB" if peak > 0 else "digital zero"
        raise AudioError(utterance.audio, f"the recording is silent: its peak is {level} of full scale")


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
