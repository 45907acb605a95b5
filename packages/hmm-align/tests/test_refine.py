"""Boundaries moved to where the sound changes: how far, which of them, and what it gains."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hmm_align import CorpusAligner, Tiers, read_textgrid
from hmm_align._refine import Change, change_of, per_frame, refine, spectral_change
from hmm_metrics import BoundarySummary, boundary_errors, summarize_boundaries
from hmm_speech import Audio, Corpus, read_corpus


def bands(sample_rate: int, seconds: float = 0.3) -> Audio:
    """Return a low noise and then a high one, each of so many seconds."""
    size = round(seconds * sample_rate)
    noise = torch.randn(2, size, generator=torch.Generator().manual_seed(0))
    spectrum = torch.fft.rfft(noise)
    frequency = torch.fft.rfftfreq(size, 1 / sample_rate)
    spectrum[0, frequency > 1000] = 0
    spectrum[1, frequency < 2000] = 0
    return Audio(0.1 * torch.fft.irfft(spectrum, size).flatten(), sample_rate)


@pytest.mark.parametrize("sample_rate", [8000, 16_000, 22_050, 44_100])
def test_change_is_greatest_where_the_sound_changes(sample_rate: int) -> None:
    change = spectral_change(bands(sample_rate))
    # A loud sound is in the spectra before it begins, by up to half of their window.
    assert change.values.argmax() * change.step == pytest.approx(0.3, abs=0.006)
    assert len(change.values) == 1 + int(0.6 / change.step)


def test_change_does_not_depend_on_loudness_or_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    audio = bands(16_000)
    expected = spectral_change(audio).values
    soft = spectral_change(Audio(1e-3 * audio.waveform, 16_000)).values
    np.testing.assert_allclose(soft, expected, rtol=1e-3, atol=1e-4)  # logarithms of float32 spectra
    monkeypatch.setattr("hmm_align._refine._BLOCK", 70)
    np.testing.assert_allclose(spectral_change(audio).values, expected, rtol=1e-5)  # float32 sums of 7


@pytest.mark.parametrize("waveform", [torch.zeros(4000), torch.ones(4000), torch.ones(1)])
def test_what_does_not_change_moves_no_boundary(waveform: torch.Tensor) -> None:
    change = spectral_change(Audio(waveform, 16_000))
    assert np.isfinite(change.values).all()
    edges = np.array([0.1])
    flat = Change(np.zeros(len(change.values), dtype=np.float32), change.step)
    found = refine(edges, np.array([0.02]), np.array([False]), flat, 0.25, 2.0)
    assert found == pytest.approx(edges, abs=1e-12)


@pytest.fixture
def change() -> Change:
    """Return a change at 0.5 s and nowhere else, as narrow as it can be."""
    values = np.zeros(501, dtype=np.float32)
    values[250] = 20.0
    return Change(values, 0.002)


def moved(edge: float, uncertainty: float, change: Change, *, starts_sound: bool = False) -> float:
    return float(
        refine(np.array([edge]), np.array([uncertainty]), np.array([starts_sound]), change, 1.0, 2.0)[0]
    )


def test_a_boundary_moves_to_the_change_near_it(change: Change) -> None:
    assert moved(0.49, 0.02, change) == pytest.approx(0.5, abs=1e-6)
    assert moved(0.517, 0.02, change) == pytest.approx(0.5, abs=1e-6)


def test_a_boundary_does_not_move_farther_than_it_is_uncertain_nor_than_20_ms(change: Change) -> None:
    # Where there is no change within reach, all of it is as good, and its middle the boundary.
    assert moved(0.49, 0.003, change) == pytest.approx(0.49, abs=1e-3)  # the times are 2 ms apart
    assert moved(0.475, 0.1, change) == pytest.approx(0.475, abs=1e-3)
    assert moved(0.49, 0.0, change) == 0.49


def test_a_boundary_at_which_a_silence_ends_stays(change: Change) -> None:
    assert moved(0.49, 0.02, change, starts_sound=True) == 0.49


def test_boundaries_keep_their_order_and_stay_in_the_recording() -> None:
    chance = np.random.default_rng(0)
    for _ in range(50):
        edges = np.sort(chance.uniform(0.0, 0.3, 20))
        values = chance.exponential(3.0, 151).astype(np.float32)
        found = refine(
            edges, chance.uniform(0, 0.05, 20), chance.random(20) < 0.2, Change(values, 0.002), 0.3, 2.0
        )
        assert (np.diff(found, prepend=0.0, append=0.3) >= 0).all()
        bounds = np.concatenate([[0.0], edges, [0.3]])
        middles = (bounds[1:] + bounds[:-1]) / 2
        assert (found >= middles[:-1]).all()
        assert (found <= middles[1:]).all()
        assert np.abs(found - edges).max() <= 0.02


def errors(
    aligner: CorpusAligner, corpus: Corpus, truth: Callable[[str], Tiers]
) -> tuple[BoundarySummary, BoundarySummary]:
    """Return the errors of boundaries as the model expects them, and moved."""
    expecting, moving = (
        CorpusAligner(
            aligner._acoustic,
            aligner.lexicon,
            replace(aligner.config, change_weight=weight),
            aligner.training_report,
        )
        for weight in (0.0, 2.0)
    )
    before, after = (
        summarize_boundaries(
            boundary_errors(truth(item.id).phones, [phone[:3] for phone in item.phones])
            for item in found.align(corpus)
            if item.ok
        )
        for found in (expecting, moving)
    )
    return before, after


def test_a_voice_never_heard_gains(speech_data: Path) -> None:
    pytest.importorskip("pocketsphinx", reason="the extra [sphinx] is not installed")
    folder = speech_data / "synth" / "en_hts"
    corpus = read_corpus(folder)
    corpus = replace(corpus, utterances=corpus.utterances[::4])
    aligner = CorpusAligner.load("sphinx:en-us")
    before, after = errors(aligner, corpus, lambda name: read_textgrid(folder / f"{name}.TextGrid"))
    assert after.within[0.01] > before.within[0.01] + 0.04
    assert after.within[0.02] > before.within[0.02] - 0.01
    assert after.mean < before.mean


def test_boundaries_that_are_right_stay_so(
    aligner: CorpusAligner, corpus: Corpus, truth: dict[str, Tiers]
) -> None:
    before, after = errors(aligner, corpus, truth.__getitem__)
    assert after != before
    assert after.mean < before.mean + 1e-4
    assert after.within[0.01] >= before.within[0.01] - 0.005


@pytest.mark.parametrize(("sample_rate", "frame_period"), [(16_000, 0.01), (44_100, 0.01), (16_000, 0.0005)])
def test_changes_are_kept_frame_by_frame(sample_rate: int, frame_period: float) -> None:
    audio = bands(sample_rate)
    change = spectral_change(audio)
    num_frames = 1 + len(audio.waveform) // round(frame_period * sample_rate)
    rows = change.in_frames(num_frames, sample_rate, frame_period)
    assert rows.shape == (num_frames, per_frame(sample_rate, frame_period))
    found = change_of(rows, sample_rate)
    assert found.step == change.step
    np.testing.assert_array_equal(found.values[: len(change.values)], change.values)
    assert not found.values[len(change.values) :].any()
