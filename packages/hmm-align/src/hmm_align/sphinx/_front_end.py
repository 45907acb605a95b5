"""Cepstra as the front end of CMU Sphinx computes them, and the features that acoustic models read."""

import hashlib
import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmm_models import ModelFileError
from hmm_speech import Audio

from ._files import Floats, option

# What Sphinx adds to every power before the logarithm.
_LOG_FLOOR = 1e-4
# Kept as the names in the sources of Sphinx: how fast smoothed power, noise and peaks are forgotten.
_LAMBDA_POWER = 0.7
_LAMBDA_UP, _LAMBDA_DOWN = 0.995, 0.5
_LAMBDA_PEAK, _MASKED = 0.85, 0.2
_MAX_GAIN = 20.0
_SMOOTHING = 4  # filters to each side
# Frames to each side that the slopes of each kind of features reach.
_KINDS = {"1s_c": 0, "1s_c_d": 2, "1s_c_d_dd": 3, "1s_c_d_ld_dd": 4, "s3_1x39": 3, "s2_4x": 4}
# Options that change features; any other value than the one named here is not read.
_FIXED = {
    "agc": ("none",),
    "cmn": ("batch", "current", "live", "prior", "none"),
    "doublebw": ("no",),
    "dither": ("no", "yes"),
    "feat": tuple(_KINDS),
    "model": ("ptm", "semi", "cont"),
    "remove_dc": ("no", "yes"),
    "remove_noise": ("no", "yes"),
    "remove_silence": ("no", "yes"),
    "round_filters": ("no", "yes"),
    "transform": ("legacy", "dct", "htk"),
    "unit_area": ("no", "yes"),
    "varnorm": ("no", "yes"),
}
_NUMBERS = frozenset(
    {"alpha", "frate", "lifter", "lowerf", "ncep", "nfft", "nfilt", "samprate", "upperf", "wlen"}
)
_OTHER = frozenset(
    {"cmninit", "input_endian", "ldadim", "svspec", "vad_threshold", "vad_prespeech", "vad_postspeech"}
)


