r"""Boundaries moved to where the sound changes most, as far as their uncertainty lets them.

An HMM knows where a boundary is by what its states have heard there in training, frame by frame; where the
voice is another, or the training was short, that is several milliseconds off. How much the spectrum changes
from just before to just after a point in time needs no training, and is known at any time. Both are joined as
probabilities: a Gaussian about the HMM's boundary, as wide as its uncertainty, times what the change says,

.. math:: p(t) \propto \exp\Bigl(\kappa\, c(t) - \frac{(t - b)^2}{2 \sigma^2}\Bigr),

and the boundary is the mean. Change alone, without the HMM, finds boundaries of its own inside diphthongs and
stops (Dusan and Rabiner, "On the relation between maximum spectral transition positions and phone
boundaries", Interspeech 2006).
"""

from functools import cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmm_speech import Audio, LogMel

from ._calibration import LEVEL

_STEP = 0.002  # seconds between the times at which the change is known, as nearly as samples allow
_WINDOW = 0.016  # seconds of signal in a spectrum: of a low voice a period or two
_NUM_MELS = 24
_RANGE = 5.0 * np.log(10.0)  # below the loudest band of the recording, 50 dB, nothing changes
_SIDE = 7  # spectra that are averaged before and after a time, its own in both
_USUAL = 0.95  # the quantile of a recording's changes that counts as 1
_REACH = 0.020  # seconds that a boundary moves at most,
_FARTHEST = 2.5  # and standard deviations
# An uncertainty of 1 s is a Gaussian's of this standard deviation.
_DEVIATION = 1.0 / NormalDist().inv_cdf(0.5 + LEVEL / 2)
_BLOCK = 1 << 15  # spectra that are compared at once


class Change(NamedTuple):
    """How much the spectrum of a recording changes, from time 0 on."""

    values: NDArray[np.float32]  # (N,) 1 where the sound changes as much as it does at few other times
    step: float  # seconds from one to the next

    def in_frames(self, num_frames: int, sample_rate: int, frame_period: float) -> Tensor:
        """Return the values as so many rows (T, `per_frame`), the last filled up with zeros."""
        size = num_frames * per_frame(sample_rate, frame_period)
        values = torch.from_numpy(self.values[:size])
        return torch.nn.functional.pad(values, (0, size - len(values))).view(num_frames, -1)


def per_frame(sample_rate: int, frame_period: float) -> int:
    """Return how many changes a frame takes to keep."""
    hop = round(frame_period * sample_rate)
    return -(-hop // _log_mel(sample_rate).hop_length)


def change_of(rows: Tensor, sample_rate: int) -> Change:
    """Return what `Change.in_frames` made rows (T, P) of, zeros at the end included."""
    return Change(rows.flatten().numpy(), _log_mel(sample_rate).frame_period)


def spectral_change(audio: Audio) -> Change:
    """Compare the mean spectrum just before each point in time with that just after it.

    Distances are Euclidean, of log power in mel bands. Memory is 50 kB for a second of sound.
    """
    log_mel = _log_mel(audio.sample_rate)
    with torch.no_grad():
        spectra = log_mel(audio.waveform)
        spectra.clamp_(min=float(spectra.max()) - _RANGE)
        values = torch.cat([_distances(spectra, start) for start in range(0, len(spectra), _BLOCK)]).numpy()
    usual = np.quantile(values, _USUAL)
    if usual > 0:
        values /= usual
    return Change(values, log_mel.frame_period)


@cache
def _log_mel(sample_rate: int) -> LogMel:
    """Return what makes spectra of recordings of a rate; those of a quiet one too are far above its floor."""
    return LogMel(
        sample_rate,
        frame_period=_STEP,
        window=_WINDOW,
        num_mels=_NUM_MELS,
        min_frequency=80.0,
        preemphasis=0.97,
        floor=1e-20,
        htk=True,
        norm=None,
    )


def _distances(spectra: Tensor, start: int) -> Tensor:
    """Return the distances for a block of spectra (T, M), which are continued beyond the ends as they end."""
    end = min(start + _BLOCK, len(spectra))
    times = torch.arange(start - _SIDE + 1, end + _SIDE - 1).clamp(0, len(spectra) - 1)
    means = torch.nn.functional.avg_pool1d(spectra[times].T, _SIDE, stride=1)
    return (means[:, _SIDE - 1 :] - means[:, : 1 - _SIDE]).square().mean(0).sqrt()


def refine(
    edges: NDArray[np.float64],
    uncertainty: NDArray[np.float64],
    starts_sound: NDArray[np.bool_],
    change: Change,
    duration: float,
    weight: float,
) -> NDArray[np.float64]:
    """Move boundaries towards the change of the sound near them.

    ``edges`` (N,), ascending, and ``uncertainty`` (N,), as `AlignedInterval.end_uncertainty`, are in seconds;
    a change of 1 is worth ``weight`` nats.
    A boundary at which a silence ends (``starts_sound``) stays: a sound changes most where it is already
    loud. No boundary passes the middle between it and the next one.
    """
    deviation = np.maximum(uncertainty * _DEVIATION, change.step / 10)
    reach = np.minimum(_REACH, _FARTHEST * deviation)
    bounds = np.concatenate([[0.0], edges, [duration]])
    middles = (bounds[1:] + bounds[:-1]) / 2
    lowest, highest = np.maximum(edges - reach, middles[:-1]), np.minimum(edges + reach, middles[1:])
    around = np.arange(-int(_REACH / change.step) - 1, int(_REACH / change.step) + 2)
    index = np.rint(edges / change.step).astype(np.int64)[:, None] + around
    times = index * change.step
    inside = (lowest[:, None] <= times) & (times <= highest[:, None])
    inside &= (index >= 0) & (index < len(change.values))
    inside &= (inside.sum(axis=1) > 1)[:, None]
    values = change.values[index.clip(0, len(change.values) - 1)]
    log_prob = weight * values - 0.5 * ((times - edges[:, None]) / deviation[:, None]) ** 2
    weights = np.where(inside, np.exp(log_prob - log_prob.max(axis=1, keepdims=True)), 0.0)
    total = weights.sum(axis=1)
    moves = (total > 0) & ~starts_sound
    means = (weights * times).sum(axis=1) / np.where(total > 0, total, 1.0)
    moved: NDArray[np.float64] = np.where(moves, means, edges)
    return moved
