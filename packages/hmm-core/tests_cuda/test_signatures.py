"""The modules of the CUDA backend have the functions of the reference."""

import importlib
import inspect

import pytest

FUNCTIONS = [
    ("backward", "backward"),
    ("dtw", "dtw"),
    ("entropy", "entropy"),
    ("expected_transitions", "expected_transitions"),
    ("forward", "forward"),
    ("kbest", "kbest"),
    ("log_likelihood", "log_likelihood"),
    ("log_likelihood", "log_likelihood_backward"),
    ("pairwise_cost", "pairwise_cost"),
    ("posterior", "posterior"),
    ("sample", "sample"),
    ("semi_markov.log_likelihood", "log_likelihood"),
    ("semi_markov.posterior", "posterior"),
    ("semi_markov.sample", "sample"),
    ("semi_markov.viterbi", "viterbi"),
    ("soft_dtw", "soft_dtw"),
    ("soft_dtw", "soft_dtw_backward"),
    ("viterbi", "viterbi"),
]


@pytest.mark.parametrize(("module", "function"), FUNCTIONS)
def test_a_kernel_has_the_signature_of_the_reference(module: str, function: str) -> None:
    reference, kernel = (
        getattr(importlib.import_module(f"hmm_core.backends.{backend}.{module}"), function)
        for backend in ("reference", "cuda")
    )
    assert inspect.signature(kernel) == inspect.signature(reference)
