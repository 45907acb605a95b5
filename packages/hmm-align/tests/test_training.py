"""Flat start and Viterbi training."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hmm_align import AlignerConfig
from hmm_align import _training as training
from hmm_align._acoustic import AcousticModel
from hmm_align._corpus import Prepared
from hmm_align._decode import best_paths
from hmm_align._features import FeatureStore
from hmm_align._graph import SILENCE, build_graph
from hmm_align._graph_batch import stack_tables
from hmm_align._training import Trainer, _long_runs, flat_densities, is_realigned


@pytest.fixture
def model() -> AcousticModel:
    return AcousticModel(["a", "b"], 2, states_per_phone=3, silence_states=5, variance_floor=0.01)


def energies(*runs: tuple[int, float]) -> torch.Tensor:
    """Return features whose first column has each value for a number of frames."""
    column = torch.cat([torch.full((length,), value) for length, value in runs])
    return torch.stack([column, torch.zeros_like(column)], dim=1)


def test_paths_are_searched_less_often_once_they_hardly_move() -> None:
    expected = [*range(1, 13), 15, 19, 23, 27]
    assert [iteration for iteration in range(1, 29) if is_realigned(iteration)] == expected


@pytest.mark.parametrize(
    ("flags", "kept"),
    [("1101110", "0001110"), ("1110111", "1110111"), ("0000", "0000"), ("1111", "1111"), ("11", "00")],
)
def test_only_long_runs_are_kept(flags: str, kept: str) -> None:
    found = _long_runs(np.array([flag == "1" for flag in flags]), 3)
    assert "".join(map(str, found.astype(int))) == kept


def test_a_flat_start_deals_pauses_to_silence_and_the_rest_evenly(model: AcousticModel) -> None:
    features = energies((20, 0.0), (24, 1.0), (20, 0.0), (24, 1.0))
    variants: list[list[tuple[str, ...]]] = [[("a", "b"), ("b",)], [("a",)]]
    densities = flat_densities(features, variants, model.units, period=0.01).tolist()
    quiet = [*range(19), *range(45, 63)]  # smoothing makes the outermost frames of a pause loud
    assert [t for t, density in enumerate(densities) if density < 5] == quiet
    assert {densities[t] for t in quiet} == {0, 1, 2, 3, 4}
    loud = [density for density in densities if density >= 5]
    # The states of a, b and a, each for as long as the others.
    assert loud == sorted(loud[: 2 * len(loud) // 3]) + sorted(loud[2 * len(loud) // 3 :])
    assert [loud.count(density) for density in range(5, 11)] == pytest.approx([11] * 3 + [6] * 3, abs=1)


def test_a_flat_start_takes_no_pause_shorter_than_a_closure(model: AcousticModel) -> None:
    features = energies((30, 1.0), (12, 0.0), (30, 1.0))
    assert min(flat_densities(features, [[("a",)]], model.units, period=0.01)) >= 5
    assert min(flat_densities(features, [[("a",)]], model.units, period=0.02)) < 5


def test_a_flat_start_gives_every_state_a_frame_though_pauses_must_yield(model: AcousticModel) -> None:
    features = energies((30, 0.0), (2, 1.0))
    densities = flat_densities(features, [[("a", "b")]], model.units, period=0.01)
    assert sorted(set(densities.tolist())) == [5, 6, 7, 8, 9, 10]


def test_a_batch_finds_the_paths_of_its_utterances(model: AcousticModel) -> None:
    chance = torch.Generator().manual_seed(0)
    features = [torch.randn(length, 2, generator=chance) for length in (14, 9, 6)]
    words: list[list[list[tuple[str, ...]]]] = [
        [[("a", "b"), ("b",)]],
        [[("a",)]],
        [[("a", "b", "a")]],
    ]
    model.mixtures.mean.data += torch.randn(model.mixtures.mean.shape, generator=chance)
    graphs = [build_graph(item, model.units, silence_prob=0.2) for item in words]
    tables = [model.log_emission(item) for item in features]
    log_emission, lengths = stack_tables(tables)
    assert lengths.tolist() == [14, 9, 6]
    together = list(best_paths(log_emission, lengths, graphs))
    for graph, table, (states, score) in zip(graphs, tables, together, strict=True):
        ((alone, alone_score),) = best_paths(*stack_tables([table]), [graph])
        np.testing.assert_array_equal(states, alone)
        assert score == alone_score
    assert together[2][1] == -torch.inf  # nine states do not fit six frames
    assert (together[2][0] == -1).all()


@pytest.fixture
def trainer(tmp_path: Path, model: AcousticModel) -> Iterator[Trainer[AcousticModel]]:
    """Return a trainer on noise around three places, in the order silence, a, b, silence."""
    config = AlignerConfig(
        iterations=8, num_components=30, frames_per_component=30.0, silence_components=9, batch_frames=200
    )
    store = FeatureStore(tmp_path, 2)
    utterances = []
    for number in range(6):
        chance = torch.Generator().manual_seed(number)
        places = torch.tensor(
            [[-2.0, 0.0]] * 30 + [[1.0, 1.0]] * 25 + [[1.0, -1.0]] * 15 + [[-2.0, 0.0]] * 20
        )
        features = places + 0.3 * torch.randn(places.shape, generator=chance)
        store.append(features, "anna")
        words = ((("a", "b"),),)
        utterances.append(Prepared(f"clip{number}", ("ab",), words, number, len(features), 0.9))
    yield Trainer(model, utterances, store, lambda: model.units, config)
    store.close()


def test_the_likelihood_rises_and_the_path_is_found(trainer: Trainer[AcousticModel]) -> None:
    trainer.flat_start()
    for _ in range(8):
        trainer.step()
    rises = np.diff(trainer.log_likelihood)
    assert (rises > 0).all()
    assert trainer.lost == []
    for densities in trainer.densities.values():
        unit = np.repeat([SILENCE, "a", "b"], [5, 3, 3])[densities.numpy()].tolist()
        borders = [t for t in range(1, 90) if unit[t] != unit[t - 1]]
        assert borders == pytest.approx([30, 55, 70], abs=1)


def test_mixtures_grow_to_the_budget_and_then_settle(trainer: Trainer[AcousticModel]) -> None:
    def components() -> int:
        return int(torch.isfinite(trainer.model.mixtures.weight_logits).sum())

    trainer.flat_start()
    sizes = [components()]
    for _ in range(8):
        trainer.step()
        sizes.append(components())
    assert sizes[0] == 11
    assert sizes == sorted(sizes)
    # 540 frames give 18 Gaussians, fewer than the 30 allowed; three quarters of the iterations add them.
    assert sizes[6:] == [18, 18, 18]


def test_a_silence_has_no_more_components_than_allowed(trainer: Trainer[AcousticModel]) -> None:
    trainer.config = replace(trainer.config, silence_components=1)
    trainer.flat_start()
    for _ in range(8):
        trainer.step()
    components = trainer.model.mixtures.num_components.tolist()
    assert components[:5] == [1] * 5
    assert max(components[5:]) > 1


def test_statistics_do_not_depend_on_how_many_are_collected_at_once(
    trainer: Trainer[AcousticModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer.flat_start()
    whole = trainer._statistics()
    monkeypatch.setattr(training, "_CHUNK", 100)
    parts = trainer._statistics()
    torch.testing.assert_close(whole.occupancy, parts.occupancy)
    torch.testing.assert_close(whole.second, parts.second)
    assert float(whole.occupancy.sum()) == pytest.approx(540)


def test_an_utterance_without_a_path_is_lost_and_its_frames_with_it(trainer: Trainer[AcousticModel]) -> None:
    trainer.flat_start()
    (first, *rest) = [item for batch in trainer._batches for item in batch]
    impossible = first._replace(pronunciations=((("a", "b") * 20,),))  # 120 states, 90 frames
    trainer._batches = [[impossible], rest]
    for _ in range(2):
        trainer.step()
        assert trainer.lost == [impossible]
    assert sorted(trainer.densities) == [item.number for item in rest]


def test_graphs_that_are_not_kept_are_built_anew(
    trainer: Trainer[AcousticModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer.flat_start()
    kept = trainer.search()
    assert len(trainer._graphs) == len(trainer._batches)
    trainer._graphs.clear()
    monkeypatch.setattr(training, "_KEPT_SLOTS", 0)
    again = trainer.search()
    assert trainer._graphs == {}
    np.testing.assert_array_equal(again[0], kept[0])
    assert again[1:] == kept[1:]
