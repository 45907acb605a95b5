import gc
from collections.abc import Callable

import pytest

from hmm_bench import LocalComputation, measure_all
from hmm_bench._measure import Timing


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def taking(self, seconds: list[float]) -> Callable[[], None]:
        """Return a computation that takes these times, call after call, and the last one ever after."""
        left = list(seconds)

        def run() -> None:
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return run


def measure(
    run: Callable[[], object], clock: Clock | None = None, warmup: int = 1, rounds: int = 5
) -> Timing:
    """Time something in this process; its first call is not one of the warm-up."""
    computation = LocalComputation(lambda: (run(), ())[1], clock=clock or Clock())
    return measure_all({"": computation}, rounds=rounds, warmup=warmup)[""]


def test_the_warm_up_is_not_counted_and_statistics_are_of_the_rounds() -> None:
    clock = Clock()
    timing = measure(clock.taking([999.0, 99.0, 1.0, 2.0, 3.0, 4.0, 5.0]), clock)
    assert timing == pytest.approx((3.0, 2.0, 1.0, 5))


def test_short_computations_are_repeated_within_a_round() -> None:
    clock, calls = Clock(), []
    tick = clock.taking([0.001])

    def run() -> None:
        calls.append(1)
        tick()

    timing = measure(run, clock)
    assert timing.median == pytest.approx(0.001)
    assert len(calls) == 1 + 1 + 5 + 5 * 5  # 5 ms are five calls, in a trial and in each round


def test_calls_that_grow_faster_with_practice_fill_the_round_all_the_same() -> None:
    clock, calls = Clock(), []
    tick = clock.taking([0.004, 0.004, 0.001, 0.001, 0.0001])

    def run() -> None:
        calls.append(1)
        tick()

    assert measure(run, clock).median == pytest.approx(0.0001)
    assert len(calls) > 5 * 45  # the second call alone would have asked for two a round


def test_computations_take_turns() -> None:
    clock, order = Clock(), []
    tick = clock.taking([1.0])

    def named(name: str) -> Callable[[], None]:
        def run() -> None:
            order.append(name)
            tick()

        return run

    def computation(name: str) -> LocalComputation:
        run = named(name)
        return LocalComputation(lambda: (run(), ())[1], clock=clock)

    runs = {name: computation(name) for name in "ab"}
    measure_all(runs, rounds=5, warmup=2)
    assert "".join(order) == "ab" + "aabb" + 5 * "ab"


@pytest.mark.parametrize("collecting", [True, False])
def test_the_garbage_collector_rests_while_the_clock_runs_and_is_then_as_before(*, collecting: bool) -> None:
    clock, seen = Clock(), []
    tick = clock.taking([1.0])

    def run() -> None:
        seen.append(gc.isenabled())
        tick()

    try:
        if not collecting:
            gc.disable()
        measure(run, clock)
        assert gc.isenabled() == collecting
    finally:
        gc.enable()
    assert seen[2:] == 5 * [False]


@pytest.mark.parametrize(("rounds", "warmup"), [(4, 1), (5, 0)])
def test_too_few_rounds_are_an_error(rounds: int, warmup: int) -> None:
    with pytest.raises(ValueError, match=f"got {rounds} and {warmup}"):
        measure(lambda: None, rounds=rounds, warmup=warmup)
