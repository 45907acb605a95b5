"""Who computes an instance: hmm-core's backends; and those who cannot, with the reason."""

import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Protocol

from hmm_bench._instance import Instance
from hmm_bench._workload import Workload
from hmm_bench.problems import PROBLEMS, Answer, Backend, UnavailableError
from hmm_core import BackendUnavailableError


class Computation(Protocol):
    """An instance that has been computed once and can be computed again.

    Attributes
    ----------
    answer : tuple of Tensor
        What came out.
    first : float
        Seconds that the first call took, compilation included.
    """

    @property
    def answer(self) -> Answer:
        """What came out."""
        ...

    @property
    def first(self) -> float:
        """Seconds of the first call."""
        ...

    def seconds(self, calls: int) -> float:
        """Compute again, so many times.

        Parameters
        ----------
        calls : int
            How often.

        Returns
        -------
        float
            Seconds per call.
        """
        ...


class Implementation(Protocol):
    """Something that can compute instances.

    Attributes
    ----------
    name : str
        How tables call it.
    """

    @property
    def name(self) -> str:
        """How tables call it."""
        ...

    @property
    def version(self) -> str:
        """Version of what is measured; empty where it is not installed."""
        ...

    def prepare(self, instance: Instance, workload: Workload) -> Computation:
        """Convert everything that may be converted once, and compute.

        Parameters
        ----------
        instance : Instance
            What to compute; :func:`compare` has set torch's number of threads to the instance's.
        workload : Workload
            Its tensors.

        Returns
        -------
        Computation
            With the answer: states (B, T) for viterbi, values (B,) for log_likelihood, and so on.

        Raises
        ------
        UnavailableError
            If it cannot, with the reason.
        """
        ...


class LocalComputation:
    """A computation in this process.

    Parameters
    ----------
    run : callable
        Without arguments; returns the answer. It is called once, here.
    clock : callable, default :func:`time.perf_counter`
        Seconds that have passed.

    Examples
    --------
    >>> import torch
    >>> LocalComputation(lambda: (torch.ones(2),)).answer
    (tensor([1., 1.]),)
    """

    def __init__(self, run: Callable[[], Answer], *, clock: Callable[[], float] = time.perf_counter) -> None:
        self._run = run
        self._clock = clock
        start = clock()
        self.answer = run()
        self.first = clock() - start

    def seconds(self, calls: int) -> float:
        """Compute again; see :meth:`Computation.seconds`."""
        run = self._run
        start = self._clock()
        for _ in range(calls):
            run()
        return (self._clock() - start) / calls


class CoreImplementation:
    """hmm-core, called as its users do, with a backend of choice.

    Parameters
    ----------
    backend : {"auto", "cpu", "cuda", "reference"}, default "auto"
        As in hmm-core's operations.

    Examples
    --------
    >>> CoreImplementation("reference").name
    'hmm-core reference'
    """

    def __init__(self, backend: Backend = "auto") -> None:
        self._backend = backend

    @property
    def name(self) -> str:
        """Package, and the backend where it was chosen."""
        return "hmm-core" if self._backend == "auto" else f"hmm-core {self._backend}"

    @property
    def version(self) -> str:
        """Version of hmm-core."""
        return version("hmm-core")

    def prepare(self, instance: Instance, workload: Workload) -> Computation:
        """Bind the operation; see :meth:`Implementation.prepare`."""
        try:
            return LocalComputation(PROBLEMS[instance.op].core(instance, workload, self._backend))
        except BackendUnavailableError as error:
            raise UnavailableError(str(error)) from error


class Absent:
    """A peer that cannot be measured, so that tables say why.

    Parameters
    ----------
    name, version : str
        Which one.
    reason : str
        Why not.

    Examples
    --------
    >>> Absent("abacus", "1.0", "has no batch axis").name
    'abacus'
    """

    def __init__(self, name: str, version: str, reason: str) -> None:
        self.name = name
        self.version = version
        self._reason = reason

    def prepare(self, instance: Instance, workload: Workload) -> Computation:
        """Raise; see :meth:`Implementation.prepare`."""
        del instance, workload
        raise UnavailableError(self._reason)
