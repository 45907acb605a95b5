"""The aligner, from recordings and transcripts to times, on a made-up language whose times are known."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from hmm_align import (
    AlignedInterval,
    AlignerConfig,
    Alignment,
    CorpusAligner,
    Tiers,
    _model_file,
    diagnose,
    evaluate,
    write_alignments,
)
from hmm_align import corpus_aligner as module
from hmm_align._acoustic import AcousticModel
from hmm_align._corpus import Prepared
from hmm_align._training import is_realigned
from hmm_metrics import BoundarySummary, Interval, boundary_errors, summarize_boundaries
from hmm_models import ModelFileError, load_tensors, save_tensors
from hmm_speech import Corpus, CorpusError, Lexicon, Problem, Utterance, read_corpus

QUICK = AlignerConfig(acoustic="monophone", iterations=5, num_components=40)
QUICK_TRIPHONE = replace(QUICK, acoustic="triphone", feature_transform="lda+mllt")
QUICK_NETWORK = replace(QUICK, acoustic="neural", network_channels=16, network_epochs=3)


class StoppedError(Exception):
    """What a test raises in the middle of a training."""


def errors(alignments: Sequence[Alignment], truth: dict[str, Tiers]) -> BoundarySummary:
    """Compare phone boundaries with the truth."""
    return summarize_boundaries(
        [
            boundary_errors(truth[found.id].phones, [Interval(*phone[:3]) for phone in found.phones])
            for found in alignments
        ]
    )


def tensors(aligner: CorpusAligner) -> dict[str, torch.Tensor]:
    return module._trained(aligner).to_tensors()


def assert_same(one: CorpusAligner, two: CorpusAligner) -> None:
    """Raise unless two models are equal to the bit."""
    assert one.phones == two.phones
    assert one.training_report == two.training_report
    first, second = tensors(one), tensors(two)
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_boundaries_are_where_they_are(alignments: list[Alignment], truth: dict[str, Tiers]) -> None:
    assert all(found.ok for found in alignments)
    found = errors(alignments, truth)
    assert found.num_boundaries > 450
    # Measured: 99.4 %, 5.4 ms and -2.4 ms with frames of 5 ms.
    assert found.within[0.02] > 0.95
    assert found.median < 0.008
    assert abs(found.bias) < 0.005


def test_silences_and_pronunciations_are_those_that_were_spoken(
    alignments: list[Alignment], truth: dict[str, Tiers]
) -> None:
    labels = {found.id: [phone.label for phone in found.phones] for found in alignments}
    assert labels == {name: [phone.label for phone in tiers.phones] for name, tiers in truth.items()}
    words = {found.id: [word.label for word in found.words] for found in alignments}
    assert words == {name: [word.label for word in tiers.words] for name, tiers in truth.items()}
    # Otherwise this shows nothing.
    assert sum(label == "AA" for found in labels.values() for label in found) > 10
    between = [tiers.words[1:-1] for tiers in truth.values()]
    assert 20 < sum(word.label == "" for words in between for word in words) < 80
    assert len({tiers.words[0].label == "" for tiers in truth.values()}) == 2


def test_tiers_nest_and_cover_the_recording(alignments: list[Alignment], lexicon: Lexicon) -> None:
    for found in alignments:
        for tier in (found.words, found.phones):
            assert (tier[0].start, tier[-1].end) == (0.0, found.duration)
            assert all(one.end == two.start for one, two in pairwise(tier))
        for word in found.words:
            inside = tuple(phone.label for phone in found.phones if word.start <= phone.start < word.end)
            assert inside in (lexicon.pronounce(word.label) if word.label else ((word.label,),))
        assert np.isfinite(found.log_likelihood_per_frame)


def test_the_likelihood_of_the_best_paths_rises(aligner: CorpusAligner, config: AlignerConfig) -> None:
    report = aligner.training_report
    assert len(report.log_likelihood_per_frame) == sum(
        map(is_realigned, range(1, config.iterations + 1))
    )  # fmt: skip
    assert (np.diff(report.log_likelihood_per_frame) > 0).all()
    assert (report.num_utterances, report.problems) == (30, ())
    assert report.hours == pytest.approx(64 / 3600, rel=0.05)


def test_one_by_one_is_as_good_as_together_for_speakers_of_one_utterance(
    aligner: CorpusAligner, corpus: Corpus
) -> None:
    alone = [replace(utterance, speaker=utterance.id) for utterance in corpus.utterances[:6]]
    together = aligner.align(replace(corpus, utterances=tuple(alone)))
    for utterance, expected in zip(alone, together, strict=True):
        found = aligner.align(utterance)
        assert [phone.label for phone in found.phones] == [phone.label for phone in expected.phones]
        # Matrix products of other shapes round otherwise.
        assert [phone.end for phone in found.phones] == pytest.approx(
            [phone.end for phone in expected.phones], abs=1e-4
        )
        assert found.log_likelihood_per_frame == pytest.approx(expected.log_likelihood_per_frame, rel=1e-5)


def test_small_batches_change_nothing(aligner: CorpusAligner, corpus: Corpus) -> None:
    config = replace(aligner.config, batch_frames=1000)
    small = CorpusAligner(aligner._acoustic, aligner.lexicon, config, aligner.training_report)
    some = replace(corpus, utterances=corpus.utterances[:8])
    for found, expected in zip(small.align(some), aligner.align(some), strict=True):
        assert found.id == expected.id
        assert [phone.end for phone in found.phones] == pytest.approx(
            [phone.end for phone in expected.phones], abs=1e-4
        )


def test_the_certain_is_more_certain_than_the_wrong(
    aligner: CorpusAligner, corpus: Corpus, alignments: list[Alignment]
) -> None:
    def mean(found: Alignment) -> float:
        return float(np.mean([word.confidence for word in found.words if word.label]))

    true = np.mean([mean(found) for found in alignments])
    wrong_texts = [
        replace(utterance, text="zoom see shoozy hem masa")
        for utterance in corpus.utterances
        if not {"zoom", "see", "shoozy"} <= set(utterance.text.split())
    ]
    wrong = [found for found in aligner.align(replace(corpus, utterances=tuple(wrong_texts))) if found.ok]
    assert true > 0.99
    # Confidence is about times, given the transcript: the wrong one is less certain, not uncertain.
    assert 1 - np.mean([mean(found) for found in wrong]) > 5 * (1 - true)
    likelihood = [found.log_likelihood_per_frame for found in alignments]
    assert max(found.log_likelihood_per_frame for found in wrong) < min(likelihood)


def test_a_wrong_word_is_named_and_right_ones_are_not(
    aligner: CorpusAligner, corpus: Corpus, alignments: list[Alignment]
) -> None:
    assert not any("does not fit" in sign for found in diagnose(alignments) for sign in found.signs)
    wrong = []
    for utterance in corpus:
        words = utterance.text.split()
        words[2] = "ash" if words[2] == "zoom" else "zoom"
        wrong.append(replace(utterance, text=" ".join(words)))
    found = diagnose(aligner.align(replace(corpus, utterances=tuple(wrong))))
    named = [any("does not fit" in sign for sign in item.signs) or not item.ok for item in found]
    # A word of three phones may sound enough like another.
    assert sum(named) > 0.8 * len(named)


@pytest.mark.parametrize(
    "config", [QUICK, QUICK_TRIPHONE, QUICK_NETWORK], ids=["monophone", "triphone", "neural"]
)
def test_two_trainings_are_equal_to_the_bit(corpus: Corpus, lexicon: Lexicon, config: AlignerConfig) -> None:
    some = replace(config, batch_frames=1500)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    one = CorpusAligner.train(corpus, lexicon=lexicon, config=some)
    torch.rand(1)  # the global generator's state must not matter
    # A network's operations share threads among themselves, and round by their number.
    torch.set_num_threads(1 if config.acoustic == "neural" else 3)
    two = CorpusAligner.train(corpus, lexicon=lexicon, config=some)
    found = one.align(corpus), two.align(corpus)
    torch.set_num_threads(threads)
    assert_same(one, two)
    assert found[0] == found[1]


@pytest.fixture(scope="module")
def neural(corpus: Corpus, lexicon: Lexicon, config: AlignerConfig) -> CorpusAligner:
    """Return an aligner whose boundaries a network places."""
    return CorpusAligner.train(
        corpus, lexicon=lexicon, config=replace(config, acoustic="neural", network_channels=32)
    )


def test_a_network_places_boundaries_where_they_are(
    neural: CorpusAligner, corpus: Corpus, truth: dict[str, Tiers]
) -> None:
    found = errors(neural.align(corpus), truth)
    monophone = CorpusAligner(
        neural._acoustic, neural.lexicon, replace(neural.config, acoustic="monophone"), neural.training_report
    )
    # Measured: 96.0 % and 5.1 ms with frames of 5 ms.
    assert found.within[0.02] > 0.93
    assert found.median < 0.008
    # What the configuration asks for is what aligns.
    assert errors(monophone.align(corpus), truth) != found


def test_a_network_is_saved_with_the_model(neural: CorpusAligner, corpus: Corpus, tmp_path: Path) -> None:
    neural.save(tmp_path / "model.safetensors")
    loaded = CorpusAligner.load(tmp_path / "model.safetensors")
    assert_same(loaded, neural)
    some = replace(corpus, utterances=corpus.utterances[:5])
    assert loaded.align(some) == neural.align(some)


@pytest.fixture(scope="module", params=["none", "mllt", "lda+mllt"])
def triphone(
    request: pytest.FixtureRequest, corpus: Corpus, lexicon: Lexicon, config: AlignerConfig
) -> CorpusAligner:
    """Return an aligner whose boundaries are placed by states that know their neighbours."""
    choices = replace(config, acoustic="triphone", feature_transform=request.param, tied_states=60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hmm_align._tied_training._MIN_COUNT", 50.0)  # in a minute of speech
        return CorpusAligner.train(corpus, lexicon=lexicon, config=choices)


def test_tied_states_place_boundaries_where_they_are(
    triphone: CorpusAligner, corpus: Corpus, truth: dict[str, Tiers]
) -> None:
    assert isinstance(triphone._acoustic, AcousticModel)
    tied = triphone._acoustic.tied
    assert tied is not None
    assert triphone._acoustic.num_densities < tied.num_densities <= 60
    found = errors(triphone.align(corpus), truth)
    # Measured: 99.8 % with none and with both, 87.6 % with MLLT alone, which a minute of noise misleads.
    assert found.within[0.02] > (0.85 if triphone.config.feature_transform == "mllt" else 0.93)
    assert found.median < 0.008
    monophone = CorpusAligner(
        triphone._acoustic,
        triphone.lexicon,
        replace(triphone.config, acoustic="monophone"),
        triphone.training_report,
    )
    # What the configuration asks for is what aligns.
    assert errors(monophone.align(corpus), truth) != found


def test_tied_states_are_saved_with_the_model(
    triphone: CorpusAligner, corpus: Corpus, tmp_path: Path
) -> None:
    triphone.save(tmp_path / "model.safetensors")
    loaded = CorpusAligner.load(tmp_path / "model.safetensors")
    assert_same(loaded, triphone)
    some = replace(corpus, utterances=corpus.utterances[:5])
    assert loaded.align(some) == triphone.align(some)


def test_a_model_of_before_there_were_networks_is_a_monophone(
    aligner: CorpusAligner, alignments: list[Alignment], corpus: Corpus, tmp_path: Path
) -> None:
    aligner.save(tmp_path / "model.safetensors")
    content, config = load_tensors(tmp_path / "model.safetensors")
    choices = {
        name: value
        for name, value in config["config"].items()
        if name != "acoustic" and not name.startswith("network_")
    }
    save_tensors(tmp_path / "old.safetensors", content, config | {"format": 1, "config": choices})
    loaded = CorpusAligner.load(tmp_path / "old.safetensors")
    assert loaded.config.acoustic == "monophone"
    assert loaded.align(corpus) == alignments


@pytest.mark.parametrize(("stage", "stopped"), [("training", 5), ("training the network", 1)])
def test_a_training_interrupted_about_its_network_goes_on_as_if_it_had_not_been(
    corpus: Corpus, lexicon: Lexicon, tmp_path: Path, stage: str, stopped: int
) -> None:
    def progress(now: str, done: int, _total: int) -> None:
        if (now, done) == (stage, stopped + 1) or (now, stage) == ("training the network", "training"):
            raise StoppedError

    whole = CorpusAligner.train(corpus, lexicon=lexicon, config=QUICK_NETWORK)
    with pytest.raises(StoppedError):
        CorpusAligner.train(
            corpus, lexicon=lexicon, config=QUICK_NETWORK, workdir=tmp_path, progress=progress
        )
    steps: list[tuple[str, int, int]] = []
    again = CorpusAligner.train(
        corpus,
        lexicon=lexicon,
        config=QUICK_NETWORK,
        workdir=tmp_path,
        progress=lambda *step: steps.append(step),
    )
    assert_same(again, whole)
    resumed = [done for now, done, _ in steps if now != "reading"]
    assert resumed == list(range(1 if stage == "training" else 2, resumed[-1] + 1))


def test_what_was_saved_aligns_as_before(
    aligner: CorpusAligner, alignments: list[Alignment], corpus: Corpus, tmp_path: Path
) -> None:
    aligner.save(tmp_path / "model.safetensors")
    loaded = CorpusAligner.load(tmp_path / "model.safetensors")
    assert_same(loaded, aligner)
    assert loaded.config == aligner.config
    assert dict(loaded.lexicon) == dict(aligner.lexicon)
    assert loaded.align(corpus) == alignments


@pytest.mark.parametrize("possessives", [False, True])
def test_words_over_the_dictionary_and_instead_of_it_are_kept(
    aligner: CorpusAligner, tmp_path: Path, possessives: bool
) -> None:
    own = {"see": (("Z", "IY"),), "blorf": (("S",), ("Z",))}
    for lexicon in (Lexicon.english() | own, Lexicon(own, possessives=possessives)):
        model = CorpusAligner(aligner._acoustic, lexicon, aligner.config, aligner.training_report)
        model.save(tmp_path / "m.safetensors")
        assert (tmp_path / "m.safetensors").stat().st_size < 1_000_000  # the dictionary is not in it
        loaded = CorpusAligner.load(tmp_path / "m.safetensors").lexicon
        assert dict(loaded) == dict(lexicon)
        assert loaded.possessives == lexicon.possessives
    given = CorpusAligner.load(tmp_path / "m.safetensors", lexicon=Lexicon({"me": [["S"]]}))
    assert list(given.lexicon) == ["me"]


def interrupt_at(iteration: int) -> Callable[[str, int, int], None]:
    """Return a progress callback that ends the training in an iteration."""

    def progress(stage: str, done: int, _total: int) -> None:
        if stage == "training" and done == iteration:
            raise StoppedError

    return progress


@pytest.mark.parametrize(
    ("iterations", "stopped", "resumed"),
    # The step that was stopped is repeated: its checkpoint comes after the report. 13 and 14 search no paths.
    [(5, 1, 1), (5, 3, 3), (5, 5, 5), (15, 14, 12)],
)
def test_an_interrupted_training_goes_on_as_if_it_had_not_been(
    corpus: Corpus, lexicon: Lexicon, tmp_path: Path, iterations: int, stopped: int, resumed: int
) -> None:
    config = replace(QUICK, iterations=iterations)
    whole = CorpusAligner.train(corpus, lexicon=lexicon, config=config)
    with pytest.raises(StoppedError):
        CorpusAligner.train(
            corpus, lexicon=lexicon, config=config, workdir=tmp_path, progress=interrupt_at(stopped)
        )
    steps: list[tuple[str, int, int]] = []
    again = CorpusAligner.train(
        corpus, lexicon=lexicon, config=config, workdir=tmp_path, progress=lambda *step: steps.append(step)
    )
    assert_same(again, whole)
    done = [step for step in steps if step[0] == "training"]
    assert done == [("training", number, iterations) for number in range(resumed, iterations + 1)]


@pytest.mark.parametrize("change", ["config", "transcript", "recording", "lexicon", "speaker"])
def test_a_checkpoint_of_another_training_is_refused(
    corpus: Corpus, lexicon: Lexicon, tmp_path: Path, change: str, say: Callable[..., Tiers]
) -> None:
    with pytest.raises(StoppedError):
        CorpusAligner.train(corpus, lexicon=lexicon, config=QUICK, workdir=tmp_path, progress=interrupt_at(2))
    first, *rest = corpus.utterances
    config = replace(QUICK, iterations=6) if change == "config" else QUICK
    if change == "transcript":
        first = replace(first, text="see see")
    if change == "recording":
        say(tmp_path / "other", "s00", [("see", 0), None])
        first = replace(first, audio=tmp_path / "other" / "s00.wav")
    if change == "speaker":
        first = replace(first, speaker="somebody else")
    if change == "lexicon":
        lexicon = lexicon | {"see": [["S", "IY", "M"]]}
    with pytest.raises(ModelFileError, match="another corpus, lexicon or configuration") as caught:
        CorpusAligner.train(
            replace(corpus, utterances=(first, *rest)), lexicon=lexicon, config=config, workdir=tmp_path
        )
    assert caught.value.path.parent == tmp_path


def test_a_training_that_has_ended_is_not_repeated(
    corpus: Corpus, lexicon: Lexicon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_long_enough", lambda utterances, *_: (list(utterances), []))
    short = replace(corpus.utterances[0], id="long text", text=" ".join(["shoozy"] * 60))
    some = replace(corpus, utterances=(*corpus.utterances[:8], short))
    whole = CorpusAligner.train(some, lexicon=lexicon, config=QUICK, workdir=tmp_path)
    kept = {"features.f32", "features.jsonl", "training.safetensors"}
    assert {path.name for path in tmp_path.iterdir()} == kept
    steps: list[tuple[str, int, int]] = []
    again = CorpusAligner.train(
        some, lexicon=lexicon, config=QUICK, workdir=tmp_path, progress=lambda *step: steps.append(step)
    )
    assert_same(again, whole)  # the utterance without a path included
    assert steps == []


@pytest.fixture(scope="session")
def bad_folder(
    tmp_path_factory: pytest.TempPathFactory, say: Callable[..., Tiers], write_wav: Callable[..., None]
) -> Path:
    """Return a folder in which every way to fail lies beside two good recordings."""
    folder = tmp_path_factory.mktemp("bad")
    said = [None, ("masa", 0), ("see", 0), ("zoom", 0), ("ash", 0), ("shoozy", 0), ("hem", 0), None]
    for name in ("good1", "good2"):
        say(folder, name, said, seed=len(name))
    say(folder, "foreign", [("see", 0)], text="voyage")
    say(folder, "unknown", [("see", 0)], text="see the snark")
    say(folder, "empty", [("see", 0)], text="")
    write_wav(folder / "silent.wav", np.zeros(16_000))
    chance = np.random.default_rng(0)
    write_wav(folder / "room.wav", chance.normal(0.0, 0.005, 24_000))
    for name in ("silent", "room"):
        (folder / f"{name}.txt").write_text("see zoom")
    write_wav(folder / "short.wav", chance.normal(0.0, 0.1, 3200))
    write_wav(folder / "sample.wav", np.ones(1))
    for name in ("short", "sample"):
        (folder / f"{name}.txt").write_text("see zoom hem ash masa see zoom hem ash masa")
    (folder / "corrupt.wav").write_bytes(bytes(range(256)))
    (folder / "corrupt.txt").write_text("see")
    return folder


REASONS = {
    "corrupt": "corrupt.wav",
    "room": "no speech: silence explains the recording better",
    "sample": "the transcript needs 0.415 s or more; the recording has 0.000 s",
    "short": "the transcript needs 0.415 s or more; the recording has 0.200 s",
    "silent": "the recording is silent",
    "unknown": "no pronunciation for the word 'the, snark'",
}


def test_each_failure_has_its_reason_and_the_rest_its_times(
    aligner: CorpusAligner, bad_folder: Path, lexicon: Lexicon
) -> None:
    more = lexicon | {"voyage": [["V", "OY"]]}
    model = CorpusAligner(aligner._acoustic, more, aligner.config, aligner.training_report)
    steps: list[tuple[str, int, int]] = []
    found = model.align(read_corpus(bad_folder), progress=lambda *step: steps.append(step))
    expected = REASONS | {"foreign": "the model was trained without the phone OY V of this word"}
    failed = {item.id: item.reason for item in found if not item.ok}
    assert failed.keys() == expected.keys()
    for name, reason in expected.items():
        assert reason in failed[name]
    assert [item.id for item in found if item.ok] == ["good1", "good2"]
    assert steps[-1] == ("aligning", 9, 9)


def test_speech_that_its_transcript_does_not_fit_has_times_and_is_named(
    aligner: CorpusAligner, corpus: Corpus
) -> None:
    wrong = [replace(item, text="shoozy " * 3 * len(item.text.split())) for item in corpus]
    found = aligner.align(replace(corpus, utterances=tuple(wrong)))
    assert all(item.ok for item in found)
    assert all(signs.suspicious for signs in diagnose(found))


def test_a_recording_of_just_enough_frames_is_enough(aligner: CorpusAligner) -> None:
    words = ((("S", "IY"),), (("IY", "Z", "EH"), ("AA", "EH")))  # 4 phones or more, 3 frames each
    item = Prepared("clip", ("see", "either"), words, number=0, num_frames=12, duration=0.055)
    assert module._long_enough([item], aligner._acoustic, aligner.config) == ([item], [])
    shorter = item._replace(num_frames=11, duration=0.054)
    reason = "the transcript needs 0.055 s or more; the recording has 0.054 s"
    assert module._long_enough([shorter], aligner._acoustic, aligner.config) == (
        [],
        [Problem("clip", reason)],
    )


def test_training_leaves_out_what_it_cannot_use_and_says_why(bad_folder: Path, lexicon: Lexicon) -> None:
    more = lexicon | {"voyage": [["Z", "UW"]]}
    trained = CorpusAligner.train(read_corpus(bad_folder), lexicon=more, config=QUICK)
    report = trained.training_report
    # A room that is not silent passes as speech until there is a model of silence.
    assert [problem.id for problem in report.problems] == [name for name in REASONS if name != "room"]
    assert (
        "needs 0.830 s or more; the recording has 0.200 s" in dict(report.problems)["short"]
    )  # frames of 10 ms
    assert report.num_utterances == 4
    assert trained.phones == ("AA", "EH", "HH", "IY", "M", "S", "SH", "UW", "Z")


def test_a_corpus_without_a_usable_utterance_is_an_error(bad_folder: Path, lexicon: Lexicon) -> None:
    corpus = read_corpus(bad_folder)
    unusable = replace(
        corpus, utterances=tuple(item for item in corpus if item.id in {"silent", "short", "unknown"})
    )
    with pytest.raises(
        CorpusError, match=r"no utterance can be trained on \(3 problems, the first: silent: "
    ):
        CorpusAligner.train(unusable, lexicon=lexicon)
    with pytest.raises(CorpusError, match=r"no utterance can be trained on$"):
        CorpusAligner.train(replace(corpus, utterances=()), lexicon=lexicon)


def test_nothing_to_align_is_no_error(aligner: CorpusAligner, corpus: Corpus) -> None:
    assert aligner.align(replace(corpus, utterances=())) == []


def test_a_failure_among_others_of_its_batch_leaves_each_in_its_place(
    aligner: CorpusAligner, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_long_enough", lambda utterances, *_: (list(utterances), []))
    middle = sorted(corpus.utterances, key=lambda item: item.audio.stat().st_size)[len(corpus) // 2]
    hopeless = replace(middle, text=" ".join(["shoozy"] * 60))
    some = replace(
        corpus, utterances=tuple(hopeless if item is middle else item for item in corpus.utterances)
    )
    found = aligner.align(some)
    assert [item.id for item in found] == [item.id for item in some]
    assert [item.id for item in found if not item.ok] == [middle.id]


def test_an_utterance_without_a_path_is_named(
    corpus: Corpus, lexicon: Lexicon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No transcript that fits leaves an utterance without a path; densities of a broken model do."""
    monkeypatch.setattr(module, "_long_enough", lambda utterances, *_: (list(utterances), []))
    short = replace(corpus.utterances[0], id="long text", text=" ".join(["shoozy"] * 60))
    some = replace(corpus, utterances=(*corpus.utterances[:8], short))
    trained = CorpusAligner.train(some, lexicon=lexicon, config=QUICK)
    reason = "no path: the transcript does not fit the recording"
    assert trained.training_report.problems == (Problem("long text", reason),)
    assert trained.training_report.num_utterances == 8
    assert trained.align(short).reason == reason
    assert trained.align(some)[0].ok
    with pytest.raises(CorpusError, match=r"\(1 problems, the first: long text: no path: "):
        CorpusAligner.train(replace(corpus, utterances=(short,)), lexicon=lexicon, config=QUICK)


