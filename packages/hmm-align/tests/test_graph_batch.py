"""Graphs built once, into which a model's steps are filled."""

import numpy as np
import pytest
import torch

from hmm_align._acoustic import AcousticModel
from hmm_align._graph import Pronunciation, build_graph
from hmm_align._graph_batch import GraphBatch, without_steps
from hmm_core import Sparse, viterbi

TRANSCRIPTS: list[list[list[Pronunciation]]] = [
    [[("a", "b"), ("b",)], [("a",)]],
    [[("b",)]],
    [[("a",)], [("a",)]],
]


@pytest.fixture
def model() -> AcousticModel:
    """Return a model of random densities that has seen random steps."""
    model = AcousticModel(["a", "b"], 2, states_per_phone=3, silence_states=5, variance_floor=0.01)
    chance = np.random.default_rng(0)
    steps = model.no_steps()
    model.update_transitions(steps + chance.integers(0, 50, steps.shape))
    model.mixtures.mean.data += torch.randn(
        model.mixtures.mean.shape, generator=torch.Generator().manual_seed(0)
    )
    return model


def batch() -> GraphBatch:
    """Return graphs that were built before the model learned how its states follow."""
    fresh = AcousticModel(["a", "b"], 2, states_per_phone=3, silence_states=5, variance_floor=0.01)
    return graphs_of(TRANSCRIPTS, fresh)


def graphs_of(transcripts: list[list[list[Pronunciation]]], model: AcousticModel) -> GraphBatch:
    """Return the graphs of transcripts, to be filled in."""
    units = {label: without_steps(unit) for label, unit in model.units.items()}
    return GraphBatch([build_graph(words, units, 0.2) for words in transcripts], model.log_steps().shape[1])


def test_filled_graphs_are_those_built_with_the_model(model: AcousticModel) -> None:
    found = batch().graph(model.log_steps())
    assert isinstance(found.log_transition, Sparse)
    for number, words in enumerate(TRANSCRIPTS):
        expected = build_graph(words, model.units, 0.2).graph
        assert isinstance(expected.log_transition, Sparse)
        size = expected.log_transition.num_states
        dense = found.log_transition.to_dense()[number]
        # Sums of the same float32 logarithms, in another order.
        torch.testing.assert_close(dense[:size, :size], expected.log_transition.to_dense(), rtol=0, atol=1e-5)
        assert (dense[size:] == -torch.inf).all()
        for name in ("log_initial", "log_final"):
            own, other = getattr(found, name)[number], getattr(expected, name)
            torch.testing.assert_close(own[:size], other, rtol=0, atol=1e-5)
            assert (own[size:] == -torch.inf).all()


def test_paths_of_a_batch_are_those_of_each_graph_alone(model: AcousticModel) -> None:
    lengths = torch.tensor([14, 2, 11])
    log_emission = torch.randn(3, 14, 11, generator=torch.Generator().manual_seed(1)) * 4
    paths = batch().best_paths(model.log_steps(), log_emission, lengths)
    assert paths.log_score[1] == -torch.inf  # three states do not fit two frames
    for number in (0, 2):
        graph = build_graph(TRANSCRIPTS[number], model.units, 0.2)
        initial, arcs, final, densities = graph.graph
        frames = int(lengths[number])
        alone = viterbi(
            initial,
            arcs,
            log_emission[number : number + 1, :frames],
            log_final=final,
            emission_index=densities,
        )
        assert float(paths.log_score[number]) == pytest.approx(float(alone.log_score), rel=1e-6)
        expected = graph.density_of_state[alone.states[0]]
        assert torch.equal(paths.densities[number, :frames], expected)


def test_steps_are_counted_by_where_they_start_and_lead(model: AcousticModel) -> None:
    # Each frame is heard as one density only: silence 0-4, a 5-7, b 8-10.
    heard = torch.tensor([[0, 2, 4, 4, 5, 6, 7, 5, 5, 6, 7], [8, 9, 10, 0, 0, 0, 0, 0, 0, 0, 0]])
    graphs = graphs_of([TRANSCRIPTS[2], TRANSCRIPTS[1]], model)
    log_emission = torch.full((2, 11, 11), -1000.0).scatter(2, heard[..., None], 0.0)
    steps = graphs.best_paths(model.log_steps(), log_emission, torch.tensor([11, 3])).steps
    expected = torch.zeros(11, 6, dtype=torch.int64)
    expected[0, 2] = expected[2, 4] = expected[4, 4] = expected[4, 5] = 1
    expected[5, 0] = 1  # the second a stays
    expected[5, 1] = expected[6, 2] = expected[7, 5] = 2  # the last of them ends the utterance
    expected[8, 1] = expected[9, 2] = expected[10, 5] = 1
    assert torch.equal(steps, expected)


def test_an_utterance_without_a_path_counts_no_steps(model: AcousticModel) -> None:
    graphs = graphs_of([[[("a",)]]], model)
    paths = graphs.best_paths(model.log_steps(), torch.zeros(1, 2, 11), torch.tensor([2]))
    assert paths.log_score.tolist() == [-torch.inf]
    assert not paths.steps.any()
