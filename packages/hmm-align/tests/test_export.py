"""Files in and out."""

import csv
import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hmm_align import (
    AlignedInterval,
    Alignment,
    IntervalFileError,
    Tiers,
    read_intervals,
    read_json,
    read_textgrid,
    write_alignments,
    write_csv,
    write_json,
    write_textgrid,
)
from hmm_metrics import Interval

PRINTABLE = st.characters(categories=["L", "M", "N", "P", "S"])
LABELS = st.one_of(
    st.just(""), st.sampled_from(['"', "don't", 'say"hi"', "=", "text", "ʃ"]), st.text(PRINTABLE, max_size=6)
)


@st.composite
def alignments(draw: st.DrawFn) -> Alignment:
    """Any valid alignment: phones of 1 ms or more, grouped into words."""
    lengths = draw(st.lists(st.floats(0.001, 20.0), min_size=1, max_size=8))
    edges = [0.0]
    for length in lengths:
        edges.append(edges[-1] + max(length, 0.001))
    confidence, log_ratio = st.floats(0.0, 1.0), st.floats(-1e6, 1e6)
    uncertainty = st.integers(0, 10**6).map(lambda microseconds: microseconds / 10**6)
    inner = draw(st.sets(st.sampled_from(range(1, len(edges) - 1)))) if len(edges) > 2 else set()

    def tier(points: list[float]) -> tuple[AlignedInterval, ...]:
        return tuple(
            AlignedInterval(start, end, draw(LABELS), draw(confidence), draw(log_ratio), draw(uncertainty))
            for start, end in pairwise(points)
        )

    words = tier([0.0, *(edges[index] for index in sorted(inner)), edges[-1]])
    score = draw(st.floats(-1e6, 1e6))
    return Alignment("speaker/clip", edges[-1], words, tier(edges), log_likelihood_per_frame=score)


def rounded(tier: tuple[AlignedInterval, ...]) -> tuple[AlignedInterval, ...]:
    return tuple(item._replace(start=round(item.start, 6), end=round(item.end, 6)) for item in tier)


def plain(tier: tuple[AlignedInterval, ...]) -> tuple[Interval, ...]:
    return tuple(Interval(*item[:3]) for item in rounded(tier))


@settings(deadline=None)  # the time is that of the disk
@given(alignments())
def test_json_returns_everything_to_a_microsecond(alignment: Alignment) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "x.json")
        write_json(alignment, path)
        back = read_json(path)
        assert (back.words, back.phones) == (rounded(alignment.words), rounded(alignment.phones))
        assert (back.id, back.ok, back.reason) == (alignment.id, True, "")
        assert back.log_likelihood_per_frame == alignment.log_likelihood_per_frame


@settings(deadline=None)  # the time is that of the disk
@given(alignments())
def test_textgrid_returns_times_and_labels_to_a_microsecond(alignment: Alignment) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "x.TextGrid")
        write_textgrid(alignment, path)
        back = read_textgrid(path)
        assert tuple(item.end for item in back.phones) == tuple(i.end for i in plain(alignment.phones))
        quiet = {"#", "h#", "sil", "sp", "pau", "ssil"}  # other tools' names for it
        for got, wrote in zip(
            (*back.words, *back.phones), (*plain(alignment.words), *plain(alignment.phones)), strict=True
        ):
            assert got[:2] == wrote[:2]
            assert got.label == wrote.label or wrote.label.lower() in quiet


@settings(deadline=None)  # the time is that of the disk
@given(alignments())
def test_csv_holds_a_row_for_each_interval(alignment: Alignment) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "x.csv")
        write_csv([alignment, Alignment.failure("bad", "no text")], path)
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        assert header == ["id", "tier", *AlignedInterval._fields]
        for tier, wrote in (("words", alignment.words), ("phones", alignment.phones)):
            back = tuple(
                AlignedInterval(float(start), float(end), label, *map(float, numbers))
                for name, of, start, end, label, *numbers in rows
                if of == tier and name == alignment.id
            )
            assert back == rounded(wrote)
        assert len(rows) == len(alignment.words) + len(alignment.phones)