def test_the_cmu_dictionary_is_the_default(corpus: Corpus, say: Callable[..., Tiers], tmp_path: Path) -> None:
    say(tmp_path, "one", [None, ("see", 0), ("hem", 0), None])
    trained = CorpusAligner.train(read_corpus(tmp_path), config=QUICK)
    assert trained.phones == ("EH", "HH", "IY", "M", "S")
    missing = trained.align(replace(corpus.utterances[0], text="snark see shoozy"))
    assert missing.reason == "no pronunciation for the word 'snark, shoozy'"


@pytest.mark.parametrize("fault", ["absent", "no model", "of another kind", "of the future"])
def test_a_file_that_is_no_aligner_is_refused(aligner: CorpusAligner, tmp_path: Path, fault: str) -> None:
    path = tmp_path / "model.safetensors"
    aligner.save(path)
    content, config = load_tensors(path)
    match fault:
        case "absent":
            path.unlink()
        case "no model":
            path.write_text("hello")
        case "of another kind":
            save_tensors(path, content, config | {"kind": "GaussianHMM"})
        case "of the future":
            save_tensors(path, content, config | {"format": _model_file._FORMAT + 1})
    with pytest.raises(ModelFileError, match=r"model\.safetensors: "):
        CorpusAligner.load(path)


