import datetime as dt
import os
import runpy
import sys
from pathlib import Path

import pytest

from hmm_bench import (
    CoreImplementation,
    Instance,
    Row,
    Timing,
    compare,
    format_rows,
    machine_card,
    read_results,
    write_results,
)
from hmm_bench._results import _cpu_model, _memory

DATE = dt.date(2026, 1, 31)
INSTANCE = Instance("viterbi", 2, 9, 4, "chain")
ROWS = [
    Row(INSTANCE, "ours", "0.1.0", Timing(0.0012345, 0.0001, 0.001, 7), 0.5, 1.0, ""),
    Row(INSTANCE, "peer", "1.0", Timing(0.01, 0.002, 0.009, 7), 0.01, 8.1, ""),
    Row(INSTANCE, "absent", "", None, None, None, "unavailable: not installed, sadly"),
]


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    path, card = tmp_path / "viterbi.csv", machine_card(DATE)
    write_results(path, ROWS, card)
    again, rows = read_results(path)
    assert again == card
    assert [Instance.parse(row["instance"]) for row in rows] == 3 * [INSTANCE]
    assert [row["median_ms"] for row in rows] == ["1.234", "10", ""]
    assert [row["first_call_ms"] for row in rows] == ["500", "10", ""]
    assert [row["ratio"] for row in rows] == ["1", "8.1", ""]
    assert rows[2]["note"] == "unavailable: not installed, sadly"


def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "viterbi.csv"
    write_results(path, ROWS, {"cpu": "old"})

    def fail(self: Path, target: Path) -> None:
        raise OSError(f"no space for {self} to be {target}")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        write_results(path, [], {"cpu": "new"})
    assert read_results(path)[0] == {"cpu": "old"}
    assert [file.name for file in tmp_path.iterdir()] == ["viterbi.csv"]


def test_the_table_has_one_heading_for_an_instance() -> None:
    lines = format_rows(ROWS).splitlines()
    assert lines[0] == str(INSTANCE)
    assert [line.split()[0] for line in lines[1:]] == ["ours", "peer", "absent"]
    assert lines[2].endswith("x8.1")
    assert lines[3].endswith("unavailable: not installed, sadly")


def test_the_card_says_where_and_when() -> None:
    card = machine_card(DATE)
    assert card["date"] == "2026-01-31"
    assert all(card.values())
    assert "reference" in card["backends"]


def test_what_the_system_does_not_tell_is_left_open(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delattr(os, "sysconf", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert _memory() == "unknown"
    assert int(machine_card(DATE)["cores"]) >= 1
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name : Quick 9000\n")
    assert _cpu_model(tmp_path / "cpuinfo") == "Quick 9000"
    assert _cpu_model(tmp_path / "absent")


@pytest.fixture
def fresh() -> None:
    """Let the command be run as a module, as if for the first time."""
    sys.modules.pop("hmm_bench.__main__", None)


@pytest.mark.usefixtures("fresh")
def test_the_command_prints_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results.csv"
    monkeypatch.setattr(
        sys, "argv", ["hmm_bench", str(INSTANCE), "--reference", "--rounds", "5", "--out", str(out)]
    )
    with pytest.raises(SystemExit) as exit_code:
        runpy.run_module("hmm_bench", run_name="__main__")
    assert exit_code.value.code == 0
    assert str(INSTANCE) in capsys.readouterr().out
    assert [row["implementation"] for row in read_results(out)[1]] == ["hmm-core", "hmm-core reference"]


@pytest.mark.usefixtures("fresh")
def test_the_command_names_what_it_does_not_understand(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["hmm_bench", "op=viterbi"])
    with pytest.raises(SystemExit) as exit_code:
        runpy.run_module("hmm_bench", run_name="__main__")
    assert exit_code.value.code == 2
    assert "lacks B, T" in capsys.readouterr().err


def test_a_row_of_a_comparison_can_be_written(tmp_path: Path) -> None:
    rows = compare(INSTANCE, [CoreImplementation("reference"), CoreImplementation()], rounds=5)
    write_results(tmp_path / "out.csv", rows, machine_card(DATE))
    assert len(read_results(tmp_path / "out.csv")[1]) == 2
