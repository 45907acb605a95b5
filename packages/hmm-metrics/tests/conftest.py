"""Real tiers for the tests that want them."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from hmm_metrics import Interval

# Busy machines run these tests, too: how long an example takes there says nothing.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

_INTERVAL = re.compile(r'xmin = (\S+)\s+xmax = (\S+)\s+text = "(.*)"')


@pytest.fixture(scope="session")
def speech_data() -> Path:
    """Folder of real speech with reference times: HMM_SPEECH_DATA, or shared/data beside the repository."""
    folder = os.environ.get("HMM_SPEECH_DATA")
    path = Path(folder) if folder else Path(__file__).parents[3].parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip("no speech data: set HMM_SPEECH_DATA, or put shared/data beside the repository")
    return path


@pytest.fixture(scope="session")
def read_tier() -> Callable[[Path, str], list[Interval]]:
    """Return a function that reads one tier of a TextGrid in Praat's long form."""

    def read(path: Path, name: str) -> list[Interval]:
        tiers = re.split(r'name = "(.*)"', path.read_text())
        text = tiers[tiers.index(name) + 1]
        return [Interval(float(start), float(end), label) for start, end, label in _INTERVAL.findall(text)]

    return read
