"""Features of a corpus: computed once, kept on disk, normalised per speaker when read."""

import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hmm_speech import MFCC, Audio, MeanVariance, deltas

from ._config import AlignerConfig

# A mean farther from 0, in standard deviations of the samples, is no chance of what was said.
_OFFSET = 0.1


class FeatureExtractor:
    """Cepstra with their first and second regression coefficients."""

    def __init__(self, config: AlignerConfig) -> None:
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
    """Features (T, D) of many utterances in one file that grows, so that memory does not."""

    def __init__(self, folder: Path, feature_dim: int, *, normalize: bool = True) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "features.f32"
        self.feature_dim = feature_dim
        self._normalize = normalize
        self._file = self.path.open("wb+")
        self._start: list[int] = []
        self._length: list[int] = []
        self._speaker: list[str] = []
        self._normalizer: dict[str, MeanVariance] = defaultdict(lambda: MeanVariance(feature_dim))

    def append(self, features: Tensor, speaker: str) -> int:
        """Keep an utterance's features; return its number."""
        self._start.append(self._file.seek(0, os.SEEK_END))
        self._length.append(len(features))
        self._speaker.append(speaker)
        self._normalizer[speaker].add(features)
        self._file.write(features.contiguous().numpy().tobytes())
        return len(self._start) - 1

    def read(self, number: int, first: int = 0, end: int | None = None) -> Tensor:
        """Return an utterance's features (T, D), by default normalised to its speaker's mean and variance.

        Those from frame ``first`` to before ``end`` or the last there is.
        """
        end = self._length[number] if end is None else min(end, self._length[number])
        frame = self.feature_dim * 4
        self._file.seek(self._start[number] + first * frame)
        values = np.frombuffer(self._file.read((end - first) * frame), dtype=np.float32)
        features = torch.from_numpy(values.copy()).view(-1, self.feature_dim)
        return self._normalizer[self._speaker[number]].normalize(features) if self._normalize else features

    def close(self) -> None:
        """Delete the file."""
        self._file.close()
        self.path.unlink(missing_ok=True)
