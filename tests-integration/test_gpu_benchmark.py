"""The benchmark of the CUDA kernels, as far as it runs without a GPU: on the CPU, in small sizes."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
CPU = torch.device("cpu")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The case."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.syspath_prepend(BENCHMARKS / "cases")
    return importlib.import_module("gpu")


def test_everyone_in_every_case_finds_the_answer(gpu: ModuleType) -> None:
    for case in gpu.CASES:
        records = gpu.measure(case, CPU, quick=True, rounds=5)
        assert [record["note"] for record in records] == [""] * len(records), case.label
        assert all(float(record["median_ms"]) > 0 for record in records)
        names = [record["implementation"] for record in records]
        assert {"hmm-core cuda", "hmm-core cpu", "floor: one kernel"} <= set(names)
        assert (records[names.index("hmm-core cuda")]["reached"] != "") == (case.at_most > 0)
        assert case.label in gpu.show(records)


def test_a_wrong_answer_has_no_time(gpu: ModuleType) -> None:
    case = next(case for case in gpu.CASES if "50 states" in case.label)
    task = case.make(CPU, quick=True)
    spoilt = gpu.Contender("wrong", "1", lambda: (task.contenders[0].run()[0] + 1e-2,))
    case = gpu.Case("wrong", lambda *_: task._replace(contenders=[*task.contenders, spoilt]))
    record = gpu.measure(case, CPU, quick=True, rounds=5)[-1]
    assert record["median_ms"] == ""
    assert record["note"].startswith("wrong: error")


def test_without_a_gpu_it_says_so(gpu: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert gpu.main(["--quick"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("no GPU to measure: the CUDA kernels need")
    assert len(said.splitlines()) == 1


def test_the_table_is_written_from_the_results(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    summary = importlib.import_module("summary")
    card = {"gpu": "Test GPU", "driver": "1.2", "torch": "2", "triton": "3", "date": "2026-01-31"}
    records = gpu.measure(gpu.CASES[0], CPU, quick=True, rounds=5)
    gpu.write(tmp_path / "gpu.csv", records, card)
    monkeypatch.setattr(summary, "RESULTS", tmp_path)
    lines = summary.gpu()
    assert lines[0] == "Test GPU, driver 1.2, torch 2, triton 3, 2026-01-31. Medians, in milliseconds."
    assert gpu.CASES[0].label in lines[-1]
    assert "asked" in lines[2]
    monkeypatch.setattr(summary, "RESULTS", tmp_path / "nowhere")
    assert summary.gpu() == ["None yet."]
