"""Signs that an alignment is wrong."""

import itertools
import math
from dataclasses import replace

import pytest

from hmm_align import AlignedInterval, Alignment, Diagnosis, SkippedWord, diagnose


def utterance(name: str, *lengths: float, label: str = "AA", confidence: float = 0.9) -> Alignment:
    """One word of phones of these lengths, after half a second of silence."""
    edges = [0.5]
    for length in lengths:
        edges.append(round(edges[-1] + length, 6))
    silence = AlignedInterval(0.0, 0.5, "", 1.0)
    phones = [AlignedInterval(*pair, label, confidence) for pair in itertools.pairwise(edges)]
    word = AlignedInterval(0.5, edges[-1], "word", confidence)
    return Alignment(name, edges[-1], (silence, word), (silence, *phones), log_likelihood_per_frame=-50.0)


def corpus() -> list[Alignment]:
    """Ten utterances of three phones whose lengths vary by a quarter."""
    return [utterance(f"clip{n}", 0.08, 0.1, 0.12 + 0.001 * n) for n in range(10)]


def test_what_is_usual_is_not_suspicious() -> None:
    assert not any(found.suspicious for found in diagnose(corpus()))


def test_a_failure_is_worst_and_its_reason_is_its_sign() -> None:
    found = diagnose([*corpus(), Alignment.failure("lost", "no path")])
    assert found[-1].signs == ("no path",)
    assert min(found, key=lambda item: item.rank).id == "lost"


@pytest.mark.parametrize(("length", "sign"), [(2.0, "lasts 2.000 s (z = +"), (0.005, "lasts 0.005 s (z = -")])
def test_a_phone_of_unusual_length_is_named_with_its_place(length: float, sign: str) -> None:
    found = diagnose([*corpus(), utterance("odd", 0.1, length, 0.1)])
    assert [item.id for item in found if item.suspicious] == ["odd"]
    assert found[-1].signs[0].startswith("phone AA at 0.60 s " + sign)
    assert min(found, key=lambda item: item.rank).id == "odd"


def test_length_scores_are_robust_deviations_of_logarithms_drawn_to_a_prior() -> None:
    lengths = [0.05, 0.1, 0.2, 0.4, 0.8]
    found = diagnose([utterance(f"clip{n}", length) for n, length in enumerate(lengths)])
    # The first tenth of five lies 0.4 of the way from the first to the second.
    spread = (math.log(0.2) - math.log(0.05) - 0.4 * math.log(2.0)) / 1.2816
    deviation = math.sqrt((5 * spread**2 + 10 * 0.4**2) / 15)
    assert found[0].duration_z == pytest.approx(
        (0.0, math.log(0.25) / deviation), rel=1e-4
    )  # edges are rounded


def test_long_phones_are_usual_where_there_are_many_and_short_ones_are_not() -> None:
    lengths = [0.1] * 80 + [0.4] * 20
    *_, long, short = diagnose([utterance(f"clip{n}", length) for n, length in enumerate([*lengths, 0.025])])
    assert 0 < long.duration_z[1] < 2
    assert short.duration_z[1] < -4
    assert not long.suspicious
    assert short.suspicious


def test_speech_without_a_word_and_words_without_speech_are_named() -> None:
    odd = utterance("odd", 0.1, 0.1)
    silence, one, two = odd.phones
    other = two._replace(label="<unk>", confidence=0.1, log_ratio=-9.0)
    odd = replace(
        odd,
        words=(silence, one._replace(label="word"), other),
        phones=(silence, one, other),
        skipped=(SkippedWord(0.7, "very", 1),),
        loose=True,
    )
    found = diagnose([*corpus(), odd])[-1]
    assert found.signs == (
        "no word explains the speech at 0.60 s (0.10 s)",
        "word 'very' is not heard at 0.70 s",
    )
    assert found.coverage == pytest.approx(1 / 7)
    assert found.lowest_confidence == 0.9
    assert found.duration_z[-1] == 0.0


def test_a_label_heard_four_times_says_nothing_about_length() -> None:
    found = diagnose([utterance(f"clip{n}", 0.1 * 4.0**n) for n in range(4)])
    assert all(item.duration_z == (0.0, 0.0) for item in found)


def test_an_uncertain_word_is_named() -> None:
    found = diagnose([*corpus(), utterance("odd", 0.1, confidence=0.25)])
    assert found[-1].signs == ("word 'word' at 0.50 s is uncertain (0.25)",)
    assert found[-1].lowest_confidence == found[-1].confidence == 0.25


@pytest.mark.parametrize(("place", "name"), [(0, "silence at 0.00 s"), (1, "word 'word' at 0.50 s")])
def test_what_does_not_fit_the_sound_is_named(place: int, name: str) -> None:
    odd = utterance("odd", 0.1)
    words = list(odd.words)
    words[place] = words[place]._replace(log_ratio=-4.2)
    found = diagnose([*corpus(), replace(odd, words=tuple(words))])
    assert found[-1].signs == (f"{name} does not fit the sound (log ratio -4.2)",)
    # A loose alignment would have left the word out.
    assert not diagnose([*corpus(), replace(odd, words=tuple(words), loose=True)])[-1].suspicious
    assert min(found, key=lambda item: item.rank).id == "odd"
    assert not any(item.suspicious for item in diagnose([replace(odd, words=tuple(words))], misfit=-5.0))


def test_a_rank_weighs_a_misfit_by_what_was_asked_for() -> None:
    odd, long = utterance("odd", 0.1), utterance("long", 0.1, 0.35, 0.1)
    odd = replace(odd, words=(odd.words[0], odd.words[1]._replace(log_ratio=-2.5)))
    for misfit, worst in ((-3.0, "long"), (-0.5, "odd")):
        found = diagnose([*corpus(), odd, long], misfit=misfit)
        assert min(found, key=lambda item: item.rank).id == worst
    with pytest.raises(ValueError, match=r"misfit must be below 0; got 0.0"):
        diagnose([], misfit=0.0)


def test_an_utterance_that_sounds_unlike_the_rest_is_named() -> None:
    clips = [
        replace(item, log_likelihood_per_frame=-50.0 - 0.1 * number) for number, item in enumerate(corpus())
    ]
    odd = replace(utterance("odd", 0.1, 0.1), log_likelihood_per_frame=-53.0)
    found = diagnose([*clips, odd])
    assert [item.id for item in found if item.suspicious] == ["odd"]
    # Median -50.5 of eleven, median distance 0.3.
    assert found[-1].likelihood_z == pytest.approx(-2.5 / (1.4826 * 0.3))


def test_coverage_is_the_share_in_words() -> None:
    assert diagnose([utterance("clip", 1.5)])[0].coverage == pytest.approx(0.75)


def test_an_utterance_of_silence_alone_is_certain() -> None:
    tier = (AlignedInterval(0.0, 1.0, "", 1.0),)
    assert diagnose([Alignment("clip", 1.0, tier, tier)])[0] == Diagnosis(
        id="clip",
        ok=True,
        coverage=0.0,
        confidence=1.0,
        lowest_confidence=1.0,
        lowest_log_ratio=0.0,
        likelihood_z=0.0,
        duration_z=(0.0,),
        signs=(),
    )


def test_no_alignments_have_no_diagnoses() -> None:
    assert diagnose([]) == []
