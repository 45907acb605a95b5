"""From a corpus to what is trained on: words, pronunciations, features, and problems by name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hmm_align import AlignerConfig, Tiers
from hmm_align._corpus import Prepared, feature_store, hear, minibatches, prepare, pronounce
from hmm_align._features import FeatureExtractor
from hmm_speech import Corpus, Lexicon, TextError, UnknownWordError, Utterance


def test_a_transcript_becomes_words_with_all_their_pronunciations(lexicon: Lexicon) -> None:
    words, pronunciations = pronounce("See... EITHER!", lexicon)
    assert words == ("see", "either")
    assert pronunciations == ((("S", "IY"),), (("IY", "Z", "EH"), ("AA", "Z", "EH")))


def test_every_unknown_word_is_named_once(lexicon: Lexicon) -> None:
    with pytest.raises(UnknownWordError, match="blorf, snark"):
        pronounce("blorf see snark blorf", lexicon)


@pytest.mark.parametrize("text", ["?!", " ... "])
def test_a_transcript_without_a_word_is_a_text_error(lexicon: Lexicon, text: str) -> None:
    with pytest.raises(TextError, match="holds no word"):
        pronounce(text, lexicon)


def test_what_can_be_used_is_read_and_what_cannot_is_named(
    tmp_path: Path, lexicon: Lexicon, say: Callable[..., Tiers]
) -> None:
    config = AlignerConfig()
    times = say(tmp_path, "good", [None, ("see", 0)])
    say(tmp_path, "strange", [("see", 0)], text="snark")
    say(tmp_path, "wordless", [("see", 0)], text="?")
    (tmp_path / "broken.wav").write_bytes(b"RIFF, more or less")
    utterances = [
        Utterance(name, tmp_path / f"{name}.wav", text, "anna")
        for name, text in (
            ("absent", "see"), ("broken", "see"), ("good", "see"), ("strange", "snark"), ("wordless", "?"),
        )
    ]  # fmt: skip
    calls: list[tuple[str, int, int]] = []
    store = feature_store(tmp_path / "features", FeatureExtractor(config).feature_dim, config)
    usable, problems = prepare(utterances, lexicon, config, store, lambda *call: calls.append(call))
    (good,) = usable
    duration = times.phones[-1].end
    assert (good.id, good.words, good.number) == ("good", ("see",), 0)
    assert good.duration == pytest.approx(duration)
    assert good.num_frames == len(store.read(0)) == 1 + int(duration / 0.01)
    assert [problem.id for problem in problems] == ["absent", "broken", "strange", "wordless"]
    assert all(problem.reason for problem in problems)
    assert calls == [("reading", done, 5) for done in range(1, 6)]
    store.close()


@pytest.mark.parametrize(("peak", "level"), [(0.0, "digital zero"), (3e-4, "-70 dB of full scale")])
def test_a_recording_that_cannot_be_heard_is_a_problem(
    tmp_path: Path, lexicon: Lexicon, write_wav: Callable[..., None], peak: float, level: str
) -> None:
    config = AlignerConfig()
    store = feature_store(tmp_path, FeatureExtractor(config).feature_dim, config)
    write_wav(tmp_path / "quiet.wav", np.full(16_000, peak))
    utterance = Utterance("quiet", tmp_path / "quiet.wav", "see", "anna")
    usable, (problem,) = prepare([utterance], lexicon, config, store)
    assert usable == []
    assert "the recording is silent" in problem.reason
    assert level in problem.reason
    store.close()


def test_noise_is_steady_and_speech_is_not(
    tmp_path: Path, corpus: Corpus, write_wav: Callable[..., None]
) -> None:
    def is_steady(utterance: Utterance) -> bool:
        found = hear(FeatureExtractor(AlignerConfig()), AlignerConfig(), utterance)
        assert not isinstance(found, str)
        return found.is_steady

    assert not any(is_steady(item) for item in corpus)
    time = np.arange(48_000) / 16_000
    chance = np.random.default_rng(0)
    noise = chance.normal(0.0, 0.01, len(time))
    sounds = {
        "room": noise,
        "hum": noise + 0.3 * np.sin(2 * np.pi * 50 * time),
        "tone": 0.3 * np.sin(2 * np.pi * 1000 * time),
        "constant": np.full(len(time), 0.5),
        "short": noise[:700],
    }
    for name, samples in sounds.items():
        write_wav(tmp_path / f"{name}.wav", samples)
        assert is_steady(Utterance(name, tmp_path / f"{name}.wav", "see", "")), name


def test_batches_hold_like_lengths_and_no_more_frames_than_allowed() -> None:
    lengths = [30, 100, 31, 29, 300, 99, 30]
    items = [Prepared(f"clip{number}", (), (), number, length, 1.0) for number, length in enumerate(lengths)]
    batches = minibatches(items, batch_frames=200)
    assert [[item.num_frames for item in batch] for batch in batches] == [[300], [100, 99], [31, 30, 30, 29]]
    assert sorted(item.id for batch in batches for item in batch) == sorted(item.id for item in items)
    assert minibatches(items[::-1], 200) == batches
    assert minibatches([], 200) == []
