"""The N best paths: against all paths one by one, equal in all backends, ties, fewer paths than asked for."""

import itertools
import math
from typing import Any

import pytest
import torch

from hmm_core import Sparse, kbest, left_to_right, viterbi
from hmm_core._validate import canonical
from hmm_core.testing import Arguments, random_hmm

INF = torch.inf


def _matrix(hmm: Arguments, b: int, t: int) -> torch.Tensor:
    """Dense weights of the step after frame ``t`` of sequence ``b``."""
    transition = hmm.log_transition
    matrix = transition.to_dense() if isinstance(transition, Sparse) else transition
    if matrix.ndim == 2:
        return matrix
    row = matrix[b if matrix.shape[0] > 1 else 0]
    return row if row.ndim == 2 else row[t]


def _enumerate(hmm: Arguments, b: int) -> dict[tuple[int, ...], float]:
    """Score of every possible path of a sequence, entry by entry."""
    assert hmm.lengths is not None
    assert hmm.log_final is not None
    length = int(hmm.lengths[b])
    initial = hmm.log_initial.expand(hmm.log_emission.shape[0], -1)[b]
    final = hmm.log_final.expand(hmm.log_emission.shape[0], -1)[b]
    index = torch.arange(initial.shape[0])
    if hmm.emission_index is not None:
        index = hmm.emission_index.expand(hmm.log_emission.shape[0], -1)[b]
    if length == 0:
        return {(): 0.0}
    scores = {}
    for path in itertools.product(range(len(initial)), repeat=length):
        score = float(initial[path[0]] + final[path[-1]])
        score += sum(float(hmm.log_emission[b, t, index[k]]) for t, k in enumerate(path))
        score += sum(float(_matrix(hmm, b, t)[i, j]) for t, (i, j) in enumerate(itertools.pairwise(path)))
        if score > -math.inf:
            scores[path] = score
    return scores


def test_the_paths_are_the_best_of_all(hmm: Arguments, any_backend: Any) -> None:
    number = 20
    paths = hmm.apply(kbest, num_paths=number, backend=any_backend)
    assert paths.states.shape == (number, 3, 4)
    assert hmm.lengths is not None
    for b, length in enumerate(hmm.lengths.tolist()):
        every = _enumerate(hmm, b)
        expected = sorted(every.values(), reverse=True)[:number]
        found = [tuple(path[:length].tolist()) for path in paths.states[: len(expected), b]]
        assert len(set(found)) == len(expected)
        scores = torch.tensor([every[path] for path in found], dtype=torch.float64)
        # Float64 sums in another order.
        torch.testing.assert_close(
            scores, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12
        )
        torch.testing.assert_close(paths.log_score[: len(expected), b], scores, rtol=1e-12, atol=1e-12)
        assert (paths.log_score[len(expected) :, b] == -INF).all()
        assert (paths.states[len(expected) :, b] == -1).all()
        assert (paths.states[:, b, length:] == -1).all()


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("states", [1, 2, 7, 20])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("form", ["distinct", "ties", "impossible"])
def test_backends_agree_bit_for_bit(dtype: torch.dtype, states: int, sparse: bool, form: str) -> None:
    for seed, frames in enumerate((0, 1, 2, 30)):
        hmm = random_hmm(
            4,
            frames,
            states,
            sparse=sparse,
            dtype=dtype,
            impossible=0.5 if form == "impossible" else 0.0,
            per_sequence=seed % 2 == 1,
            densities=3 if seed > 1 else None,
            seed=seed,
        )
        if form == "ties":
            transition = hmm.log_transition
            if isinstance(transition, Sparse):
                transition = Sparse(transition.predecessors, transition.log_weight.round())
            else:
                transition = transition.round()
            hmm = hmm._replace(log_emission=hmm.log_emission.round(), log_transition=transition)
        for number in (1, 2, 5):
            reference = hmm.apply(kbest, num_paths=number, backend="reference")
            kernel = hmm.apply(kbest, num_paths=number, backend="cpu")
            assert torch.equal(reference.states, kernel.states)
            # The same numbers summed in float64 in another order.
            torch.testing.assert_close(reference.log_score, kernel.log_score, rtol=1e-6, atol=1e-6)
            if number == 1:
                best = hmm.apply(viterbi, backend="reference")
                assert torch.equal(kernel.states[0], best.states)


