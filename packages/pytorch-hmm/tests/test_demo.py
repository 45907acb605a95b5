"""The demo: speech with exact times, and the aligner on it."""

import ctypes
import re
import subprocess
import sys
import wave
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from hmm_align import read_textgrid
from hmm_metrics import Interval
from hmm_speech import Lexicon, normalize_text
from pytorch_hmm.cli import app
from pytorch_hmm.demo import NUM_SENTENCES, _espeak, align
from pytorch_hmm.demo._corpus import NOTE_NAME, _shifted, claim, make_corpus, sentences
from pytorch_hmm.demo._espeak import ARPABET, PhoneEvent, speak, tiers

espeak = pytest.importorskip("espeakng_loader", reason="the extra pytorch-hmm[demo] is not installed")

VOWELS = {"AA", "AE", "AH", "AO", "AW", "AY", "EH", "ER", "EY", "IH", "IY", "OW", "OY", "UH", "UW"}


def test_the_sentences_are_distinct_and_every_word_has_a_pronunciation() -> None:
    lexicon = Lexicon.english()
    lines = sentences()
    assert len(set(lines)) == len(lines) == NUM_SENTENCES
    heard = {
        phone.rstrip("012")
        for line in lines
        for word in normalize_text(line)
        for phone in lexicon.pronounce(word)[0]
    }
    assert len(heard) == 39


def test_words_and_phones_of_every_sentence_cover_it_in_order() -> None:
    for line in sentences()[:20]:
        spoken = speak(line)
        duration = len(spoken.samples) / spoken.sample_rate
        assert [word.label for word in spoken.words if word.label] == normalize_text(line)
        for tier in (spoken.words, spoken.phones):
            assert tier[0].start == 0.0
            assert tier[-1].end == duration
            assert all(one.end == two.start for one, two in pairwise(tier))
        assert {word.end for word in spoken.words} <= {phone.end for phone in spoken.phones}


