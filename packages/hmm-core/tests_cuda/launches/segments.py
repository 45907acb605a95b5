"""Calls that launch the kernels of explicit durations in every configuration."""

from collections.abc import Callable
from typing import Any

import torch

from hmm_core import Sparse, semi_markov


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
        predecessors = torch.arange(3).expand(states, 3)
        transition = Sparse(predecessors, torch.zeros(states, 3, dtype=dtype))
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
    # More states than 16 bits count.
    _call(semi_markov.viterbi, 40_000, 2, sparse=True),
]
