"""Corpus readers: layouts, transcripts, and what is reported by name."""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from hmm_speech import (
    Corpus,
    CorpusError,
    Problem,
    load_audio,
    read_corpus,
    read_folder,
    read_kss,
    read_librispeech,
    read_ljspeech,
    read_recording,
    read_speaker_folders,
)

HTK = "0 50000 sil\n50000 100000 ao\n"
FESTVOX = "separator ;\nnfields 1\n#\n\t 0.56000 26 \tpau\n\t 0.59500 26 \tdh\n"


def make(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files; recordings are not opened by the readers, so they need no content."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def summary(corpus: Corpus) -> list[tuple[str, str, str, str]]:
    return [(u.id, u.audio.relative_to(corpus.root).as_posix(), u.text, u.speaker) for u in corpus]


def test_a_flat_folder_is_one_speaker(tmp_path: Path) -> None:
    recordings = {"a.FLAC": "", "b.wav": "", "c.ogg": "", "d.mp3": ""}
    texts = {"a.lab": "One\n more. ", "b.txt": "Two.", "c.txt": "\ufeffThree", "d.TXT": "Four"}
    root = make(tmp_path / "anna", recordings | texts)
    corpus = read_corpus(root)
    assert summary(corpus) == [
        ("a", "a.FLAC", "One more.", "anna"),
        ("b", "b.wav", "Two.", "anna"),
        ("c", "c.ogg", "Three", "anna"),
        ("d", "d.mp3", "Four", "anna"),
    ]
    assert corpus == read_folder(root)
    assert corpus.problems == ()
    assert corpus.speakers == ("anna",)
    assert len(corpus) == 4


def test_speaker_folders_name_the_speakers(tmp_path: Path) -> None:
    files = {
        f"{stem}.{suffix}": "Hi." for stem in ("ann/1/x", "ann/y", "bob/y", "z") for suffix in ("wav", "txt")
    }
    corpus = read_corpus(make(tmp_path / "root", files))
    assert summary(corpus) == [
        ("ann/y", "ann/y.wav", "Hi.", "ann"),
        ("bob/y", "bob/y.wav", "Hi.", "bob"),
        ("x", "ann/1/x.wav", "Hi.", "ann"),
        ("z", "z.wav", "Hi.", "root"),
    ]
    assert corpus == read_speaker_folders(tmp_path / "root")
    assert {u.speaker for u in read_folder(tmp_path / "root")} == {"root"}


def test_txt_wins_over_lab_and_wav_over_other_formats(tmp_path: Path) -> None:
    corpus = read_corpus(
        make(tmp_path, {"a.flac": "", "a.wav": "", "a.mp3": "", "a.lab": "no", "a.txt": "yes"})
    )
    assert [(u.audio.name, u.text) for u in corpus] == [("a.wav", "yes")]


@pytest.mark.parametrize(
    "labels",
    [
        HTK,
        FESTVOX,
        "#\n 0.5 121 pau\n",
        "0.0\t1.5\tword\n1.5\t2\tword\n",
        "0 50000 sil",
        HTK.replace("\n", "\r\n"),
    ],
)
def test_a_lab_of_times_is_no_transcript(tmp_path: Path, labels: str) -> None:
    corpus = read_corpus(
        make(tmp_path, {"a.wav": "", "a.lab": labels, "b.wav": "", "b.lab": labels, "b.txt": "Yes"})
    )
    assert [u.id for u in corpus] == ["b"]
    assert corpus.problems == (Problem("a", "no transcript: a.lab holds times"),)


@pytest.mark.parametrize("text", ["10 20 men", "1 2\n3 4 go\nno", "5 6 seven\n1 2 three\n", "# 1", "7 8"])
def test_a_lab_with_numbers_may_be_a_transcript(tmp_path: Path, text: str) -> None:
    assert [u.text for u in read_corpus(make(tmp_path, {"a.wav": "", "a.lab": text}))] == [
        " ".join(text.split())
    ]


def test_what_cannot_be_used_is_reported_by_name(tmp_path: Path) -> None:
    corpus = read_corpus(
        make(tmp_path, {
            "ok.wav": "", "ok.txt": "Fine.",
            "empty.wav": "", "empty.txt": " \n", "empty.lab": "not this",
            "latin.wav": "", "latin.txt": "\xe9t\xe9".encode("latin-1"),
            "silent.wav": "", "alone.txt": "No one says this.", "times.lab": HTK,
        })
    )  # fmt: skip
    assert [u.id for u in corpus] == ["ok"]
    assert corpus.problems == (
        Problem("alone", "no recording beside alone.txt"),
        Problem("empty", "empty transcript (empty.txt)"),
        Problem("latin", "the transcript latin.txt is not UTF-8 text"),
        Problem("silent", "no transcript (silent.txt or silent.lab) beside silent.wav"),
    )


def test_a_transcript_that_cannot_be_opened_is_reported(tmp_path: Path) -> None:
    (make(tmp_path, {"a.wav": ""}) / "link.txt").symlink_to(tmp_path / "nowhere")
    (tmp_path / "link.wav").touch()
    corpus = read_corpus(tmp_path)
    assert corpus.problems[1] == Problem(
        "link", "the transcript link.txt cannot be read: No such file or directory"
    )


def test_hidden_files_and_notes_are_passed_over(tmp_path: Path) -> None:
    passed_over = dict.fromkeys([".b.wav", ".git/c.wav", "__MACOSX/a.wav", "README.txt", "x.TextGrid"], "x")
    corpus = read_corpus(make(tmp_path, {"a.wav": "", "a.txt": "A"} | passed_over))
    assert [u.id for u in corpus] == ["a"]
    assert corpus.problems == ()


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    root = make(tmp_path / "root", {"ann/a.wav": "", "ann/a.txt": "A"})
    (root / "ann" / "again").symlink_to(root)
    make(tmp_path / "elsewhere", {"b.wav": "", "b.txt": "B"})
    (root / "bob").symlink_to(tmp_path / "elsewhere")
    assert [(u.id, u.speaker) for u in read_corpus(root)] == [("a", "ann"), ("b", "bob")]


def test_ljspeech_takes_the_normalised_column_and_any_place(tmp_path: Path) -> None:
    metadata = '\ufeffx1|Pay $5 "now|Pay five dollars "now\nx2|Two||\nx3.wav|Three\n\nx4|4| four  four \n'
    files = {"wavs/x1.wav": "", "wavs/x2.flac": "", "x3.ogg": "", "x4.wav": "", "x4.txt": "not this"}
    corpus = read_corpus(make(tmp_path / "lj", {"metadata.csv": metadata, **files}))
    assert summary(corpus) == [
        ("x1", "wavs/x1.wav", 'Pay five dollars "now', "lj"),
        ("x2", "wavs/x2.flac", "Two", "lj"),
        ("x3", "x3.ogg", "Three", "lj"),
        ("x4", "x4.wav", "four four", "lj"),
    ]
    assert corpus.problems == ()
    assert corpus == read_ljspeech(tmp_path / "lj")


def test_problems_of_ljspeech_are_named(tmp_path: Path) -> None:
    metadata = "a|A\na|A again\nb|\nc|C\n|nothing\n"
    corpus = read_corpus(make(tmp_path, {"metadata.csv": metadata, "a.wav": "", "b.wav": "", "d.wav": ""}))
    assert [u.text for u in corpus] == ["A"]
    assert corpus.problems == (
        Problem("a", "listed again in line 2 of metadata.csv, after line 1"),
        Problem("b", "empty transcript (line 3 of metadata.csv)"),
        Problem("c", "no recording in wavs/ or beside metadata.csv"),
        Problem("d", "no transcript in metadata.csv"),
        Problem("metadata.csv:5", "the line names no recording"),
    )


def test_another_metadata_csv_is_not_ljspeech(tmp_path: Path) -> None:
    corpus = read_corpus(make(tmp_path, {"metadata.csv": "file,text\na,A\n", "a.wav": "", "a.txt": "A"}))
    assert [u.id for u in corpus] == ["a"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "there is no metadata.csv"),
        ({"metadata.csv": "\n"}, "metadata.csv: the file is empty"),
        ({"metadata.csv": b"a|\xe9t\xe9"}, "metadata.csv: the file is not UTF-8 text"),
    ],
)
def test_metadata_that_cannot_be_read_is_an_error(
    tmp_path: Path, files: dict[str, str], message: str
) -> None:
    with pytest.raises(CorpusError, match=message):
        read_ljspeech(make(tmp_path, files))


