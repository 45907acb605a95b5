"""Where boundaries stand: at the change of the sound, whichever way time runs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from hmm_align import AlignerConfig, CorpusAligner, Tiers
from hmm_align._acoustic import AcousticModel
from hmm_align._graph import SILENCE, build_graph
from hmm_align._start import even_states
from hmm_metrics import BoundarySummary, Interval, boundary_errors, summarize_boundaries
from hmm_speech import Corpus, Lexicon, load_audio, read_corpus


def backwards(tier: tuple[Interval, ...]) -> list[Interval]:
    """Return a tier as a recording that runs backwards has it."""
    duration = tier[-1].end
    return [Interval(duration - end, duration - start, label) for start, end, label in reversed(tier)]


def errors_of(corpus: Corpus, lexicon: Lexicon, truth: dict[str, list[Interval]]) -> BoundarySummary:
    """Train on the corpus, align it, and compare with the truth."""
    config = AlignerConfig(iterations=12)
    aligned = CorpusAligner.train(corpus, lexicon=lexicon, config=config).align(corpus)
    return summarize_boundaries(
        [
            boundary_errors(truth[found.id], [Interval(*phone[:3]) for phone in found.phones])
            for found in aligned
        ]
    )


def test_boundaries_are_neither_early_nor_late_whichever_way_time_runs(
    corpus: Corpus,
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
    there = errors_of(corpus, lexicon, {name: list(tiers.phones) for name, tiers in truth.items()})
    back = errors_of(
        read_corpus(tmp_path), mirrored, {name: backwards(tiers.phones) for name, tiers in truth.items()}
    )
    assert min(there.num_boundaries, back.num_boundaries) > 450
    assert min(there.within[0.02], back.within[0.02]) > 0.97
    # 0.6 ms was measured; with nearly all frames of a first path at one end of their unit, 6 ms.
    assert abs(there.bias + back.bias) / 2 < 0.0015


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
