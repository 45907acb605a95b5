"""EnglishG2P: quality on dictionary words, and what happens without the extra."""

# ruff: noqa: RUF001 - the letters of the IPA look like those of other alphabets

import random
import sys
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import pytest

from hmm_speech import EnglishG2P, Lexicon, _g2p


@pytest.fixture(scope="module")
def g2p() -> EnglishG2P:
    pytest.importorskip("espeakng_loader", reason="the extra [g2p] is not installed")
    return EnglishG2P()


def distance(a: Sequence[str], b: Sequence[str]) -> int:
    """Edits from one sequence to the other."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


def without_stress(phones: Sequence[str]) -> tuple[str, ...]:
    return tuple(phone.rstrip("012") for phone in phones)


def test_one_phone_in_ten_differs_from_the_dictionary(
    g2p: EnglishG2P, record_property: Callable[[str, object], None]
) -> None:
    lexicon = Lexicon.english()
    words = random.Random(0).sample([w for w in lexicon if w.isalpha() and len(w) > 2], 500)  # noqa: S311 - a sample
    errors = phones = wrong = 0
    for word in words:
        guess = without_stress(g2p(word))
        edits, length = min((distance(guess, without_stress(v)), len(v)) for v in lexicon[word])
        errors, phones, wrong = errors + edits, phones + length, wrong + (edits > 0)
    record_property("phone_error_rate", errors / phones)
    record_property("word_error_rate", wrong / len(words))
    assert errors / phones < 0.105
    assert wrong / len(words) < 0.43


def test_its_phones_are_those_of_the_dictionary(g2p: EnglishG2P) -> None:
    lexicon = Lexicon.english()
    words = random.Random(1).sample(list(lexicon), 3000)  # noqa: S311 - a sample
    known = {*lexicon.phones}
    for word in words:
        phones = g2p(word.replace(".", "").replace("-", ""))
        assert phones
        assert set(phones) <= known


def test_stress_is_marked_on_vowels_only(g2p: EnglishG2P) -> None:
    assert g2p("characterless") == ("K", "AE1", "R", "IH0", "K", "T", "ER0", "L", "AH0", "S")


@pytest.mark.parametrize("word", ["", "'", "né", "안녕", "a b", "r2d2", "x" * 0])
def test_what_is_no_word_has_no_phones(g2p: EnglishG2P, word: str) -> None:
    assert g2p(word) == ()


def test_foreign_sounds_are_approximated(g2p: EnglishG2P) -> None:
    assert {"argyll", "jalapeno", "wii"} == {word for word in ("argyll", "jalapeno", "wii") if g2p(word)}


def test_another_voice_in_the_process_changes_nothing(g2p: EnglishG2P) -> None:
    before = g2p("printing")
    g2p._library.espeak_SetVoiceByName(b"de")
    assert g2p("printing") == before


def test_as_a_fallback_it_leaves_no_word_unknown(g2p: EnglishG2P) -> None:
    lexicon = Lexicon.english(fallback=g2p)
    assert lexicon.pronounce("shapeliness's") == (
        ("SH", "EY1", "P", "L", "IY0", "N", "AH0", "S", "IH0", "Z"),
    )


@pytest.mark.parametrize(
    ("rate", "voice", "message"),
    [(-1, 0, "cannot start with its data in"), (22050, 2, "cannot load its voice en-us")],
)
def test_a_broken_installation_is_told(
    g2p: EnglishG2P, monkeypatch: pytest.MonkeyPatch, rate: int, voice: int, message: str
) -> None:
    assert g2p("so")
    broken = SimpleNamespace(
        espeak_Initialize=lambda *_: rate,
        espeak_SetVoiceByName=lambda _: voice,
        espeak_TextToPhonemes=lambda *_: b"",
    )
    monkeypatch.setattr("ctypes.CDLL", lambda _: broken)
    _g2p._load_library.cache_clear()
    with pytest.raises(RuntimeError, match=message):
        EnglishG2P()


def test_an_unknown_symbol_is_no_guess() -> None:
    assert _g2p._to_arpabet("k_ˈæ_t") == ("K", "AE1", "T")
    assert _g2p._to_arpabet("k_ˈæ_ʘ") == ()


def test_spellings_of_the_dictionary_are_kept() -> None:
    assert _g2p._to_arpabet("ɚ_ɹ_ˈeɪ") == ("ER0", "EY1")
    assert _g2p._to_arpabet("m_ɪ_ə") == ("M", "IY0", "AH0")


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _g2p._load_library.cache_clear()
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(ImportError, match=r'pip install "hmm-speech\[g2p\]"'):
        EnglishG2P()
