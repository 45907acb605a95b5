import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmm_metrics import fold_phone, fold_word
from hmm_metrics._labels import MANNER


def test_there_are_39_phones() -> None:
    assert len(MANNER) == 39


@pytest.mark.parametrize(
    ("label", "phone"),
    [
        *((phone, phone) for phone in MANNER),
        ("AH0", "ah"),
        ("ER1_B", "er"),
        ("Iy2", "iy"),
        (" T ", "t"),
        ("SIL_S", ""),
        ("ax", "ah"),
        ("ax-h", "ah"),
        ("axr", "er"),
        ("ix", "ih"),
        ("ux", "uw"),
        ("el", "l"),
        ("em", "m"),
        ("en", "n"),
        ("nx", "n"),
        ("eng", "ng"),
        ("dx", "t"),
        ("hv", "hh"),
        ("kcl", "k"),
        *((silence, "") for silence in ("", "sil", "SIL", "sp", "spn", "pau", "h#", "#", "<eps>", "q")),
    ],
)
def test_labels_of_all_tools_become_39_phones(label: str, phone: str) -> None:
    assert fold_phone(label) == phone


@pytest.mark.parametrize("label", ["ma2", "\N{LATIN SMALL LETTER OPEN O}\u02d0", "n_j", "X"])
def test_labels_of_other_phone_sets_are_kept_in_lower_case(label: str) -> None:
    assert fold_phone(label) == label.lower()


@given(st.sampled_from([*MANNER, "ax", "pau", "el", "ma2"]), st.sampled_from(["", "0", "1", "2"]))
def test_folding_a_phone_twice_changes_nothing(label: str, stress: str) -> None:
    folded = fold_phone(label + stress)
    assert fold_phone(folded) == folded


@pytest.mark.parametrize(
    ("label", "word"),
    [
        ("While", "while"),
        ('"Mrs."', "mrs"),
        ("\N{LEFT DOUBLE QUOTATION MARK}Fry\N{HORIZONTAL ELLIPSIS}", "fry"),
        ("don't", "don't"),
        ("self-made", "self-made"),
        ("", ""),
        ("<eps>", ""),
    ],
)
def test_words_are_compared_without_case_and_surrounding_punctuation(label: str, word: str) -> None:
    assert fold_word(label) == word
