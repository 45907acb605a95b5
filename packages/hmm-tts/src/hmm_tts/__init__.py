"""HMM speech synthesis building blocks: durations that always add up, which hmm-speech holds."""

from importlib.metadata import version as _version

from hmm_speech import durations_from_intervals as durations_from_intervals
from hmm_speech import intervals_from_durations as intervals_from_durations

__version__ = _version("hmm-tts")
__all__: list[str] = []
