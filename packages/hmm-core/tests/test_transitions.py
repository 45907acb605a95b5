"""Sparse transitions and the builders."""

import itertools

import numpy as np
import pytest
import torch

from hmm_core import (
    Graph,
    Sparse,
    ergodic,
    expected_transitions,
    from_arcs,
    left_to_right,
    linear_graph,
    log_likelihood,
    posterior,
    skip,
    stack_graphs,
    viterbi,
)
from hmm_core.testing import Arguments, random_hmm
from hmm_core.transitions import _sparse

INF = torch.inf
ASCENDING = "predecessors of a state must ascend strictly, with unused slots (-1) last; "
SHAPES = (
    "log_weight must have shape (K, R), (B, K, R) or (B, T-1, K, R) with (K, R) = (2, 1) from predecessors; "
)
NO_BATCH = "graphs must have no batch axis; got log_initial, log_final, emission_index "


@pytest.mark.parametrize("per_sequence", [False, True])
@pytest.mark.parametrize("time_varying", [False, True])
def test_sparse_and_dense_describe_the_same_model(per_sequence: bool, time_varying: bool) -> None:
    hmm = random_hmm(
        3, 5, 6, sparse=True, per_sequence=per_sequence, time_varying=time_varying, impossible=0.1
    )
    assert isinstance(hmm.log_transition, Sparse)
    dense = hmm._replace(log_transition=hmm.log_transition.to_dense())
    again = hmm._replace(log_transition=Sparse.from_dense(hmm.log_transition.to_dense()))
    for op in (log_likelihood, posterior, viterbi):
        for other in (dense, again):
            torch.testing.assert_close(hmm.apply(op), other.apply(op))
    assert hmm.apply(expected_transitions).sum().isclose(dense.apply(expected_transitions).sum())


def test_converting_back_and_forth_keeps_the_matrix() -> None:
    matrix = torch.randn(2, 3, 7, 7).masked_fill(torch.rand(2, 3, 7, 7) < 0.6, -INF)
    for part in (matrix, matrix[:, 0], matrix[0, 0]):
        assert torch.equal(Sparse.from_dense(part).to_dense(), part)
    assert Sparse.from_dense(torch.full((3, 3), -INF)).num_slots == 1


def test_gradients_flow_through_conversion() -> None:
    matrix = torch.randn(4, 4, requires_grad=True)
    Sparse.from_dense(matrix).to_dense().sum().backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    assert matrix.grad is not None
    assert torch.equal(matrix.grad, torch.ones(4, 4))


def test_to_moves_and_casts() -> None:
    graph = left_to_right(3).to("cpu", torch.float64)
    assert graph.log_weight.dtype == torch.float64
    assert graph.num_states == 3
    assert graph.num_slots == 2


