"""Fixtures: the speech data, where it is present."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def speech_data() -> Path:
    """Folder of the speech data: HMM_SPEECH_DATA, or shared/data beside the repository."""
    named = os.environ.get("HMM_SPEECH_DATA")
    beside = [parent / "shared" / "data" for parent in Path(__file__).resolve().parents]
    for folder in [Path(named)] if named else beside:
        if folder.is_dir():
            return folder
    pytest.skip(
        "no speech data: HMM_SPEECH_DATA is not set and there is no shared/data beside the repository"
    )
