"""The C++ recursions over sparse transitions give what the reference gives, however the arcs are arranged."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from hmm_core import expected_transitions, forward, log_likelihood, posterior
from hmm_core.backends.cpu import log_likelihood as cpu
from hmm_core.ops.backward import backward
from hmm_core.testing import Arguments, random_hmm
from hmm_core.transitions import Sparse, from_arcs, left_to_right, skip

pytestmark = pytest.mark.usefixtures("native")

INF = torch.inf


def _draw(*shape: int, seed: int = 0, scale: float = 1.0) -> Tensor:
    """Normal log weights in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def _only(states: int, *used: int) -> Tensor:
    """Log weights that allow some states."""
    values = torch.full((states,), -INF, dtype=torch.float64)
    values[list(used)] = 0.0
    return values


def _graph(states: int, arcs: list[tuple[int, int]], log_weight: Tensor) -> Sparse:
    """Transitions along arcs (from, to)."""
    return from_arcs(states, [i for i, _ in arcs], [j for _, j in arcs], log_weight)


def _ctc(labels: int, vocabulary: int, frames: int, batch: int = 2) -> Arguments:
    """One CTC graph for all sequences: a blank before, between and after the labels, some of them doubled."""
    K = 2 * labels + 1
    index = torch.zeros(K, dtype=torch.int64)
    index[1::2] = torch.randint(1, vocabulary, (labels,), generator=torch.Generator().manual_seed(1))
    index[3] = index[1]
    arcs = [(i, j) for j in range(K) for i in (j - 2, j - 1, j) if i >= 0]
    arcs = [(i, j) for i, j in arcs if j - i < 2 or (j % 2 == 1 and index[i] != index[j])]
    graph = _graph(K, arcs, torch.zeros(len(arcs), dtype=torch.float64))
    emission = _draw(batch, frames, vocabulary, scale=3.0).log_softmax(2)
    lengths = torch.tensor([frames, *[max(frames - 7 * b, 1) for b in range(1, batch)]])
    return Arguments(_only(K, 0, 1), graph, emission, lengths, _only(K, K - 2, K - 1), index)


def _chain(states: int, frames: int, scale: float = 1.0) -> Arguments:
    """A chain from its first state to its last."""
    emission = _draw(2, frames, states, scale=scale)
    lengths = torch.tensor([frames, max(states, frames - 30)])
    chain = left_to_right(states, dtype=torch.float64)
    return Arguments(_only(states, 0), chain, emission, lengths, _only(states, states - 1))


def _loop(words: int, per_word: int, frames: int) -> Arguments:
    """Words in a loop: each can follow each, so the first states have many predecessors."""
    K = words * per_word
    arcs = {(j, j) for j in range(K)} | {(j - 1, j) for j in range(K) if j % per_word}
    arcs |= {(i, j) for i in range(per_word - 1, K, per_word) for j in range(0, K, per_word)}
    graph = _graph(K, sorted(arcs), _draw(len(arcs)))
    return Arguments(_draw(K, seed=1), graph, _draw(2, frames, K, seed=2), None, _draw(K, seed=3))


