import gc
from collections.abc import Callable

import pytest

from hmm_bench import measure, measure_all


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


def test_the_warm_up_is_not_counted_and_statistics_are_of_the_rounds() -> None:
    clock = Clock()
    timing = measure(clock.taking([99.0, 1.0, 2.0, 3.0, 4.0, 5.0]), rounds=5, clock=clock)
    assert timing == pytest.approx((3.0, 2.0, 1.0, 5))


def test_short_computations_are_repeated_within_a_round() -> None:
    clock, calls = Clock(), []
    tick = clock.taking([0.001])

    def run() -> None:
        calls.append(1)
        tick()

    timing = measure(run, rounds=5, clock=clock)
    assert timing.median == pytest.approx(0.001)
    assert len(calls) == 1 + 5 * 5  # 5 ms are five calls


def test_computations_take_turns() -> None:
    clock, order = Clock(), []
    tick = clock.taking([1.0])

    def named(name: str) -> Callable[[], None]:
        def run() -> None:
            order.append(name)
            tick()

        return run

    measure_all({"a": named("a"), "b": named("b")}, rounds=5, warmup=2, clock=clock)
    assert "".join(order) == "aabb" + 5 * "ab"


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
        measure(run, rounds=5, clock=clock)
        assert gc.isenabled() == collecting
    finally:
        gc.enable()
    assert seen[1:] == 5 * [False]


@pytest.mark.parametrize(("rounds", "warmup"), [(4, 1), (5, 0)])
def test_too_few_rounds_are_an_error(rounds: int, warmup: int) -> None:
    with pytest.raises(ValueError, match=f"got {rounds} and {warmup}"):
        measure(lambda: None, rounds=rounds, warmup=warmup)
