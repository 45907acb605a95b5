"""Threads that share the states of one large model: the same bits as one thread gives."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from hmm_core import (
    Sparse,
    backward,
    ctc_graph,
    expected_transitions,
    forward,
    log_likelihood,
    posterior,
    viterbi,
)
from hmm_core.testing import Arguments, random_hmm

pytestmark = pytest.mark.usefixtures("native")
INF = torch.inf


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """Leave the number of threads as it was."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def _gradients(hmm: Arguments, checkpoint: bool = False, backend: Any = "cpu") -> list[Tensor]:
    """Log-likelihood, and the derivatives to everything."""
    transition = hmm.log_transition
    weight = (transition.log_weight if isinstance(transition, Sparse) else transition).clone()
    leaves = [hmm.log_initial.clone(), weight, hmm.log_emission.clone()]
    leaves += [] if hmm.log_final is None else [hmm.log_final.clone()]
    for leaf in leaves:
        leaf.requires_grad_()
    moved = hmm._replace(
        log_initial=leaves[0],
        log_transition=Sparse(transition.predecessors, weight) if isinstance(transition, Sparse) else weight,
        log_emission=leaves[2],
        log_final=None if hmm.log_final is None else leaves[3],
    )
    total = moved.apply(log_likelihood, backend=backend, checkpoint=checkpoint)
    finite = torch.where(total > -INF, total, 0)
    upstream = torch.linspace(0.5, 2, len(total), dtype=total.dtype)
    return [total.detach(), *torch.autograd.grad(finite @ upstream, leaves)]


RESULTS: dict[str, Callable[[Arguments], Any]] = {
    "forward": lambda hmm: hmm.apply(forward, backend="cpu"),
    "backward": lambda hmm: [hmm.apply(backward, backend="cpu")],
    "posterior": lambda hmm: hmm.apply(posterior, backend="cpu"),
    "expected_transitions": lambda hmm: [hmm.apply(expected_transitions, backend="cpu")],
    "gradient": _gradients,
    "gradient with checkpoints": lambda hmm: _gradients(hmm, checkpoint=True),
    "viterbi": lambda hmm: hmm.apply(viterbi, backend="cpu"),
    "viterbi in linear memory": lambda hmm: hmm.apply(viterbi, backend="cpu", memory="linear"),
}


def _assert_same_bits(hmm: Arguments, names: tuple[str, ...] = tuple(RESULTS)) -> None:
    """Compare what one thread computes with what several do."""
    for name in names:
        torch.set_num_threads(1)
        expected = RESULTS[name](hmm)
        for threads in (2, 3, 5):
            torch.set_num_threads(threads)
            for one, several in zip(expected, RESULTS[name](hmm), strict=True):
                assert torch.equal(one, several), (name, threads)


# States behind the last whole panel, whatever the vectors' width.
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "form",
    [
        {},
        {"batch": 2, "impossible": 0.5},
        {"batch": 2, "per_sequence": True, "scale": 30.0},
        {"time_varying": True, "frames": 7},
        {"densities": 5},
    ],
    ids=str,
)
def test_dense_models_of_many_states(form: dict[str, Any], dtype: torch.dtype) -> None:
    hmm = random_hmm(
        form.get("batch", 1),
        form.get("frames", 25),
        613,
        dtype=dtype,
        seed=4,
        **{name: value for name, value in form.items() if name not in {"batch", "frames"}},
    )
    _assert_same_bits(hmm)


def test_a_few_sequences_share_the_sums_of_their_gradients() -> None:
    for batch in (2, 5):
        _assert_same_bits(random_hmm(batch, 30, 200, dtype=torch.float32, seed=5), ("gradient",))
        _assert_same_bits(random_hmm(batch, 12, 500, dtype=torch.float32, seed=5), ("gradient",))


K = 20_011
FRAMES = 20  # Less would be too little work for a team.


def _banded(*distances: int) -> Sparse:
    """Arcs from these distances below, where there are such states."""
    sources = torch.arange(K)[:, None] - torch.tensor(sorted(distances, reverse=True))
    there = sources >= 0
    order = (~there).to(torch.int8).argsort(stable=True, dim=1)
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(sources.shape, generator=generator).masked_fill(~there, -INF)
    return Sparse(torch.where(there, sources, -1).gather(1, order), weight.gather(1, order))


def _with_leaps() -> Sparse:
    """A chain in which every fiftieth state is reached from far away as well."""
    chain = _banded(0, 1)
    predecessors = torch.cat([chain.predecessors, torch.full((K, 1), -1)], 1)
    weight = torch.cat([chain.log_weight, torch.full((K, 1), -INF)], 1)
    for state in range(50, K, 50):
        predecessors[state] = torch.tensor([state * 7919 % (state - 1), state - 1, state])
        weight[state] = torch.tensor([9.0, 8.0, -2.0])  # The best path leaps as often as it can.
    return Sparse(predecessors, weight)


