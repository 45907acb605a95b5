"""Run the README's examples as tests, in a folder that holds the recording which they name."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser


def _setup(namespace: dict[str, Any]) -> None:
    """Tell the examples what is installed."""
    namespace["SPHINX"] = importlib.util.find_spec("pocketsphinx") is not None


@pytest.fixture(scope="session")
def readme_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Work in a folder with a recording of a second of noise."""
    folder, before = tmp_path_factory.mktemp("readme"), Path.cwd()
    soundfile.write(folder / "hello.wav", np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000)
    os.chdir(folder)
    yield folder
    os.chdir(before)


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=["README.md"],
    setup=_setup,
    fixtures=["readme_folder"],
).pytest()
