"""HMM speech synthesis building blocks: durations that always add up."""

from importlib.metadata import version as _version

from hmm_tts._durations import durations_from_intervals as durations_from_intervals
from hmm_tts._durations import intervals_from_durations as intervals_from_durations

__version__ = _version("hmm-tts")
__all__ = ["durations_from_intervals", "intervals_from_durations"]
