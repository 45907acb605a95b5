"""Starts: by how sounds are made, and from a model of another language."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hmm_align import (
    AlignerConfig,
    Alignment,
    CorpusAligner,
    read_intervals,
)
from hmm_align._acoustic import AcousticModel
from hmm_align._features import FeatureExtractor
from hmm_align._graph import SILENCE
from hmm_align._start import _CLASSES, classes_of, nearest_units, share, start_by_class, start_from
from hmm_metrics import BoundarySummary, Interval, boundary_errors, fold_phone, summarize_boundaries
from hmm_models import MixtureStatistics
from hmm_speech import Corpus, EnglishG2P, Lexicon, PhoneSet, load_audio, read_corpus

# Labels of eSpeak NG that are not IPA.
ESPEAK = {"ʲ": "j", "t-": "t̚", "s-": "s͈", "k-": "k͈", "o-": "ɤ", "ts.": "ʈʂ", "ts.h": "ʈʂʰ", "s.": "ʂ"}


def acoustic(*phones: str, feature_dim: int = 12) -> AcousticModel:
    return AcousticModel(phones, feature_dim, states_per_phone=3, silence_states=3, variance_floor=0.01)


def test_units_are_classed_by_their_language_or_as_ipa() -> None:
    assert classes_of(["AH", "S", "HH"], "en") == {"AH": "vowel", "S": "sibilant", "HH": "fricative"}
    assert classes_of(["eo", "tf"], "ko") == {"eo": "vowel", "tf": "stop"}
    assert classes_of(["tɕ", "ŋ"], "en") == {"tɕ": "affricate", "ŋ": "nasal"}
    assert classes_of(["AH", "?1"], "en") is None


def test_units_begin_with_what_is_known_of_their_class() -> None:
    model = acoustic("a", "i", "s")
    sharing = start_by_class(model, {"a": "vowel", "i": "vowel", "s": "sibilant"}, num_ceps=4)
    mean = model.mixtures.mean[:, 0]
    loudness = {label: mean[unit.densities, 0].mean().item() for label, unit in model.units.items()}
    assert loudness == {SILENCE: -1.0, "a": 1.0, "i": 1.0, "s": 1.0}
    tilt = {label: mean[unit.densities, 1].mean().item() for label, unit in model.units.items()}
    assert tilt["s"] < tilt[SILENCE] < tilt["a"]
    told = torch.zeros(12, dtype=torch.bool)
    told[[0, 1, 4]] = True
    assert torch.equal(mean[:, ~told], torch.zeros_like(mean[:, ~told]))
    # The states of a and i share theirs, each with its like.
    assert sharing.tolist() == [0, 1, 2, 3, 4, 5, 3, 4, 5, 6, 7, 8]


def test_what_is_shared_adds_up_to_what_was_there() -> None:
    chance = torch.Generator().manual_seed(0)
    sums = [torch.rand(4, 1, generator=chance, dtype=torch.float64)]
    sums += [torch.rand(4, 1, 2, generator=chance, dtype=torch.float64) for _ in range(2)]
    shared = share(MixtureStatistics(*sums), torch.tensor([0, 1, 0, 2]))
    assert torch.equal(shared.first[0], sums[1][0] + sums[1][2])
    assert torch.equal(shared.first[0], shared.first[2])
    assert torch.equal(shared.occupancy[[1, 3]], sums[0][[1, 3]])


def test_a_unit_takes_the_densities_and_steps_of_the_one_it_is_paired_with() -> None:
    theirs, ours = acoustic("AA", "S"), acoustic("a", "s", "ss")
    theirs.mixtures.mean.data = torch.arange(9.0)[:, None, None].expand(9, 1, 12).clone()
    theirs.update_transitions(np.arange(36.0).reshape(9, 4))
    start_from(ours, theirs, {"a": "AA", "s": "S", "ss": "S"})
    assert ours.mixtures.mean[:, 0, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 6, 7, 8]
    assert ours.units["ss"].densities.tolist() == [9, 10, 11]
    assert np.array_equal(ours.units["ss"].log_transition, theirs.units["S"].log_transition)


def test_units_are_paired_with_those_that_are_made_most_like_them() -> None:
    paired = nearest_units(["eo", "kk", "ng", "ss"], "ko", ["AH", "IY", "K", "NG", "S"], "en")
    assert paired == {"eo": "AH", "kk": "K", "ng": "NG", "ss": "S"}
    assert nearest_units(["K", "AE"], "en", ["K", "AH"], "en") == {"K": "K", "AE": "AH"}
    # The e of pinyin is not that of Korean, although they look alike.
    assert nearest_units(["e"], "cmn", ["e", "eo"], "ko") == {"e": "eo"}


def test_training_goes_on_from_a_model(
    aligner: CorpusAligner, corpus: Corpus, lexicon: Lexicon, config: AlignerConfig
) -> None:
    shorter = dataclasses.replace(config, iterations=1)
    again = CorpusAligner.train(corpus, lexicon=lexicon, config=shorter, initial=aligner)
    fresh = CorpusAligner.train(corpus, lexicon=lexicon, config=shorter)
    assert (
        again.training_report.log_likelihood_per_frame[0]
        > fresh.training_report.log_likelihood_per_frame[0] + 1
    )


def test_what_cannot_start_a_training_is_refused(
    aligner: CorpusAligner, corpus: Corpus, lexicon: Lexicon, config: AlignerConfig
) -> None:
    with pytest.raises(ValueError, match=r"initial must have been trained with frame_period=0.01; got 0.005"):
        CorpusAligner.train(corpus, lexicon=lexicon, initial=aligner)
    with pytest.raises(ValueError, match="mapping must name phones of initial; got 'XX' for 'S'"):
        CorpusAligner.train(corpus, lexicon=lexicon, config=config, initial=aligner, mapping={"S": "XX"})
    with pytest.raises(ValueError, match="language and lexicon must not both be given; got 'ko'"):
        CorpusAligner.train(corpus, lexicon=lexicon, language="ko")


def test_a_language_is_kept_with_its_model(tmp_path: Path, aligner: CorpusAligner) -> None:
    aligner.save(tmp_path / "english")
    assert CorpusAligner.load(tmp_path / "english").lexicon.language == "en"
    korean = CorpusAligner(
        aligner._acoustic,
        Lexicon.of("ko") | {"헴": [("h", "e", "m")]},
        aligner.config,
        aligner.training_report,
    )
    korean.save(tmp_path / "korean")
    loaded = CorpusAligner.load(tmp_path / "korean").lexicon
    assert loaded.language == "ko"
    assert loaded.pronounce("헴") == (("h", "e", "m"),)
    assert loaded.pronounce("국물") == (("g", "u", "ng", "m", "u", "l"),)


def compare(alignments: list[Alignment], folder: Path, phones: PhoneSet) -> BoundarySummary:
    """Measure phones of any language against eSpeak NG's, both as the nearest phones of English."""
    english = PhoneSet.of("en")
    found = []
    for item in alignments:
        description = json.loads((folder / f"{item.id}.json").read_text(encoding="utf-8"))
        reference = [
            Interval(
                phone["start"],
                phone["end"],
                english.nearest(ESPEAK.get(phone["label"], phone["label"])) if phone["label"] else "",
            )
            for phone in description["phones"]
        ]
        ours = [
            Interval(phone.start, phone.end, english.nearest(phones[phone.label]) if phone.label else "")
            for phone in item.phones
        ]
        found.append(boundary_errors(reference, ours))
    return summarize_boundaries(found)


