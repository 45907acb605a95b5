"""What the kernels know of a sparse graph, and how they divide it."""

import pytest
import torch
from torch import Tensor

from hmm_core import Sparse, ctc_graph, left_to_right, skip
from hmm_core._validate import canonical
from hmm_core.backends.cuda._model import Model, describe
from hmm_core.backends.cuda.sparse import _graph, _plan


def model(predecessors: Tensor) -> Model:
    """A problem on a graph."""
    K, R = predecessors.shape
    zeros = torch.zeros(K, device=predecessors.device)
    transition = Sparse(predecessors, torch.zeros((K, R), device=predecessors.device))
    return describe(*canonical(zeros, transition, zeros.expand(2, 3, K), None, None, None))


def test_arcs_are_grouped_by_the_state_that_they_leave(device: torch.device) -> None:
    predecessors = torch.tensor([[[0, 2], [0, -1], [0, 1]]], device=device)
    groups = _graph.outgoing(predecessors)
    assert groups.starts.tolist() == [[0, 3, 4, 5]]
    assert groups.members[0, :5].tolist() == [0, 2, 4, 5, 1]  # arc j * R + r
    assert groups.largest(2).tolist() == [[3, 1]]
    assert groups.stride == 0


@pytest.mark.parametrize(
    ("predecessors", "reach"),
    [
        (left_to_right(5).predecessors, 1),
        (skip(5, 0.3, 0.4, 0.3).predecessors, 2),
        (ctc_graph(torch.tensor([[1, 2], [1, 1]])).log_transition.predecessors, 2),
        (torch.tensor([[0], [1], [2]]), 1),
        (torch.tensor([[1], [0]]), None),
    ],
)
def test_it_is_known_how_far_arcs_lead_forwards(
    predecessors: Tensor, reach: int | None, device: torch.device
) -> None:
    batched = predecessors if predecessors.ndim == 3 else predecessors[None]
    assert _graph.reach(batched.to(device)) == reach


def test_what_is_known_of_a_graph_is_remembered_until_it_changes(device: torch.device) -> None:
    graph = torch.tensor([[0, -1], [0, 1]], device=device)
    first = _graph.outgoing(graph[None])
    assert _graph.outgoing(graph[None]) is first  # another view of the same tensor
    assert _graph.reach(graph[None]) == 1
    graph[0] = torch.tensor([0, 1])
    assert _graph.outgoing(graph[None]) is not first
    assert _graph.reach(graph[None]) is None


def test_a_large_graph_becomes_a_pipeline_if_its_arcs_lead_forwards(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = left_to_right(_plan.SINGLE + 1).predecessors.to(device)
    chosen = _plan.plan(model(chain))
    assert chosen.tiles == -(-len(chain) // _plan.TILE)
    assert chosen.reach == 1
    far = chain.clone()
    far[-1] = torch.tensor([0, len(chain) - 1])
    assert _plan.plan(model(far)).far  # its last arc is longer than a tile
    assert not chosen.far
    around = chain.clone()
    around[0] = torch.tensor([0, 1])
    for available, programs in ((0, 1), (2, 1), (132, 2)):
        monkeypatch.setattr(_plan, "processors", lambda _, available=available: available)
        chosen = _plan.plan(model(around))
        assert (chosen.tiles, chosen.meet, chosen.together) == (programs, True, programs > 1)
    assert _plan.plan(model(chain[: _plan.SINGLE])).tiles == 1


def test_spans_cover_all_frames() -> None:
    assert _plan.spans(7, 3) == [(0, 3), (3, 6), (6, 7)]
    assert _plan.spans(7, 100) == [(0, 7)]
    assert _plan.spans(0, 3) == []
