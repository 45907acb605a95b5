"""The C++ kernels beside the float64 reference: no frame to ten thousand, one state to a thousand.

One model a size: the kernels get it dense and sparse, in both precisions, with NaN in the padding.
"""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from hmm_core import (
    Sparse,
    backward,
    entropy,
    expected_transitions,
    forward,
    kbest,
    log_likelihood,
    posterior,
    sample,
)
from hmm_core.online import FilterState, filter_step
from hmm_core.testing import Arguments

pytestmark = pytest.mark.usefixtures("native")

INF = torch.inf


class Case(NamedTuple):
    """Size of a model, the share of arcs that it lacks, and how far apart its emissions are."""

    states: int
    frames: int
    absent: float = 0.0
    scale: float = 1.0


CASES = [
    *(Case(1, 0), Case(3, 0, 0.5), Case(1, 1), Case(17, 1, 0.5), Case(1000, 1, 0.95)),
    *(Case(2, 2), Case(5, 2, 0.95), Case(257, 2, 0.5), Case(1000, 2, 0.95, 100.0)),
    *(Case(1, 63), Case(8, 63, 0.5), Case(17, 63, 0.0, 100.0), Case(33, 63, 0.95), Case(64, 63)),
    *(Case(100, 63, 0.5, 100.0), Case(257, 63, 0.95)),
    *(Case(2, 1000, 0.0, 100.0), Case(5, 1000, 0.95), Case(33, 1000, 0.5), Case(3, 10_000)),
]


