"""The same instance on several implementations: answers first, times second."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

import hmm_core
from hmm_bench._implementations import Implementation, UnavailableError
from hmm_bench._instance import Instance, Workload, make_workload
from hmm_bench._measure import Timing, measure_all
from hmm_core import Sparse

# Largest error against the float64 reference, relative for scores, absolute for probabilities: loose enough
# for float32 recursions over thousands of frames that are normalised frame by frame.
TOLERANCES = {"viterbi": 1e-5, "log_likelihood": 1e-5, "posterior": 1e-3}


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
    ratio : float or None
        Median time over that of the first implementation that has one; above 1 is slower.
    note : str
        Empty, or why there is no time: ``"unavailable: ..."`` or ``"wrong: ..."``.
    """

    instance: Instance
    implementation: str
    version: str
    timing: Timing | None
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


def _path_score(workload: Workload, states: Tensor) -> Tensor:
    """Joint log-probability (B,) of given paths (B, T); -inf where a state is negative."""
    transition = workload.log_transition
    matrix = transition.to_dense() if isinstance(transition, Sparse) else transition
    path = states.clamp(min=0)
    emission = workload.log_emission.gather(2, path[..., None]).squeeze(2)
    score = (
        workload.log_initial[path[:, 0]]
        + matrix[path[:, :-1], path[:, 1:]].sum(1)
        + emission.sum(1)
        + workload.log_final[path[:, -1]]
    )
    return torch.where((states < 0).any(1), -torch.inf, score)


def _expected(instance: Instance, workload: Workload) -> Tensor:
    """Compute the answer by hmm-core's definition in float64: scores (B,) or probabilities (B, T, K)."""
    exact = workload.to(torch.float64)
    result = getattr(hmm_core, instance.op)(
        exact.log_initial,
        exact.log_transition,
        exact.log_emission,
        log_final=exact.log_final,
        backend="reference",
    )
    field = {"viterbi": "log_score", "posterior": "state"}.get(instance.op)
    answer: Tensor = result if field is None else getattr(result, field)
    return answer


def _disagreement(instance: Instance, workload: Workload, result: Tensor, expected: Tensor) -> str:
    """Say how a result differs from the expected one, or return nothing."""
    if instance.op == "viterbi":
        result = _path_score(workload.to(torch.float64), result.to(torch.int64))
    result = result.to(torch.float64)
    if result.shape != expected.shape:
        return f"wrong: shape {tuple(result.shape)} instead of {tuple(expected.shape)}"
    error = torch.where(result == expected, 0.0, (result - expected).abs())
    if instance.op != "posterior":
        error = error / expected.abs().clamp(min=1.0)
    worst, tolerance = float(error.max()), TOLERANCES[instance.op]
    # Written so that NaN is wrong as well.
    return (
        ""
        if worst <= tolerance
        else f"wrong: error {worst:.1e} > {tolerance:g} against the float64 reference"
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
    An answer is right if it agrees with hmm-core's definition in float64: log-likelihoods and the joint
    log-probabilities of Viterbi paths to 1e-5 relative (ties may be broken in any way), probabilities to
    1e-3.

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
    workload = make_workload(instance)
    expected = _expected(instance, workload)
    notes: dict[str, str] = {}
    runs: dict[str, Callable[[], Tensor]] = {}
    with _threads(instance.threads):
        for implementation in implementations:
            try:
                run = implementation.prepare(instance, workload)
            except UnavailableError as error:
                notes[implementation.name] = f"unavailable: {error}"
                continue
            notes[implementation.name] = _disagreement(instance, workload, run(), expected)
            if not notes[implementation.name]:
                runs[implementation.name] = run
        timings = measure_all(runs, rounds=rounds)
    first = next(iter(timings.values()), None)
    rows = []
    for implementation in implementations:
        timing = timings.get(implementation.name)
        ratio = timing.median / first.median if timing and first else None
        note = notes[implementation.name]
        rows.append(Row(instance, implementation.name, implementation.version, timing, ratio, note))
    return rows
