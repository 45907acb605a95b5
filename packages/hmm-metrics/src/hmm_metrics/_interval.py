"""Labelled stretches of time, and the checks that every metric makes on them."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

# Any sequence of (start, end, label) tuples; further fields (a confidence, say) are ignored.
IntervalSequence: TypeAlias = Sequence[tuple[float, float, str, *tuple[object, ...]]]

# Times in text files are rounded; intervals of a tier may overlap by that much.
OVERLAP_TOLERANCE = 1e-6


class Interval(NamedTuple):
    """One stretch of a tier: from ``start`` to ``end``, in seconds, with a label; ``""`` is silence.

    Examples
    --------
    >>> Interval(0.5, 0.75, "ah").end
    0.75
    """

    start: float
    end: float
    label: str


class Tier(NamedTuple):
    """A checked tier: times as arrays, labels folded, silence as ``""``."""

    start: NDArray[np.float64]
    end: NDArray[np.float64]
    label: list[str]


def check_tier(name: str, intervals: IntervalSequence, fold: Callable[[str], str]) -> Tier:
    """Fold the labels of a tier after checking that its times are finite, in order and do not overlap."""
    last = -math.inf
    for index, (start, end, *_) in enumerate(intervals):
        if not (math.isfinite(start) and math.isfinite(end) and start <= end):
            raise ValueError(
                f"{name}[{index}] must have finite times with start <= end; got ({start}, {end})"
            )
        if start < last - OVERLAP_TOLERANCE:
            raise ValueError(
                f"{name}[{index}] must start at or after the end of {name}[{index - 1}], {last}; got {start}"
            )
        last = end
    return Tier(
        np.array([interval[0] for interval in intervals], dtype=np.float64),
        np.array([interval[1] for interval in intervals], dtype=np.float64),
        [fold(interval[2]) for interval in intervals],
    )


def check_positive(name: str, value: float) -> float:
    """Return a finite number above zero."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be a finite number of seconds > 0; got {value}")
    return value
