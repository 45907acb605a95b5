"""How sounds are made, and what lies near what."""

# ruff: noqa: RUF001 - the letters of the IPA look like those of other alphabets

import pytest

from hmm_speech import articulation, articulatory_class, articulatory_distance


@pytest.mark.parametrize(
    ("ipa", "kind"),
    [
        ("a", "vowel"), ("aɪ", "vowel"), ("oːɹ", "vowel"), ("ũ", "vowel"), ("j", "glide"), ("ɾ", "liquid"),
        ("ɫ", "liquid"), ("ŋ", "nasal"), ("k̚", "stop"), ("p͈", "stop"), ("tɕʰ", "affricate"),
        ("t͡ʃ", "affricate"), ("ʂ", "sibilant"), ("χ", "fricative"), ("ç", "fricative"), ("g", "stop"),
    ],
)  # fmt: skip
def test_a_sound_has_a_class(ipa: str, kind: str) -> None:
    assert articulatory_class(ipa) == kind


@pytest.mark.parametrize(
    ("sound", "near", "far"),
    [
        ("t", "d", "k"), ("t", "s", "a"), ("i", "j", "s"), ("m", "n", "b"), ("ɾ", "l", "t"),
        ("tɕ", "tʃ", "t"), ("u", "ʊ", "i"), ("aɪ", "ai", "au"), ("kʰ", "k", "tʰ"), ("ɕ", "ʃ", "s"),
        ("s͈", "s", "t͈"), ("θ", "f", "t"),
    ],
)  # fmt: skip
def test_sounds_made_alike_are_near(sound: str, near: str, far: str) -> None:
    assert 0 < articulatory_distance(sound, near) < articulatory_distance(sound, far)


def test_a_distance_does_not_depend_on_the_order() -> None:
    assert articulatory_distance("tʰ", "ai") == articulatory_distance("ai", "tʰ")
    assert articulatory_distance("ŋ", "ŋ") == 0.0


def test_marks_change_what_they_say_and_no_more() -> None:
    plain, marked = articulation("k"), articulation("kʰ")
    assert marked == plain._replace(aspirated=1.0)
    assert articulation("\u0268\u031e") == articulation("ɨ")  # lowered: a shade that is not told apart
    assert articulation("ˈa˥˩") == articulation("a")


def test_a_diphthong_lies_between_its_ends() -> None:
    ends, between = (articulation("a"), articulation("i")), articulation("ai")
    assert between.height == pytest.approx((ends[0].height + ends[1].height) / 2, abs=1e-6)


@pytest.mark.parametrize(
    ("ipa", "message"), [("", "must hold a sound"), ("ʰ", "got 'ʰ'"), ("a5", "got '5' in 'a5'")]
)
def test_what_is_no_sound_is_refused(ipa: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        articulation(ipa)