def test_times_go_to_files_and_compare_with_the_truth(
    alignments: list[Alignment], truth: dict[str, Tiers], tmp_path: Path
) -> None:
    def tier(intervals: tuple[Interval, ...]) -> tuple[AlignedInterval, ...]:
        return tuple(AlignedInterval(*interval, 1.0) for interval in intervals)

    exact = [
        Alignment(name, tiers.phones[-1].end, tier(tiers.words), tier(tiers.phones))
        for name, tiers in truth.items()
    ]
    write_alignments(exact, tmp_path, ["textgrid"])
    report = evaluate(alignments, tmp_path)
    assert report.phone_frame_accuracy > 0.9
    assert report.words.within[0.05] == 1.0


def test_an_utterance_is_aligned_as_a_corpus_of_one(aligner: CorpusAligner, corpus: Corpus) -> None:
    utterance: Utterance = corpus.utterances[3]
    assert [aligner.align(utterance)] == aligner.align(replace(corpus, utterances=(utterance,)))


def test_real_speech_is_aligned_well(speech_data: Path) -> None:
    corpus = read_corpus(speech_data / "synth" / "en_espeak")
    trained = CorpusAligner.train(corpus, config=AlignerConfig(iterations=20))
    report = evaluate(trained.align(corpus), speech_data / "synth" / "en_espeak")
    assert report.phones.within[0.05] > 0.9
