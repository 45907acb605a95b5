"""The CTC graph: its likelihood is that of torch's loss, its best path an alignment."""

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn.functional import ctc_loss

from hmm_core import Graph, ViterbiPath, ctc_graph, log_likelihood, viterbi
from hmm_core._dispatch import Backend


def likelihood(
    graph: Graph, log_prob: Tensor, lengths: Tensor | None = None, backend: Backend = "auto"
) -> Tensor:
    return log_likelihood(
        graph.log_initial,
        graph.log_transition,
        log_prob,
        lengths,
        log_final=graph.log_final,
        emission_index=graph.emission_index,
        backend=backend,
    )


def alignment(graph: Graph, log_prob: Tensor, lengths: Tensor | None = None) -> ViterbiPath:
    return viterbi(
        graph.log_initial,
        graph.log_transition,
        log_prob,
        lengths,
        log_final=graph.log_final,
        emission_index=graph.emission_index,
    )


def problem(B: int, T: int, N: int, P: int, blank: int, seed: int = 0) -> tuple[Tensor, ...]:
    """Logits (B, T, P), lengths, targets with repeated labels, target lengths with an empty target."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(B, T, P, dtype=torch.float64, generator=generator)
    labels = torch.tensor([label for label in range(P) if label != blank])
    targets = labels[torch.randint(P - 1, (B, N), generator=generator)]
    lengths = torch.randint(T // 2, T + 1, (B,), generator=generator)
    target_lengths = torch.randint(N + 1, (B,), generator=generator)
    target_lengths[0], lengths[0], target_lengths[1] = N, T, 0
    return logits, lengths, targets, target_lengths


@pytest.mark.parametrize(("N", "P", "blank"), [(1, 3, 0), (6, 2, 0), (9, 3, 1), (20, 30, 29)])
def test_the_likelihood_and_its_gradient_are_those_of_the_loss_of_torch(
    N: int, P: int, blank: int, any_backend: Backend
) -> None:
    logits, lengths, targets, target_lengths = problem(7, 50, N, P, blank)
    results = []
    for ours in (True, False):
        x = logits.clone().requires_grad_()
        log_prob = x.log_softmax(-1)
        if ours:
            graph = ctc_graph(targets, target_lengths, blank=blank, dtype=torch.float64)
            loss = -likelihood(graph, log_prob, lengths, any_backend)
        else:
            loss = ctc_loss(
                log_prob.transpose(0, 1),
                targets,
                lengths,
                target_lengths,
                blank=blank,
                reduction="none",
                zero_infinity=True,
            )
        finite = loss[loss.detach().isfinite()]
        finite.sum().backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        assert x.grad is not None
        results.append((torch.where(loss.detach().isinf(), 0.0, loss.detach()), x.grad))
    assert results[0][0].gt(0).sum() >= 6, "most sequences can be aligned"
    # Roundings of 50 frames in float64.
    torch.testing.assert_close(results[0], results[1], rtol=1e-10, atol=1e-12)


def test_labels_that_need_more_frames_have_no_path_and_no_gradient() -> None:
    log_prob = torch.zeros(2, 4, 3, requires_grad=True)
    graph = ctc_graph(torch.tensor([[1, 1, 2], [1, 2, 1]]))  # four frames are enough for both, three are not
    assert likelihood(graph, log_prob).isfinite().all()
    short = likelihood(graph, log_prob, torch.tensor([3, 3]))
    assert short.tolist() == [-torch.inf, 0.0]
    short.sum().backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    assert log_prob.grad is not None
    assert not log_prob.grad[0].any()
    assert log_prob.grad[1, :3].sum() == 3
    assert alignment(graph, log_prob.detach(), torch.tensor([3, 3])).states[0].tolist() == [-1] * 4


def collapse(frames: list[int], blank: int) -> list[int]:
    """Labels of the frames without repetitions and blanks (Graves' B)."""
    return [label for label, _ in itertools.groupby(frames) if label != blank]


def test_an_alignment_spells_its_labels_and_is_the_best_that_does() -> None:
    logits, lengths, targets, target_lengths = problem(6, 5, 3, 3, 0, seed=1)
    log_prob = logits.log_softmax(-1)
    graph = ctc_graph(targets, target_lengths, dtype=torch.float64)
    path = alignment(graph, log_prob, lengths)
    found = 0
    for b in range(6):
        T = int(lengths[b])
        wanted = targets[b, : int(target_lengths[b])].tolist()
        spellings = [f for f in itertools.product(range(3), repeat=T) if collapse(list(f), 0) == wanted]
        scores = [sum(float(log_prob[b, t, s]) for t, s in enumerate(spelling)) for spelling in spellings]
        if not scores:
            assert path.states[b].tolist() == [-1] * 5
            continue
        found += 1
        frames = graph.emission_index[b][path.states[b, :T]].tolist()
        assert collapse(frames, 0) == wanted
        assert sum(float(log_prob[b, t, s]) for t, s in enumerate(frames)) == pytest.approx(max(scores))
    assert found >= 4


def test_states_and_arcs_are_those_of_the_paper() -> None:
    graph = ctc_graph(torch.tensor([[5, 5, 7], [4, -9, -9]]), torch.tensor([3, 1]), blank=2)
    assert graph.emission_index.tolist() == [[2, 5, 2, 5, 2, 7, 2], [2, 4, 2, 2, 2, 2, 2]]
    arcs = (graph.log_transition.to_dense() > -torch.inf).nonzero().tolist()
    one = [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 3), (3, 3), (3, 4), (3, 5), (4, 4), (4, 5), (5, 5)]
    expected = [[0, *arc] for arc in [*one, (5, 6), (6, 6)]]
    expected += [[1, *arc] for arc in [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2)]]
    assert arcs == expected
    assert (graph.log_initial == 0).nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert (graph.log_final == 0).nonzero().tolist() == [[0, 5], [0, 6], [1, 1], [1, 2]]


