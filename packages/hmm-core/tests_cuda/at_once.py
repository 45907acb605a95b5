"""Programs of Triton's interpreter that run at the same time, each in a process of its own.

The interpreter runs one program after another: one that waits for a later one would wait forever. Here the
tensors of a launch are in memory that processes share, and the interpreter's atomic operations are the
processor's. This shows that programs which wait for each other come to an end, and read what they should; not
that a GPU's weaker order of memory would show it to them.
"""

import itertools
import os
import signal
import time
import traceback
import warnings
from typing import Any

import pytest
from torch import Tensor

# Seconds after which programs are taken to wait for what never comes.
PATIENCE = 120


def run_programs_at_once(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let every launch run its programs at once; the list receives how many each launch had."""
    from triton.runtime import interpreter  # noqa: PLC0415  (not where Triton is missing)

    builder = interpreter.interpreter_builder
    run: Any = interpreter.GridExecutor.__call__
    numbers: list[int] = []

    def one(executor: Any, grid: tuple[int, ...], place: tuple[int, ...], *given: Any, **options: Any) -> int:
        """Fork a process that runs one program."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks where there are threads
            child = os.fork()
        if child:
            return child
        status = 1
        try:
            dimensions, index, atomic = (
                builder.set_grid_dim,
                builder.set_grid_idx,
                builder.create_atomic_rmw,
            )

            def patient(*values: Any) -> Any:
                """Let the others work, as whoever waits should."""
                time.sleep(2e-4)
                return atomic(*values)

            builder.create_atomic_rmw = patient
            builder.set_grid_dim = lambda *_: dimensions(*grid)
            builder.set_grid_idx = lambda *_: index(*place)
            # Copying tensors to themselves would undo what others write meanwhile.
            executor._restore_args_dev = lambda *_: None
            executor.grid = (1,)
            run(executor, *given, **options)
            status = 0
        except BaseException:  # noqa: BLE001  (this process ends here)
            traceback.print_exc()
        finally:
            os._exit(status)

    def at_once(executor: Any, *given: Any, **options: Any) -> None:
        """Run a launch."""
        grid = (*executor.grid, 1, 1)[:3]
        numbers.append(grid[0] * grid[1] * grid[2])
        for tensor in given:
            if isinstance(tensor, Tensor) and tensor.numel():
                tensor.share_memory_()  # type: ignore[no-untyped-call]  # torch does not annotate it
        places = itertools.product(*map(range, grid))
        _wait_for({one(executor, grid, place, *given, **options) for place in places})

    monkeypatch.setattr(interpreter.GridExecutor, "__call__", at_once)
    return numbers


def _wait_for(children: set[int]) -> None:
    """Wait until processes have ended well."""
    failed = 0
    end = time.monotonic() + PATIENCE
    while children and time.monotonic() < end:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child in children:
            children.remove(child)
            failed += status != 0
        elif not child:
            time.sleep(1e-3)
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert not children, "programs wait for each other"
    assert not failed
