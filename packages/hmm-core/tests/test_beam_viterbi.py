"""Viterbi with a beam: equal in all backends, honest about what the beam may have cost."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from hmm_core import Sparse, beam_viterbi, ctc_graph, left_to_right, viterbi
from hmm_core._validate import canonical
from hmm_core.testing import Arguments, random_hmm

INF = torch.inf


def _agree(hmm: Arguments, beam: float) -> None:
    """Assert that the kernel finds what the reference finds, whatever it keeps."""
    expected = hmm.apply(beam_viterbi, backend="reference", beam=beam)
    for memory in ("full", "linear"):
        path = hmm.apply(beam_viterbi, backend="cpu", beam=beam, memory=memory)
        assert torch.equal(path.states, expected.states)
        assert torch.equal(path.exact, expected.exact)
        assert torch.equal(path.depth, expected.depth)
        # The same numbers summed in float64 in another order.
        torch.testing.assert_close(path.log_score, expected.log_score, rtol=1e-6, atol=1e-6)


def _forward(states: int, dtype: torch.dtype, seed: int = 0) -> Arguments:
    """Five ragged sequences through a chain, emissions that follow a path, and some arcs that leap."""
    generator = torch.Generator().manual_seed(seed)
    frames = 3 * states
    chain = left_to_right(states, dtype=dtype).to_dense()
    for source in range(5, states - 20, 37):
        chain[source, source + 15] = -2.0
    emission = torch.randn(5, frames, states, dtype=dtype, generator=generator)
    emission[:, torch.arange(frames), torch.arange(frames) // 3] += 4
    start = torch.full((states,), -INF, dtype=dtype)
    start[0] = 0.0
    lengths = torch.tensor([frames, frames - 1, frames // 2, 0, 1])
    return Arguments(start, Sparse.from_dense(chain), emission, lengths)


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("beam", [0.5, 3.0, 20.0])
def test_the_kernel_drops_what_the_reference_drops(dtype: torch.dtype, beam: float) -> None:
    for seed, states in enumerate((1, 2, 9, 40, 130)):
        for frames, impossible in ((1, 0.0), (2, 0.5), (30, 0.5), (30, 0.95)):
            hmm = random_hmm(
                3,
                frames,
                states,
                sparse=True,
                dtype=dtype,
                impossible=impossible,
                densities=7 if seed % 2 else None,
                per_sequence=seed % 3 == 1,
                time_varying=seed % 3 == 2,
                seed=seed,
            )
            _agree(hmm, beam)


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("beam", [1.0, 5.0, 30.0])
def test_the_kernel_follows_a_moving_window(dtype: torch.dtype, beam: float) -> None:
    for states in (33, 130):
        hmm = _forward(states, dtype)
        _agree(hmm, beam)
        index = torch.arange(states) % 50
        _agree(hmm._replace(log_emission=hmm.log_emission[..., :50], emission_index=index), beam)
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(1, 12, (3, 60), generator=generator)
    graph = ctc_graph(labels, torch.tensor([60, 41, 0]), dtype=dtype)
    emission = torch.randn(3, 200, 12, dtype=dtype, generator=generator)
    emission[:, torch.arange(60) * 3, :] += torch.nn.functional.one_hot(labels, 12) * 4
    _agree(Arguments(graph[0], graph[1], emission, None, graph[2], graph[3]), beam)


def test_a_beam_that_drops_nothing_is_viterbi(any_backend: Any) -> None:
    hmm = random_hmm(4, 12, 9, sparse=True, impossible=0.5, seed=3)
    path = hmm.apply(beam_viterbi, beam=INF, backend=any_backend)
    expected = hmm.apply(viterbi, backend=any_backend)
    assert torch.equal(path.states, expected.states)
    assert torch.equal(path.log_score, expected.log_score)
    assert path.exact.all()


def test_a_beam_as_wide_as_the_best_path_is_deep_finds_it(any_backend: Any) -> None:
    deeper = 0
    for seed in range(20):
        hmm = random_hmm(4, 15, 12, sparse=True, scale=3, seed=seed)
        best = hmm.apply(beam_viterbi, beam=INF, backend=any_backend)
        # A little wider: a beam is of the dtype of the scores.
        beam = max(float(best.depth.max()), 1e-3) * (1 + 1e-9)
        path = hmm.apply(beam_viterbi, beam=beam, backend=any_backend)
        assert torch.equal(path.states, best.states)
        # The best state of a frame may itself have been dropped, and sums relative to another one are rounded
        # differently.
        assert (path.depth <= best.depth + 1e-12).all()
        deeper += int((~path.exact).sum())
    assert deeper > 0  # beams did drop states


def _detour() -> tuple[Tensor, Sparse, Tensor, Tensor]:
    """A path over states 0 and 1 that ends, 7 below one over state 2 that does not."""
    matrix = torch.full((3, 3), -INF)
    matrix[0, 1] = matrix[0, 2] = matrix[1, 1] = matrix[2, 2] = 0.0
    start = torch.tensor([0.0, -INF, -INF])
    emission = torch.zeros(1, 4, 3)
    emission[0, 1, 2] = 7.0
    return start, Sparse.from_dense(matrix), emission, torch.tensor([-INF, 0.0, -INF])


def test_a_state_exactly_as_far_below_as_the_beam_is_wide_stays(any_backend: Any) -> None:
    start, graph, emission, _ = _detour()
    end = torch.tensor([-INF, 0.0, -100.0])
    for beam, states in ((7.0, [0, 1, 1, 1]), (6.9, [0, 2, 2, 2])):
        path = beam_viterbi(start, graph, emission, log_final=end, beam=beam, backend=any_backend)
        assert path.states.tolist() == [states]
        assert path.exact.tolist() == [beam == 7.0]


def test_a_sequence_that_lost_all_paths_is_decoded_again(any_backend: Any) -> None:
    start, graph, emission, end = _detour()
    for beam, again in ((5.0, True), (8.0, False)):
        path = beam_viterbi(start, graph, emission, log_final=end, beam=beam, backend=any_backend)
        assert path.states.tolist() == [[0, 1, 1, 1]]
        assert path.log_score.tolist() == [0.0]
        assert path.depth.tolist() == [7.0]
        assert path.exact.tolist() == [True]
        assert bool(path.depth > beam) == again


def test_a_path_that_the_beam_spoilt_is_not_called_exact(any_backend: Any) -> None:
    start, graph, emission, _ = _detour()
    emission[0, 3, 1] = 9.0
    best = beam_viterbi(start, graph, emission, beam=8.0, backend=any_backend)
    assert (best.states.tolist(), best.exact.tolist()) == ([[0, 1, 1, 1]], [True])
    path = beam_viterbi(start, graph, emission, beam=5.0, backend=any_backend)
    assert (path.states.tolist(), path.exact.tolist()) == ([[0, 2, 2, 2]], [False])


def test_without_any_path_there_is_no_doubt(any_backend: Any) -> None:
    start, graph, emission, _ = _detour()
    nowhere = torch.full((3,), -INF)
    path = beam_viterbi(start, graph, emission, log_final=nowhere, beam=5.0, backend=any_backend)
    assert path.states.tolist() == [[-1] * 4]
    assert (path.log_score.tolist(), path.exact.tolist(), path.depth.tolist()) == ([-INF], [True], [0.0])


def test_empty_sequences_have_a_path_without_states(any_backend: Any) -> None:
    hmm = random_hmm(3, 5, 4, sparse=True)._replace(lengths=torch.tensor([0, 5, 0]))
    path = hmm.apply(beam_viterbi, beam=1e-3, backend=any_backend)
    assert path.log_score[[0, 2]].tolist() == [0.0, 0.0]
    assert path.exact[[0, 2]].all()
    assert path.depth[[0, 2]].tolist() == [0.0, 0.0]
    assert (path.states[[0, 2]] == -1).all()


def test_the_gradient_is_that_of_viterbi(any_backend: Any) -> None:
    hmm = random_hmm(3, 8, 5, sparse=True, seed=2)
    emission = hmm.log_emission.clone().requires_grad_()
    gradients: list[Tensor] = []
    for score in (
        hmm._replace(log_emission=emission).apply(viterbi, backend=any_backend).log_score,
        hmm._replace(log_emission=emission).apply(beam_viterbi, beam=INF, backend=any_backend).log_score,
    ):
        gradients += torch.autograd.grad(score.sum(), emission)
    assert torch.equal(*gradients)


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("value", [torch.nan, INF])
def test_invalid_emissions_are_refused_inside_and_outside_of_the_window(value: float) -> None:
    hmm = _forward(60, torch.float32)
    for at in ((0, 0, 0), (0, 60, 20), (0, 60, 59), (1, 178, 0), (4, 0, 59)):
        wrong = hmm.log_emission.clone()
        wrong[at] = value
        message = re.escape(f"log_emission must not hold NaN or +inf; got {value} at {[*at]}")
        with pytest.raises(ValueError, match=message):
            hmm._replace(log_emission=wrong).apply(beam_viterbi, beam=5.0, backend="cpu")


@pytest.mark.parametrize("beam", [0.0, -1.0, torch.nan])
def test_a_beam_without_width_is_refused(beam: float) -> None:
    with pytest.raises(ValueError, match=f"beam must be greater than 0; got {beam}"):
        random_hmm(sparse=True).apply(beam_viterbi, beam=beam)


def test_dense_transitions_are_refused() -> None:
    with pytest.raises(TypeError, match="log_transition must be Sparse; got Tensor"):
        random_hmm(sparse=False).apply(beam_viterbi, beam=1.0)


@pytest.mark.usefixtures("native")
def test_results_do_not_depend_on_threads_or_batch() -> None:
    hmm = _forward(130, torch.float32)
    expected = hmm.apply(beam_viterbi, beam=4.0, backend="cpu")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        threaded = hmm.apply(beam_viterbi, beam=4.0, backend="cpu")
    finally:
        torch.set_num_threads(before)
    for mine, other in zip(threaded, expected, strict=True):
        assert torch.equal(mine, other)
    assert hmm.lengths is not None
    alone = hmm._replace(log_emission=hmm.log_emission[1:2], lengths=hmm.lengths[1:2])
    for mine, other in zip(alone.apply(beam_viterbi, beam=4.0, backend="cpu"), expected, strict=True):
        assert torch.equal(mine[0], other[1])


def test_the_registered_operation_passes_opcheck(any_backend: Any) -> None:
    problem = canonical(*random_hmm(2, 3, 4, sparse=True))
    torch.library.opcheck(torch.ops.hmm_core.beam_viterbi.default, (*problem, 3.0, "auto", any_backend))