def test_what_is_no_corpus_is_named(tmp_path: Path) -> None:
    for path, reason in [
        (
            make(tmp_path, {"a.pdf": "", "times.lab": HTK}),
            "the folder holds neither recordings nor transcripts",
        ),
        (tmp_path / "none", "there is no such folder"),
        (tmp_path / "a.pdf", "not a folder"),
    ]:
        with pytest.raises(CorpusError) as caught:
            read_corpus(path)
        assert str(caught.value) == f"{path}: {reason}"


def test_a_name_that_is_no_text_is_a_problem_that_can_be_written(tmp_path: Path) -> None:
    name = os.fsdecode(b"one\xe9")
    for stem in (name, f"{name}2", "good"):
        (tmp_path / f"{stem}.wav").touch()
    for stem in (name, "good"):
        (tmp_path / f"{stem}.txt").write_text("Hi.")
    corpus = read_corpus(tmp_path)
    assert [item.id for item in corpus] == ["good"]
    assert corpus.problems == (
        Problem("one\\udce9", "the name of the file is not UTF-8; rename it"),
        Problem("one\\udce92", "no transcript (one\\udce92.txt or one\\udce92.lab) beside one\\udce92.wav"),
    )
    str(corpus.problems).encode()


def test_a_folder_of_very_many_files_is_walked_once_and_each_transcript_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10_000):
        (tmp_path / f"{number}.wav").touch()
        (tmp_path / f"{number}.txt").touch()
    calls: Counter[str] = Counter()
    walk, read, resolve, scan = os.walk, Path.read_text, Path.resolve, os.scandir

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            calls[name] += 1
            return function(*arguments, **options)

        return call

    monkeypatch.setattr(os, "walk", counted("walk", walk))
    monkeypatch.setattr(os, "scandir", counted("scandir", scan))
    monkeypatch.setattr(Path, "read_text", counted("read", read))
    monkeypatch.setattr(Path, "resolve", counted("resolve", resolve))
    corpus = read_corpus(tmp_path)
    assert len(corpus.problems) == 10_000  # the transcripts are empty
    assert calls == {"walk": 1, "scandir": 1, "read": 10_000, "resolve": 2}


