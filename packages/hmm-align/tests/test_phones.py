"""Phones and the units that model them."""

import pytest

from hmm_align._corpus import Prepared
from hmm_align._phones import inventory, keep_known, unit_of
from hmm_speech import TextError

ITEM = Prepared(
    "clip",
    ("either", "a"),
    ((("IY1", "DH", "ER0"), ("AY1", "DH", "ER0")), (("AH0",), ("EY1",))),
    number=0,
    num_frames=50,
    duration=0.5,
)


@pytest.mark.parametrize(
    ("phone", "unit"),
    [("AH0", "AH"), ("AH2", "AH"), ("ER1", "ER"), ("NG", "NG"), ("AH3", "AH3"), ("a1", "a1"), ("T1", "T1")],
)
def test_only_the_stress_of_arpabet_is_dropped(phone: str, unit: str) -> None:
    assert unit_of(phone) == unit


def test_a_flat_start_hears_the_first_pronunciations() -> None:
    assert inventory([ITEM]) == ["AH", "DH", "ER", "IY"]


def test_pronunciations_that_need_an_unheard_phone_are_dropped() -> None:
    kept = keep_known(ITEM, inventory([ITEM]))
    assert kept.pronunciations == ((("IY1", "DH", "ER0"),), (("AH0",),))
    assert kept._replace(pronunciations=ITEM.pronunciations) == ITEM


def test_a_word_that_cannot_be_said_with_the_units_is_named_with_its_phones() -> None:
    with pytest.raises(TextError, match="without the phone DH ER of this word") as caught:
        keep_known(ITEM, ["AH", "AY", "IY"])
    assert "'either'" in str(caught.value)
