"""What the integration tests share."""

import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))


@pytest.fixture(scope="session")
def speech_data() -> Path:
    """Return the folder of real and synthetic speech with known times."""
    folder = Path(os.environ.get("HMM_SPEECH_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(
            f"no speech data: HMM_SPEECH_DATA is not set and {folder.name}/ is not beside the checkout"
        )
    return folder