def test_the_folder_we_are_in_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(make(tmp_path / "anna", {"a.wav": "", "a.txt": "A"}))
    assert read_corpus(".").speakers == ("anna",)


@pytest.mark.parametrize(
    ("name", "utterances", "problems"),
    [
        ("ljspeech", 186, 0),
        ("synth/en_hts", 40, 0),
        ("cmu_time_awb", 24, 0),
        ("librivox", 5, 2),
        ("magphase_hvd", 0, 10),
    ],
)
def test_real_corpora_are_recognised(speech_data: Path, name: str, utterances: int, problems: int) -> None:
    corpus = read_corpus(speech_data / name)
    assert (len(corpus), len(corpus.problems)) == (utterances, problems)
    assert all(load_audio(utterance.audio).duration > 0.2 for utterance in corpus.utterances[:3])


def test_one_recording_has_its_transcript_beside_it_or_given(tmp_path: Path) -> None:
    root = make(
        tmp_path / "ann", {"a.wav": "", "a.txt": "One\n two.", "b.wav": "", "b.lab": HTK, "c.wav": ""}
    )
    assert summary(read_recording(root / "a.wav")) == [("a", "a.wav", "One two.", "ann")]
    assert summary(read_recording(root / "a.wav", "three  four")) == [("a", "a.wav", "three four", "ann")]
    assert read_recording(root / "b.wav").problems == (Problem("b", "no transcript: b.lab holds times"),)
    reason = "no transcript (c.txt or c.lab) beside c.wav"
    assert read_recording(root / "c.wav").problems == (Problem("c", reason),)
    assert read_recording(root / "c.wav", " ").problems == (Problem("c", "empty transcript"),)
    for path, reason in (
        (root / "a.txt", "must end in .wav"),
        (root, "not a file"),
        (root / "d.wav", "no such"),
    ):
        with pytest.raises(CorpusError, match=reason):
            read_recording(path)


