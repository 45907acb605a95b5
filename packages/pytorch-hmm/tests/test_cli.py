"""The command ``hmm``."""

import importlib.metadata
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from hmm_core import backends
from pytorch_hmm import _doctor
from pytorch_hmm.cli import app, main


def hmm(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})


def test_help_lists_the_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["hmm", "--help"])
    with pytest.raises(SystemExit, match="0"):
        main()
    shown = capsys.readouterr().out
    assert all(command in shown for command in ("align", "demo", "doctor"))
    assert "evaluate" in hmm("align", "--help").stdout
    assert "align" in hmm("demo", "--help").stdout


def test_align_is_the_aligners_own_command(tmp_path: Path) -> None:
    result = hmm("align", "corpus", tmp_path, tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")


def test_doctor_names_versions_backends_threads_and_extras() -> None:
    result = hmm("doctor")
    assert result.exit_code == 0, result.output
    lines = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert lines["hmm-core"].strip() == importlib.metadata.version("hmm-core")
    assert f"{torch.get_num_threads()} threads" in lines["torch"]
    assert {"CUDA", "Python", "system", "processor"} <= lines.keys()
    assert "backend reference  ready" in result.stdout
    assert "native kernels" in result.stdout


def test_doctor_says_why_something_is_missing_and_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        backends, "available", lambda: {"reference": None, "cpu": "no C++ compiler was found"}
    )
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    real = importlib.util.find_spec

    def without_matplotlib(name: str) -> ModuleSpec | None:
        return None if name == "matplotlib" else real(name)

    monkeypatch.setattr(importlib.util, "find_spec", without_matplotlib)
    found = dict(_doctor.findings())
    assert found["backend cpu"] == "not usable: no C++ compiler was found"
    assert found["native kernels"].startswith("not installed, see backend cpu")
    assert found["CUDA"] == "none: this torch is built without CUDA"
    assert found["extra demo"] == 'not installed (hmm demo align): pip install "pytorch-hmm[demo]"'
    monkeypatch.setattr(torch.version, "cuda", "13.2")
    assert dict(_doctor.findings())["CUDA"] == "none: torch is built for CUDA 13.2, but sees no device"


def test_doctor_names_the_kernels_in_use_and_the_others_that_this_machine_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backends, "available", lambda: {"reference": None, "cpu": None})
    monkeypatch.setattr(backends, "kernel_variant", lambda: "x86-64-v4")
    monkeypatch.setattr(backends, "kernel_variants", lambda: ("x86-64-v2", "x86-64-v3", "x86-64-v4"))
    found = dict(_doctor.findings())
    assert found["native kernels"] == "for x86-64-v4; usable, too: x86-64-v2, x86-64-v3"
    monkeypatch.setattr(backends, "kernel_variants", lambda: ("x86-64-v4",))
    assert dict(_doctor.findings())["native kernels"] == "for x86-64-v4"


def test_doctor_names_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: f"GPU {index}")
    assert dict(_doctor.findings())["CUDA"] == "GPU 0"


@pytest.mark.parametrize(
    ("built", "seen", "triton", "state"),
    [
        ("13.2", True, "3.9.0", "ready"),
        ("13.2", True, None, "not usable: needs Triton, which is not installed"),
        ("13.2", True, "3.2.0", "not usable: needs triton 3.6 or newer; 3.2 is installed"),
        ("13.2", False, "3.9.0", "not usable: needs a GPU; torch is built for CUDA 13.2, but sees no device"),
        (None, False, "3.9.0", "not usable: needs a GPU; this torch is built without CUDA"),
    ],
)
def test_doctor_says_why_the_cuda_kernels_are_used_or_not(
    built: str | None, seen: bool, triton: str | None, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, version = importlib.util.find_spec, importlib.metadata.version
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: seen)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: (triton and "there") if name == "triton" else spec(name)
    )
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: triton if name == "triton" else version(name)
    )
    found = dict(_doctor.findings())
    assert found["backend cuda"].startswith(state)
    assert found["Triton"] == (triton or "not installed")


def test_doctor_knows_the_processor_without_a_proc_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda _: False)
    assert _doctor._processor()
