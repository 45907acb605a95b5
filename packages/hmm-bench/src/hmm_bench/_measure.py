"""How long calls take: medians of interleaved rounds."""

import gc
import math
from collections.abc import Mapping
from typing import NamedTuple, Protocol

import numpy as np

# A round shorter than this is repeated calls, so that the clock's resolution does not matter.
_SHORTEST_ROUND = 5e-3


class Timing(NamedTuple):
    """Seconds per call, over rounds.

    Attributes
    ----------
    median, iqr, minimum : float
        Median, interquartile range and minimum over the rounds, seconds.
    rounds : int
        How many there were, warm-up excluded.
    """

    median: float
    iqr: float
    minimum: float
    rounds: int


class Timed(Protocol):
    """Something that can be repeated and says how long that took."""

    def seconds(self, calls: int) -> float:
        """Repeat it so many times; return seconds per call."""
        ...


def measure_all(runs: Mapping[str, Timed], *, rounds: int = 7, warmup: int = 1) -> dict[str, Timing]:
    """Time several computations in turn, so that a busy moment of the machine meets all of them.

    Parameters
    ----------
    runs : mapping of str to Timed
        The computations, such as :class:`LocalComputation`; each does its own timing, wherever it runs.
    rounds : int, default 7
        At least 5. Each round times every computation once, or as often as 5 ms hold.
    warmup : int, default 1
        Calls of each computation that are not counted, at least 1; where a round is many calls, so is a
        trial round.

    Returns
    -------
    dict of str to Timing
        Seconds per call.

    Raises
    ------
    ValueError
        If there are fewer rounds or warm-up calls than that.

    Examples
    --------
    >>> from hmm_bench import LocalComputation
    >>> timings = measure_all({"nothing": LocalComputation(lambda: ())})
    >>> timings["nothing"].rounds
    7
    """
    if rounds < 5 or warmup < 1:
        raise ValueError(f"rounds must be at least 5 and warmup at least 1; got {rounds} and {warmup}")
    numbers = {}
    for name, run in runs.items():
        for _ in range(warmup):
            once = run.seconds(1)
        numbers[name] = _calls(run, once)
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, run in runs.items():
                seconds[name].append(run.seconds(numbers[name]))
    finally:
        if collecting:
            gc.enable()
    return {name: _summary(values) for name, values in seconds.items()}


def _calls(run: Timed, once: float) -> int:
    """How many calls fill a round, by trial: a call that finds everything cold says little about the next."""
    number = 1
    while number * once < _SHORTEST_ROUND:
        number = max(2 * number, math.ceil(_SHORTEST_ROUND / max(once, 1e-9)))
        once = run.seconds(number)
    return number


def _summary(seconds: list[float]) -> Timing:
    """Statistics of the rounds."""
    low, middle, high = np.percentile(seconds, [25, 50, 75])
    return Timing(float(middle), float(high - low), min(seconds), len(seconds))
