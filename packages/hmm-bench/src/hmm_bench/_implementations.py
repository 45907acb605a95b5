"""Who computes an instance: hmm-core's backends, and peers where they are installed."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.metadata import version
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import hmm_core
from hmm_bench._instance import Instance, Workload
from hmm_core import BackendUnavailableError, Sparse


class UnavailableError(RuntimeError):
    """An implementation cannot compute an instance here; the message says why."""


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

    def prepare(self, instance: Instance, workload: Workload) -> Callable[[], Tensor]:
        """Convert everything that may be converted once, and return the computation.

        Parameters
        ----------
        instance : Instance
            What to compute; :func:`compare` has set torch's number of threads to the instance's.
        workload : Workload
            Its tensors.

        Returns
        -------
        callable
            Without arguments. Returns states (B, T) for viterbi, values (B,) for log_likelihood, and state
            probabilities (B, T, K) for posterior.

        Raises
        ------
        UnavailableError
            If it cannot, with the reason.
        """
        ...


class CoreImplementation:
    """hmm-core with a backend of choice.

    Parameters
    ----------
    backend : {"cpu", "reference"}
        As in hmm-core's operations.
    dense : bool, default False
        Hand over sparse transitions as a dense matrix.

    Examples
    --------
    >>> CoreImplementation("reference").name
    'hmm-core reference'
    """

    def __init__(self, backend: str, *, dense: bool = False) -> None:
        self._backend = backend
        self._dense = dense

    @property
    def name(self) -> str:
        """Package, backend, and whether transitions were made dense."""
        return f"hmm-core {self._backend}{' dense' if self._dense else ''}"

    @property
    def version(self) -> str:
        """Version of hmm-core."""
        return version("hmm-core")

    def prepare(self, instance: Instance, workload: Workload) -> Callable[[], Tensor]:
        """Bind the operation; see :meth:`Implementation.prepare`."""
        transition = workload.log_transition
        if self._dense and isinstance(transition, Sparse):
            transition = transition.to_dense()
        operation = getattr(hmm_core, instance.op)
        result = {"viterbi": "states", "posterior": "state"}.get(instance.op)

        def run() -> Tensor:
            """Compute the instance."""
            output = operation(
                workload.log_initial,
                transition,
                workload.log_emission,
                log_final=workload.log_final,
                backend=self._backend,
            )
            tensor: Tensor = output if result is None else getattr(output, result)
            return tensor

        try:
            run()
        except BackendUnavailableError as error:
            raise UnavailableError(str(error)) from error
        return run


class HmmlearnImplementation:
    """The compiled recursions of hmmlearn, which are dense and float64, called for each sequence.

    hmmlearn's public methods compute emissions as well, so the kernels behind them are called. They release
    the interpreter lock; with more than one thread the sequences go through a thread pool, which hmmlearn
    itself does not have. Conversion to float64 and of log to linear parameters is not measured.

    Examples
    --------
    >>> HmmlearnImplementation().name
    'hmmlearn'
    """

    name = "hmmlearn"

    @property
    def version(self) -> str:
        """Version of hmmlearn, or empty."""
        try:
            return version("hmmlearn")
        except ModuleNotFoundError:
            return ""

    def prepare(self, instance: Instance, workload: Workload) -> Callable[[], Tensor]:
        """Convert to float64 arrays; see :meth:`Implementation.prepare`."""
        try:
            hmmc = import_module("hmmlearn._hmmc")
        except ImportError as error:
            raise UnavailableError("hmmlearn is not installed; pip install hmm-bench[peers]") from error
        exact = workload.to(torch.float64)
        transition = exact.log_transition
        dense = transition.to_dense() if isinstance(transition, Sparse) else transition
        initial, matrix = exact.log_initial.exp().numpy(), dense.exp().numpy()
        # hmmlearn has no final weights; on the last frame they are the same thing.
        log_emission = exact.log_emission.clone()
        log_emission[:, -1] += exact.log_final
        sequences = list(log_emission.numpy())
        kernel = {"viterbi": _viterbi, "log_likelihood": _log_likelihood, "posterior": _posterior}[
            instance.op
        ]

        def one(sequence: NDArray[np.float64]) -> NDArray[Any]:
            """Compute one sequence."""
            return kernel(hmmc, initial, matrix, sequence)

        if instance.threads == 1:
            return lambda: _stack([one(sequence) for sequence in sequences])
        pool = ThreadPoolExecutor(instance.threads)
        return lambda: _stack(list(pool.map(one, sequences)))


def _stack(arrays: Sequence[NDArray[Any]]) -> Tensor:
    """Join the sequences of a batch."""
    return torch.from_numpy(np.stack(arrays))


def _viterbi(
    hmmc: ModuleType,
    initial: NDArray[np.float64],
    matrix: NDArray[np.float64],
    log_emission: NDArray[np.float64],
) -> NDArray[Any]:
    """States (T,)."""
    states: NDArray[Any] = hmmc.viterbi(initial, matrix, log_emission)[1]
    return states


def _scaled(log_emission: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Emissions relative to the best of their frame, and the logarithms of those."""
    peak = log_emission.max(axis=1, keepdims=True)
    return np.exp(log_emission - peak), peak


def _log_likelihood(
    hmmc: ModuleType,
    initial: NDArray[np.float64],
    matrix: NDArray[np.float64],
    log_emission: NDArray[np.float64],
) -> NDArray[Any]:
    """Log-likelihood ()."""
    emission, peak = _scaled(log_emission)
    return np.asarray(hmmc.forward_scaling(initial, matrix, emission)[0] + peak.sum())


def _posterior(
    hmmc: ModuleType,
    initial: NDArray[np.float64],
    matrix: NDArray[np.float64],
    log_emission: NDArray[np.float64],
) -> NDArray[Any]:
    """State probabilities (T, K)."""
    emission, _ = _scaled(log_emission)
    _, forward, scaling = hmmc.forward_scaling(initial, matrix, emission)
    both = forward * hmmc.backward_scaling(initial, matrix, emission, scaling)
    probabilities: NDArray[Any] = both / both.sum(axis=1, keepdims=True)
    return probabilities


def implementations() -> list[Implementation]:
    """Return what this package can compare: hmm-core's kernels first, then its definition, then peers.

    Returns
    -------
    list of Implementation
        Those that are not installed say so when prepared.

    Examples
    --------
    >>> [implementation.name for implementation in implementations()]
    ['hmm-core cpu', 'hmm-core reference', 'hmmlearn']
    """
    return [CoreImplementation("cpu"), CoreImplementation("reference"), HmmlearnImplementation()]
