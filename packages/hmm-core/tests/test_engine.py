"""The C++ headers serve a program that knows neither Python nor torch."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[1] / "csrc"


def test_the_example_program_decodes(tmp_path: Path) -> None:
    compiler = os.environ.get("CXX") or shutil.which("c++")
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    program = tmp_path / "viterbi"
    subprocess.run(
        [
            *(compiler, "-std=c++17", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Werror"),
            *(
                "-I",
                str(CSRC / "include"),
                str(CSRC / "example" / "viterbi.cpp"),
                "-pthread",
                "-o",
                str(program),
            ),
        ],
        check=True,
    )
    result = subprocess.run([program], check=True, capture_output=True, text=True)
    assert result.stdout.split() == ["0", "0", "1", "1", "2"]