class FrontEnd:
    """Turns recordings into the features that an acoustic model was trained on.

    Frame t of `cepstra` begins at sample ``t * hop``, as in Sphinx; calling the object centres it there, as
    everywhere else in this package.
    """

    def __init__(self, options: dict[str, str], transform: Floats | None, path: Path) -> None:
        _check_options(options, path)
        changed = b"" if transform is None else transform.tobytes()
        self.described = f"{sorted(options.items())} {hashlib.sha256(changed).hexdigest()}"
        number = {name: option(options, path, name, default) for name, default in _DEFAULTS.items()}
        flag = {name: options.get(name, default) == "yes" for name, default in _FLAGS.items()}
        self.sample_rate = _whole(path, "samprate", number["samprate"], 1000, 1_000_000)
        rate = _whole(path, "frate", number["frate"], 1, 1000)
        self.hop = int(self.sample_rate / rate + 0.5)
        self.window = int(number["wlen"] * self.sample_rate + 0.5)
        self.num_ceps = _whole(path, "ncep", number["ncep"], 1, 256)
        num_fft = _whole(path, "nfft", number["nfft"], 0, 1 << 16) or 1 << max(
            1, (self.window - 1).bit_length()
        )
        if not self.hop <= self.window <= num_fft:
            raise ModelFileError(
                path, f"-wlen must be from a frame's {self.hop} samples to -nfft {num_fft}; got {self.window}"
            )
        self.frame_period = self.hop / self.sample_rate
        self._num_fft = num_fft
        self._emphasis = number["alpha"]
        self._remove_dc = flag["remove_dc"]
        self._remove_noise = flag["remove_noise"]
        self._normalize_mean = options.get("cmn", "live") != "none"
        self._normalize_variance = flag["varnorm"]
        num_filters = _whole(path, "nfilt", number["nfilt"], self.num_ceps, 1 << 10)
        band = number["lowerf"], number["upperf"]
        if not 0 <= band[0] < band[1] <= self.sample_rate / 2 + 1:
            raise ModelFileError(
                path,
                f"-lowerf and -upperf must lie in 0..{self.sample_rate / 2:g}; got {band[0]:g}, {band[1]:g}",
            )
        self._filters = _filters(
            self.sample_rate,
            num_fft,
            num_filters,
            band,
            rounded=flag["round_filters"],
            unit_area=flag["unit_area"],
        )
        # Two filters may be one after rounding to the bins of a short transform.
        if not self._filters.any(axis=0).all():
            raise ModelFileError(path, f"-nfilt {num_filters} filters are too narrow for -nfft {num_fft}")
        lifter = _whole(path, "lifter", number["lifter"], 0, 1 << 10)
        self._cosines = _cosines(num_filters, self.num_ceps, options.get("transform", "legacy"), lifter)
        self._taper = np.hamming(self.window)
        self._kind = options.get("feat", "1s_c_d_dd")
        if self._kind.startswith("s") and self.num_ceps != 13:
            raise ModelFileError(path, f"-feat {self._kind} must have -ncep 13; got {self.num_ceps}")
        kept = _whole(path, "ldadim", number["ldadim"], 0, 1 << 12) or None
        self._transform: Tensor | None = None
        self._streams: list[list[int]] | None = None
        sizes = self._split(torch.zeros(8, self.num_ceps))
        if transform is not None:
            size = sum(item.shape[1] for item in sizes)
            if transform.shape[1] != size:
                raise ModelFileError(
                    path, f"-feat {self._kind} has {size} features; the transform reads {transform.shape[1]}"
                )
            self._transform = torch.from_numpy(transform[:kept])
            sizes = self._split(torch.zeros(8, self.num_ceps))
        if "svspec" in options:
            self._streams = _streams(path, options["svspec"], sum(item.shape[1] for item in sizes))
            sizes = self._split(torch.zeros(8, self.num_ceps))
        self.stream_dims = tuple(item.shape[1] for item in sizes)
        self.feature_dim = sum(self.stream_dims)

    def __call__(self, audio: Audio) -> Tensor:
        """Return the features (T, D) of one recording; frame t is centred at sample ``t * hop``."""
        samples = audio.waveform.double().numpy() * 32768.0
        before = self.window // 2
        # Mirrored at its ends: zeros would look like a sudden silence.
        samples = np.pad(samples, (before, self.window), mode="reflect" if len(samples) > 1 else "edge")
        num_frames = 1 + len(audio.waveform) // self.hop
        return self.features(self.cepstra(samples)[:num_frames])

    def cepstra(self, samples: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the cepstra (T, C) of samples of 16 bits, all frames that lie within them."""
        emphasised = samples - self._emphasis * np.concatenate([[0.0], samples[:-1]])
        frames = np.lib.stride_tricks.sliding_window_view(emphasised, self.window)[:: self.hop]
        energies = np.concatenate(
            [self._energies(frames[start : start + _BLOCK]) for start in range(0, len(frames), _BLOCK)]
        )
        if self._remove_noise:
            energies *= _gains(energies)
        cepstra: NDArray[np.float64] = np.log(energies + _LOG_FLOOR) @ self._cosines
        return cepstra

    def _energies(self, frames: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the energies (T, M) of frames in the filters."""
        if self._remove_dc:
            frames = frames - frames.mean(axis=1, keepdims=True)
        spectrum = np.fft.rfft(frames * self._taper, self._num_fft)
        energies: NDArray[np.float64] = (spectrum.real**2 + spectrum.imag**2) @ self._filters
        return energies

    def features(self, cepstra: NDArray[np.float64]) -> Tensor:
        """Return the features (T, D) of cepstra, stream after stream."""
        if self._normalize_mean:
            loud = cepstra[cepstra[:, 0] >= 0]
            cepstra = cepstra - (loud if len(loud) else cepstra).mean(axis=0)
            if self._normalize_variance:
                cepstra = cepstra / np.sqrt((cepstra**2).mean(axis=0)).clip(1e-6)
        return torch.cat(self._split(torch.from_numpy(cepstra)), dim=1).float()

    def _split(self, cepstra: Tensor) -> list[Tensor]:
        """Add the slopes to cepstra, and part the streams."""
        streams = _dynamic(cepstra, self._kind)
        if self._transform is not None:
            streams = [torch.cat(streams, dim=1) @ self._transform.to(cepstra.dtype).T]
        if self._streams is not None:
            joined = torch.cat(streams, dim=1)
            streams = [joined[:, columns] for columns in self._streams]
        return streams


_BLOCK = 4096  # frames whose spectra are in memory at once
_DEFAULTS = {
    "alpha": 0.97,
    "frate": 100,
    "ldadim": 0,
    "lifter": 0,
    "lowerf": 133.33334,
    "ncep": 13,
    "nfft": 0,
    "nfilt": 40,
    "samprate": 16_000,
    "upperf": 6855.4976,
    "wlen": 0.025625,
}
_FLAGS = {
    "remove_dc": "no",
    "remove_noise": "no",
    "round_filters": "yes",
    "unit_area": "yes",
    "varnorm": "no",
}


def _check_options(options: dict[str, str], path: Path) -> None:
    """Refuse what would make other features than the model's."""
    for name, value in options.items():
        if name in _FIXED:
            if value not in _FIXED[name]:
                raise ModelFileError(path, f"-{name} must be one of {', '.join(_FIXED[name])}; got {value!r}")
        elif name not in _NUMBERS | _OTHER:
            raise ModelFileError(path, f"the option -{name} is not known")


def _whole(path: Path, name: str, value: float, lowest: int, highest: int) -> int:
    """Return an option that must be a whole number in a range."""
    if value != int(value) or not lowest <= value <= highest:
        raise ModelFileError(path, f"-{name} must be a whole number in {lowest}..{highest}; got {value:g}")
    return int(value)


def _mel(hertz: float) -> float:
    return 2595.0 * math.log10(1.0 + hertz / 700.0)


def _filters(
    sample_rate: int,
    num_fft: int,
    num_filters: int,
    band: tuple[float, float],
    *,
    rounded: bool,
    unit_area: bool,
) -> NDArray[np.float64]:
    """Return triangles (F, M), equally wide in mel; if rounded, their corners lie on bins."""
    low, high = (_mel(edge) for edge in band)
    spacing = sample_rate / num_fft
    corners = 700.0 * (10.0 ** (np.linspace(low, high, num_filters + 2) / 2595.0) - 1.0)
    if rounded:
        corners = np.floor(corners / spacing + 0.5) * spacing
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    bins = spacing * np.arange(num_fft // 2 + 1)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre))
        weights = np.nan_to_num(weights, nan=0.0).clip(0.0)
        if unit_area:
            weights *= 2.0 / (right - left)
    weights[-1] = 0.0  # Sphinx leaves the last bin out
    result: NDArray[np.float64] = np.nan_to_num(weights, nan=0.0, posinf=0.0)
    return result


def _cosines(num_filters: int, num_ceps: int, transform: str, lifter: int) -> NDArray[np.float64]:
    """Return the matrix (M, C) from log energies to liftered cepstra."""
    order = np.arange(num_ceps)
    matrix = np.cos(np.pi / num_filters * order * (np.arange(num_filters)[:, None] + 0.5))
    if transform == "legacy":
        matrix[0] /= 2.0
        matrix /= num_filters
    else:
        matrix *= math.sqrt(2.0 / num_filters)
        if transform == "dct":
            matrix[:, 0] /= math.sqrt(2.0)
    if lifter:
        matrix *= 1.0 + lifter / 2.0 * np.sin(np.pi * order / lifter)
    return matrix


def _gains(energies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what noise removal multiplies energies (T, M) by.

    Noise follows the smoothed power quickly down and slowly up (Doblinger 1995); what lies shortly behind a
    peak is masked by it, as in power-normalised cepstra (Kim and Stern 2016).
    """
    power = _smoothed(energies)
    noise = _lower_envelope(power, energies[0] / _MAX_GAIN)
    signal = np.maximum(power - noise, 1.0)
    floor = _lower_envelope(signal, energies[0] / _MAX_GAIN)
    peak = _peaks(signal)
    before = np.concatenate([np.zeros((1, signal.shape[1])), peak[:-1]]) * _LAMBDA_PEAK
    signal = np.where(signal < _LAMBDA_PEAK * before, _MASKED * before, signal)
    signal = np.maximum(signal, floor)
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.where(signal < _MAX_GAIN * power, signal / power, _MAX_GAIN).clip(1.0 / _MAX_GAIN)
    total = np.cumsum(np.pad(gain, ((0, 0), (1, 0))), axis=1)
    number = np.arange(gain.shape[1])
    first = np.maximum(number - _SMOOTHING, 0)
    last = np.minimum(number + _SMOOTHING, len(number) - 1)
    mean: NDArray[np.float64] = (total[:, last + 1] - total[:, first]) / (last - first + 1)
    return mean


def _smoothed(energies: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return energies smoothed by their past."""
    power = energies * (1.0 - _LAMBDA_POWER)
    now = energies[0].copy()
    for row in power:
        now *= _LAMBDA_POWER
        now += row
        row[:] = now
    return power


def _peaks(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the decaying peaks of a signal."""
    peaks = signal.copy()
    now = np.zeros(signal.shape[1])
    for row in peaks:
        now *= _LAMBDA_PEAK
        np.maximum(now, row, out=now)
        row[:] = now
    return peaks


def _lower_envelope(values: NDArray[np.float64], start: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what follows values (T, M) quickly down and slowly up: the lesser of both, frame by frame."""
    keep = np.array([[_LAMBDA_UP], [_LAMBDA_DOWN]])
    steps = values[:, None] * (1.0 - keep)
    envelope = np.empty_like(values)
    now = np.empty((2, values.shape[1]))
    before = start
    for step, row in zip(steps, envelope, strict=True):
        np.multiply(keep, before, out=now)
        now += step
        np.minimum(now[0], now[1], out=row)
        before = row
    return envelope


def _dynamic(cepstra: Tensor, kind: str) -> list[Tensor]:
    """Return the streams (T, D) of cepstra (T, C) and their slopes; the ends are repeated."""
    reach = _KINDS[kind]
    num_frames = len(cepstra)
    padded = torch.cat([cepstra[:1].expand(reach, -1), cepstra, cepstra[-1:].expand(reach, -1)])

    def at(offset: int) -> Tensor:
        return padded[reach + offset : reach + offset + num_frames]

    if kind == "1s_c":
        return [cepstra]
    slope = at(2) - at(-2)
    if kind == "1s_c_d":
        return [torch.cat([cepstra, slope], dim=1)]
    curve = (at(3) - at(-1)) - (at(1) - at(-3))
    if kind == "1s_c_d_dd":
        return [torch.cat([cepstra, slope, curve], dim=1)]
    if kind == "1s_c_d_ld_dd":
        return [torch.cat([cepstra, slope, at(4) - at(-4), curve], dim=1)]
    power = torch.stack([cepstra[:, 0], slope[:, 0], curve[:, 0]], dim=1)
    if kind == "s3_1x39":
        return [torch.cat([cepstra[:, 1:], slope[:, 1:], power, curve[:, 1:]], dim=1)]
    slopes = torch.cat([slope[:, 1:], (at(4) - at(-4))[:, 1:]], dim=1)
    return [cepstra[:, 1:], slopes, power, curve[:, 1:]]


def _streams(path: Path, text: str, num_columns: int) -> list[list[int]]:
    """Return the columns of each stream that ``-svspec`` names: ``0-12/13-25`` or ``24,0-11/25``."""
    try:
        streams = []
        for part in text.split("/"):
            columns: list[int] = []
            for piece in part.split(","):
                first, _, last = piece.partition("-")
                columns += range(int(first), int(last or first) + 1)
            streams.append(columns)
    except ValueError as error:
        raise ModelFileError(path, f"-svspec must be such as 0-12/13-25/26-38; got {text!r}") from error
    if not all(streams) or max(map(max, streams)) >= num_columns:
        raise ModelFileError(path, f"-svspec must name columns in 0..{num_columns - 1}; got {text!r}")
    return streams
