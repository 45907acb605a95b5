"""Lexicon: the CMU dictionary, files, derived words."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmm_speech import Lexicon, UnknownWordError

PHONE = st.text("ABEHK012", min_size=1, max_size=3)
WORD = st.text("abcdeé'-.", min_size=1, max_size=8)


def test_the_dictionary_is_whole_and_clean() -> None:
    lexicon = Lexicon.english()
    assert len(lexicon) > 120_000
    assert len({phone.rstrip("012") for phone in lexicon.phones}) == 39
    assert all(word == word.lower() and "(" not in word for word in lexicon)
    assert all(variants and len(set(variants)) == len(variants) for variants in lexicon.values())


def test_variants_come_in_the_order_of_the_dictionary() -> None:
    assert Lexicon.english()["read"] == (("R", "EH1", "D"), ("R", "IY1", "D"))
    assert list(Lexicon.english())[:3] == ["'bout", "'cause", "'course"]


def test_comments_of_the_dictionary_are_no_phones() -> None:
    assert Lexicon.english()["aalborg"][0] == ("AO1", "L", "B", "AO0", "R", "G")


def test_words_are_found_in_any_case() -> None:
    lexicon = Lexicon({"Paris": [("P", "A")]})
    assert lexicon["PARIS"] == lexicon.pronounce("pariS") == (("P", "A"),)
    assert "PARIS" in lexicon
    assert "London" not in lexicon
    assert lexicon.get("London") is None


@pytest.mark.parametrize(
    ("word", "ending"),
    [("aardvark's", ("S",)), ("abbey's", ("Z",)), ("abyss's", ("IH0", "Z")), ("zyuganov's", ("Z",))],
)
def test_possessives_are_derived(word: str, ending: tuple[str, ...]) -> None:
    lexicon = Lexicon({k: v for k, v in Lexicon.english().items() if k != word}, possessives=True)
    assert lexicon.pronounce(word) == tuple(phones + ending for phones in lexicon[word[:-2]])


def test_plural_possessives_sound_like_plurals() -> None:
    lexicon = Lexicon({"cats": [("K", "AE1", "T", "S")]}, possessives=True)
    assert lexicon.pronounce("cats'") == lexicon["cats"]


@pytest.mark.parametrize("word", ["blorf", "blorf's", "blorfs'", "qq's", "", "s'"])
def test_an_unknown_word_is_named(word: str) -> None:
    for lexicon in (Lexicon.english(), Lexicon.english(fallback=lambda _: ())):
        with pytest.raises(UnknownWordError) as caught:
            lexicon.pronounce(word)
        assert caught.value.word == word
        assert str(caught.value) == f"no pronunciation for the word {word!r}"


def test_possessives_are_not_derived_unless_asked() -> None:
    with pytest.raises(UnknownWordError):
        Lexicon({"cat": [("K", "AE1", "T")]}).pronounce("cat's")


def test_the_fallback_is_asked_for_unlisted_words_only() -> None:
    asked = []

    def spell(word: str) -> list[str]:
        asked.append(word)
        return list(word.upper())

    lexicon = Lexicon({"cat": [("K", "AE1", "T")]}, fallback=spell, possessives=True)
    assert lexicon.pronounce("cat") == (("K", "AE1", "T"),)
    assert lexicon.pronounce("Dab") == (("D", "A", "B"),)
    assert lexicon.pronounce("dab's") == (("D", "A", "B", "Z"),)
    assert asked == ["dab", "dab"]
    assert "dab" not in lexicon


def test_files_of_all_dialects_are_read(tmp_path: Path) -> None:
    path = tmp_path / "words.dict"
    path.write_text(
        "\ufeff;;; a comment\n"
        "HELLO  HH AH0 L OW1\n"
        "HELLO(1)  HH EH0 L OW1 # American\n"
        "\n"
        "world\t0.99\t0.14\t1.0\t1.0\tW ER1 L D\r\n"
        "c# S IY1\n"
        "œuvre 9 v R\n"
        "hello HH AH0 L OW1\n",
        encoding="utf-8",
    )
    lexicon = Lexicon.load(path)
    assert dict(lexicon) == {
        "hello": (("HH", "AH0", "L", "OW1"), ("HH", "EH0", "L", "OW1")),
        "world": (("W", "ER1", "L", "D"),),
        "c#": (("S", "IY1"),),
        "œuvre": (("9", "v", "R"),),
    }
    assert repr(lexicon) == "<Lexicon of 4 words>"


@given(
    st.dictionaries(
        WORD, st.lists(st.lists(PHONE, min_size=1, max_size=5), min_size=1, max_size=3), min_size=1
    )
)
def test_saving_and_loading_is_the_identity(entries: dict[str, list[list[str]]]) -> None:
    import tempfile  # noqa: PLC0415 - a fixture would be shared by the examples

    lexicon = Lexicon(entries)
    with tempfile.TemporaryDirectory() as folder:
        lexicon.save(Path(folder) / "x.dict")
        assert [p.name for p in Path(folder).iterdir()] == ["x.dict"]
        assert list(Lexicon.load(Path(folder) / "x.dict").items()) == list(lexicon.items())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello HH AH0\nworld\n", r"words.dict:2: the word 'world' has no phones"),
        (b"world 0.5\n", r"words.dict:1: the word 'world' has no phones"),
        (b"\n;;; nothing\n", "words.dict: the file holds no pronunciation"),
        (b"\xe9t\xe9 EY0\n", "words.dict: the file is not UTF-8 text"),
    ],
)
def test_a_bad_file_is_an_error_with_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "words.dict").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        Lexicon.load(tmp_path / "words.dict")


@pytest.mark.parametrize(
    "entries", [{"": [["A"]]}, {"a b": [["A"]]}, {"a": []}, {"a": [[]]}, {"a": [["B C"]]}]
)
def test_entries_are_checked(entries: dict[str, list[list[str]]]) -> None:
    with pytest.raises(ValueError, match="word"):
        Lexicon(entries)


def test_lexicons_unite_and_the_right_one_wins() -> None:
    left = Lexicon({"a": [["1"]], "b": [["2"]]}, possessives=True, fallback=lambda _: ("F",))
    both = left | {"B": [["3"]], "c": [["4"]]}
    assert dict(both) == {"a": (("1",),), "b": (("3",),), "c": (("4",),)}
    assert both.pronounce("x") == (("F",),)
    assert both.possessives
    assert dict(left | Lexicon({"a": [["5"]]}))["a"] == (("5",),)
    with pytest.raises(TypeError):
        left | 1  # type: ignore[operator]  # what is tested