def model(case: Case) -> Arguments:
    """Two sequences, the second shorter, in numbers that float32 holds; every state can stay where it is."""
    K, T, absent, scale = case
    generator = torch.Generator().manual_seed(K + T)
    log_transition = torch.randn(K, K, generator=generator)
    log_transition[(torch.rand(K, K, generator=generator) < absent) & ~torch.eye(K).bool()] = -INF
    log_emission = scale * torch.randn(2, T, K, generator=generator)
    log_initial, log_final = torch.randn(2, K, generator=generator)
    return Arguments(log_initial, log_transition, log_emission, torch.tensor([T, T // 3]), log_final)


def variants_of(hmm: Arguments) -> dict[str, Arguments]:
    """The same model as the kernels may get it."""
    assert isinstance(hmm.log_transition, Tensor)
    assert hmm.lengths is not None
    padding = torch.arange(hmm.log_emission.shape[1]) >= hmm.lengths[:, None]
    poisoned = hmm._replace(log_emission=hmm.log_emission.masked_fill(padding[..., None], torch.nan))
    sparse = poisoned._replace(log_transition=Sparse.from_dense(hmm.log_transition))
    return {
        f"{name} {dtype}": cast(arguments, dtype)
        for name, arguments in (("dense", poisoned), ("sparse", sparse))
        for dtype in (torch.float32, torch.float64)
    }


def cast(hmm: Arguments, dtype: torch.dtype) -> Arguments:
    """Take the same numbers in another precision."""
    assert hmm.log_final is not None
    return hmm._replace(
        log_initial=hmm.log_initial.to(dtype),
        log_transition=hmm.log_transition.to(dtype=dtype),
        log_emission=hmm.log_emission.to(dtype),
        log_final=hmm.log_final.to(dtype),
    )


def square(transition: Tensor | Sparse, values: Tensor) -> Tensor:
    """Values of arcs as a matrix, 0 where there is no arc."""
    if isinstance(transition, Tensor):
        return values
    matrix = Sparse(transition.predecessors, values).to_dense()
    return torch.where(matrix == -INF, 0.0, matrix)


def messages(hmm: Arguments, backend: str) -> dict[str, Tensor]:
    """Logarithms."""
    result = hmm.apply(forward, backend=backend)
    log_beta = hmm.apply(backward, backend=backend)
    return {"log_alpha": result.log_alpha, "log_beta": log_beta, "log_likelihood": result.log_likelihood}


def probabilities(hmm: Arguments, backend: str) -> dict[str, Tensor]:
    """Posteriors and expected counts."""
    counts = hmm.apply(expected_transitions, backend=backend)
    return {
        "state": hmm.apply(posterior, backend=backend).state,
        "counts": square(hmm.log_transition, counts),
    }


def gradients(hmm: Arguments, backend: str) -> dict[str, Tensor]:
    """Posteriors and counts again, summed over the sequences with weights of their own."""
    transition = hmm.log_transition
    weight = transition if isinstance(transition, Tensor) else transition.log_weight
    leaves = [x.clone().requires_grad_() for x in (hmm.log_initial, weight, hmm.log_emission)]
    moved = leaves[1] if isinstance(transition, Tensor) else Sparse(transition.predecessors, leaves[1])
    total = hmm._replace(log_initial=leaves[0], log_transition=moved, log_emission=leaves[2]).apply(
        log_likelihood, backend=backend
    )
    d_initial, d_weight, d_emission = torch.autograd.grad(total @ total.new_tensor([1.0, -0.5]), leaves)
    return {
        "log_likelihood": total.detach(),
        "d_initial": d_initial,
        "d_transition": square(transition, d_weight),
        "d_emission": d_emission,
    }


def naming(name: str) -> Callable[[str], str]:
    """Say which result differs."""
    return lambda text: f"{name}: {text}"


# A message is exact to the roundings of its own frame, however many came before; logarithms are exact to a
# rounding of their size.
RELATIVE = {torch.float32: 1e-6, torch.float64: 1e-12}
ABSOLUTE = {torch.float32: 3e-5, torch.float64: 1e-10}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_recursions_give_what_the_reference_gives(case: Case) -> None:
    hmm = model(case)
    # The definition takes seconds for ten thousand frames; the gradient is a bit of everything.
    wanted = (messages, probabilities, gradients) if case.frames <= 1000 else (gradients,)
    for of in wanted:
        expected = of(cast(hmm, torch.float64), "reference")
        for name, arguments in variants_of(hmm).items():
            dtype = arguments.log_emission.dtype
            for key, actual in of(arguments, "cpu").items():
                torch.testing.assert_close(
                    actual.double(),
                    expected[key],
                    # Counts and gradients are sums over frames and sequences.
                    rtol=RELATIVE[dtype] * (1 if key.startswith("log_") else 20),
                    atol=ABSOLUTE[dtype],
                    msg=naming(f"{key}, {name}"),
                )


@pytest.mark.parametrize("case", [case for case in CASES if case.frames <= 1000], ids=str)
def test_entropies_give_what_the_reference_gives(case: Case) -> None:
    hmm = model(case)
    expected = cast(hmm, torch.float64).apply(entropy, backend="reference")
    for name, arguments in variants_of(hmm).items():
        dtype = arguments.log_emission.dtype
        torch.testing.assert_close(
            arguments.apply(entropy, backend="cpu").double(),
            expected,
            # Differences of logarithms, which are large at the scale of 100.
            rtol=20 * RELATIVE[dtype],
            atol=case.scale * ABSOLUTE[dtype],
            msg=naming(name),
        )


@pytest.mark.parametrize("case", [case for case in CASES if case.frames <= 63], ids=str)
def test_paths_are_those_of_the_reference(case: Case) -> None:
    exact = cast(model(case), torch.float64)
    paths = exact.apply(kbest, num_paths=3, backend="reference") if case.states <= 257 else None
    drawn = exact.apply(sample, num_samples=4, generator=torch.manual_seed(0), backend="reference")
    for name, arguments in variants_of(model(case)).items():
        if arguments.log_emission.dtype == torch.float32:
            continue  # its roundings may order two paths otherwise
        if paths is not None:
            found = arguments.apply(kbest, num_paths=3, backend="cpu")
            assert torch.equal(found.states, paths.states), name
        again = arguments.apply(sample, num_samples=4, generator=torch.manual_seed(0), backend="cpu")
        assert torch.equal(again, drawn), name


@pytest.mark.parametrize("case", [case for case in CASES if case.frames <= 1000], ids=str)
def test_a_stream_gives_what_the_reference_gives(case: Case) -> None:
    hmm = model(case)
    log_alpha = cast(hmm, torch.float64).apply(forward, backend="reference").log_alpha[0]
    expected = log_alpha.log_softmax(1)
    for name, arguments in variants_of(hmm).items():
        dtype = arguments.log_emission.dtype
        state = FilterState(arguments.log_initial, arguments.log_transition, backend="cpu")
        actual = filter_step(state, arguments.log_emission[0])
        torch.testing.assert_close(
            actual.double(), expected, rtol=RELATIVE[dtype], atol=ABSOLUTE[dtype], msg=naming(name)
        )
