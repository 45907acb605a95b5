"""Every instruction set that the kernels were built for gives the reference's answers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from hmm_core import (
    FrameCost,
    Itakura,
    SakoeChiba,
    backends,
    backward,
    dtw,
    expected_transitions,
    forward,
    log_likelihood,
    pairwise_cost,
    posterior,
    semi_markov,
    soft_dtw,
    viterbi,
)
from hmm_core.online import FilterState, ViterbiState, filter_step, viterbi_step
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


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("states", [1, 8, 17])
@pytest.mark.parametrize("longest", [1, 20])
def test_segments_are_those_of_the_reference(
    longest: int, states: int, sparse: bool, dtype: torch.dtype, variant: str
) -> None:
    assert backends.kernel_variant() == variant
    hmm = problem(states, dtype, sparse)
    generator = torch.Generator().manual_seed(longest)
    log_duration = torch.randn((states, longest), generator=generator, dtype=torch.float64).to(dtype)
    found: list[tuple[Any, ...]] = []
    for backend in ("cpu", "reference"):
        results = [
            op(
                *hmm[:2],
                log_duration,
                *hmm[2:4],
                log_final=hmm.log_final,
                censoring="both",
                backend=backend,
            )
            for op in (semi_markov.log_likelihood, semi_markov.posterior, semi_markov.viterbi)
        ]
        found.append((results[0], tuple(results[1]), results[2]))
    rtol, atol = TOLERANCES[dtype]
    torch.testing.assert_close(found[0][:2], found[1][:2], rtol=rtol, atol=atol)
    assert torch.equal(found[0][2].states, found[1][2].states)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("states", [1, 8, 17, 100])
def test_streams_are_those_of_the_reference(
    states: int, sparse: bool, dtype: torch.dtype, variant: str
) -> None:
    assert backends.kernel_variant() == variant
    hmm = random_hmm(1, 40, states, sparse=sparse, seed=states, dtype=dtype, ragged=False)
    log_filter, states_found = [], []
    for backend in ("cpu", "reference"):
        heard = FilterState(hmm.log_initial, hmm.log_transition, backend=backend)
        decoder = ViterbiState(hmm.log_initial, hmm.log_transition, backend=backend)
        log_filter.append(filter_step(heard, hmm.log_emission[0]))
        viterbi_step(decoder, hmm.log_emission[0])
        states_found.append(decoder.flush().states)
    rtol, atol = TOLERANCES[dtype]
    torch.testing.assert_close(log_filter[0], log_filter[1], rtol=rtol, atol=atol)
    assert torch.equal(states_found[0], states_found[1])


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("pattern", ["symmetric1", "symmetric2", "asymmetric"])
@pytest.mark.parametrize("window", [None, SakoeChiba(3), Itakura()])
def test_warping_is_that_of_the_reference(
    window: Any, pattern: Any, dtype: torch.dtype, variant: str
) -> None:
    assert backends.kernel_variant() == variant
    generator = torch.Generator().manual_seed(7)
    x, y = (torch.randn((3, size, 19), generator=generator, dtype=torch.float64) for size in (70, 90))
    x, y = x.to(dtype), y.to(dtype)
    lengths = torch.tensor([70, 33, 0]), torch.tensor([90, 37, 4])
    cost = pairwise_cost(x, y, *lengths, backend="cpu")
    options: dict[str, Any] = {"step_pattern": pattern, "window": window}
    expected = dtw(cost, *lengths, backend="reference", **options)
    for given in (cost, FrameCost(x, y)):
        for have, want in zip(dtw(given, *lengths, backend="cpu", **options), expected, strict=True):
            assert torch.equal(have, want)  # type: ignore[arg-type]  # every field is there


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "cosine"])
@pytest.mark.parametrize("window", [None, SakoeChiba(3)])
def test_soft_warping_is_that_of_the_reference(
    window: Any, metric: Any, dtype: torch.dtype, variant: str
) -> None:
    assert backends.kernel_variant() == variant
    generator = torch.Generator().manual_seed(8)
    # Multiples of 1/4, which float32 holds as float64 does.
    x, y = (torch.randint(-8, 9, (3, size, 19), generator=generator) / 4 for size in (70, 90))
    lengths = torch.tensor([70, 33, 0]), torch.tensor([90, 37, 4])
    found = []
    for frames, backend in (((x.to(dtype), y.to(dtype)), "cpu"), ((x.double(), y.double()), "reference")):
        a, b = (tensor.clone().requires_grad_() for tensor in frames)
        cost = pairwise_cost(a, b, *lengths, metric=metric, backend=backend)  # type: ignore[arg-type]  # one of them
        for given in (FrameCost(a, b, metric), cost):
            value = soft_dtw(given, *lengths, gamma=2.0, window=window, backend=backend)  # type: ignore[arg-type]  # the same
            gradients = torch.autograd.grad(value[:2].sum(), (a, b), retain_graph=True)
            found.append([part.double() for part in (value.detach(), *gradients)])
    # Costs of some tens, rounded, change a probability as much as they are wrong.
    rtol, atol = (1e-5, 1e-4) if dtype == torch.float32 else (1e-11, 1e-11)
    for parts in found[:3]:
        torch.testing.assert_close(parts, found[3], rtol=rtol, atol=atol)
