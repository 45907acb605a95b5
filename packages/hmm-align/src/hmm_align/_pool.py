"""Work shared out to processes or threads of this machine, one piece to one thread."""

import multiprocessing
import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from types import TracebackType
from typing import Any, Self, TypeVar

import torch

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
# Pieces of work given out ahead, for each worker.
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
    """So many processes of one thread each, or with one job this one, in as many threads as torch may use.

    Each piece of work is done by one thread: operations of a model this small gain nothing from sharing
    theirs, and results do not depend on the number of either.
    """

    def __init__(self, jobs: int = 1) -> None:
        if jobs < 1:
            raise ValueError(f"jobs must be 1 or more; got {jobs}")
        self._jobs = jobs
        self._processes: ProcessPoolExecutor | None = None
        self._threads: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for executor in (self._processes, self._threads):
            if executor is not None:
                executor.shutdown(cancel_futures=True)

    def map(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
        """Yield the results in the order of the items, of which few are taken ahead.

        An exception in a worker is raised here; the death of a process is a WorkerError.
        """
        return self.in_threads(function, items) if self._jobs == 1 else self._in_processes(function, items)

    def in_threads(self, function: Callable[[_Item], _Result], items: Iterable[_Item]) -> Iterator[_Result]:
        """Do as ``map``, in this process alone: on what is too large to be copied."""
        number = torch.get_num_threads()
        if number == 1:
            yield from map(function, items)
            return
        if self._threads is None:
            self._threads = ThreadPoolExecutor(number)
        threads = self._threads
        try:
            yield from _in_order(lambda item: threads.submit(_alone, function, item), items, _AHEAD * number)
        finally:
            # What a thread sets for itself holds for matrix products of others, too, and for new threads.
            torch.set_num_threads(number)

    def in_one_thread(self, function: Callable[[_Item], _Result], item: _Item) -> _Result:
        """Do one piece of work as each of several is done, rounded alike however many threads there are."""
        (result,) = self.in_threads(function, [item])
        return result

    def _in_processes(
        self, function: Callable[[_Item], _Result], items: Iterable[_Item]
    ) -> Iterator[_Result]:
        """Yield results of processes, which get pickled copies."""
        if self._processes is None:
            # Processes that are forked would share locks with threads that they do not have.
            self._processes = ProcessPoolExecutor(
                self._jobs, multiprocessing.get_context("spawn"), torch.set_num_threads, (1,)
            )
        processes = self._processes
        tasks = (pickle.dumps((function, item)) for item in items)
        try:
            for done in _in_order(lambda task: processes.submit(_work, task), tasks, _AHEAD * self._jobs):
                result: _Result = pickle.loads(done)  # noqa: S301 - our own bytes
                yield result
        except BrokenProcessPool as error:
            raise WorkerError(
                "a worker process died, killed or out of memory; fewer jobs need less memory"
            ) from error


def _in_order(
    submit: Callable[[_Item], Future[_Result]], items: Iterable[_Item], most: int
) -> Iterator[_Result]:
    """Yield results in order, with at most so many pieces of work given out; those left over are dropped."""
    rest = iter(items)
    waiting: deque[Future[_Result]] = deque()
    try:
        while True:
            waiting.extend(submit(item) for item in islice(rest, most - len(waiting)))
            if not waiting:
                return
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _alone(function: Callable[[_Item], _Result], item: _Item) -> _Result:
    """Do one piece of work without sharing it out further."""
    torch.set_num_threads(1)
    return function(item)


def _work(task: bytes) -> bytes:
    """Do one piece of work. Tensors travel as bytes, not as files in shared memory."""
    function, item = pickle.loads(task)  # noqa: S301 - our own bytes
    result: Any = function(item)
    return pickle.dumps(result)
