"""Where boundaries stand: at the change of the sound, whichever way time runs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from hmm_align import (
    AlignerConfig,
    Alignment,
    CorpusAligner,
    Tiers,
    reliability,
)
from hmm_align._acoustic import AcousticModel
from hmm_align._decode import look_up, unit_times
from hmm_align._graph import SILENCE, Unit, build_graph
from hmm_align._graph_batch import even_states
from hmm_metrics import BoundarySummary, Interval, boundary_errors, summarize_boundaries
from hmm_speech import Corpus, Lexicon, load_audio, read_corpus


def backwards(tier: tuple[Interval, ...]) -> list[Interval]:
    """Return a tier as a recording that runs backwards has it."""
    duration = tier[-1].end
    return [Interval(duration - end, duration - start, label) for start, end, label in reversed(tier)]


def align(corpus: Corpus, lexicon: Lexicon | None = None) -> list[Alignment]:
    """Train on a corpus with the default features, and align it."""
    return CorpusAligner.train(corpus, lexicon=lexicon, config=AlignerConfig(iterations=12)).align(corpus)


def errors_of(alignments: list[Alignment], truth: dict[str, list[Interval]]) -> BoundarySummary:
    """Compare with the truth."""
    return summarize_boundaries(
        [
            boundary_errors(truth[found.id], [Interval(*phone[:3]) for phone in found.phones])
            for found in alignments
        ]
    )


@pytest.fixture(scope="module")
def forwards(corpus: Corpus, lexicon: Lexicon) -> list[Alignment]:
    """Return the made-up corpus aligned at the default frame rate."""
    return align(corpus, lexicon)


def test_boundaries_are_neither_early_nor_late_whichever_way_time_runs(
    corpus: Corpus,
    forwards: list[Alignment],
    lexicon: Lexicon,
    truth: dict[str, Tiers],
    write_wav: Callable[..., None],
    tmp_path: Path,
) -> None:
    """What recordings have of their own, such as where in a phone its pitch pulses lie, turns with them."""
    for item in corpus.utterances:
        samples = load_audio(item.audio, 16_000).waveform.numpy()
        write_wav(tmp_path / f"{item.id}.wav", samples[::-1].astype(np.float64))
        (tmp_path / f"{item.id}.txt").write_text(" ".join(reversed(item.text.split())))
    mirrored = Lexicon({word: [phones[::-1] for phones in variants] for word, variants in lexicon.items()})
    there = errors_of(forwards, {name: list(tiers.phones) for name, tiers in truth.items()})
    back = errors_of(
        align(read_corpus(tmp_path), mirrored),
        {name: backwards(tiers.phones) for name, tiers in truth.items()},
    )
    assert min(there.num_boundaries, back.num_boundaries) > 450
    assert min(there.within[0.02], back.within[0.02]) > 0.97
    # 0.6 ms was measured; with nearly all frames of a first path at one end of their unit, 6 ms.
    assert abs(there.bias + back.bias) / 2 < 0.0015


def test_intervals_hold_as_much_of_a_voice_they_were_not_fitted_on_as_they_say(speech_data: Path) -> None:
    folder = speech_data / "synth" / "en_hts"
    report = reliability(align(read_corpus(folder)), folder)
    assert len(report.error) > 1700
    share = dict(zip(report.levels, report.coverage, strict=True))
    for level in (0.5, 0.8, 0.95):
        # The voices that they were fitted on have more boundaries that are far off.
        assert share[level] == pytest.approx(level, abs=0.1)
    wide = report.uncertainty > np.median(report.uncertainty)
    # 9.2 ms and 5.4 ms.
    assert np.abs(report.error[wide]).mean() > 1.4 * np.abs(report.error[~wide]).mean()


def test_spreads_are_those_of_boundaries_where_the_model_is_true() -> None:
    """Draw paths and what they sound like from the model: no densities to temper, and times are exact."""
    chance = np.random.default_rng(0)
    model = AcousticModel(["a", "b"], 1, states_per_phone=1, silence_states=3, variance_floor=0.01)
    means = np.array([0.0, 0.0, 0.0, 1.2, -1.2])  # of the silence's states, a and b
    chain = [Unit(label, 0, 0, 0) for label in ["", "a", "b", "a", "", "b", "a", ""]]
    standardised = []
    for _ in range(1000):
        states, ends = [], []
        for unit in chain:
            for state, density in enumerate(model.units[unit.label].densities):
                stay = np.exp(model.units[unit.label].log_transition[state, state])
                states += [density] * chance.geometric(1.0 - stay)
            ends.append(len(states))
        heard = chance.normal(means[states], 1.0)
        log_emission = torch.from_numpy(-0.5 * (heard[:, None] - means) ** 2).float()
        starts = np.array([0, *ends[:-1]])
        (found,) = unit_times([chain], [starts], model.units, [look_up(log_emission)], [ends[-1]], scale=1.0)
        standardised += [(found.ends[:-1] - ends[:-1]) / found.deviation[:-1]]
    # Seven thousand boundaries: three standard errors.
    assert np.mean(np.square(standardised)) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("frames", [(3, 3, 3), (4, 9, 12), (5, 31, 7)])
def test_frames_are_dealt_out_evenly_and_in_mirror_image(frames: tuple[int, int, int]) -> None:
    model = AcousticModel(["a", "b"], 2, states_per_phone=3, silence_states=3, variance_floor=0.01)
    graph = build_graph([[("a", "b")]], model.units, silence_prob=0.2)
    path = np.repeat([2, 5, 8], frames)  # the last states of a silence, an a and a b
    units = torch.from_numpy(graph.unit_of_state)
    dealt = even_states(units, torch.from_numpy(path)).numpy()
    assert graph.unit_of_state[dealt].tolist() == graph.unit_of_state[path].tolist()
    for unit, length in enumerate(frames):
        inside = dealt[graph.unit_of_state[path] == unit] - 3 * unit
        counts = np.bincount(inside, minlength=3)
        assert (np.diff(inside) >= 0).all()
        assert counts.sum() == length
        assert counts.max() - counts.min() <= 1
        assert counts[0] == counts[2]
    assert graph.units[0].label == SILENCE
