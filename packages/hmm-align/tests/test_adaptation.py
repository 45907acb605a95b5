"""Models moved towards recordings that they were not trained on."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from hmm_align import AlignerConfig, Alignment, CorpusAligner, Tiers
from hmm_align.corpus_aligner import _trained
from hmm_speech import Corpus, CorpusError, Lexicon, read_corpus

# How much faster the other voice is than that of the training, and how much its room hisses.
FASTER = 1.5
HISS = 0.03


@pytest.fixture(scope="module")
def others(
    corpus: Corpus, write_wav: Callable[..., None], tmp_path_factory: pytest.TempPathFactory
) -> Corpus:
    """Return sentences of another voice in a room that is not quiet."""
    folder = tmp_path_factory.mktemp("others")
    chance = np.random.default_rng(0)
    for item in corpus.utterances[:8]:
        samples, _ = soundfile.read(item.audio)
        places = np.arange(0, len(samples) - 1, FASTER)
        fast = np.interp(places, np.arange(len(samples)), samples)
        write_wav(folder / item.audio.name, fast + chance.normal(0.0, HISS, len(fast)))
        (folder / f"{item.id}.txt").write_text(item.text)
    return read_corpus(folder)


def errors(found: list[Alignment], truth: dict[str, Tiers]) -> float:
    """Return the mean distance of words' ends, in seconds."""
    distances = []
    for item in found:
        assert item.ok, item.reason
        known = [word.end / FASTER for word in truth[item.id].words if word.label]
        distances += [
            abs(end - word.end)
            for end, word in zip(known, (word for word in item.words if word.label), strict=True)
        ]
    return float(np.mean(distances))


def test_a_voice_that_the_model_does_not_know_is_aligned_better(
    aligner: CorpusAligner, others: Corpus, truth: dict[str, Tiers]
) -> None:
    before = {name: value.clone() for name, value in _trained(aligner).to_tensors().items()}
    strange = aligner.align(others)
    adapted = aligner.adapt(others)
    found = adapted.align(others)
    assert errors(found, truth) < 0.7 * errors(strange, truth)
    assert sum(item.log_likelihood_per_frame for item in found) > sum(
        item.log_likelihood_per_frame for item in strange
    )
    for name, value in _trained(aligner).to_tensors().items():
        assert torch.equal(value, before[name])
    assert adapted.training_report == aligner.training_report


def test_a_strong_model_stays_as_it_is(aligner: CorpusAligner, others: Corpus) -> None:
    adapted = _trained(aligner.adapt(others, strength=1e12)).to_tensors()
    for name, value in _trained(aligner).to_tensors().items():
        # 1e12 frames against some thousands, stored in single precision.
        torch.testing.assert_close(adapted[name], value, rtol=1e-5, atol=1e-5)


def test_one_recording_is_enough(aligner: CorpusAligner, others: Corpus) -> None:
    (item, *_) = others.utterances
    adapted = aligner.adapt(item, strength=10.0)
    assert adapted.align(item).log_likelihood_per_frame > aligner.align(item).log_likelihood_per_frame


def test_tied_states_are_adapted_on_the_same_paths(
    corpus: Corpus, lexicon: Lexicon, others: Corpus, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("hmm_align._tied_training._LDA_DIM", 12)
    monkeypatch.setattr("hmm_align._tied_training._MIN_COUNT", 30.0)
    config = AlignerConfig(iterations=4, num_components=40, feature_transform="lda+mllt")
    aligner = CorpusAligner.train(corpus, lexicon=lexicon, config=config)
    adapted = aligner.adapt(others, workdir=tmp_path)
    before, after = _trained(aligner).tied, _trained(adapted).tied
    assert before is not None
    assert after is not None
    moved = (after.mixtures.mean - before.mixtures.mean).abs().amax((1, 2)) > 0.05
    assert moved.float().mean() > 0.5
    assert torch.equal(after.transform.weight, before.transform.weight)
    # What was read for it serves the alignment, too.
    monkeypatch.setattr("hmm_align._corpus.hear", lambda *_: pytest.fail("it is read again"))
    assert all(item.ok for item in adapted.align(others, workdir=tmp_path))


@pytest.mark.parametrize("strength", [0.0, -1.0, float("nan"), float("inf")])
def test_a_strength_that_is_none_is_refused(aligner: CorpusAligner, others: Corpus, strength: float) -> None:
    with pytest.raises(ValueError, match="strength must be > 0 and finite; got"):
        aligner.adapt(others, strength=strength)


def test_without_a_usable_recording_there_is_nothing_to_adapt_to(
    aligner: CorpusAligner, others: Corpus
) -> None:
    wrong = replace(others.utterances[0], text="snark")
    with pytest.raises(CorpusError, match=r"no utterance can be adapted to \(1 problems"):
        aligner.adapt(wrong)
    with pytest.raises(CorpusError, match="no utterance can be adapted to"):
        aligner.adapt(replace(others, utterances=()))


def test_a_model_of_sphinx_cannot_be_adapted(sphinx_folder: Path, lexicon: Lexicon, others: Corpus) -> None:
    aligner = CorpusAligner.load(f"sphinx:{sphinx_folder}", lexicon=lexicon)
    with pytest.raises(TypeError, match="the model must be one that this package has trained"):
        aligner.adapt(others)