def test_ties_go_to_the_lowest_predecessor_then_to_the_lowest_rank(any_backend: Any) -> None:
    paths = kbest(torch.zeros(2), torch.zeros(2, 2), torch.zeros(1, 2, 2), num_paths=5, backend=any_backend)
    assert paths.states[:, 0].tolist() == [[0, 0], [1, 0], [0, 1], [1, 1], [-1, -1]]
    assert paths.log_score[:, 0].tolist() == [0.0, 0.0, 0.0, 0.0, -INF]


def test_a_sequence_without_frames_has_one_path(any_backend: Any) -> None:
    chain = left_to_right(3)
    paths = kbest(
        torch.zeros(3), chain, torch.zeros(2, 2, 3), torch.tensor([0, 2]), num_paths=2, backend=any_backend
    )
    assert paths.log_score[:, 0].tolist() == [0.0, -INF]
    assert (paths.states[:, 0] == -1).all()


def test_an_impossible_sequence_has_no_path(any_backend: Any) -> None:
    start, end = torch.tensor([0.0, -INF, -INF]), torch.tensor([-INF, -INF, 0.0])
    paths = kbest(
        start, left_to_right(3), torch.zeros(1, 2, 3), num_paths=2, log_final=end, backend=any_backend
    )
    assert (paths.states == -1).all()
    assert (paths.log_score == -INF).all()
    barred = kbest(start, left_to_right(3), torch.full((1, 2, 3), -INF), num_paths=2, backend=any_backend)
    assert (barred.states == -1).all()


def test_the_gradient_of_a_score_counts_what_its_path_uses(any_backend: Any) -> None:
    hmm = random_hmm(2, 5, 3, ragged=False, seed=3)
    emission = hmm.log_emission.clone().requires_grad_()
    paths = hmm._replace(log_emission=emission).apply(kbest, num_paths=3, backend=any_backend)
    (gradient,) = torch.autograd.grad(paths.log_score[2].sum(), emission)
    assert gradient.equal(torch.nn.functional.one_hot(paths.states[2], 3).double())


def test_padding_batch_and_threads_make_no_difference(any_backend: Any) -> None:
    hmm = random_hmm(6, 15, 4, sparse=True, dtype=torch.float32, seed=1)
    expected = hmm.apply(kbest, num_paths=4, backend=any_backend)
    assert hmm.lengths is not None
    padding = torch.arange(15) >= hmm.lengths[:, None]
    poisoned = hmm._replace(log_emission=hmm.log_emission.masked_fill(padding[..., None], torch.nan))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        paths = poisoned.apply(kbest, num_paths=4, backend=any_backend)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(paths.states, expected.states)
    assert torch.equal(paths.log_score, expected.log_score)
    alone = hmm._replace(log_emission=hmm.log_emission[2:3], lengths=hmm.lengths[2:3])
    assert torch.equal(
        alone.apply(kbest, num_paths=4, backend=any_backend).states[:, 0], expected.states[:, 2]
    )


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (1.5, TypeError)])
def test_a_wrong_number_of_paths_is_refused(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"num_paths must be .*; got"):
        kbest(torch.zeros(2), torch.zeros(2, 2), torch.zeros(1, 2, 2), num_paths=value)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_the_registered_operation_passes_opcheck(sparse: bool, any_backend: Any) -> None:
    problem = canonical(*random_hmm(2, 3, 4, sparse=sparse))
    torch.library.opcheck(torch.ops.hmm_core.kbest.default, (*problem, 3, any_backend))


def test_it_compiles_and_maps(any_backend: Any) -> None:
    hmm = random_hmm(2, 5, 3, seed=3)
    problem = (hmm.log_initial, hmm.log_transition, hmm.log_emission)

    def best(initial: Any, transition: Any, emission: Any) -> Any:
        return kbest(initial, transition, emission, num_paths=3, backend=any_backend)

    expected = best(*problem)
    compiled = torch.compile(best, fullgraph=True, backend="eager")(*problem)
    assert torch.equal(compiled.states, expected.states)
    if any_backend == "reference":
        mapped = torch.vmap(best, in_dims=(None, None, 0), out_dims=1)(
            problem[0], problem[1], problem[2][:, None]
        )
        assert torch.equal(mapped.states[:, :, 0], expected.states)
