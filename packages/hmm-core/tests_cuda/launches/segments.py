"""Calls that launch the kernels of explicit durations in every configuration."""

from collections.abc import Callable

CASES: list[Callable[[], object]] = []
