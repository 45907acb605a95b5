"""Recordings and transcripts as they come: what is aligned all the same, and what is refused by name."""

import math
import os
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from numpy.typing import NDArray

from hmm_align import Alignment, CorpusAligner, Tiers
from hmm_speech import Corpus, Utterance, read_corpus

RATE = 16_000
SAID = [None, ("masa", 0), ("see", 0), None, ("zoom", 0), ("ash", 0), ("hem", 0), None]


@pytest.fixture(scope="module")
def clean(
    tmp_path_factory: pytest.TempPathFactory, aligner: CorpusAligner, say: Callable[..., Tiers]
) -> tuple[Utterance, NDArray[np.float64], Alignment]:
    """Return an utterance, its samples, and its times."""
    folder = tmp_path_factory.mktemp("clean")
    say(folder, "clean", SAID, seed=5)
    (utterance,) = read_corpus(folder)
    return utterance, soundfile.read(utterance.audio)[0], aligner.align(utterance)


def stereo(samples: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    return np.stack([samples, 0.5 * samples], axis=1), RATE


def telephone(samples: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    return soxr.resample(samples, RATE, 8000), 8000


def studio(samples: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    return soxr.resample(samples, RATE, 96_000), 96_000


def clipped(samples: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    return (6 * samples).clip(-1, 1), RATE


def offset(samples: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    return 0.3 * samples + 0.6, RATE


def too_loud(samples: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    return 1000 * samples, RATE  # kept as floating-point numbers


@pytest.mark.parametrize("change", [stereo, telephone, studio, clipped, offset, too_loud])
def test_what_is_odd_about_a_recording_hardly_moves_its_boundaries(
    tmp_path: Path,
    aligner: CorpusAligner,
    clean: tuple[Utterance, NDArray[np.float64], Alignment],
    change: Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], int]],
) -> None:
    utterance, samples, expected = clean
    path = tmp_path / "odd.wav"
    soundfile.write(path, *change(samples), subtype="FLOAT")
    found = aligner.align(replace(utterance, audio=path))
    assert found.ok, found.reason
    assert found.duration == pytest.approx(expected.duration, abs=1e-3)
    assert [word.label for word in found.words if word.label] == [
        word.label for word in expected.words if word.label
    ]
    ends = {word.label: word.end for word in expected.words}
    errors = [abs(word.end - ends[word.label]) for word in found.words if word.label]
    assert max(errors) < 0.05  # at 8 kHz, every sibilant lacks its upper half


def nan(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.arange(len(samples)) == 999, math.nan, samples)


def infinite(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(np.arange(len(samples)) == 999, -math.inf, samples)


def huge(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1e30 * samples


BAD_SAMPLES: dict[str, tuple[Callable[[NDArray[np.float64]], NDArray[np.float64]], str]] = {
    "nan": (nan, "the file holds NaN or infinite samples"),
    "infinite": (infinite, "the file holds NaN or infinite samples"),
    "huge": (huge, "the samples are too large: full scale is 1, their peak is "),
    "silent": (np.zeros_like, "the recording is silent: its peak is digital zero"),
    "constant": (np.ones_like, "no speech: silence explains the recording better"),
    "empty": (lambda samples: samples[:0], "the file holds no samples"),
}
BAD_BYTES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "nothing": (lambda _: b"", "the file is empty"),
    "cut": (lambda content: content[:-9999], "the file is cut short: its header announces 9999 more bytes"),
    "head": (lambda content: content[:20], "the file cannot be decoded"),
    "noise": (lambda content: content[::-1], "the file cannot be decoded"),
}
BAD_TEXTS = {
    "russian": ("маша", "the character 'м' (CYRILLIC SMALL LETTER EM) is not read in language 'en'"),
    "chinese": ("see 你好", "is not read in language 'en'"),
    "emoji": ("see 🙂", "the character '🙂'"),
    "signs": ("... ?!", "the transcript holds no word"),
    "foreign": ("see Zeitgeist", "no pronunciation for the word 'zeitgeist'"),
}


@pytest.fixture(scope="module")
def worst(
    tmp_path_factory: pytest.TempPathFactory, clean: tuple[Utterance, NDArray[np.float64], Alignment]
) -> tuple[Corpus, dict[str, str]]:
    """Return a corpus in which every way to fail lies beside one good recording, and the reasons."""
    folder = tmp_path_factory.mktemp("worst")
    utterance, samples, _ = clean
    reasons = {"absent": "No such file"}
    for name, (change, reason) in BAD_SAMPLES.items():
        soundfile.write(folder / f"{name}.wav", change(samples), RATE, subtype="FLOAT")
        reasons[name] = reason
    for name, (spoil, reason) in BAD_BYTES.items():
        (folder / f"{name}.wav").write_bytes(spoil(utterance.audio.read_bytes()))
        reasons[name] = reason
    for name in (*BAD_TEXTS, "good"):
        (folder / f"{name}.wav").write_bytes(utterance.audio.read_bytes())
    (folder / "absent.wav").symlink_to(folder / "nowhere.wav")
    for name in (*reasons, "good"):
        (folder / f"{name}.txt").write_text(utterance.text)
    for name, (text, reason) in BAD_TEXTS.items():
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
        reasons[name] = reason
    return read_corpus(folder), reasons


def test_one_bad_file_never_stops_the_others_and_each_has_its_reason(
    worst: tuple[Corpus, dict[str, str]],
    aligner: CorpusAligner,
    clean: tuple[Utterance, NDArray[np.float64], Alignment],
) -> None:
    corpus, reasons = worst
    found = {item.id: item for item in aligner.align(corpus)}
    assert found.keys() == {*reasons, "good"}
    for name, reason in reasons.items():
        assert not found[name].ok, name
        assert reason in found[name].reason
    # The others share its speaker, and none has a say in what is usual for him.
    expected = aligner.align(replace(clean[0], id="good", speaker=corpus.root.name))
    assert [word.label for word in found["good"].words] == [word.label for word in expected.words]


def test_nothing_that_cannot_be_used_is_trained_on(
    worst: tuple[Corpus, dict[str, str]], corpus: Corpus, aligner: CorpusAligner
) -> None:
    bad, reasons = worst
    utterances = sorted((*corpus.utterances[:10], *bad.utterances), key=lambda item: item.id)
    trained = CorpusAligner.train(
        replace(corpus, utterances=tuple(utterances)),
        lexicon=aligner.lexicon,
        config=replace(aligner.config, iterations=2),
    )
    named = dict(trained.training_report.problems)
    # Nothing tells a constant from speech before there is a model.
    assert named.keys() == reasons.keys() - {"constant"}
    assert all(reasons[name] in reason for name, reason in named.items())


def test_a_recording_that_cannot_be_opened_is_named(
    tmp_path: Path, aligner: CorpusAligner, clean: tuple[Utterance, NDArray[np.float64], Alignment]
) -> None:
    path = tmp_path / "locked.wav"
    path.write_bytes(clean[0].audio.read_bytes())
    path.chmod(0)
    if os.access(path, os.R_OK):  # the superuser opens everything
        path.unlink()
        path.mkdir()
    found = aligner.align(replace(clean[0], audio=path))
    assert "the file cannot be read: " in found.reason


def test_digital_silence_around_speech_moves_it_and_nothing_else(
    tmp_path: Path, aligner: CorpusAligner, clean: tuple[Utterance, NDArray[np.float64], Alignment]
) -> None:
    utterance, samples, expected = clean
    path = tmp_path / "padded.wav"
    nothing = np.zeros(RATE)
    soundfile.write(path, np.concatenate([nothing, samples, nothing, nothing]), RATE)
    found = aligner.align(replace(utterance, audio=path))
    assert all(one.end == two.start for one, two in pairwise(found.phones))
    ends = {word.label: word.end + 1.0 for word in expected.words}
    assert max(abs(word.end - ends[word.label]) for word in found.words if word.label) < 0.02
    assert found.words[-1].label == ""
