"""Calls that launch the kernels of sparse in every configuration."""

from collections.abc import Callable

CASES: list[Callable[[], object]] = []