def test_one_transcript_has_no_batch_axis_and_serves_every_sequence() -> None:
    targets = torch.tensor([1, 2, 2])
    single = ctc_graph(targets, dtype=torch.float64)
    batch = ctc_graph(targets.expand(4, 3), dtype=torch.float64)
    assert single.log_initial.shape == (7,)
    assert single.log_transition.num_slots == 3
    log_prob = torch.randn(4, 9, 3, dtype=torch.float64).log_softmax(-1)
    torch.testing.assert_close(likelihood(single, log_prob), likelihood(batch, log_prob), rtol=0, atol=0)
    with pytest.raises(ValueError, match="target_lengths must be omitted where targets has shape"):
        ctc_graph(targets, torch.tensor([3]))


def test_an_empty_transcript_is_all_blanks() -> None:
    log_prob = torch.randn(2, 4, 3, dtype=torch.float64).log_softmax(-1)
    for targets in (torch.zeros(2, 0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)):
        graph = ctc_graph(targets, blank=1, dtype=torch.float64)
        torch.testing.assert_close(likelihood(graph, log_prob), log_prob[..., 1].sum(-1))
    assert ctc_graph(torch.zeros(0, 3, dtype=torch.int64)).log_initial.shape == (0, 7)


def test_padding_of_the_targets_is_never_read() -> None:
    logits, lengths, targets, target_lengths = problem(5, 30, 8, 6, 0)
    log_prob = logits.log_softmax(-1)
    padding = torch.arange(8) >= target_lengths[:, None]
    graphs = [
        ctc_graph(targets.masked_fill(padding, value), target_lengths, dtype=torch.float64)
        for value in (0, -7, 2**40)
    ]
    values = [likelihood(graph, log_prob, lengths) for graph in graphs]
    assert torch.equal(values[0], values[1])
    assert torch.equal(values[0], values[2])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"targets": torch.zeros(2, 2)}, TypeError, "targets must have an integer dtype; got torch.float32"),
        (
            {"targets": torch.ones(1, 1, 1).long()},
            ValueError,
            "targets must have shape (B, N) or (N,); got (1, 1, 1)",
        ),
        ({"targets": torch.ones(1).long(), "blank": -1}, ValueError, "blank must be at least 0; got -1"),
        (
            {"targets": torch.tensor([[1, 3]]), "blank": 3},
            ValueError,
            "targets must be at least 0 and not blank = 3; got 3",
        ),
        (
            {"targets": torch.tensor([[1, -1]])},
            ValueError,
            "targets must be at least 0 and not blank = 0; got -1",
        ),
        (
            {"targets": torch.tensor([[1, 1]]), "target_lengths": torch.tensor([3])},
            ValueError,
            "target_lengths must lie in 0..N = 0..2; got 3",
        ),
        (
            {"targets": torch.tensor([[1, 1]]), "target_lengths": torch.tensor([1, 1])},
            ValueError,
            "target_lengths must have shape (B,) = (1,), with B from targets (B, N) = (1, 2); got (2,)",
        ),
    ],
)
def test_what_is_not_a_transcript_is_refused(
    arguments: dict[str, Tensor], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        ctc_graph(**arguments)  # type: ignore[arg-type]
    assert str(caught.value) == message


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_graph_has_the_dtype_that_was_asked_for(dtype: torch.dtype) -> None:
    graph = ctc_graph(torch.tensor([[1]]), dtype=dtype)
    assert graph.log_initial.dtype == graph.log_final.dtype == graph.log_transition.log_weight.dtype == dtype


def test_gradients_are_exact() -> None:
    _, lengths, targets, target_lengths = problem(3, 6, 3, 4, 0)
    graph = ctc_graph(targets, target_lengths, dtype=torch.float64)
    scores = torch.randn(3, 6, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: likelihood(graph, x, lengths.clamp(min=5)), scores)
