"""The same instance on several implementations: answers first, times second."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import torch

from hmm_bench._implementations import Computation, Implementation
from hmm_bench._instance import Instance
from hmm_bench._measure import Timing, measure_all
from hmm_bench._workload import Workload
from hmm_bench.problems import PROBLEMS, Answer, UnavailableError


def make_workload(instance: Instance) -> Workload:
    """Make the tensors of an instance, the same ones every time.

    Parameters
    ----------
    instance : Instance
        Which ones.

    Returns
    -------
    Workload
        In the dtype of the instance.

    Examples
    --------
    >>> make_workload(Instance("viterbi", batch=2, frames=5, states=3))["log_emission"].shape
    torch.Size([2, 5, 3])
    """
    generator = torch.Generator().manual_seed(instance.seed)
    exact = Workload(PROBLEMS[instance.op].make(instance, generator))
    return exact.to(torch.float64 if instance.dtype == "float64" else torch.float32)


class Row(NamedTuple):
    """One implementation on one instance.

    Attributes
    ----------
    instance : Instance
        What was computed.
    implementation, version : str
        By whom.
    timing : Timing or None
        How fast; None without a correct answer.
    first_call : float or None
        Seconds of the first call, compilation included.
    ratio : float or None
        Median time over that of the first implementation that has one; above 1 is slower.
    note : str
        Empty, or why there is no time: ``"unavailable: ..."`` or ``"wrong: ..."``.
    """

    instance: Instance
    implementation: str
    version: str
    timing: Timing | None
    first_call: float | None
    ratio: float | None
    note: str


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Let torch and hmm-core use that many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@lru_cache(maxsize=1)
def _solved(instance: Instance) -> tuple[Workload, Workload, Answer]:
    """Tensors as given and in float64, and the answer by hmm-core's definition."""
    workload = make_workload(instance)
    exact = workload.to(torch.float64)
    return workload, exact, PROBLEMS[instance.op].expected(instance, exact)


def _disagreement(instance: Instance, exact: Workload, answer: Answer, expected: Answer) -> str:
    """Say how an answer differs from the expected one, or return nothing."""
    shapes = [[tuple(part.shape) for part in parts] for parts in (answer, expected)]
    if shapes[0] != shapes[1]:
        return f"wrong: shapes {shapes[0]} instead of {shapes[1]}"
    problem = PROBLEMS[instance.op]
    error = problem.error(exact, tuple(part.detach().to(torch.float64) for part in answer), expected)
    # Written so that NaN is wrong as well.
    return (
        ""
        if error <= problem.tolerance
        else f"wrong: error {error:.1e} > {problem.tolerance:g} against the float64 reference"
    )


def compare(instance: Instance, implementations: Sequence[Implementation], *, rounds: int = 7) -> list[Row]:
    """Compute one instance with each implementation, check the answers, and time those that are right.

    Parameters
    ----------
    instance : Instance
        What to compute.
    implementations : sequence of Implementation
        Ratios refer to the first one that has a time. Names must differ.
    rounds : int, default 7
        As in :func:`measure_all`; the implementations take turns.

    Returns
    -------
    list of Row
        One for each implementation, in order. Who is unavailable or wrong has no time but a note.

    Notes
    -----
    An answer is right if it agrees with hmm-core's definition in float64: log-likelihoods, losses and the
    joint log-probabilities of paths to 1e-5 relative (ties may be broken in any way), probabilities and
    gradients to 1e-3; the loss of CTC to 1e-4 and its gradient to 5e-3; parameters after EM to 2e-2.

    Examples
    --------
    >>> from hmm_bench import CoreImplementation
    >>> instance = Instance("viterbi", batch=2, frames=20, states=5)
    >>> rows = compare(instance, [CoreImplementation("reference")], rounds=5)
    >>> rows[0].ratio
    1.0
    """
    names = [implementation.name for implementation in implementations]
    if len(set(names)) < len(names):
        raise ValueError(f"implementations must have different names; got {', '.join(names)}")
    notes: dict[str, str] = {}
    right: dict[str, Computation] = {}
    workload, exact, expected = _solved(replace(instance, threads=1))
    with _threads(instance.threads):
        for implementation in implementations:
            try:
                computation = implementation.prepare(instance, workload)
            except UnavailableError as error:
                notes[implementation.name] = f"unavailable: {error}"
                continue
            note = _disagreement(instance, exact, computation.answer, expected)
            notes[implementation.name] = note
            if not note:
                right[implementation.name] = computation
        timings = measure_all(right, rounds=rounds)
    first_timing = next(iter(timings.values()), None)
    rows = []
    for implementation in implementations:
        name = implementation.name
        timing = timings.get(name)
        ratio = timing.median / first_timing.median if timing and first_timing else None
        first = right[name].first if name in right else None
        rows.append(Row(instance, name, implementation.version, timing, first, ratio, notes[name]))
    return rows