@pytest.mark.parametrize(("language", "least"), [("ko", 0.75), ("ja", 0.75), ("cmn", 0.75), ("en", 0.75)])
def test_a_minute_of_speech_is_enough(speech_data: Path, language: str, least: float) -> None:
    folder = speech_data / "synth" / f"{language}_espeak"
    corpus = read_corpus(folder)
    lexicon = Lexicon.of(language, fallback=EnglishG2P() if language == "en" else None)
    aligner = CorpusAligner.train(corpus, lexicon=lexicon)
    report = compare(aligner.align(corpus), folder, PhoneSet.of(language))
    assert report.coverage > 0.97
    assert report.within[0.02] >= least


def test_the_table_is_what_a_hand_labelled_reader_shows(speech_data: Path) -> None:
    """Within half of a step of the rounding, and a little for how thirds of a phone are cut."""
    folder, config, english = speech_data / "cmu_time_awb", AlignerConfig(), PhoneSet.of("en")
    extract = FeatureExtractor(config)
    clips = [
        (extract(load_audio(path, 16_000)), read_intervals(path.with_suffix(".lab")).phones)
        for path in sorted(folder.glob("*.flac"))
    ]
    everything = torch.cat([features for features, _ in clips])
    center, spread = everything.mean(0), everything.std(0)
    frames: dict[str, list[torch.Tensor]] = {kind: [] for kind in _CLASSES}
    for features, phones in clips:
        for phone in phones:
            label = fold_phone(phone.label).upper()
            start, end = round(phone.start * 100), min(round(phone.end * 100), len(features))
            if label and label not in english:
                continue
            kind = english.kind(label) if label else SILENCE
            middle = [t for t in range(start, end) if (t - start) * 3 // (end - start) == 1]
            frames[kind] += [((features[t] - center) / spread)[[0, 1, config.num_ceps]] for t in middle]
    for kind, traits in _CLASSES.items():
        measured = torch.stack(frames[kind]).mean(0)
        assert [trait.mean for trait in traits] == pytest.approx(measured.tolist(), abs=0.3), kind
