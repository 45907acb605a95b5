"""Korean, Japanese and Mandarin: from text to phones."""

# ruff: noqa: RUF001 - the punctuation of these languages looks like that of others

import importlib.util

import pytest

from hmm_speech import Lexicon, PhoneSet, TextError, UnknownWordError, normalize_text

# The standard pronunciation's own examples, as they are said.
KOREAN = """
국물 궁물  밥물 밤물  닫는 단는  꽃망울 꼰망울  앞마당 암마당  없는 엄는  값만 감만  흙만 흥만
신라 실라  칼날 칼랄  난로 날로  담력 담녁  침략 침냑  강릉 강능  대통령 대통녕  막론 망논  협력 혐녁
십리 심니
국밥 국빱  깎다 깍따  닭장 닥짱  옷고름 옫꼬름  있던 읻떤  꽂고 꼳꼬  꽃다발 꼳따발  넓게 널께  핥다 할따
앉고 안꼬
옷이 오시  있어 이써  꽂아 꼬자  밭에 바테  넋이 넉씨  앉아 안자  닭을 달글  젊어 절머  값을 갑쓸  없어 업써
굳이 구지  미닫이 미다지  밭이 바치  벼훑이 벼훌치  굳히다 구치다  닫혀 다쳐  묻히다 무치다
놓고 노코  좋던 조턴  많고 만코  닳지 달치  각하 가카  먹히다 머키다  밝히다 발키다  맏형 마텽
좁히다 조피다
넓히다 널피다  꽂히다 꼬치다  앉히다 안치다  닿소 다쏘  많소 만쏘  싫소 실쏘  놓는 논는  않는 안는
뚫는 뚤른
낳은 나은  많아 마나  싫어도 시러도  닦다 닥따  키읔 키윽  웃다 욷따  젖 젇  솥 솓  덮다 덥따  앞 압
핥다 할따
닭 닥  삶 삼  읊고 읍꼬  맑게 말께  가져 가저  다쳐 다처  희망 히망  의사 의사  시계 시게  학교 학꾜
"""
JAPANESE = """
きょう ky o o  がっこう g a cl k o o  せんせい s e N s e e  マレーシア m a r e e sh i a
しんぶん sh i N b u N
ちゃ ch a  じゅう j u u  シェア sh e a  ティー t i i  ファイル f a i r u  ウィーク w i i k u
デュオ dy u o  つづく ts u z u k u
ヴァイオリン v a i o r i N  フュー hy u u  ん N
"""
MANDARIN = """
shi4 sh ii⁴; zi5 z ii; qu4 q v⁴; lv4 l v⁴; yue4 yu e⁴; xue2 x ve²; liu2 l iou²; gui4 g uei⁴; lun4 l ue⁴ n
yi1 i¹
ying1 i¹ ng; zhuang1 zh ua¹ ng; xiong2 x y o² ng; yuan2 yu a² n; er2 er²; huar1 h ua¹ er¹; wo3 w o³
ri4 r ii⁴
nǐhǎo n i³ h ao³; lǜsè l v⁴ s e⁴; xī'ān x i¹ a¹ n; xiān x ie¹ n; fāngàn f a¹ n g a⁴ n; zhongguo zh o ng g uo
"""
TEXTS = [
    ("ko", "안녕하세요, 오늘 3.5점!", "안녕하세요 오늘 삼 점 오점"),
    ("ko", "TV를 1,000번", "티브이를 천번"),
    ("ja", "きょうは、 いい 天気です。", "きょうは いい テンキデス"),
    ("ja", "１２さつ、 ８６０えん", "ジューニさつ ハッピャクロクジューえん"),
    ("cmn", "Nǐ hǎo, shi4jie4!", "ni3 hao3 shi4jie4"),
    ("cmn", "15 ge4, 10800", "shi2 wu3 ge4 yi1 wan4 ling2 ba1 bai3"),
    ("cmn", "2026, 007 3.5", "er4 qian1 ling2 er4 shi2 liu4 ling2 ling2 qi1 san1 dian3 wu3"),
    ("cmn", "你好，北京。", "ni2 hao3 bei3 jing1"),
]  # fmt: skip


def pairs(table: str) -> list[tuple[str, str]]:
    """Words and their readings, two spaces between entries."""
    return [(word, reading) for word, _, reading in (
        entry.strip().partition(" ") for line in table.strip().splitlines()
        for entry in line.replace(";", "  ").split("  ") if entry.strip()
    )]  # fmt: skip


