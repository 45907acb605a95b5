"""Work shared out to processes on this machine."""

import multiprocessing
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from types import TracebackType
from typing import Any, Self, TypeVar

import torch

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
# Pieces of work given out ahead, for each process.
_AHEAD = 2


class WorkerError(RuntimeError):
    """A process that worked for this one has died.

    Examples
    --------
    >>> raise WorkerError("a worker process died")
    Traceback (most recent call last):
    hmm_align._pool.WorkerError: a worker process died
    """


class Pool:
    """So many processes, or with one job this one alone; results are those of a single thread."""

    def __init__(self, jobs: int) -> None:
        if jobs < 1:
            raise ValueError(f"jobs must be 1 or more; got {jobs}")
        self._jobs = jobs
        self._executor: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def map(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
        """Yield the results in the order of the items, of which few are taken ahead.

        An exception in a process is raised here; the death of one is a WorkerError.
        """
        if self._jobs == 1:
            yield from map(function, items)
            return
        if self._executor is None:
            # Processes that are forked would share locks with threads that they do not have.
            self._executor = ProcessPoolExecutor(
                self._jobs, multiprocessing.get_context("spawn"), torch.set_num_threads, (1,)
            )
        tasks = (pickle.dumps((function, item)) for item in items)
        waiting: deque[Future[bytes]] = deque()
        try:
            while True:
                for task in islice(tasks, _AHEAD * self._jobs - len(waiting)):
                    waiting.append(self._executor.submit(_work, task))
                if not waiting:
                    return
                result: _Result = pickle.loads(waiting.popleft().result())  # noqa: S301 - our own bytes
                yield result
        except BrokenProcessPool as error:
            raise WorkerError(
                "a worker process died, killed or out of memory; fewer jobs need less memory"
            ) from error


def _work(task: bytes) -> bytes:
    """Do one piece of work. Tensors travel as bytes, not as files in shared memory."""
    function, item = pickle.loads(task)  # noqa: S301 - our own bytes
    result: Any = function(item)
    return pickle.dumps(result)
