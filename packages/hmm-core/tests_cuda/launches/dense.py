"""Calls that launch the kernels of dense in every configuration."""

from collections.abc import Callable

CASES: list[Callable[[], object]] = []
