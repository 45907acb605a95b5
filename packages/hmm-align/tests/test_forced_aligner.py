"""One utterance at a time: the corpus aligner's times, from files and from samples."""

from pathlib import Path
from typing import Any

import pytest
import torch

from hmm_align import AlignedInterval, CorpusAligner, ForcedAligner
from hmm_models import ModelFileError
from hmm_speech import Audio, Corpus, Lexicon, load_audio


def test_three_lines_align_a_recording(aligner: CorpusAligner, corpus: Corpus, tmp_path: Path) -> None:
    aligner.save(tmp_path / "model.safetensors")
    utterance = corpus.utterances[0]
    forced = ForcedAligner.from_pretrained(tmp_path / "model.safetensors")
    alignment = forced.align(utterance.text, utterance.audio)
    assert alignment.ok
    assert [word.label for word in alignment.words if word.label] == utterance.text.split()
    assert alignment == aligner.align(utterance)


def test_samples_do_as_well_as_a_file(aligner: CorpusAligner, corpus: Corpus) -> None:
    utterance = corpus.utterances[1]
    forced = ForcedAligner(aligner)
    from_file = forced.align(utterance.text, str(utterance.audio))
    from_samples = forced.align(utterance.text, load_audio(utterance.audio, None))
    assert from_samples.words == from_file.words
    assert from_samples.phones == from_file.phones


def test_times_are_near_the_truth(aligner: CorpusAligner, corpus: Corpus, truth: dict[str, Any]) -> None:
    forced, off = ForcedAligner(aligner), []
    for utterance in corpus.utterances[:10]:
        found = {word.label: word for word in forced.align(utterance.text, utterance.audio).words}
        wanted = {word.label: word for word in truth[utterance.id].words}
        off += [abs(found[label].start - wanted[label].start) for label in wanted if label]
    assert sum(item <= 0.02 for item in off) / len(off) > 0.8


def test_what_cannot_be_aligned_has_a_reason(aligner: CorpusAligner, corpus: Corpus, tmp_path: Path) -> None:
    forced, audio = ForcedAligner(aligner), corpus.utterances[0].audio
    for text, recording, reason in (
        ("masa unheard", audio, "unheard"),
        ("", audio, "the transcript holds no word"),
        ("masa", tmp_path / "missing.wav", "missing.wav"),
        ("masa", Audio(torch.zeros(16_000), 16_000), "silent"),
        ("masa " * 200, audio, "the transcript needs"),
    ):
        alignment = forced.align(text, recording)
        assert not alignment.ok
        assert reason in alignment.reason
        assert alignment.words == ()


def test_another_lexicon_can_be_given(aligner: CorpusAligner, corpus: Corpus, tmp_path: Path) -> None:
    aligner.save(tmp_path / "model.safetensors")
    own = ForcedAligner.from_pretrained(
        tmp_path / "model.safetensors", lexicon=Lexicon({"noise": [["M", "AA", "S", "AA"]]})
    )
    words = own.align("noise", corpus.utterances[0].audio).words
    assert [word.label for word in words if word.label] == ["noise"]
    assert isinstance(words[0], AlignedInterval)


def test_bad_arguments_are_named(aligner: CorpusAligner, tmp_path: Path) -> None:
    wrong: Any = 5
    with pytest.raises(TypeError, match="model must be a CorpusAligner; got int"):
        ForcedAligner(wrong)
    with pytest.raises(TypeError, match="text must be a str; got int"):
        ForcedAligner(aligner).align(wrong, "a.wav")
    with pytest.raises(TypeError, match="audio must be a path or an Audio; got int"):
        ForcedAligner(aligner).align("masa", wrong)
    with pytest.raises(ModelFileError, match="nowhere"):
        ForcedAligner.from_pretrained(tmp_path / "nowhere.safetensors")
