"""Evaluation against reference files."""

import math
from pathlib import Path

import pytest
from rich.console import Console

from hmm_align import (
    AlignedInterval,
    Alignment,
    evaluate,
    reliability,
    write_alignments,
    write_textgrid,
)


def shifted(name: str, shift: float) -> Alignment:
    """Say "at" after a silence, every inner boundary late by ``shift`` seconds."""
    edges = [0.0, 0.1 + shift, 0.3 + shift, 0.45 + shift, 0.6]
    phones = tuple(
        AlignedInterval(start, end, label, 1.0)
        for start, end, label in zip(edges[:-1], edges[1:], ["", "AE1", "T", ""], strict=True)
    )
    words = (phones[0], AlignedInterval(edges[1], edges[3], "at", 1.0), phones[3])
    return Alignment(name, 0.6, words, phones)


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    folder = tmp_path / "reference"
    write_alignments([shifted("anna/one", 0.0), shifted("two", 0.0), shifted("only", 0.0)], folder)
    return folder


def test_alignments_in_memory_and_on_disk_give_the_same_report(reference: Path, tmp_path: Path) -> None:
    found = [shifted("anna/one", 0.03), shifted("two", 0.004), Alignment.failure("only", "no text")]
    write_alignments(found, tmp_path / "out", ["json"])
    report = evaluate(found, reference)
    # Files keep microseconds.
    assert evaluate(tmp_path / "out", reference).phones.mean == pytest.approx(report.phones.mean, abs=1e-6)
    assert report.num_files == 2
    assert report.phones.num_boundaries == 6
    assert report.phones.bias == pytest.approx(0.017)
    assert report.phones.within[0.02] == 0.5
    assert report.words.num_boundaries == 4
    # Three boundaries 30 ms late spoil 3 frames of 60 each; 4 ms spoil none.
    assert report.phone_frame_accuracy == pytest.approx(111 / 120)


def test_what_only_one_side_has_is_named(reference: Path) -> None:
    report = evaluate([shifted("two", 0.0), shifted("new", 0.0)], reference)
    assert report.missing_hypotheses == ("anna/one", "only")
    assert report.missing_references == ("new",)
    assert report.phone_frame_accuracy == 1.0


def test_a_tier_that_no_reference_has_is_not_a_number(tmp_path: Path) -> None:
    (tmp_path / "one.lab").write_text(
        "0 1000000 sil\n1000000 3000000 ae\n3000000 4500000 t\n4500000 6000000 sil\n"
    )
    report = evaluate([shifted("one", 0.0)], tmp_path)
    assert report.phones.mean == pytest.approx(0.0, abs=1e-9)  # 100 ns units are not exact in binary
    assert math.isnan(report.words.mean)
    (tmp_path / "one.lab").unlink()
    (tmp_path / "one.json").write_text('{"words": [{"start": 0.1, "end": 0.45, "label": "at"}]}')
    report = evaluate([shifted("one", 0.0)], tmp_path)
    assert math.isnan(report.phone_frame_accuracy)
    assert report.words.num_boundaries == 1


def test_a_textgrid_comes_before_a_label_file(tmp_path: Path) -> None:
    write_textgrid(shifted("one", 0.0), tmp_path / "one.TextGrid")
    (tmp_path / "one.lab").write_text("at\n")
    assert evaluate([shifted("one", 0.0)], tmp_path).num_files == 1


def test_nothing_in_common_is_an_error_that_names_both_sides(reference: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="a, b, c and 1 more aligned, anna/one, only, two in"):
        evaluate([shifted(name, 0.0) for name in "abcd"], reference)
    with pytest.raises(FileNotFoundError, match="nothing aligned"):
        evaluate([], reference)
    with pytest.raises(FileNotFoundError, match="absent is not a folder"):
        evaluate(tmp_path / "absent", reference)


def test_the_table_shows_both_tiers(reference: Path) -> None:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(evaluate([shifted("two", 0.01)], reference).table())
    text = capture.get()
    assert "files" in text
    assert text.count("+10.0 ms") == 2


def unsure(name: str, shift: float, *uncertainty: float) -> Alignment:
    """Say the same, the ends of the phones uncertain."""
    found = shifted(name, shift)
    phones = tuple(
        phone._replace(end_uncertainty=within)
        for phone, within in zip(found.phones, uncertainty, strict=True)
    )
    return Alignment(name, found.duration, found.words, phones)


def test_what_lies_within_its_uncertainty_is_counted(reference: Path, tmp_path: Path) -> None:
    found = [unsure("anna/one", 0.01, 0.009, 0.011, 0.5, 0.0), unsure("new", 0.0, 0.1, 0.1, 0.1, 0.0)]
    write_alignments(found, tmp_path / "out", ["json"])
    for hypothesis in ([*found, Alignment.failure("two", "no text")], tmp_path / "out"):
        report = reliability(hypothesis, reference)
        assert report.uncertainty.tolist() == [0.009, 0.011, 0.5]
        assert report.error == pytest.approx([0.01] * 3)
        share = dict(zip(report.levels, report.coverage, strict=True))
        assert share[0.8] == pytest.approx(2 / 3)
        assert share[0.1] == pytest.approx(1 / 3)
        assert share[0.95] == 1.0


def test_boundaries_of_unknown_uncertainty_say_nothing_about_it(reference: Path) -> None:
    report = reliability([shifted("two", 0.01)], reference)
    assert len(report.error) == 0
    assert all(math.isnan(share) for share in report.coverage)


def test_uncertainties_need_alignments_that_hold_them(reference: Path, tmp_path: Path) -> None:
    write_textgrid(shifted("two", 0.0), tmp_path / "out" / "two.TextGrid")
    with pytest.raises(FileNotFoundError, match="no alignment as JSON or in memory"):
        reliability(tmp_path / "out", reference)