def test_the_sound_agrees_with_the_times() -> None:
    """Closures are silent, vowels are the loudest, pauses are zero."""
    spoken = speak("Both of them stopped at ten past two and kept a cheap paper cup.")

    def part(interval: Interval) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
        first, last = round(interval.start * spoken.sample_rate), round(interval.end * spoken.sample_rate)
        return spoken.samples[first:last].astype(np.float64)

    loudness = {label: [] for label in ("vowel", "pause", "closure")}  # type: dict[str, list[float]]
    for before, phone in pairwise(spoken.phones):
        sound = part(phone)
        if phone.label in VOWELS:
            loudness["vowel"].append(float(sound.std()))
        elif phone.label == "":
            loudness["pause"].append(float(np.abs(sound).max()))
        elif phone.label in {"P", "T", "K"} and before.label in VOWELS:
            loudness["closure"].append(float(np.abs(sound[: spoken.sample_rate // 100]).max()))
    assert min(loudness["vowel"]) > 300
    assert max(loudness["pause"]) == 0
    assert len(loudness["closure"]) >= 4
    assert max(loudness["closure"]) == 0


def test_a_phone_begins_with_the_silence_that_espeak_makes_before_it() -> None:
    samples = np.ones(1000, dtype=np.int16)
    samples[:100] = 0  # before the first phone
    samples[300:400] = 0  # a closure
    samples[700:800] = 0  # a pause
    events = [
        PhoneEvent("a", 100, 1),
        PhoneEvent("t", 400, 1),
        PhoneEvent("_:", 700, 4),
        PhoneEvent("i:", 800, 4),
        PhoneEvent(";", 850, 4),
        PhoneEvent("l", 1000, 4),
        PhoneEvent("_", 1000, 4),
    ]
    words, phones = tiers("At ease", samples, events, sample_rate=1000)
    assert phones == (
        Interval(0.0, 0.1, ""),
        Interval(0.1, 0.3, "AE"),
        Interval(0.3, 0.7, "T"),
        Interval(0.7, 0.8, ""),
        Interval(0.8, 1.0, "IY"),
    )
    assert words == (
        Interval(0.0, 0.1, ""),
        Interval(0.1, 0.7, "at"),
        Interval(0.7, 0.8, ""),
        Interval(0.8, 1.0, "ease"),
    )


def test_two_pauses_in_a_row_are_one() -> None:
    events = [PhoneEvent("a", 0, 1), PhoneEvent("_:", 40, 1), PhoneEvent("_", 70, 1)]
    _, phones = tiers("a", np.ones(100, dtype=np.int16), events, sample_rate=1000)
    assert phones == (Interval(0.0, 0.04, "AE"), Interval(0.04, 0.1, ""))


def test_a_phone_without_a_name_in_arpabet_is_an_error() -> None:
    with pytest.raises(ValueError, match="'xx' in 'loch' is new"):
        tiers("loch", np.zeros(10, dtype=np.int16), [PhoneEvent("xx", 0, 1)], sample_rate=1000)
    known = {phone for phones in ARPABET.values() for phone in phones.split()}
    assert len(known) == 39


def test_padding_moves_every_boundary_and_fills_the_edges() -> None:
    inner = (Interval(0.0, 0.2, "AH"),)
    assert [item[:3] for item in _shifted(inner, 0.5, 1.0)] == [
        (0.0, 0.5, ""),
        (0.5, 0.7, "AH"),
        (0.7, 1.0, ""),
    ]
    framed = (Interval(0.0, 0.1, ""), Interval(0.1, 0.2, "AH"), Interval(0.2, 0.3, ""))
    assert [item[:3] for item in _shifted(framed, 0.5, 1.0)] == [
        (0.0, 0.6, ""),
        (0.6, 0.7, "AH"),
        (0.7, 1.0, ""),
    ]


def test_the_corpus_is_the_same_in_every_run(tmp_path: Path) -> None:
    code = "import pathlib, sys; from pytorch_hmm.demo._corpus import make_corpus\n"
    code += "make_corpus(pathlib.Path(sys.argv[1]), 2)"
    for name in ("one", "two"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=True)
    one, two = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).glob("*/*")}
        for name in ("one", "two")
    )
    assert one == two
    assert len(one) == 6


def test_the_times_end_with_the_recording(tmp_path: Path) -> None:
    corpus, reference = make_corpus(tmp_path, 1)
    assert {path.name for path in corpus.iterdir()} == {"sentence_001.wav", "sentence_001.txt"}
    with wave.open(str(corpus / "sentence_001.wav")) as file:
        duration = file.getnframes() / file.getframerate()
    (path,) = reference.iterdir()
    assert read_textgrid(path).phones[-1].end == pytest.approx(duration, abs=1e-6)


def test_the_demo_clears_what_it_wrote_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "demo"
    claim(folder)
    own = [
        "corpus/sentence_119.wav", "corpus/sentence_119.txt", "reference/sentence_119.TextGrid",
        "aligned/sentence_119.TextGrid", "aligned/sentence_119.json", "sentence_119.png",
    ]  # fmt: skip
    mine = [
        "corpus/mine.wav", "corpus/sentence_119.flac", "corpus/sentence_one.wav", "aligned/notes.txt",
        "notes/sentence_119.txt", "sentence_119.txt",
    ]  # fmt: skip
    for name in (*own, *mine):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    claim(folder)
    left = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert left == {*mine, NOTE_NAME}


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").touch()
    result = CliRunner().invoke(app, ["demo", "align", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "holds files that are not the demo's" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_the_demo_aligns_what_it_says(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    result = CliRunner().invoke(app, ["demo", "align", "--out", str(out), "--sentences", "12"])
    assert result.exit_code == 0, result.output
    assert {path.name for path in out.iterdir()} == {
        "about.txt", "corpus", "reference", "aligned", "model.safetensors", "sentence_001.png",
    }  # fmt: skip
    assert len(list((out / "aligned").glob("*.TextGrid"))) == 12
    share = re.search(r"within 50 ms\D*([\d.]+)%", result.stdout)
    assert share is not None
    # Twelve sentences are little to learn from; the whole demo is measured elsewhere.
    assert float(share[1]) > 50.0
    assert re.search(r"\d+ s in all", result.stdout)
    again = CliRunner().invoke(app, ["demo", "align", "--out", str(out), "--sentences", "3"])
    assert again.exit_code == 0, again.output
    assert len(list((out / "aligned").glob("*.TextGrid"))) == 3
    assert len(list((out / "corpus").iterdir())) == 6


def test_without_the_extra_its_name_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    monkeypatch.setattr(align, "start_engine", _espeak.start_engine.__wrapped__)
    result = CliRunner().invoke(app, ["demo", "align", "--out", str(tmp_path / "demo")])
    assert result.exit_code == 2
    assert 'pip install "pytorch-hmm[demo]"' in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("sample_rate", "voice_status", "message"), [(-1, 0, "did not start"), (22_050, 1, "has no voice en-us")]
)
def test_an_engine_that_does_not_start_says_so(
    monkeypatch: pytest.MonkeyPatch, sample_rate: int, voice_status: int, message: str
) -> None:
    engine = SimpleNamespace(
        espeak_Initialize=lambda *_: sample_rate, espeak_SetVoiceByName=lambda _: voice_status
    )
    monkeypatch.setattr(ctypes, "CDLL", lambda _: engine)
    with pytest.raises(RuntimeError, match=message):
        _espeak.start_engine.__wrapped__()


def test_a_sentence_that_is_refused_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = SimpleNamespace(
        espeak_SetSynthCallback=lambda _: None, espeak_SetParameter=lambda *_: 0, espeak_Synth=lambda *_: -1
    )
    monkeypatch.setattr(_espeak, "start_engine", lambda: (engine, 22_050))
    with pytest.raises(RuntimeError, match="did not say 'hello'; status -1"):
        speak("hello")


def test_the_demo_is_a_module_too() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "pytorch_hmm.demo.align", "--help"], capture_output=True, text=True, check=True
    )
    assert "--sentences" in shown.stdout
