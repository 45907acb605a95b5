"""The phones of languages and the paths between them."""

import pytest

from hmm_speech import LANGUAGES, Lexicon, PhoneSet, articulatory_distance, map_phones


def test_the_english_phones_are_those_of_the_dictionary() -> None:
    english = PhoneSet.of("en")
    assert {english.base(phone) for phone in Lexicon.english().phones} == set(english)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_phone_is_nearest_to_itself_or_to_one_made_the_same_way(language: str) -> None:
    phones = PhoneSet.of(language)
    for ipa in phones.values():
        assert articulatory_distance(ipa, phones[phones.nearest(ipa)]) == 0.0


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_maps_to_every_other_without_crossing_from_vowels_to_consonants(language: str) -> None:
    source = PhoneSet.of(language)
    for other in LANGUAGES:
        target = PhoneSet.of(other)
        mapping = map_phones(source, target)
        assert set(mapping) == set(source)
        assert all((source.kind(a) == "vowel") == (target.kind(b) == "vowel") for a, b in mapping.items())


def test_korean_maps_to_english_as_a_phonetician_would() -> None:
    mapping = map_phones(PhoneSet.of("ko"), PhoneSet.of("en"))
    expected = "eo AH, i IY, o OW, g K, kk K, ch CH, j CH, ss S, h HH, ng NG, l L, r R, pf P, y Y, w W"
    assert [mapping[pair.split()[0]] for pair in expected.split(",")] == [
        pair.split()[1] for pair in expected.split(",")
    ]


def test_marks_of_stress_and_tone_are_dropped() -> None:
    assert PhoneSet.of("en").base("AH0") == "AH"
    assert PhoneSet.of("cmn").base("ai⁴") == "ai"
    assert PhoneSet.of("cmn").base("ai4") == "ai4"
    assert "AH1" in PhoneSet.of("en")
    assert "AH3" not in PhoneSet.of("en")


def test_a_phone_that_is_not_of_the_set_is_a_key_error() -> None:
    with pytest.raises(KeyError, match="xyz"):
        PhoneSet.of("ko")["xyz"]


def test_a_language_that_is_not_known_is_named() -> None:
    with pytest.raises(ValueError, match='one of "en", "ko", "ko-jamo", "ja", "cmn"; got \'fr\''):
        PhoneSet.of("fr")


def test_a_set_of_ones_own_is_checked() -> None:
    with pytest.raises(ValueError, match="the phone 'x' cannot be described: ipa must be written"):
        PhoneSet({"x": "?"})
    with pytest.raises(ValueError, match="at least one phone"):
        PhoneSet({})
    assert repr(PhoneSet({"x": "x"})) == "<PhoneSet of 1 phones>"
