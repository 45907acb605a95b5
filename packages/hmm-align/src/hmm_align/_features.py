"""Features of a corpus: computed once, kept on disk, normalised per speaker when read."""

import os
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from hmm_speech import MFCC, Audio, MeanVariance, deltas

from ._config import AlignerConfig
from ._journal import Journal, Record
from ._shards import Shards

# A mean farther from 0, in standard deviations of the samples, is no chance of what was said.
_OFFSET = 0.1


class Extractor(Protocol):
    """Turns a recording into features (T, D)."""

    described: str  # what tells its features from those of others

    def __call__(self, audio: Audio, /) -> Tensor: ...


class FeatureExtractor:
    """Cepstra with their first and second regression coefficients."""

    def __init__(self, config: AlignerConfig) -> None:
        self.described = repr(config)
        self.mfcc = MFCC(
            sample_rate=config.sample_rate,
            frame_period=config.frame_period,
            window=config.window,
            num_mels=config.num_mels,
            num_ceps=config.num_ceps,
        )
        self._delta_window = max(1, round(config.delta_window / config.frame_period))
        self.feature_dim = 3 * config.num_ceps

    def __call__(self, audio: Audio) -> Tensor:
        """Return the features (T, D) of one recording."""
        with torch.no_grad():
            return deltas(self.mfcc(_centred(audio.waveform)), order=2, window=self._delta_window)


def _centred(waveform: Tensor) -> Tensor:
    """Remove a constant that a faulty recorder has added; where it began or ended would sound like a stop."""
    variance, mean = torch.var_mean(waveform, correction=0)
    return waveform - mean if mean.abs() > _OFFSET * variance.sqrt() else waveform


class FeatureStore:
    """Features (T, D) of many utterances in one file that grows, so that memory does not.

    What a journal beside it says of utterances is kept over the death of the process; see `resume`.
    Several threads may read at once.
    """

    def __init__(
        self, folder: Path, feature_dim: int, *, normalize: bool = True, num_others: int = 0
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "features.f32"
        self.feature_dim = feature_dim
        self._num_columns = feature_dim + num_others
        self._normalize = normalize
        self.path.touch()
        self._file = self.path.open("r+b")
        self._lock = threading.Lock()  # of the place in the file
        self._start: list[int] = []
        self._length: list[int] = []
        self._speaker: list[str] = []
        self._normalizer: dict[str, MeanVariance] = defaultdict(lambda: MeanVariance(feature_dim))
        self._journal: Journal | None = None
        self.task = ""

    def resume(self, task: str) -> Iterator[Record]:
        """Yield what was noted for utterances, in order, as long as it is of the same task and all there.

        An utterance whose note has "frames" and "speaker" has its features here. All notes must be taken
        before others are made.
        """
        self.task = task
        self._journal = Journal(self.path.with_suffix(".jsonl"), task)
        size = self.path.stat().st_size
        end = 0
        for number, note in enumerate(self._journal):
            start, end = end, end + note.get("frames", 0) * self._num_columns * 4
            if end > size:
                self._journal.drop(number)
                end = start
                break
            if "frames" in note:
                self._register(start, note["frames"], note["speaker"])
                self._normalizer[note["speaker"]].add(self._features(len(self._start) - 1))
            yield note
        self._file.truncate(end)

    def note(self, content: Record) -> None:
        """Keep what is to be known of an utterance, after its features if it has any."""
        if self._journal is not None:
            self._file.flush()
            self._journal.append(content)

    def append(self, features: Tensor, speaker: str) -> int:
        """Keep an utterance's features and what else there is, side by side (T, ...); return its number."""
        self._register(self._file.seek(0, os.SEEK_END), len(features), speaker)
        self._normalizer[speaker].add(features[:, : self.feature_dim])
        self._file.write(features.contiguous().numpy().tobytes())
        return len(self._start) - 1

    def _register(self, start: int, length: int, speaker: str) -> None:
        """Remember where an utterance's features are."""
        self._start.append(start)
        self._length.append(length)
        self._speaker.append(speaker)

    def _stored(self, number: int, first: int = 0, end: int | None = None) -> Tensor:
        """Return all that is stored of an utterance's frames."""
        end = self._length[number] if end is None else min(end, self._length[number])
        frame = self._num_columns * 4
        values = np.empty((max(0, end - first), self._num_columns), dtype=np.float32)
        with self._lock:
            self._file.seek(self._start[number] + first * frame)
            self._file.readinto(values.data)
        return torch.from_numpy(values)

    def _features(self, number: int, first: int = 0, end: int | None = None) -> Tensor:
        """Return an utterance's features as they are stored."""
        return self._stored(number, first, end)[:, : self.feature_dim].contiguous()

    def others(self, number: int) -> Tensor:
        """Return what stands behind an utterance's features (T, others)."""
        return self._stored(number)[:, self.feature_dim :].contiguous()

    def read(self, number: int, first: int = 0, end: int | None = None) -> Tensor:
        """Return an utterance's features (T, D), by default normalised to its speaker's mean and variance.

        Those from frame ``first`` to before ``end`` or the last there is.
        """
        features = self._features(number, first, end)
        return self._normalizer[self._speaker[number]].normalize(features) if self._normalize else features

    def share_speakers(self, shards: Shards) -> None:
        """Normalise by what all processes have of a speaker."""
        total: dict[str, MeanVariance] = defaultdict(lambda: MeanVariance(self.feature_dim))
        for normalizers in shards.gather(dict(self._normalizer)):
            for speaker, statistics in normalizers.items():
                total[speaker] += statistics
        self._normalizer = total

    def close(self) -> None:
        """Close the files, and leave them."""
        self._file.close()
        if self._journal is not None:
            self._journal.close()
