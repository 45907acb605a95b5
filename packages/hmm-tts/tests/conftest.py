"""Real alignments for the tests that want them."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Busy machines run these tests, too: how long an example takes there says nothing.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def speech_data() -> Path:
    """Folder of real speech with reference times: HMM_SPEECH_DATA, or shared/data beside the repository."""
    folder = os.environ.get("HMM_SPEECH_DATA")
    path = Path(folder) if folder else Path(__file__).parents[3].parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip("no speech data: set HMM_SPEECH_DATA, or put shared/data beside the repository")
    return path
