"""Every instruction set that the kernels were built for gives the reference's answers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from hmm_core import (
    backends,
    backward,
    expected_transitions,
    forward,
    log_likelihood,
    posterior,
    viterbi,
)
from hmm_core.testing import Arguments, random_hmm

RECURSIONS = [forward, backward, posterior, expected_transitions, log_likelihood]
# Roundings of 40 frames; posteriors are numbers up to 1, log-probabilities up to about 100.
TOLERANCES = {torch.float32: (1e-5, 2e-5), torch.float64: (1e-11, 1e-11)}


def problem(states: int, dtype: torch.dtype, sparse: bool) -> Arguments:
    """Ragged sequences with impossible entries, in the dtype."""
    hmm = random_hmm(3, 40, states, sparse=sparse, impossible=0.2, seed=states, dtype=dtype)
    assert hmm.lengths is not None
    return hmm


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("states", [1, 3, 8, 17, 64, 100])
@pytest.mark.parametrize("op", RECURSIONS)
def test_recursions_are_those_of_the_reference(
    op: Callable[..., Any], states: int, sparse: bool, dtype: torch.dtype, variant: str
) -> None:
    assert backends.kernel_variant() == variant
    hmm = problem(states, dtype, sparse)
    found, expected = hmm.apply(op, backend="cpu"), hmm.apply(op, backend="reference")
    rtol, atol = TOLERANCES[dtype]
    torch.testing.assert_close(found, expected, rtol=rtol, atol=atol)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("states", [1, 3, 8, 17, 64, 100])
def test_the_best_path_is_that_of_the_reference(
    states: int, sparse: bool, dtype: torch.dtype, variant: str
) -> None:
    assert backends.kernel_variant() == variant
    hmm = problem(states, dtype, sparse)
    found, expected = hmm.apply(viterbi, backend="cpu"), hmm.apply(viterbi, backend="reference")
    assert torch.equal(found.states, expected.states)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("states", [3, 17])
def test_gradients_are_those_of_the_reference(states: int, sparse: bool, variant: str) -> None:
    assert backends.kernel_variant() == variant
    hmm = problem(states, torch.float64, sparse)
    gradients: list[Tensor] = []
    for backend in ("cpu", "reference"):
        scores = hmm.log_emission.detach().clone().requires_grad_()
        total = hmm._replace(log_emission=scores).apply(log_likelihood, backend=backend)
        gradients += torch.autograd.grad(total[total.isfinite()].sum(), scores)
    rtol, atol = TOLERANCES[torch.float64]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=rtol, atol=atol)
