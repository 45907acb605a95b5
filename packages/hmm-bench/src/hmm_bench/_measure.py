"""How long calls take: medians of interleaved rounds."""

import gc
import math
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

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


def measure_all(
    runs: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 7,
    warmup: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Timing]:
    """Time several computations in turn, so that a busy moment of the machine meets all of them.

    Parameters
    ----------
    runs : mapping of str to callable
        The computations, without arguments.
    rounds : int, default 7
        At least 5. Each round times every computation once, or more often if it takes less than 5 ms.
    warmup : int, default 1
        Calls of each computation that are not timed, at least 1.
    clock : callable, default :func:`time.perf_counter`
        Seconds that have passed.

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
    >>> timings = measure_all({"sum": lambda: sum(range(1000)), "max": lambda: max(range(1000))})
    >>> timings["sum"].rounds
    7
    """
    if rounds < 5 or warmup < 1:
        raise ValueError(f"rounds must be at least 5 and warmup at least 1; got {rounds} and {warmup}")
    numbers = {}
    for name, run in runs.items():
        for _ in range(warmup):
            start = clock()
            run()
            once = clock() - start
        numbers[name] = max(1, math.ceil(_SHORTEST_ROUND / max(once, 1e-9)))
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, run in runs.items():
                start = clock()
                for _ in range(numbers[name]):
                    run()
                seconds[name].append((clock() - start) / numbers[name])
    finally:
        if collecting:
            gc.enable()
    return {name: _summary(values) for name, values in seconds.items()}


def _summary(seconds: list[float]) -> Timing:
    """Statistics of the rounds."""
    low, middle, high = np.percentile(seconds, [25, 50, 75])
    return Timing(float(middle), float(high - low), min(seconds), len(seconds))


def measure(
    run: Callable[[], object],
    *,
    rounds: int = 7,
    warmup: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Time one computation.

    Parameters
    ----------
    run : callable
        The computation, without arguments.
    rounds, warmup, clock
        As in :func:`measure_all`.

    Returns
    -------
    Timing
        Seconds per call.

    Examples
    --------
    >>> timing = measure(lambda: sum(range(1000)))
    >>> 0 < timing.minimum <= timing.median < 1
    True
    """
    return measure_all({"": run}, rounds=rounds, warmup=warmup, clock=clock)[""]
