"""A picture of an alignment: waveform, spectrogram, and the boundaries on both."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hmm_metrics import Interval
from hmm_speech import Audio, load_audio

from ._evaluate import Reliability
from ._result import AlignedInterval, Alignment
from .export import Tiers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WINDOW, _HOP = 0.008, 0.002  # seconds: short enough to see a burst
_RANGE = 70.0  # decibels from black to white
_OURS, _THEIRS = "#1f5fbf", "#d2691e"
_INCHES_PER_SECOND, _NARROWEST, _WIDEST = 4.5, 8.0, 60.0


def plot_alignment(
    audio: Audio | str | Path,
    alignment: Alignment | Tiers,
    path: str | Path | None = None,
    *,
    reference: Alignment | Tiers | None = None,
) -> "Figure":
    """Draw waveform and spectrogram of an utterance with its phone and word boundaries.

    Parameters
    ----------
    audio : Audio, str or Path
        The recording.
    alignment : Alignment or Tiers
        Its words and phones.
    path : str or Path, optional
        Where to save the picture; the suffix (``.png``, ``.pdf``, ``.svg``) chooses the format.
    reference : Alignment or Tiers, optional
        Other times of the same utterance, drawn in another colour.

    Returns
    -------
    matplotlib.figure.Figure
        For further drawing; it belongs to no window.

    Raises
    ------
    ImportError
        If matplotlib is not installed; it comes with the extra ``hmm-align[plot]``.
    ValueError
        If the alignment failed.

    Examples
    --------
    >>> import torch
    >>> tone = Audio(torch.sin(torch.arange(8000) / 5), sample_rate=16000)
    >>> vowel = (Interval(0.0, 0.5, "AA"),)
    >>> len(plot_alignment(tone, Tiers(words=vowel, phones=vowel)).axes)
    4
    """
    figure = _figure()
    if not alignment.phones and not alignment.words:
        raise ValueError("alignment must hold words or phones; it has neither")
    sound = audio if isinstance(audio, Audio) else load_audio(audio, sample_rate=None)
    samples = sound.waveform.numpy().astype(np.float64)
    duration = len(samples) / sound.sample_rate

    strips = [("phones", alignment.phones, _OURS), ("words", alignment.words, _OURS)]
    if reference is not None:
        strips += [("reference", reference.phones, _THEIRS), ("reference", reference.words, _THEIRS)]
    strips = [strip for strip in strips if strip[1]]
    heights = [1.0, 2.6] + [0.36] * len(strips)
    width = float(np.clip(_INCHES_PER_SECOND * duration, _NARROWEST, _WIDEST))
    figure.set_size_inches(width, 1.15 * sum(heights))
    axes = figure.subplots(len(heights), sharex=True, height_ratios=heights)

    wave, picture = axes[0], axes[1]
    wave.plot(np.arange(len(samples)) / sound.sample_rate, samples, color="#333333", linewidth=0.5)
    peak = max(1.05 * float(np.abs(samples).max()), 1e-6)
    wave.set(ylim=(-peak, peak), yticks=[], xlim=(0.0, duration))
    decibels, top = _spectrogram(samples, sound.sample_rate)
    loudest = float(decibels.max())
    picture.imshow(
        decibels,
        origin="lower",
        aspect="auto",
        cmap="gray_r",
        extent=(-_HOP / 2, decibels.shape[1] * _HOP - _HOP / 2, 0.0, top / 1000),
        vmin=loudest - _RANGE,
        vmax=loudest,
    )
    picture.set(ylabel="kHz", ylim=(0.0, min(top, 8000.0) / 1000))
    for strip, (name, tier, color) in zip(axes[2:], strips, strict=True):
        _draw_strip(strip, name, tier, color, width / duration)
    if reference is not None:
        _draw_boundaries((wave, picture), reference, _THEIRS, "dashed")
    _draw_boundaries((wave, picture), alignment, _OURS, "solid")
    axes[-1].set_xlabel("seconds")
    if path is not None:
        figure.savefig(path, dpi=130)
    return figure


def plot_reliability(reports: Mapping[str, Reliability], path: str | Path | None = None) -> "Figure":
    """Draw how often boundaries lie within their uncertainties, over how often they should.

    Parameters
    ----------
    reports : mapping of str to Reliability
        A line for each, with its name.
    path : str or Path, optional
        Where to save the picture; the suffix (``.png``, ``.pdf``, ``.svg``) chooses the format.

    Returns
    -------
    matplotlib.figure.Figure
        For further drawing; it belongs to no window.

    Raises
    ------
    ImportError
        If matplotlib is not installed; it comes with the extra ``hmm-align[plot]``.

    Notes
    -----
    Above the diagonal uncertainties are too large, below it too small.

    Examples
    --------
    >>> report = Reliability((0.5, 0.8), (0.53, 0.84), np.array([0.010]), np.array([-0.004]))
    >>> len(plot_reliability({"clips": report}).axes[0].lines)
    2
    """
    figure = _figure()
    figure.set_size_inches(5.2, 4.6)
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color="#999999", linewidth=0.9, linestyle="dashed")
    for name, report in reports.items():
        axis.plot(report.levels, report.coverage, marker="o", markersize=3.5, linewidth=1.2, label=name)
    axis.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axis.set_xlabel("probability of the interval")
    axis.set_ylabel("share of boundaries within it")
    axis.legend(loc="lower right", fontsize=8, frameon=False)
    if path is not None:
        figure.savefig(path, dpi=130)
    return figure


def _figure() -> "Figure":
    """Return an empty figure that fills its page."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, needed here only
        from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415 - the same
    except ImportError as error:
        raise ImportError('plots need matplotlib: pip install "hmm-align[plot]"') from error
    figure = Figure()
    figure.set_layout_engine(ConstrainedLayoutEngine(h_pad=0.01, hspace=0.0))
    return figure