def test_a_failure_survives_json(tmp_path: Path) -> None:
    failed = Alignment.failure("clip", "the audio is silent", duration=1.25)
    write_json(failed, tmp_path / "clip.json")
    assert read_json(tmp_path / "clip.json") == failed
    assert json.loads((tmp_path / "clip.json").read_text())["log_likelihood_per_frame"] is None
    assert math.isinf(read_json(tmp_path / "clip.json").log_likelihood_per_frame)


def test_a_failure_is_no_textgrid(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be ok; 'clip' failed: no text"):
        write_textgrid(Alignment.failure("clip", "no text"), tmp_path / "clip.TextGrid")


def test_labels_that_are_praats_syntax_are_refused(
    make_alignment: Callable[..., Alignment], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"cannot hold the label 'intervals\[1\]'"):
        write_textgrid(make_alignment("clip", "intervals[1]"), tmp_path / "clip.TextGrid")
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    make_alignment: Callable[..., Alignment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "clip.json"
    write_json(make_alignment("clip"), path)
    before = path.read_bytes()

    def full(self: Path, *_: object, **__: object) -> None:
        self.touch()
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        with pytest.raises(OSError, match="no space left"):
            write_json(make_alignment("clip", "other"), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_ids_become_folders_below_the_output(
    make_alignment: Callable[..., Alignment], tmp_path: Path
) -> None:
    good = [make_alignment("anna/one"), make_alignment("two.b")]
    written = write_alignments([*good, Alignment.failure("three", "no text")], tmp_path / "out")
    names = {path.relative_to(tmp_path / "out").as_posix() for path in written}
    assert names == {
        "anna/one.TextGrid", "anna/one.json", "two.b.TextGrid", "two.b.json", "alignments.csv",
    }  # fmt: skip
    assert {path for path in (tmp_path / "out").rglob("*") if path.is_file()} == set(written)


def test_only_the_formats_asked_for_are_written(
    make_alignment: Callable[..., Alignment], tmp_path: Path
) -> None:
    assert write_alignments([make_alignment("one")], tmp_path, ["json"]) == [tmp_path / "one.json"]
    with pytest.raises(ValueError, match="formats must be among textgrid, json, csv; got srt"):
        write_alignments([make_alignment("one")], tmp_path, ["srt"])


@pytest.mark.parametrize("name", ["../up", "/root", "a//b", "a/../../b", ".", "", "c:\\x", "a\\b", "nul\0"])
def test_an_id_cannot_leave_the_output(
    make_alignment: Callable[..., Alignment], tmp_path: Path, name: str
) -> None:
    with pytest.raises(ValueError, match="id must be a relative path of plain names"):
        write_alignments([make_alignment("fine"), make_alignment(name)], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_utterances_cannot_share_a_file(make_alignment: Callable[..., Alignment], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ids must be unique; 'one' occurs twice"):
        write_alignments([make_alignment("one"), make_alignment("one")], tmp_path)


PHONES = (Interval(0.0, 0.2, ""), Interval(0.2, 0.35, "ah"), Interval(0.35, 0.5, ""))


def test_each_kind_of_reference_file_gives_the_same_intervals(tmp_path: Path) -> None:
    files = {
        "htk.lab": "0 2000000 sil\n2000000 3500000 ah\n3500000 5000000 SIL\n",
        "context.lab": "0 1000000 x^x-pau+ah=x@1[2]\n1000000 2000000 x^x-pau+ah=x@1[3]\n"
        "2000000 3500000 x^pau-ah+pau=x/A:1[2]\n3500000 5000000 ah^x-pau+x=x[2]\n",
        "festvox.lab": "separator ;\nnfields 1\n#\n0.2 26 pau\n 0.35 26 ah\n 0.5 26 h#\n",
        "lists.json": json.dumps({"phones": [phone._asdict() for phone in PHONES[1:]]}),
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        words, phones = read_intervals(tmp_path / name)
        assert words == ()
        assert phones == tuple(pytest.approx(phone) for phone in PHONES)


def test_textgrids_of_other_tools_are_read(tmp_path: Path) -> None:
    path = tmp_path / "mfa.TextGrid"
    header = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n0.5\n<exists>\n3\n'
    tiers = (
        '"IntervalTier"\n"anna - words"\n0\n0.5\n1\n0.2\n0.35\n"a"\n',
        '"IntervalTier"\n"anna - phones"\n0\n0.5\n2\n0\n0.2\n"sp"\n0.2\n0.35\n"ah"\n',
        '"TextTier"\n"tone"\n0\n0.5\n1\n0.3\n"H*"\n',
    )
    path.write_text(header + "".join(tiers), encoding="utf-16")
    words = (Interval(0.0, 0.2, ""), Interval(0.2, 0.35, "a"), Interval(0.35, 0.5, ""))
    assert read_intervals(path) == Tiers(words, PHONES)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("x.txt", "hello", r"must end with .TextGrid, .json or .lab; got '.txt'"),
        ("x.lab", "hello there\n", "must hold lines"),
        ("x.lab", "#\n0.1\nword\n", "must hold lines"),
        ("x.lab", "\xff", "must hold lines"),
        ("x.json", "{", "is not JSON"),
        ("x.json", "[1]", "must be a JSON object; got list"),
        ("x.json", '{"id": 1}', 'must have a list "phones" or "words"'),
        ("x.json", '{"phones": [{"start": 0}]}', "must be lists of start, end, label"),
        ("x.json", '{"phones": [1]}', "must be lists of start, end, label"),
        ("x.TextGrid", "nothing here", "is not a TextGrid"),
    ],
)
def test_a_file_of_another_kind_is_named_with_its_fault(
    tmp_path: Path, name: str, text: str, reason: str
) -> None:
    (tmp_path / name).write_text(text, encoding="latin-1")
    with pytest.raises(IntervalFileError, match=reason) as caught:
        read_intervals(tmp_path / name)
    assert caught.value.path == tmp_path / name


def test_a_word_that_sounds_like_silence_stays_a_word(
    make_alignment: Callable[..., Alignment], tmp_path: Path
) -> None:
    for word in ("silence", "Pau", "_"):
        write_textgrid(make_alignment("clip", word), tmp_path / "clip.TextGrid")
        assert read_textgrid(tmp_path / "clip.TextGrid").words[1].label == word


def test_a_textgrid_without_our_tiers_says_which_it_has(tmp_path: Path) -> None:
    path = tmp_path / "x.TextGrid"
    path.write_text(
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\n0\n1\n<exists>\n1\n'
        '"IntervalTier"\n"syllables"\n0\n1\n1\n0\n1\n"a"\n'
    )
    with pytest.raises(IntervalFileError, match="its tiers: 'syllables'"):
        read_textgrid(path)


def test_a_json_that_is_no_alignment_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"phones": [], "words": []}')
    with pytest.raises(IntervalFileError, match="is not an alignment"):
        read_json(tmp_path / "x.json")


def test_the_reference_labels_of_real_corpora_are_read(speech_data: Path) -> None:
    for pattern in (
        "ljspeech/*.TextGrid",
        "synth/en_espeak/*.json",
        "synth/en_espeak/*.lab",
        "cmu_time_awb/*.lab",
    ):
        path = min(speech_data.glob(pattern))
        _, phones = read_intervals(path)
        assert len([phone for phone in phones if phone.label]) > 10
        assert all(0.0 < phone.end - phone.start < 2.0 for phone in phones)
        assert all(one.end == pytest.approx(two.start) for one, two in pairwise(phones))
