"""Calls that launch the kernels of warping in every configuration."""

from collections.abc import Callable

CASES: list[Callable[[], object]] = []
