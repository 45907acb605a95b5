"""Transcripts that are not what is said: what is too much, what is missing, and where."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hmm_align import (
    AlignerConfig,
    Alignment,
    CorpusAligner,
    SkippedWord,
    Tiers,
    diagnose,
    read_json,
    write_json,
)
from hmm_align._loose import make_loose
from hmm_speech import Corpus, Lexicon, Utterance, read_corpus

WORDS = ("masa", "shoozy", "zoom", "either", "see")


def with_texts(corpus: Corpus, change: Callable[[list[str]], object]) -> Corpus:
    """Return a corpus with other transcripts."""
    utterances = []
    for item in corpus:
        words = item.text.split()
        change(words)
        utterances.append(replace(item, text=" ".join(words)))
    return replace(corpus, utterances=tuple(utterances))


def others(found: Alignment) -> list[tuple[float, float]]:
    return [(word.start, word.end) for word in found.words if word.label == "<unk>"]


def test_what_fits_is_aligned_as_ever(
    aligner: CorpusAligner, corpus: Corpus, alignments: list[Alignment]
) -> None:
    for found, expected in zip(aligner.align(corpus, loose=True), alignments, strict=True):
        assert found.loose
        if found.id == "s04":  # a vowel that is a word, said twice at once: as likely one long one
            assert [word.label for word in found.skipped] == ["of"]
            continue
        assert found.skipped == ()
        assert [phone.label for phone in found.phones] == [phone.label for phone in expected.phones]
        # The same frames of a larger table are summed in another order.
        assert [phone.end for phone in found.phones] == pytest.approx(
            [phone.end for phone in expected.phones], abs=1e-3
        )


def test_tied_states_place_what_holds_no_other_speech(corpus: Corpus, lexicon: Lexicon) -> None:
    config = AlignerConfig(iterations=4, num_components=40, tied_states=40)
    trained = CorpusAligner.train(corpus, lexicon=lexicon, config=config)
    mixtures = CorpusAligner(
        trained._acoustic, lexicon, replace(config, acoustic="monophone"), trained.training_report
    )
    some = replace(corpus, utterances=corpus.utterances[:6])
    missing = replace(some, utterances=with_texts(corpus, lambda words: words.pop(2)).utterances[:3])
    both = replace(some, utterances=(*missing.utterances, *some.utterances[3:]))
    strict, found, plain = (
        trained.align(some),
        trained.align(both, loose=True),
        mixtures.align(both, loose=True),
    )
    assert [bool(others(item)) for item in found] == [True] * 3 + [False] * 3
    # Of a vowel that is said twice, one may be taken for skipped.
    chosen = [pair for pair in zip(found, plain[:3] + strict[3:], strict=True) if not pair[0].skipped]
    assert len(chosen) >= 5
    # The same frames of a larger table are summed in another order.
    for item, expected in chosen:
        ends = [phone.end for phone in expected.phones]
        assert [phone.end for phone in item.phones] == pytest.approx(ends, abs=1e-3)
    assert [item.phones for item in strict[3:]] != [item.phones for item in plain[3:]]


def test_a_word_too_few_is_other_speech_where_it_is(
    aligner: CorpusAligner, corpus: Corpus, truth: dict[str, Tiers]
) -> None:
    found = aligner.align(with_texts(corpus, lambda words: words.pop(2)), loose=True)
    right = 0
    for item in found:
        spoken = [word for word in truth[item.id].words if word.label]
        places = others(item)
        right += (
            len(places) == 1
            and max(abs(places[0][0] - spoken[2].start), abs(places[0][1] - spoken[2].end)) < 0.1
        )
        assert item.skipped == ()
    # Of two alike, either may be the one that is missing; one vowel may hide in another.
    assert right >= 24


def test_a_word_too_many_is_not_heard(aligner: CorpusAligner, corpus: Corpus) -> None:
    found = aligner.align(with_texts(corpus, lambda words: words.insert(2, "shoozy")), loose=True)
    named = [item for item in found if [(word.label, word.place) for word in item.skipped] == [("shoozy", 2)]]
    # Beside its like, either of the two may be the one that is left out.
    twins = sum("shoozy" in item.text.split()[1:3] for item in corpus)
    assert len(named) >= len(found) - twins
    for item in named:
        before = [word for word in item.words if word.label][1]
        assert item.skipped[0].time == before.end
        assert not others(item)


def test_signs_tell_both(aligner: CorpusAligner, corpus: Corpus) -> None:
    def change(words: list[str]) -> None:
        words[2] = "shoozy" if words[2] != "shoozy" else "masa"

    for found in diagnose(aligner.align(with_texts(corpus, change), loose=True)):
        assert found.suspicious, found.id
        assert "no word explains the speech" in found.signs[0] or "is not heard" in found.signs[0]


@pytest.mark.parametrize("left_out", [0, 1, 2])
def test_a_transcript_of_a_part_of_the_recording_gets_its_words_right(
    aligner: CorpusAligner, tmp_path: Path, say: Callable[..., Tiers], left_out: int
) -> None:
    sentences = [[None, *((word, 0) for word in np.roll(WORDS, turn)), None] for turn in range(3)]
    times = [say(tmp_path / "parts", f"part{number}", said, number) for number, said in enumerate(sentences)]
    parts = [soundfile.read(item.audio)[0] for item in read_corpus(tmp_path / "parts")]
    starts = np.cumsum([0.0, *(len(part) / 16_000 for part in parts)])
    path = tmp_path / "whole.wav"
    soundfile.write(path, np.concatenate(parts), 16_000)
    kept = [number for number in range(3) if number != left_out]
    text = " ".join(word.label for number in kept for word in times[number].words if word.label)
    found = aligner.align(Utterance("whole", path, text, ""), loose=True)
    assert found.skipped == ()
    expected = [
        (word.start + starts[number], word.end + starts[number])
        for number in kept
        for word in times[number].words
        if word.label
    ]
    heard = [(word.start, word.end) for word in found.words if word.label not in {"", "<unk>"}]
    assert np.abs(np.subtract(heard, expected)).max() < 0.05
    covered = sum(end - start for start, end in others(found))
    spoken = sum(word.end - word.start for word in times[left_out].words if word.label)
    assert covered == pytest.approx(spoken, rel=0.35)  # pauses inside count or not


@pytest.mark.parametrize("frame_period", [0.0025, 0.005, 0.01, 0.1])
def test_other_speech_lasts_as_long_whatever_the_frames(frame_period: float) -> None:
    config = AlignerConfig(frame_period=frame_period)
    filler = make_loose(7, config).filler
    assert filler.min_frames == max(1, round(0.05 / frame_period))
    assert (filler.densities == 7).all()


def test_nothing_that_is_heard_is_a_failure(aligner: CorpusAligner, tmp_path: Path) -> None:
    path = tmp_path / "hum.wav"
    time = np.arange(32_000) / 16_000
    soundfile.write(path, 0.3 * np.sign(np.sin(2 * np.pi * 300 * time)), 16_000)
    found = aligner.align(Utterance("hum", path, "see ash", ""), loose=True)
    assert not found.ok
    assert found.reason == "no word of the transcript is heard in the recording"


def test_a_network_finds_other_speech_too(aligner: CorpusAligner, corpus: Corpus) -> None:
    some = replace(corpus, utterances=corpus.utterances[:6])
    config = replace(aligner.config, acoustic="neural", network_channels=16, network_epochs=3, iterations=5)
    trained = CorpusAligner.train(some, lexicon=aligner.lexicon, config=config)
    found = trained.align(with_texts(some, lambda words: words.pop(2)), loose=True)
    assert sum(len(others(item)) for item in found) >= 3


def test_skipped_words_are_kept_in_json(tmp_path: Path, make_alignment: Callable[..., Alignment]) -> None:
    found = replace(make_alignment("clip"), skipped=(SkippedWord(0.1, "very", 1),), loose=True)
    write_json(found, tmp_path / "clip.json")
    assert read_json(tmp_path / "clip.json") == found