def _anywhere() -> Sparse:
    """Three arcs into each state from wherever."""
    generator = torch.Generator().manual_seed(2)
    source = torch.randint(0, K // 3, (K, 3), generator=generator) + torch.arange(3) * (K // 3)
    return Sparse(source, torch.randn((K, 3), generator=generator))


def _sparse(transition: Sparse, frames: int, densities: int | None = None, batch: int = 1) -> Arguments:
    """A model that may begin and end anywhere, and one sequence or several."""
    generator = torch.Generator().manual_seed(3)
    states = transition.predecessors.shape[0]
    emission = 3 * torch.randn((batch, frames, densities or states), generator=generator)
    index = None if densities is None else torch.randint(0, densities, (states,), generator=generator)
    lengths = torch.tensor([frames, frames // 3][:batch])
    initial, final = torch.randn((2, states), generator=generator)
    return Arguments(initial, transition, emission, lengths, final, index)


STRUCTURES = {
    "chain": lambda: _banded(0, 1),
    "skips": lambda: _banded(0, 1, 2),
    "four distances": lambda: _banded(0, 1, 5, 17),
    "leaps": _with_leaps,
    "anywhere": _anywhere,
}


@pytest.mark.parametrize("densities", [None, 50, 3000], ids=str)
@pytest.mark.parametrize("structure", STRUCTURES)
def test_sparse_models_of_many_states(structure: str, densities: int | None) -> None:
    _assert_same_bits(_sparse(STRUCTURES[structure](), FRAMES, densities, batch=2))


def _in_float64(hmm: Arguments) -> Arguments:
    """Take the same numbers in double precision."""
    transition = hmm.log_transition
    assert isinstance(transition, Sparse)
    return hmm._replace(
        log_initial=hmm.log_initial.double(),
        log_transition=Sparse(transition.predecessors, transition.log_weight.double()),
        log_emission=hmm.log_emission.double(),
        log_final=None if hmm.log_final is None else hmm.log_final.double(),
    )


@pytest.mark.parametrize("structure", STRUCTURES)
def test_many_states_give_what_the_reference_gives(structure: str) -> None:
    # The first states, which are together in memory and in the kernels, are never reached.
    hmm = _in_float64(_sparse(STRUCTURES[structure](), FRAMES))
    hmm = hmm._replace(log_initial=hmm.log_initial.index_fill(0, torch.arange(9000), -INF))
    torch.set_num_threads(3)
    for actual, expected in zip(_gradients(hmm), _gradients(hmm, backend="reference"), strict=True):
        # Roundings of some twenty frames.
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)
    for op in (forward, posterior, viterbi):
        for actual, expected in zip(
            hmm.apply(op, backend="cpu"), hmm.apply(op, backend="reference"), strict=True
        ):
            torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)


def test_time_varying_and_float64_sparse_models() -> None:
    hmm = _sparse(_banded(0, 1, 2), FRAMES)
    transition = hmm.log_transition
    assert isinstance(transition, Sparse)
    drift = torch.linspace(-1, 1, FRAMES - 1)[None, :, None, None] + transition.log_weight
    _assert_same_bits(hmm._replace(log_transition=Sparse(transition.predecessors, drift)))
    _assert_same_bits(_in_float64(hmm))


def test_a_path_that_begins_in_one_state_and_spreads() -> None:
    # Ranges of states that grow until a team shares them, and shrink to the only last state.
    hmm = _sparse(_banded(0, 1, 900), 40)
    initial, final = torch.full((2, K), -INF)
    initial[0] = final[25_000 % K] = 0.0
    _assert_same_bits(hmm._replace(log_initial=initial, log_final=final))


def test_the_graph_of_a_long_transcript() -> None:
    graph = ctc_graph(torch.arange(1, 12_000) % 30 + 1)
    emission = torch.randn((1, 30, 32), generator=torch.Generator().manual_seed(6))
    initial = torch.zeros_like(graph.log_initial)
    final = torch.zeros_like(graph.log_final)
    hmm = Arguments(initial, graph.log_transition, emission, None, final, graph.emission_index)
    _assert_same_bits(hmm)


@pytest.mark.parametrize("value", [torch.nan, INF])
@pytest.mark.parametrize("state", [0, 1234, K - 1])
@pytest.mark.parametrize("frame", [0, 5, FRAMES - 1])
def test_an_invalid_emission_is_refused_wherever_it_stands(value: float, state: int, frame: int) -> None:
    torch.set_num_threads(3)
    hmm = _sparse(_banded(0, 1), FRAMES)
    initial = torch.full((K,), -INF)
    initial[500:18_000] = 0.0
    hmm.log_emission[0, frame, state] = value
    with pytest.raises(ValueError, match="log_emission"):
        hmm._replace(log_initial=initial).apply(viterbi, backend="cpu")


def test_more_threads_than_cores_and_a_fork_come_to_an_end() -> None:
    # Only the kernel: torch's own thread pool does not survive a fork.
    program = """
import os, torch
from hmm_core import viterbi
torch.set_num_threads(13)
model = torch.zeros(600), torch.zeros(600, 600), torch.randn(1, 60, 600)
expected = viterbi(*model, backend="cpu").states
for _ in range(20):
    assert torch.equal(viterbi(*model, backend="cpu").states, expected)
child = os.fork()
if child == 0:
    os._exit(0 if torch.equal(viterbi(*model, backend="cpu").states, expected) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
