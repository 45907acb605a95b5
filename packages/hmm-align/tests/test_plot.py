"""The picture of an alignment."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from hmm_align import Alignment, Reliability, Tiers, plot_alignment, plot_reliability
from hmm_metrics import Interval
from hmm_speech import Audio

image = pytest.importorskip("matplotlib.image", reason="the extra hmm-align[plot] is not installed")

TONE = Audio(0.5 * torch.sin(2 * torch.pi * 1000 * torch.arange(8000) / 16_000), sample_rate=16_000)


def test_the_picture_is_a_png_that_shows_something(
    make_alignment: Callable[..., Alignment], tmp_path: Path
) -> None:
    path = tmp_path / "clip.png"
    plot_alignment(TONE, make_alignment("clip"), path, reference=make_alignment("clip"))
    pixels = image.imread(path)
    height, width, _ = pixels.shape
    assert height > 300
    assert width > 800
    assert np.unique(pixels).size > 50


def test_each_tier_has_a_strip_and_each_boundary_a_line(make_alignment: Callable[..., Alignment]) -> None:
    alignment = make_alignment("clip")
    assert len(plot_alignment(TONE, alignment).axes) == 4
    reference = Tiers(words=(), phones=(Interval(0.0, 0.2, ""), Interval(0.2, 0.5, "AH0")))
    wave, picture, *strips = plot_alignment(TONE, alignment, reference=reference).axes
    assert [strip.get_ylabel() for strip in strips] == ["phones", "words", "reference"]
    assert {float(np.asarray(line.get_xdata())[0]) for line in picture.lines} == {0.1, 0.2}
    assert len({line.get_color() for line in picture.lines}) == 2
    assert len(wave.lines) == 3
    assert [text.get_text() for text in strips[2].texts] == ["", "AH0"]


def test_the_spectrogram_puts_a_tone_at_its_frequency() -> None:
    vowel = (Interval(0.0, 0.5, "AA"),)
    picture = plot_alignment(TONE, Tiers(vowel, vowel)).axes[1]
    (drawn,) = picture.images
    decibels = np.asarray(drawn.get_array())
    left, right, bottom, top = drawn.get_extent()
    assert (bottom, top) == (0.0, 8.0)
    assert (left, right) == pytest.approx((-0.001, 0.501))
    loudest = decibels.mean(axis=1).argmax() / (len(decibels) - 1) * top
    assert loudest == pytest.approx(1.0, abs=0.032)  # one of 257 bins


def test_silence_can_be_drawn() -> None:
    vowel = (Interval(0.0, 0.1, "AA"),)
    assert plot_alignment(Audio(torch.zeros(1600), 16_000), Tiers(vowel, ())).axes


def test_what_was_not_aligned_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="must hold words or phones"):
        plot_alignment(TONE, Alignment.failure("clip", "no text"))


def test_without_matplotlib_the_extra_is_named(
    make_alignment: Callable[..., Alignment], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "hmm-align\[plot\]"'):
        plot_alignment(TONE, make_alignment("clip"))


def test_a_line_for_each_report_and_one_to_compare_with(tmp_path: Path) -> None:
    levels, nothing = (0.5, 0.8), np.zeros(0)
    reports = {"one": Reliability(levels, (0.4, 0.9), nothing, nothing)}
    reports["two"] = reports["one"]._replace(coverage=(0.6, 0.7))
    figure = plot_reliability(reports, tmp_path / "reliability.svg")
    ideal, one, two = figure.axes[0].lines
    assert np.array_equal(ideal.get_xdata(), ideal.get_ydata())
    assert tuple(np.asarray(one.get_ydata())) == (0.4, 0.9)
    assert (two.get_label(), tuple(np.asarray(two.get_ydata()))) == ("two", (0.6, 0.7))
    assert "</svg>" in (tmp_path / "reliability.svg").read_text()
