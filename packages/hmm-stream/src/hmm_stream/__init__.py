"""Streaming HMM inference for PyTorch: stateful filtering that equals the offline result."""

from importlib.metadata import version as _version

from hmm_stream._filter import FilterResult as FilterResult
from hmm_stream._filter import OnlineFilter as OnlineFilter

__version__ = _version("hmm-stream")
__all__ = ["FilterResult", "OnlineFilter"]
