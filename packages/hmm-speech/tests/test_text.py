"""normalize_text: what is read out, and what cannot be."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmm_speech import Lexicon, TextError, UnknownWordError, normalize_text, read_corpus

RARE = """
woodcutters shapeliness missals maintz schoeffer pleasanter sweynheim pannartz subiaco mentelin
udalric unaffectedly vindelin rubeus leew wynkyn worde caslon caslon's elzevirs founts bodoni didot
swellings grossness finishings conventionality illegibility thereabout brickwork characterless
vileness deceives woodcuts
"""
READINGS = """
0 7 10 21 100 115 => zero seven ten twenty one one hundred one hundred fifteen
1000 1,455 => one thousand one thousand four hundred fifty five
999,999 => nine hundred ninety nine thousand nine hundred ninety nine
in 1455, 1900, 1905 => in fourteen fifty five nineteen hundred nineteen oh five
2000, 2005, 2010. => two thousand two thousand five twenty ten
1066 1099 2100 => one thousand sixty six one thousand ninety nine two thousand one hundred
the 1920s and '80s and 90's => the nineteen twenties and eighties and nineties
1st 2nd 3rd 21st => first second third twenty first
102nd 1,000th => one hundred second one thousandth
3.14 .5 0.05 2.50 => three point one four point five zero point zero five two point five zero
version 1.2.3 => version one point two point three
007 05 => zero zero seven zero five
1234567890123456 => one two three four five six seven eight nine zero one two three four five six
-5 (-3) \u22127 10-20 => minus five minus three minus seven ten twenty
1914\u20131918 => nineteen fourteen nineteen eighteen
1/2 3/4 3 1/2 1½ 5/8 => one half three quarters three and one half one and one half five eighths
24/7 12/25/2020 2/2 => twenty four seven twelve twenty five twenty twenty two two
mp3 3D 16-bit => mp three three d sixteen bit

$1 $5 $3.50 => one dollar five dollars three dollars fifty cents
$0.05 $0.01 $1,000 $ 7 => five cents one cent one thousand dollars seven dollars
£1.01 £2 €3 million => one pound one penny two pounds three million euros
$2.5 Billion $1.375 => two point five billion dollars one point three seven five dollars
$0 $.50 a $ sign => zero dollars fifty cents a dollars sign
50% 2.5 % => fifty percent two point five percent
10:30 10:09 7:00 23:59 => ten thirty ten oh nine seven o'clock twenty three fifty nine
10:30 a.m., 10:00 PM, 9am => ten thirty a m ten p m nine a m
25:00 1:02:03 => twenty five zero zero one zero two zero three

Mr. & Mrs. Smith => mister and missus smith
Dr Jones, Jr.'s Ms. X vs. Prof. Y etc. => doctor jones junior's ms x versus professor y et cetera
St. Paul, Main St. => saint paul main street
No. 5 and nos. 6; #7. No. Yes => number five and number six number seven no yes
Smith & Co. Ltd., Hon. Rev. => smith and company limited honorable reverend
co. hon. etc => co hon et cetera
U.S.A. U.S. U.S.'s i.e. e.g. J. S. Bach => u s a u s u s's i e e g j s bach
example.com, end.Next => example dot com end next
Henry VIII and Chapter IV, Act I => henry the eighth and chapter four act one
World War II; Part XLIX; Louis XIV's => world war two part forty nine louis the fourteenth's
I, Part I played; Henry I; Chapter IIII; Chapter I'm => i part i played henry i chapter iiii chapter i'm

don\u2019t o'clock \u2018quoted\u2019 'tis 'em dogs' '' => don't o'clock quoted 'tis 'em dogs
the \u201clower-case\u201d\u2014and self\u2010made => the lower case and self made
café naïve Œuvre Straße Ærø Łódź => cafe naive oeuvre strasse aero lodz
\ufb01ne \uff21\uff22\uff23 e\u0301t\u00e9 so\u00adft zero\u200bwidth => fine abc ete soft zerowidth
20°C § 5 2+2=4 a@b ¢ => twenty degrees c section five two plus two equals four a at b cents
x * y _z_ <q> a|b\\c~d^e`f;g{h}[i] => x y z q a b c d e'f g h i
... -- ' " !? =>
"""


@pytest.mark.parametrize("case", [line for line in READINGS.splitlines() if line])
def test_readings(case: str) -> None:
    text, words = case.rsplit("=>", maxsplit=1)
    assert normalize_text(text) == words.split()


def test_white_space_is_empty() -> None:
    assert normalize_text(" \n\t ") == normalize_text("") == []


@settings(max_examples=150)
@given(st.text())
def test_any_text_gives_plain_words_or_a_named_token(text: str) -> None:
    try:
        words = normalize_text(text)
    except TextError as error:
        words = []
        named = error.token in text and bool(error.reason)
    else:
        named = True
    assert named
    assert all(word and set(word) <= set("abcdefghijklmnopqrstuvwxyz'") for word in words)


@settings(max_examples=150)
@given(st.text("0123456789.,:/-$£€%'# stndrhamp", max_size=30))
def test_any_digits_are_read_out_with_dictionary_words(text: str) -> None:
    words = normalize_text(text)
    assert not any(character.isdigit() for word in words for character in word)
    assert bool(words) == any(c.isalnum() or c in "%$£€" for c in text)


@given(st.text("abcde' .,-", max_size=30))
def test_normalised_text_is_left_alone(text: str) -> None:
    words = normalize_text(text)
    assert normalize_text(" ".join(words)) == words


@given(st.integers(0, 10**15 - 1))
def test_a_grouped_number_is_its_cardinal(number: int) -> None:
    from num2words import num2words  # noqa: PLC0415 - the oracle of this test alone

    expected = num2words(number).replace("-", " ").replace(",", " ").replace(" and ", " ").split()
    assert normalize_text(f"{number:,}") == expected


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ("say 안녕하세요, please", "안녕하세요,"),
        ("go 東京", "東京"),
        ("nice 🙂", "🙂"),
        ("Привет", "Привет"),
        ("٣ men", "٣"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, token: str) -> None:
    with pytest.raises(TextError) as caught:
        normalize_text(text)
    assert caught.value.token == token
    assert "is not read in language 'en'" in caught.value.reason
    assert str(caught.value).startswith(f"cannot read {token!r}: the character ")


def test_the_language_is_checked() -> None:
    with pytest.raises(ValueError, match=r"language must be one of .*; got 'tlh'"):
        normalize_text("nuqneH", "tlh")


def test_ljspeech_is_read_and_only_rare_words_are_unknown(speech_data: Path) -> None:
    lexicon = Lexicon.english()
    unknown = set()
    total = 0
    for utterance in read_corpus(speech_data / "ljspeech"):
        for word in normalize_text(utterance.text):
            total += 1
            try:
                lexicon.pronounce(word)
            except UnknownWordError as error:
                unknown.add(error.word)
    assert total == 3211
    assert unknown == set(RARE.split())
