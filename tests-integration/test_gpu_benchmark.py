"""The benchmark of the CUDA kernels, as far as it runs without a GPU: on the CPU, in small sizes."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
CPU = torch.device("cpu")
# Peers that need not be installed.
OTHERS = {"k2", "torch_struct", "torchaudio"}


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The case."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.syspath_prepend(BENCHMARKS / "cases")
    return importlib.import_module("gpu")


def test_everyone_in_every_case_finds_the_answer(gpu: ModuleType) -> None:
    for case in gpu.CASES:
        records = gpu.measure(case, CPU, quick=True, rounds=5)
        names = [record["implementation"] for record in records]
        for name, record in zip(names, records, strict=True):
            if name in OTHERS and record["note"]:
                assert record["note"].startswith("unavailable: "), case.label
                assert record["median_ms"] == ""
            else:
                assert record["note"] == "", case.label
                assert float(record["median_ms"]) > 0
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


def rows_of(gpu: ModuleType, label: str) -> dict[str, dict[str, str]]:
    """Records of a case by who computed."""
    case = next(case for case in gpu.CASES if label in case.label)
    records = gpu.measure(case, CPU, quick=True, rounds=5)
    return {record["implementation"]: record for record in records}


@pytest.mark.parametrize("label", ["gradient, 32 x 1000, 10", "posteriors", "paths, 8", "nothing to compute"])
def test_torch_struct_takes_part_in_dense_models(gpu: ModuleType, label: str) -> None:
    pytest.importorskip("torch_struct", reason="the peer torch_struct is not installed")
    row = rows_of(gpu, label)["torch_struct"]
    assert row["note"] == ""
    assert row["version"].startswith("0.")


def test_a_peer_that_is_not_installed_has_a_row_that_says_so(
    gpu: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "k2", None)
    monkeypatch.delitem(sys.modules, "hmm_bench.peers.k2", raising=False)
    rows = rows_of(gpu, "CTC loss")
    assert rows["k2"]["note"].startswith("unavailable: ModuleNotFoundError: ")
    assert rows["k2"]["median_ms"] == ""
    assert rows["torch"]["note"] == ""


def test_a_peer_that_fails_has_a_row_that_says_so(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("no beads left.\n" + 30 * "more of it ")

    monkeypatch.setattr(torch.nn.functional, "ctc_loss", exhausted)
    note = rows_of(gpu, "CTC loss")["torch"]["note"]
    assert note.startswith("unavailable: OutOfMemoryError: no beads left. more")
    assert len(note) < 120


def test_without_a_gpu_it_says_so(gpu: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert gpu.main(["--quick"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("no GPU to measure: the CUDA backend needs")
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
