"""Calls that launch the kernels of explicit durations and of streams in every configuration."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from hmm_core import Sparse, semi_markov
from hmm_core.online import FilterState, ViterbiState, filter_step, viterbi_step


def _call(
    op: Callable[..., object],
    states: int,
    longest: int,
    *,
    sparse: bool = False,
    censoring: str = "none",
    indexed: bool = False,
    dtype: torch.dtype = torch.float32,
    **options: Any,
) -> Callable[[], object]:
    """Call an operation on a model of that size; the values do not matter."""
    transition: Any = torch.zeros(states, states, dtype=dtype)
    if sparse:
        slots = min(states, 3)
        predecessors = torch.arange(slots).expand(states, slots)
        transition = Sparse(predecessors, torch.zeros(states, slots, dtype=dtype))
    index = torch.zeros(states, dtype=torch.int64) if indexed else None
    initial, duration = torch.zeros(states, dtype=dtype), torch.zeros(states, longest, dtype=dtype)
    emission = torch.zeros(2, 5, states, dtype=dtype)
    return lambda: op(
        *(initial, transition, duration, emission),
        emission_index=index,
        censoring=censoring,
        backend="cuda",
        **options,
    )


def _stream(states: int, dtype: torch.dtype, *, sparse: bool = False) -> None:
    """Launch the kernels of a stream."""
    transition: Any = torch.zeros(states, states, dtype=dtype)
    index = None
    if sparse:
        slots = min(states, 3)
        predecessors = torch.arange(slots).expand(states, slots)
        transition = Sparse(predecessors, torch.zeros(states, slots, dtype=dtype))
        index = torch.zeros(states, dtype=torch.int64)
    model = (torch.zeros(states, dtype=dtype), transition, index)
    frames = torch.zeros(3, states, dtype=dtype)
    totals = torch.zeros(3, dtype=torch.float64) if sparse else None
    filter_step(FilterState(*model, backend="cuda"), frames, log_likelihood_out=totals)
    state = ViterbiState(*model, backend="cuda")
    viterbi_step(state, frames)
    # What a launch would have counted is not there.
    state._viterbi._counts.zero_()
    state.flush(model[0] if sparse else None)


FORMS: list[dict[str, Any]] = [
    {"states": 5, "longest": 10},
    {"states": 64, "longest": 64, "censoring": "both", "indexed": True},
    {"states": 32, "longest": 128, "sparse": True},
    {"states": 100, "longest": 300},
    {"states": 100, "longest": 300, "sparse": True, "indexed": True, "dtype": torch.float64},
    {"states": 64, "longest": 64, "dtype": torch.float64},
]
CASES: list[Callable[[], object]] = [
    *(_call(semi_markov.log_likelihood, **form) for form in FORMS),
    *(_call(semi_markov.posterior, **form) for form in FORMS[1:4]),
    *(_call(semi_markov.viterbi, **form) for form in FORMS[:4]),
    *(_call(semi_markov.sample, **form, num_samples=2) for form in FORMS[1:3]),
    *(
        partial(_stream, states, dtype, sparse=sparse)
        for states, dtype, sparse in (
            (10, torch.float32, False),
            (40, torch.float32, False),
            (40, torch.float64, False),
            (40, torch.float32, True),
        )
    ),
    # More states than 16 bits count.
    _call(semi_markov.viterbi, 40_000, 2, sparse=True),
]
SMALLEST: list[Callable[[], object]] = [
    *(
        _call(op, 1, 1, sparse=sparse)
        for op in (semi_markov.posterior, semi_markov.viterbi, semi_markov.sample)
        for sparse in (False, True)
    ),
    partial(_stream, 1, torch.float32),
    partial(_stream, 1, torch.float32, sparse=True),
]
