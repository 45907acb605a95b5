"""Folder layouts for synthesis: durations that sum to the frames, lists of files, TextGrids and back."""

import itertools
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from hmm_align import (
    AlignedInterval,
    Alignment,
    MelFrames,
    read_textgrid,
    write_fastspeech2,
    write_mfa,
    write_textgrid,
)
from hmm_speech import Corpus, durations_from_intervals, intervals_from_durations, load_audio
from hmm_speech import Utterance as Said


def _aligned(name: str, ends: list[float], labels: list[str]) -> Alignment:
    starts = [0.0, *ends[:-1]]
    phones = [AlignedInterval(*part, 0.9) for part in zip(starts, ends, labels, strict=True)]
    word = AlignedInterval(0.0, ends[-1], "word", 0.9)
    return Alignment(name, ends[-1], (word,), tuple(phones))


@pytest.fixture
def spoken(tmp_path: Path) -> tuple[Corpus, list[Alignment]]:
    """Three recordings of two speakers, one of another sample rate."""
    said, alignments = [], []
    for name, speaker, seconds in (("a", "ann", 0.5), ("b", "bob", 0.731), ("c", "ann", 0.9)):
        path = tmp_path / "in" / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        rate = 44_100 if name == "b" else 16_000
        soundfile.write(path, np.zeros(round(seconds * rate)), rate)
        said.append(Said(name, path, f"Text|of {name}.", speaker))
        duration = load_audio(path).duration
        alignments.append(_aligned(name, [0.1, 0.21, 0.3, duration], ["", "AA1", "", "S"]))
    alignments.append(Alignment.failure("d", "broken"))
    return Corpus(tmp_path / "in", tuple(said)), alignments


def test_textgrids_lie_in_a_folder_for_each_speaker(
    spoken: tuple[Corpus, list[Alignment]], tmp_path: Path
) -> None:
    corpus, alignments = spoken
    written = write_mfa(alignments, corpus, tmp_path / "out")
    names = ["ann/a.TextGrid", "bob/b.TextGrid", "ann/c.TextGrid"]
    assert [path.relative_to(tmp_path / "out").as_posix() for path in written] == names
    assert [phone.label for phone in read_textgrid(written[1]).phones] == ["", "AA1", "", "S"]


def test_fastspeech_gets_durations_of_all_frames_and_lists(
    spoken: tuple[Corpus, list[Alignment]], tmp_path: Path
) -> None:
    corpus, alignments = spoken
    out = tmp_path / "out"
    written = write_fastspeech2(alignments, corpus, out, num_validation=1)
    assert sorted(path.relative_to(out).as_posix() for path in written) == sorted(
        path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()
    )
    for alignment, utterance in zip(alignments, corpus, strict=False):
        durations = np.load(out / "duration" / f"{utterance.speaker}-duration-{utterance.id}.npy")
        resampled = load_audio(utterance.audio, 22_050)
        assert durations.sum() == 1 + len(resampled.waveform) // 256
        assert durations.dtype == np.int64
        assert len(durations) == len(alignment.phones)
    assert (
        out / "train.txt"
    ).read_text() == "a|ann|{sil AA1 sp S}|Text of a.\nc|ann|{sil AA1 sp S}|Text of c.\n"
    assert (out / "val.txt").read_text() == "b|bob|{sil AA1 sp S}|Text of b.\n"
    assert json.loads((out / "speakers.json").read_text()) == {"ann": 0, "bob": 1}
    grid = read_textgrid(out / "TextGrid" / "ann" / "a.TextGrid")
    assert [phone.end for phone in grid.phones] == [0.1, 0.21, 0.3, 0.5]


@pytest.mark.parametrize("framing", ["centered", "start", "padded"])
@pytest.mark.parametrize(
    ("rate", "hop", "window"), [(22_050, 256, 1024), (16_000, 200, 800), (48_000, 240, 960)]
)
def test_durations_are_those_of_the_frames_of_each_convention(
    framing: Any, rate: int, hop: int, window: int
) -> None:
    frames = MelFrames(sample_rate=rate, hop_length=hop, window_length=window, framing=framing)
    chance = np.random.default_rng(0)
    for _ in range(20):
        num_samples = int(chance.integers(rate // 2, 2 * rate))
        padding = {"centered": window // 2, "start": 0, "padded": (window - hop) // 2}[framing]
        signal: NDArray[np.float64] = np.arange(-padding, num_samples + padding, dtype=np.float64)
        windows = np.lib.stride_tricks.sliding_window_view(signal, window)[::hop]
        centres = windows[:, window // 2] / rate
        assert frames.num_frames(num_samples) == len(windows)
        inner = np.sort(chance.uniform(0.05, num_samples / rate - 0.05, 4))
        times = [0.0, *inner.tolist(), num_samples / rate]
        tier = [AlignedInterval(a, b, "x", 1.0) for a, b in itertools.pairwise(times)]
        expected = np.histogram(centres, [-1.0, *inner, 1e9])[0]
        assert frames.durations(tier, num_samples, min_frames=0).tolist() == expected.tolist()


def test_durations_survive_a_textgrid(tmp_path: Path) -> None:
    chance = np.random.default_rng(1)
    for number, frames in enumerate((MelFrames(), MelFrames(framing="padded"), MelFrames(framing="start"))):
        durations = chance.integers(1, 40, 30)
        labels = [f"P{index}" for index in range(30)]
        tier = intervals_from_durations(
            durations, frames.frame_period, labels, first_centre=frames.first_centre
        )
        # A recording goes on behind its last frame as far as its first frame is behind its start.
        end = (int(durations.sum()) - 1) * frames.frame_period + 2 * frames.first_centre
        tier[-1] = (tier[-1][0], max(end, tier[-1][0] + 0.001), labels[-1])
        ends = [part[1] for part in tier]
        path = tmp_path / f"{number}.TextGrid"
        write_textgrid(_aligned("clip", ends, labels), path)
        back = durations_from_intervals(
            read_textgrid(path).phones,
            frames.frame_period,
            int(durations.sum()),
            first_centre=frames.first_centre,
        )
        assert back.tolist() == durations.tolist()


def test_what_cannot_be_laid_out_is_refused_before_anything_is_written(
    spoken: tuple[Corpus, list[Alignment]], tmp_path: Path
) -> None:
    corpus, alignments = spoken
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="it has no utterance 'x'"):
        write_mfa([*alignments, _aligned("x", [1.0], ["S"])], corpus, out)
    twice = (*corpus.utterances, replace(corpus.utterances[0], id="old/a"))
    with pytest.raises(ValueError, match="'a' and 'old/a' would have the same file: ann/a"):
        write_mfa([*alignments, replace(alignments[0], id="old/a")], Corpus(corpus.root, twice), out)
    with pytest.raises(
        ValueError, match=re.escape("num_validation must lie in 0..2 for 3 alignments; got 3")
    ):
        write_fastspeech2(alignments, corpus, out, num_validation=3)
    assert not out.exists()
    with pytest.raises(ValueError, match="a: num_frames must be >= N"):
        write_fastspeech2(alignments, corpus, out, MelFrames(hop_length=4000, window_length=4096))
    for wrong in ({"hop_length": 0}, {"window_length": 100}, {"sample_rate": 0}):
        with pytest.raises(ValueError, match="sample_rate must be >= 1, and 1 <= hop_length"):
            MelFrames(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='framing must be "centered"'):
        MelFrames(framing="middle")  # type: ignore[arg-type]