def _tangled(states: int, frames: int) -> Arguments:
    """Chains broken by arcs from anywhere, a few states with dozens of them; more states than a chunk."""
    generator = torch.Generator().manual_seed(4)
    arcs = {(j, j) for j in range(states)} | {(j - 1, j) for j in range(1, states)}
    for j in torch.randint(states, (states // 8,), generator=generator).tolist():
        count = 30 if j % 16 == 0 else 1 + j % 6
        arcs |= {(i, j) for i in torch.randint(states, (count,), generator=generator).tolist()}
    graph = _graph(states, sorted(arcs), _draw(len(arcs)))
    index = torch.randint(70, (states,), generator=generator)
    lengths = torch.tensor([frames, frames // 3])
    return Arguments(_draw(states), graph, _draw(2, frames, 70), lengths, _draw(states, seed=1), index)


def _skipping(states: int, frames: int) -> Arguments:
    """A band of three distances over several chunks, entered and left in the middle."""
    graph = skip(states, 0.3, 0.4, 0.3, dtype=torch.float64)
    first, last = _only(states, states // 2), _only(states, states // 2 + frames)
    return Arguments(first, graph, _draw(2, frames, states), None, last)


STRUCTURES: dict[str, Callable[[], Arguments]] = {
    "ctc": lambda: _ctc(20, 40, 90),
    "ctc, few densities": lambda: _ctc(20, 9, 90),
    "ctc, many densities": lambda: _ctc(20, 300, 90),
    "ctc, more densities than states": lambda: _ctc(4, 300, 90),
    "chain": lambda: _chain(40, 90),
    "chain, far apart scores": lambda: _chain(40, 90, scale=300.0),
    "chain, huge scores": lambda: _chain(40, 90, scale=1e4),
    "loop of words": lambda: _loop(30, 4, 20),
    "tangled": lambda: _tangled(4500, 9),
    "skips over chunks": lambda: _skipping(9000, 12),
}


def _converted(hmm: Arguments, dtype: torch.dtype) -> Arguments:
    """The same problem in another precision."""
    transition = hmm.log_transition
    assert isinstance(transition, Sparse)
    return Arguments(
        hmm.log_initial.to(dtype),
        transition.to(dtype=dtype),
        hmm.log_emission.to(dtype),
        hmm.lengths,
        None if hmm.log_final is None else hmm.log_final.to(dtype),
        hmm.emission_index,
    )


def _gradients(hmm: Arguments, backend: str) -> tuple[Tensor, ...]:
    """Derivatives of a weighted sum of the log-likelihoods that are not -inf."""
    transition = hmm.log_transition
    assert isinstance(transition, Sparse)
    leaves = [hmm.log_initial, transition.log_weight, hmm.log_emission]
    leaves += [] if hmm.log_final is None else [hmm.log_final]
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    moved = Arguments(
        leaves[0],
        Sparse(transition.predecessors, leaves[1]),
        leaves[2],
        hmm.lengths,
        leaves[3] if len(leaves) > 3 else None,
        hmm.emission_index,
    )
    total = moved.apply(log_likelihood, backend=backend)
    factor = torch.linspace(-1.0, 2.0, len(total), dtype=total.dtype)
    return torch.autograd.grad((torch.where(total > -INF, total, 0.0) * factor).sum(), leaves)


def _results(hmm: Arguments, backend: str) -> dict[str, Tensor]:
    """Everything that the kernels compute."""
    forwards, states = hmm.apply(forward, backend=backend), hmm.apply(posterior, backend=backend)
    results = {
        "log_alpha": forwards.log_alpha,
        "log-likelihood of forward": forwards.log_likelihood,
        "log_beta": hmm.apply(backward, backend=backend),
        "log-likelihood": hmm.apply(log_likelihood, backend=backend),
        "posterior": states.state,
        "log-likelihood of posterior": states.log_likelihood,
        "expected transitions": hmm.apply(expected_transitions, backend=backend),
    }
    names = ("initial", "weights", "emission", "final")
    for name, value in zip(names, _gradients(hmm, backend), strict=False):
        results[f"gradient by {name}"] = value
    return results


def _assert_like_the_reference(hmm: Arguments, rtol: float, atol: float) -> None:
    """Compare every result with the reference in float64."""
    expected = _results(_converted(hmm, torch.float64), "reference")
    for name, value in _results(hmm, "cpu").items():
        finite = torch.where(expected[name] == -INF, 0.0, value.double() - expected[name])
        message = (
            f"{name} differs from the reference by up to {finite.abs().max()}" if value.numel() else name
        )
        torch.testing.assert_close(value.double(), expected[name], rtol=rtol, atol=atol, msg=message)


@pytest.mark.parametrize("impossible", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("states", [1, 2, 3, 8, 17, 100])
def test_every_form_of_arguments_gives_what_the_reference_gives(states: int, impossible: float) -> None:
    forms = itertools.product((0, 1, 2, 33), (None, 2), (False, True), (False, True))
    for seed, (frames, densities, per_sequence, varying) in enumerate(forms):
        hmm = random_hmm(
            2,
            frames,
            states,
            sparse=True,
            densities=densities,
            impossible=impossible,
            per_sequence=per_sequence,
            time_varying=varying,
            seed=seed,
            scale=(1.0, 30.0, 1e3)[seed % 3],
        )
        # A few roundings a frame.
        _assert_like_the_reference(hmm, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("structure", STRUCTURES)
def test_every_arrangement_of_arcs_gives_what_the_reference_gives(structure: str) -> None:
    # Scores of 1e4 are exact to 2e-12 themselves.
    _assert_like_the_reference(STRUCTURES[structure](), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("structure", ["ctc", "ctc, many densities", "chain", "loop of words", "tangled"])
def test_every_variant_gives_in_float32_what_the_reference_gives(structure: str, variant: str) -> None:
    del variant
    # float32 holds 24 bits: a log weight of 500 has an error of 3e-5, and relative ones stay below 1e-6.
    hmm = _converted(STRUCTURES[structure](), torch.float32)
    _assert_like_the_reference(hmm, rtol=2e-6, atol=2e-5)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_ten_thousand_frames_lose_nothing_in_float32(scale: float) -> None:
    K, T = 100, 10_000
    # A density of about exp(-3) a frame; the error that 10,000 roundings leave is some 1e-4 in all.
    emission = _draw(1, T, K, scale=scale).float() - 3.0
    chain = left_to_right(K, 0.99)
    problem = Arguments(_only(K, 0).float(), chain, emission, None, _only(K, K - 1).float())
    exact = _converted(problem, torch.float64).apply(posterior, backend="cpu")
    result = problem.apply(posterior, backend="cpu")
    # What the package promises: 1e-6 of the log-likelihood, 1e-5 of a posterior.
    torch.testing.assert_close(result.log_likelihood.double(), exact.log_likelihood, rtol=1e-6, atol=0.0)
    torch.testing.assert_close(result.state.double(), exact.state, rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batch_padding_and_threads_change_no_bit(dtype: torch.dtype) -> None:
    T, K = 1500, 80
    whole = _converted(_ctc((K - 1) // 2, 20, T, batch=5), dtype)
    lengths = torch.tensor([T, 700, 1, 0, 1499])
    padding = torch.arange(T) >= lengths[:, None]
    whole = whole._replace(
        lengths=lengths, log_emission=whole.log_emission.masked_fill(padding[..., None], torch.nan)
    )
    results = {}
    before = torch.get_num_threads()
    for threads in (1, 3):
        torch.set_num_threads(threads)
        results[threads] = _per_sequence(whole)
    torch.set_num_threads(before)
    for one, several in zip(results[1], results[3], strict=True):
        assert torch.equal(one, several)
    for b, length in enumerate(lengths.tolist()):
        alone = whole._replace(
            log_emission=whole.log_emission[b : b + 1, :length].contiguous(), lengths=lengths[b : b + 1]
        )
        for together, single in zip(results[1], _per_sequence(alone), strict=True):
            row = together[b, :length] if together.ndim == 3 else together[b]
            assert torch.equal(row, single[0])


def _per_sequence(hmm: Arguments) -> tuple[Tensor, ...]:
    """The results that are not sums over sequences."""
    emission = hmm.log_emission.clone().requires_grad_()
    total = hmm._replace(log_emission=emission).apply(log_likelihood, backend="cpu")
    (gradient,) = torch.autograd.grad(torch.where(total > -INF, total, 0.0).sum(), emission)
    return (
        hmm.apply(forward, backend="cpu").log_alpha,
        hmm.apply(backward, backend="cpu"),
        hmm.apply(posterior, backend="cpu").state,
        hmm.apply(expected_transitions, backend="cpu").flatten(1),
        gradient,
        total.detach(),
    )


def _canonical(hmm: Arguments) -> dict[str, Any]:
    """Arguments of a backend, of a problem without axes of its own."""
    transition, lengths, final = hmm.log_transition, hmm.lengths, hmm.log_final
    assert isinstance(transition, Sparse)
    assert lengths is not None
    assert final is not None
    return {
        "log_initial": hmm.log_initial[None],
        "predecessors": transition.predecessors[None],
        "log_weight": transition.log_weight[None, None],
        "log_emission": hmm.log_emission,
        "lengths": lengths,
        "log_final": final[None],
        "emission_index": None if hmm.emission_index is None else hmm.emission_index[None],
    }


@pytest.mark.parametrize("frames", [60, 700])
def test_messages_formed_again_give_the_same_derivatives_as_kept_ones(frames: int) -> None:
    # 700 frames of 601 states are several blocks.
    problem = _canonical(_ctc(300, 50, frames) if frames == 700 else _ctc(20, 50, frames))
    total, message = cpu.log_likelihood(**problem, keep=True)
    same, nothing = cpu.log_likelihood(**problem, keep=False)
    assert torch.equal(total, same)
    upstream = torch.tensor([1.0, -2.0], dtype=torch.float64)
    kept = cpu.log_likelihood_backward(upstream, message, **problem, count=True)
    again = cpu.log_likelihood_backward(upstream, nothing, **problem, count=True)
    for one, other in zip(kept, again, strict=True):
        # Blocks begin elsewhere, and the likelihood is measured where they end.
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dead", [0, 3, 650])
def test_without_a_path_all_derivatives_are_zero(dead: int) -> None:
    hmm = _ctc(300, 50, 700)
    hmm.log_emission[0, dead] = -INF
    problem = _canonical(hmm)
    total, message = cpu.log_likelihood(**problem, keep=True)
    assert total[0] == -INF
    upstream = torch.tensor([1.0, 0.0], dtype=torch.float64)
    # Whatever stood in the memory.
    for kept in (message, message[:0]):
        for value in cpu.log_likelihood_backward(upstream, kept, **problem, count=True):
            assert (value == 0).all()


def test_states_beyond_reach_cost_nothing_and_read_nothing() -> None:
    hmm = _chain(40, 90)
    wide = Sparse(
        torch.nn.functional.pad(hmm.log_transition.predecessors, (0, 3, 0, 25), value=-1),  # type: ignore[union-attr]
        torch.nn.functional.pad(hmm.log_transition.log_weight, (0, 3, 0, 25), value=-INF),  # type: ignore[union-attr]
    )
    pad = torch.nn.functional.pad
    assert hmm.log_final is not None
    padded = Arguments(
        pad(hmm.log_initial, (0, 25), value=-INF),
        wide,
        pad(hmm.log_emission, (0, 25), value=5.0),
        hmm.lengths,
        pad(hmm.log_final, (0, 25), value=-INF),
    )
    small, large = hmm.apply(posterior, backend="cpu"), padded.apply(posterior, backend="cpu")
    torch.testing.assert_close(large.state[..., :40], small.state, rtol=1e-12, atol=1e-14)  # roundings
    assert (large.state[..., 40:] == 0).all()


def test_no_sequence_gives_empty_results() -> None:
    hmm = random_hmm(0, 4, 3, sparse=True, ragged=False)
    assert hmm.apply(posterior, backend="cpu").state.shape == (0, 4, 3)
    assert all((value == 0).all() for value in _gradients(hmm, "cpu"))
