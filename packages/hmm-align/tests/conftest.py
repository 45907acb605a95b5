"""What the tests share: real speech where there is some, and small alignments."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hmm_align import AlignedInterval, Alignment


@pytest.fixture(scope="session")
def speech_data() -> Path:
    """Folder of real speech with reference times: HMM_SPEECH_DATA, or shared/data beside the repository."""
    folder = os.environ.get("HMM_SPEECH_DATA")
    path = Path(folder) if folder else Path(__file__).parents[3].parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip("no speech data: set HMM_SPEECH_DATA, or put shared/data beside the repository")
    return path


@pytest.fixture(scope="session")
def make_alignment() -> Callable[..., Alignment]:
    """Return a function that makes an alignment of one word of half a second."""

    def make(name: str, label: str = "a") -> Alignment:
        tier = (AlignedInterval(0.0, 0.1, "", 1.0), AlignedInterval(0.1, 0.5, label, 0.75))
        return Alignment(name, 0.5, tier, tier)

    return make
