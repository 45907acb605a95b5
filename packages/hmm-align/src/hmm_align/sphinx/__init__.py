"""Acoustic models of CMU Sphinx: their files, their features, and their states as an aligner's units."""

from ._model import PREFIX as PREFIX
from ._model import SphinxModel as SphinxModel
from ._model import find_model as find_model

__all__ = ["PREFIX", "SphinxModel", "find_model"]