@pytest.mark.parametrize(
    ("predecessors", "log_weight", "error", "message"),
    [
        ([[0]], torch.zeros(1, 1), TypeError, "predecessors must be a Tensor; got list"),
        (
            torch.zeros(1, 1),
            torch.zeros(1, 1),
            TypeError,
            "predecessors must have dtype torch.int64; got torch.float32",
        ),
        (
            torch.zeros(1, 1).long(),
            torch.zeros(1, 1).long(),
            TypeError,
            "log_weight must have a floating dtype; got torch.int64",
        ),
        (
            torch.zeros(2, 0).long(),
            torch.zeros(2, 0),
            ValueError,
            "predecessors must have shape (K, R) or (B, K, R), with K and R at least 1; got (2, 0)",
        ),
        (
            torch.zeros(2, 1).long(),
            torch.zeros(2, 2),
            ValueError,
            SHAPES + "got (2, 2)",
        ),
        (
            torch.zeros(3, 2, 1).long(),
            torch.zeros(2, 2, 1),
            ValueError,
            "log_weight must have B = 3, from predecessors (B, K, R) = (3, 2, 1); got (2, 2, 1)",
        ),
        (
            torch.zeros(2, 1).long(),
            torch.zeros(2, 1, device="meta"),
            ValueError,
            "log_weight must be on cpu like predecessors; got meta",
        ),
        (
            torch.tensor([[0], [2]]),
            torch.zeros(2, 1),
            ValueError,
            "predecessors must lie in 0..K-1 = 0..1, or be -1 in unused slots; got 2",
        ),
        (
            torch.tensor([[0], [-2]]),
            torch.zeros(2, 1),
            ValueError,
            "predecessors must lie in 0..K-1 = 0..1, or be -1 in unused slots; got -2",
        ),
        (
            torch.tensor([[0, 1], [1, 0]]),
            torch.zeros(2, 2),
            ValueError,
            ASCENDING + "got [1, 0] for state 1",
        ),
        (
            torch.tensor([[[0, 1], [-1, 0]]]),
            torch.zeros(2, 2),
            ValueError,
            ASCENDING + "got [-1, 0] for state 1",
        ),
    ],
)
def test_wrong_tables_are_refused(
    predecessors: torch.Tensor, log_weight: torch.Tensor, error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        Sparse(predecessors, log_weight)
    assert str(caught.value) == message


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Predecessors that are looked at, where that waits for a device."""
    looked: list[torch.Tensor] = []
    check = Sparse._check_order

    def counted(graph: Sparse) -> None:
        looked.append(graph.predecessors)
        check(graph)

    monkeypatch.setattr(Sparse, "_check_order", counted)
    monkeypatch.setattr(_sparse, "_waits", lambda _: True)
    return looked


def test_predecessors_on_a_gpu_are_looked_at_once(looks: list[torch.Tensor]) -> None:
    predecessors, weight = torch.tensor([[0, -1], [0, 1]]), torch.zeros(2, 2)
    for _ in range(3):
        Sparse(predecessors, weight)
    assert len(looks) == 1
    Sparse(predecessors.clone(), weight)
    assert len(looks) == 2


def test_predecessors_that_changed_are_looked_at_again(looks: list[torch.Tensor]) -> None:
    predecessors, weight = torch.tensor([[0, -1], [0, 1]]), torch.zeros(2, 2)
    Sparse(predecessors, weight)
    predecessors[0, 0] = 2
    for _ in range(2):
        with pytest.raises(ValueError, match="predecessors must lie in"):
            Sparse(predecessors, weight)
    assert len(looks) == 3


def test_predecessors_without_versions_are_looked_at_every_time(looks: list[torch.Tensor]) -> None:
    with torch.inference_mode():
        predecessors = torch.tensor([[0, -1], [0, 1]])
    for _ in range(2):
        Sparse(predecessors, torch.zeros(2, 2))
    assert len(looks) == 2


def test_predecessors_on_the_cpu_are_looked_at_every_time() -> None:
    values = np.array([[0, -1], [0, 1]])
    predecessors = torch.from_numpy(values)
    Sparse(predecessors, torch.zeros(2, 2))
    values[0, 0] = 2  # which torch does not notice
    with pytest.raises(ValueError, match="predecessors must lie in"):
        Sparse(predecessors, torch.zeros(2, 2))


def test_from_dense_refuses_what_is_not_square() -> None:
    with pytest.raises(ValueError, match=r"matrix must have shape .* got \(2, 3\)"):
        Sparse.from_dense(torch.zeros(2, 3))


@pytest.mark.parametrize("num_states", [1, 2, 3, 10])
def test_rows_of_built_transitions_sum_to_one(num_states: int) -> None:
    for matrix in (
        left_to_right(num_states).to_dense(),
        left_to_right(num_states, 0.0).to_dense(),
        left_to_right(num_states, 1.0).to_dense(),
        skip(num_states, 0.2, 0.3, 0.5).to_dense(),
        skip(num_states, 0.0, 0.0, 1.0).to_dense(),
        ergodic(num_states),
        ergodic(num_states, 0.25 if num_states > 1 else 1.0),
    ):
        torch.testing.assert_close(matrix.exp().sum(1), torch.ones(num_states))
    assert left_to_right(num_states, dtype=torch.float64).log_weight.dtype == torch.float64
    assert ergodic(num_states, dtype=torch.float64).dtype == torch.float64


def test_builders_follow_the_default_dtype() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        graph = linear_graph(torch.zeros(1, 2).long())
        for tensor in (
            left_to_right(2).log_weight,
            ergodic(2),
            ergodic(1),
            graph.log_initial,
            graph.log_final,
        ):
            assert tensor.dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_skip_model_has_the_given_probabilities() -> None:
    matrix = skip(4, 0.5, 0.3, 0.2).to_dense().exp()
    torch.testing.assert_close(matrix[0], torch.tensor([0.5, 0.3, 0.2, 0.0]))
    torch.testing.assert_close(matrix[2], torch.tensor([0.0, 0.0, 0.625, 0.375]))


def test_large_chains_take_little_memory() -> None:
    assert left_to_right(200_000).predecessors.shape == (200_000, 2)


def test_an_ergodic_model_may_be_unable_to_stay() -> None:
    assert ergodic(2, 0.0).tolist() == [[-INF, 0.0], [0.0, -INF]]


def test_arcs_may_come_in_any_order_and_carry_gradients() -> None:
    weight = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    graph = from_arcs(3, torch.tensor([2, 0, 1]), torch.tensor([1, 1, 0]), weight)
    assert graph.predecessors.tolist() == [[1, -1], [0, 2], [-1, -1]]
    graph.to_dense()[2, 1].backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    assert weight.grad is not None
    assert weight.grad.tolist() == [1.0, 0.0, 0.0]
    assert from_arcs(2, [], [], []).predecessors.tolist() == [[-1], [-1]]


def test_a_linear_graph_visits_its_tokens_in_order() -> None:
    tokens = torch.tensor([[3, 1, 3], [2, 9, 9]])
    graph = linear_graph(tokens, torch.tensor([3, 1]), self_loop_prob=0.9)
    emission = torch.randn(2, 6, 10)
    path = Arguments(*graph[:2], emission, None, *graph[2:]).apply(viterbi)
    assert [k for k, _ in itertools.groupby(path.states[0].tolist())] == [0, 1, 2]
    assert path.states[1].tolist() == [0] * 6
    # The weights of all durations sum to one: 5 steps of 0.9 and one exit for the single token.
    total = Arguments(*graph[:2], torch.zeros(2, 6, 10), None, *graph[2:]).apply(log_likelihood)
    torch.testing.assert_close(total[1].exp(), torch.tensor(0.9**5 * 0.1))


def test_stacked_graphs_give_what_the_graphs_give() -> None:
    generator = torch.Generator().manual_seed(0)
    graphs, emissions = [], torch.randn(3, 7, 4, generator=generator)
    for size in (1, 4, 6):
        weight = torch.randn(size, size, generator=generator, requires_grad=True)
        graphs.append(
            Graph(
                torch.randn(size, generator=generator),
                Sparse.from_dense(weight),
                torch.randn(size, generator=generator),
                torch.randint(4, (size,), generator=generator),
            )
        )
    stacked = stack_graphs(graphs)
    assert stacked.log_transition.predecessors.shape == (3, 6, 6)

    def run(graph: Graph, emission: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hmm = Arguments(*graph[:2], emission, None, *graph[2:])
        return hmm.apply(viterbi).states, hmm.apply(log_likelihood)

    states, total = run(stacked, emissions)
    assert total.requires_grad
    for b, graph in enumerate(graphs):
        alone = run(graph, emissions[b : b + 1])
        assert torch.equal(alone[0][0], states[b])
        torch.testing.assert_close(alone[1][0], total[b])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: left_to_right(0), "num_states must be at least 1; got 0"),
        (lambda: left_to_right(2, 1.5), "self_loop_prob must lie in 0..1; got 1.5"),
        (lambda: skip(2, 0.5, 0.5, 0.5), "self_loop_prob + next_prob + skip_prob must be 1; got 1.5"),
        (lambda: ergodic(2, -0.5), "self_loop_prob must lie in 0..1; got -0.5"),
        (lambda: from_arcs(2, [0], [2], [0.0]), "targets must lie in 0..K-1 = 0..1; got 2"),
        (lambda: from_arcs(2, [-1], [1], [0.0]), "sources must lie in 0..K-1 = 0..1; got -1"),
        (lambda: from_arcs(2, [0, 0], [1, 1], [0.0, 1.0]), "an arc must be given once; got (0, 1) twice"),
        (
            lambda: from_arcs(2, [0, 0], [1], [0.0]),
            "sources, targets and log_weight must have one shape (A,); got (2,), (1,) and (1,)",
        ),
        (lambda: linear_graph(torch.zeros(3)), "tokens must have shape (B, N) with N at least 1; got (3,)"),
        (
            lambda: linear_graph(torch.zeros(2, 3), torch.tensor([1])),
            "lengths must have shape (B,) = (2,); got (1,)",
        ),
        (
            lambda: linear_graph(torch.zeros(2, 3), torch.tensor([1, 0])),
            "lengths must lie in 1..N = 1..3; got 0",
        ),
        (lambda: stack_graphs([]), "graphs must hold at least one graph; got none"),
        (
            lambda: stack_graphs([linear_graph(torch.zeros(1, 2))]),
            NO_BATCH + "[(1, 2), (1, 2), (1, 2)] and log_weight (1, 2, 2) in graph 0",
        ),
    ],
)
def test_wrong_arguments_are_refused(build: object, message: str) -> None:
    assert callable(build)
    with pytest.raises(ValueError) as caught:
        build()
    assert str(caught.value) == message