def _spectrogram(samples: NDArray[np.float64], sample_rate: int) -> tuple[NDArray[np.float64], float]:
    """Decibels, one column every 2 ms centred at its time, and the highest frequency in Hz."""
    length, hop = round(_WINDOW * sample_rate), round(_HOP * sample_rate)
    emphasised = np.append(samples[:1], samples[1:] - 0.95 * samples[:-1])
    padded = np.pad(emphasised, (length // 2, length))
    frames = np.lib.stride_tricks.sliding_window_view(padded, length)[: len(samples) + 1 : hop]
    power = np.abs(np.fft.rfft(frames * np.hanning(length), n=max(512, length))) ** 2
    floor = max(float(power.max()) * 1e-12, 1e-20)
    return 10.0 * np.log10(power + floor).T, sample_rate / 2


def _draw_boundaries(axes: Sequence["Axes"], tiers: Alignment | Tiers, color: str, style: str) -> None:
    """Draw a thin line at each phone boundary and a stronger one at each word boundary."""
    word_ends = {interval[1] for interval in tiers.words}
    for interval in (tiers.phones or tiers.words)[:-1]:
        strong = interval[1] in word_ends
        for axis in axes:
            axis.axvline(
                interval[1],
                color=color,
                linestyle=style,
                linewidth=1.3 if strong else 0.7,
                alpha=0.9 if strong else 0.7,
            )


def _draw_strip(
    axis: "Axes",
    name: str,
    tier: Sequence[AlignedInterval | Interval],
    color: str,
    inches_per_second: float,
) -> None:
    """Draw a tier as boxes with their labels; a label too wide for its box stands upright."""
    for start, end, label, *_ in tier:
        axis.axvline(end, color=color, linewidth=0.9)
        narrow = 0.095 * len(str(label)) > (end - start) * inches_per_second
        axis.text(
            (start + end) / 2, 0.5, str(label), ha="center", va="center", fontsize=8 if narrow else 9,
            rotation=90 if narrow and len(str(label)) > 1 else 0, clip_on=True,
        )  # fmt: skip
    axis.set(ylim=(0, 1), yticks=[])
    axis.set_ylabel(name, rotation=0, ha="right", va="center", color=color)