@pytest.mark.parametrize(("word", "said"), pairs(KOREAN))
def test_korean_words_sound_like_what_is_said(word: str, said: str) -> None:
    jamo = Lexicon.of("ko-jamo")
    # A syllable that is written as it is said reads as itself: only its rules must not change it again.
    assert "".join(jamo.pronounce(word)[0]) == "".join(as_written(said))


def as_written(word: str) -> list[str]:
    """Take the syllables of Hangul apart, and no more."""
    found = []
    for character in word:
        index = ord(character) - 0xAC00
        onset = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆ ㅈㅉㅊㅋㅌㅍㅎ"[index // 588].strip()
        vowel = "ㅏㅐㅑㅒㅓㅔㅕㅖㅗㅘㅙㅚㅛㅜㅝㅞㅟㅠㅡㅢㅣ"[index % 588 // 28]
        coda = {1: "ㄱ", 4: "ㄴ", 7: "ㄷ", 8: "ㄹ", 16: "ㅁ", 17: "ㅂ", 21: "ㅇ"}.get(index % 28, "")
        # The standard spells 다쳐 and says 다처.
        if onset in {"ㅈ", "ㅉ", "ㅊ"}:
            vowel = {"ㅕ": "ㅓ", "ㅑ": "ㅏ"}.get(vowel, vowel)
        found += [onset, vowel, f"{coda}\u0332" if coda else ""]
    return [item for item in found if item]


def test_korean_phones_tell_the_two_liquids_and_the_glides() -> None:
    lexicon = Lexicon.of("ko")
    assert " ".join(lexicon.pronounce("달라요")[0]) == "d a l l a y o"
    assert " ".join(lexicon.pronounce("나라")[0]) == "n a r a"
    assert " ".join(lexicon.pronounce("괜찮은")[0]) == "g w ae n ch a n eu n"


@pytest.mark.parametrize(("word", "said"), pairs(JAPANESE))
def test_japanese_words_sound_like_what_is_said(word: str, said: str) -> None:
    assert " ".join(Lexicon.of("ja").pronounce(word)[0]) == said


def test_japanese_writing_that_leaves_a_choice_gives_variants() -> None:
    lexicon = Lexicon.of("ja")
    assert [" ".join(phones) for phones in lexicon.pronounce("わたしは")] == [
        "w a t a sh i w a",
        "w a t a sh i h a",
    ]
    assert [" ".join(phones) for phones in lexicon.pronounce("です")] == ["d e s u", "d e s"]
    assert [" ".join(phones) for phones in lexicon.pronounce("は")] == ["h a", "w a"]


@pytest.mark.parametrize(("word", "said"), pairs(MANDARIN))
def test_mandarin_words_sound_like_what_is_said(word: str, said: str) -> None:
    assert " ".join(Lexicon.of("cmn").pronounce(word)[0]) == said


@pytest.mark.parametrize(
    ("language", "word"), [("ko", "hello"), ("ja", "hello"), ("cmn", "blorf"), ("ko", "")]
)
def test_a_word_of_another_language_is_unknown(language: str, word: str) -> None:
    with pytest.raises(UnknownWordError):
        Lexicon.of(language).pronounce(word)


@pytest.mark.parametrize(("language", "text", "words"), TEXTS)
def test_texts_are_split_into_words_that_can_be_pronounced(language: str, text: str, words: str) -> None:
    extra = {"天": "sudachipy", "好": "pypinyin"}.get(next((c for c in text if c in "天好"), ""), "")
    if extra and importlib.util.find_spec(extra) is None:
        pytest.skip(f"{extra} is not installed: the extra [{language}]")
    assert normalize_text(text, language) == words.split()
    lexicon, phones = Lexicon.of(language), PhoneSet.of(language)
    assert all(phone in phones for word in words.split() for phone in lexicon.pronounce(word)[0])


@pytest.mark.parametrize(("language", "text"), [("ko", "안녕 こんにちは"), ("ja", "hello"), ("cmn", "안녕")])
def test_another_script_is_named(language: str, text: str) -> None:
    with pytest.raises(TextError, match=f"is not read in language '{language}'"):
        normalize_text(text, language)


def test_own_words_win_over_the_rules_and_keep_the_language() -> None:
    lexicon = Lexicon.of("ko") | {"꽃잎": [("kk", "o", "n", "n", "i", "pf")]}
    assert lexicon.pronounce("꽃잎") == (("kk", "o", "n", "n", "i", "pf"),)
    assert lexicon.language == "ko"


def test_a_language_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="language must be one of"):
        Lexicon({}, language="xx")