def test_librispeech_lists_its_transcripts_by_chapter(tmp_path: Path) -> None:
    lines = "84-121123-0000 GO  DO YOU HEAR\n84-121123-0001 BUT\n84-121123-0002\n"
    root = make(tmp_path / "dev-clean", {
        "84/121123/84-121123.trans.txt": lines,
        "84/121123/84-121123-0000.flac": "",
        "84/121123/84-121123-0002.flac": "",
        "84/121123/84-121123-0003.flac": "",
        "174/50561/174-50561.trans.txt": "174-50561-0000 FORGOTTEN TOO\n",
        "174/50561/174-50561-0000.flac": "",
        "SPEAKERS.TXT": "; readers",
    })  # fmt: skip
    corpus = read_corpus(root)
    assert summary(corpus) == [
        ("174-50561-0000", "174/50561/174-50561-0000.flac", "FORGOTTEN TOO", "174"),
        ("84-121123-0000", "84/121123/84-121123-0000.flac", "GO DO YOU HEAR", "84"),
    ]
    assert corpus.problems == (
        Problem("84-121123-0001", "no recording beside 84-121123.trans.txt"),
        Problem("84-121123-0002", "empty transcript (line 3 of 84-121123.trans.txt)"),
        Problem("84-121123-0003", "no transcript in 84-121123.trans.txt"),
    )
    assert summary(read_librispeech(root / "174")) == [
        ("174-50561-0000", "50561/174-50561-0000.flac", "FORGOTTEN TOO", "174")
    ]
    with pytest.raises(CorpusError, match=r"there is no transcript X\.trans\.txt"):
        read_librispeech(make(tmp_path / "none", {"a.wav": ""}))


@pytest.mark.parametrize("place", ["", "kss/"])
def test_kss_takes_the_numbers_in_words(tmp_path: Path, place: str) -> None:
    lines = (
        "1/1_0000.wav|3개를 샀다.|세 개를 샀다.|세 개를 샀다.|2.1|I bought three.",
        "1/1_0001.wav|그는 웃었다.||그는 웃었다.|1.5|He laughed.",
        "1/1_0002.wav|그는.|그는.|그는.|1.5|He.",
        "1/1_0001.wav|또.|또.|또.|1.5|Again.",
        "2/2_0000.wav||||1.0|",
    )
    recordings = {f"{place}{name}": "" for name in ("1/1_0000.wav", "1/1_0001.wav", "2/2_0000.wav")}
    files = {"transcript.v.1.3.txt": "", "transcript.v.1.4.txt": "\n".join(lines)}
    corpus = read_corpus(make(tmp_path / "kss", recordings | files))
    assert summary(corpus) == [
        ("1_0000", f"{place}1/1_0000.wav", "세 개를 샀다.", "kss"),
        ("1_0001", f"{place}1/1_0001.wav", "그는 웃었다.", "kss"),
    ]
    assert corpus.problems == (
        Problem("1_0001", "listed again"),
        Problem("1_0002", "no recording 1/1_0002.wav"),
        Problem("2_0000", "empty transcript (line 5 of transcript.v.1.4.txt)"),
    )
    with pytest.raises(CorpusError, match="there is no transcript"):
        read_kss(make(tmp_path / "none", {"a.wav": ""}))
    with pytest.raises(CorpusError, match="the file is empty"):
        read_kss(make(tmp_path / "empty", {"transcript.v.1.4.txt": "\n"}))
    with pytest.raises(CorpusError, match="not UTF-8 text"):
        read_kss(make(tmp_path / "damaged", {"transcript.v.1.4.txt": b"\xff"}))
