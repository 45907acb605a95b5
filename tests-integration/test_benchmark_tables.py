"""The tables that pages show are those of the results that are committed beside them."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
from workspace import ROOT

MARK = "<!-- from results: python benchmarks/summary.py -->"


@pytest.fixture
def summary(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    monkeypatch.syspath_prepend(ROOT / "benchmarks" / "cases")
    monkeypatch.setattr(sys, "argv", ["summary.py", "--check"])
    return importlib.import_module("summary")


def test_every_table_is_that_of_its_results(summary: ModuleType) -> None:
    assert summary.main() == 0


def test_a_table_that_differs_is_noticed(
    summary: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "GPU.md"
    text = summary.GPU.read_text(encoding="utf-8")
    page.write_text(text.replace(MARK, f"{MARK}\n\n| a | row |"), encoding="utf-8")
    monkeypatch.setattr(summary, "GPU", page)
    assert summary.main() == 1


def test_a_page_without_a_place_for_its_table_is_refused(summary: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("Nothing here.\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"page\.md must have a part for results"):
        summary.filled(page, {"results": ["| a | row |"]})
    page.write_text(f"Before.\n{MARK}\n<!-- end -->\nAfter.\n", encoding="utf-8")
    assert (
        summary.filled(page, {"results": ["| a | row |"]})
        == f"Before.\n{MARK}\n\n| a | row |\n\n<!-- end -->\nAfter.\n"
    )
