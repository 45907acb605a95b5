"""Tied states: their units in context, their training and their features."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hmm_align import AlignerConfig
from hmm_align._acoustic import AcousticModel
from hmm_align._corpus import Prepared
from hmm_align._features import FeatureStore
from hmm_align._graph import Unit
from hmm_align._shards import Shards
from hmm_align._tied import TiedModel, spliced
from hmm_align._tied_training import TiedTrainer, context_statistics, path_of

CONFIG = AlignerConfig(acoustic="triphone", num_components=60, frames_per_component=30.0, batch_frames=400)
PHONES = ["AA", "S", "T"]


@pytest.fixture
def base() -> AcousticModel:
    return AcousticModel(PHONES, 6, states_per_phone=3, silence_states=5, variance_floor=0.01)


def test_a_path_is_cut_where_units_begin(base: AcousticModel) -> None:
    # Silence 0-4, which may fall back; AA 5-7 twice; T 11-13.
    path = path_of(np.array([0, 3, 1, 4, 5, 6, 6, 7, 5, 6, 7, 11, 12, 13]), base)
    assert path.chain.tolist() == [0, 1, 1, 3]
    assert path.context[:, 1:].tolist() == [[0, 1]] * 4 + [[0, 1]] * 4 + [[1, 3]] * 3 + [[1, 0]] * 3


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FeatureStore]:
    """Return twelve utterances in which AA sounds as what comes before it."""
    features = FeatureStore(tmp_path, 6)
    chance = torch.Generator().manual_seed(0)
    for number in range(12):
        before = 3.0 if number % 2 else -3.0
        places = torch.tensor([[0.0] * 6] * 20 + [[before, 2.0, 0, 0, 0, 0]] * 15)
        places = torch.cat([places, torch.tensor([[before / 2, -2.0, 0, 0, 0, 0]] * 30), places[:20]])
        features.append(places + 0.5 * torch.randn(places.shape, generator=chance), "anna")
    yield features
    features.close()


DENSITIES = torch.tensor([0] * 20 + [8] * 5 + [9] * 5 + [10] * 5 + [5] * 10 + [6] * 10 + [7] * 10 + [0] * 20)


@pytest.fixture
def densities() -> dict[int, torch.Tensor]:
    """Return paths through S AA and T AA in turn."""
    other = torch.where((DENSITIES >= 8), DENSITIES + 3, DENSITIES)
    return {number: (other if number % 2 else DENSITIES).short() for number in range(12)}


def trainer_of(
    base: AcousticModel,
    store: FeatureStore,
    densities: dict[int, torch.Tensor],
    config: AlignerConfig = CONFIG,
) -> TiedTrainer:
    utterances = [Prepared(f"clip{number}", ("a",), ((("AA",),),), number, 85, 0.85) for number in range(12)]
    return TiedTrainer(base, utterances, store, densities, "en", config)


def test_contexts_add_up_what_was_heard_in_them(
    base: AcousticModel, store: FeatureStore, densities: dict[int, torch.Tensor]
) -> None:
    paths = {number: path_of(item.long().numpy(), base) for number, item in densities.items()}
    found = context_statistics(paths, store, 4, Shards())
    assert found.moments[:, 0].sum() == 12 * 85
    rows = {
        tuple(key): row
        for key, row in zip(np.c_[found.state, found.neighbours].tolist(), found.moments, strict=True)
    }
    heard = torch.cat([store.read(number)[35:45] for number in range(1, 12, 2)]).double()
    expected = [60.0, *heard.sum(0), *heard.square().sum(0)]
    np.testing.assert_allclose(rows[5, 3, 0], expected, rtol=1e-9)  # AA after T, before silence


def test_a_phone_gets_states_of_its_own_where_its_neighbours_change_it(
    base: AcousticModel,
    store: FeatureStore,
    densities: dict[int, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hmm_align._tied_training._MIN_COUNT", 20.0)
    monkeypatch.setattr("hmm_align._tied_training._MIN_GAIN", 20.0)
    model = trainer_of(base, store, densities).model
    after_s, after_t = model.tied(["", "S", "AA", ""])[2], model.tied(["", "T", "AA1", ""])[2]
    assert set(after_s.densities.tolist()).isdisjoint(after_t.densities.tolist())
    np.testing.assert_array_equal(after_s.log_transition, base.units["AA"].log_transition)
    # Silence is the same everywhere.
    assert model.tied(["", "S"])[0].densities.tolist() == model.tied(["T", ""])[1].densities.tolist()
    assert model.num_densities == base.num_densities + 3
    steps = model.log_steps()
    assert torch.equal(steps[after_s.densities], base.log_steps()[base.units["AA"].densities])


def test_chains_get_models_of_their_own(
    base: AcousticModel, store: FeatureStore, densities: dict[int, torch.Tensor]
) -> None:
    model = trainer_of(base, store, densities).model
    chains = [[Unit("", -1, 0, 0), Unit("AA1", 0, 0, 5)], [Unit("S", 0, 1, 0)]]
    renamed, models = model.in_context(chains)
    assert [len(chain) for chain in renamed] == [2, 1]
    assert len(models) == 3
    assert renamed[1][0]._replace(context=None) == chains[1][0]
    expected = model.tied(["", "AA1"])[1].densities
    assert models[renamed[0][1].name].densities.tolist() == expected.tolist()


@pytest.mark.parametrize("transform", ["none", "mllt", "lda+mllt"])
def test_training_makes_the_paths_likelier_and_a_copy_scores_alike(
    base: AcousticModel, store: FeatureStore, densities: dict[int, torch.Tensor], transform: str
) -> None:
    config = replace(CONFIG, feature_transform=transform)  # type: ignore[arg-type]  # one of three
    trainer = trainer_of(base, store, densities, config)
    while trainer.iteration < trainer.config.iterations:
        trainer.step()
    assert trainer.lost == []
    if transform == "none":  # the others change what is measured
        assert trainer.log_likelihood[-1] > trainer.log_likelihood[0]
    observed = trainer.model.observe(store.read(0))
    assert observed.shape == (85, 6)
    copy = TiedModel.of_tensors(base, trainer.model.to_tensors())
    assert torch.equal(copy.observe(store.read(0)), observed)
    every = torch.arange(copy.num_densities)
    assert torch.equal(copy.log_emission(observed, every), trainer.model.log_emission(observed, every))


def test_lda_reads_what_parts_the_states(
    base: AcousticModel, store: FeatureStore, densities: dict[int, torch.Tensor]
) -> None:
    trainer = trainer_of(base, store, densities, replace(CONFIG, feature_transform="lda+mllt"))
    observed = torch.cat([trainer.model.observe(store.read(number)) for number in range(12)])
    states = torch.cat([trainer.densities[number] for number in range(12)])
    seen = sorted(set(states.tolist()))
    means = torch.stack([observed[states == state].mean(0) for state in seen])
    within = torch.stack([observed[states == state].var(0) for state in seen])
    # The first directions part the states, most of all; within them the variance is 1 on average.
    spread = means.var(0)
    assert spread[0] == spread.max()
    assert 0.3 < float(within.mean()) < 2.0


@pytest.mark.parametrize(("seconds", "dims"), [(10.2, 10), (10.3, 6)])
def test_enough_speech_makes_states_see_their_surroundings(
    base: AcousticModel,
    store: FeatureStore,
    densities: dict[int, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    dims: int,
) -> None:
    monkeypatch.setattr("hmm_align._tied_training._LONG_ENOUGH", seconds)  # there are 10.2
    trainer = trainer_of(base, store, densities, replace(CONFIG, feature_transform="auto"))
    assert trainer.model.transform.feature_dim == dims


def test_the_path_of_a_long_utterance_stays_that_of_the_monophones(
    base: AcousticModel,
    store: FeatureStore,
    densities: dict[int, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(TiedTrainer, "_longest", 84)
    trainer = trainer_of(base, store, densities)
    before = {number: item.clone() for number, item in trainer.densities.items()}
    while trainer.iteration < trainer.config.iterations:
        trainer.step()
    assert trainer.lost == []
    assert trainer.densities.keys() == before.keys()
    assert all(torch.equal(item, before[number]) for number, item in trainer.densities.items())
    assert trainer.model.mixtures.num_components.sum() > trainer.model.num_densities


def test_frames_of_another_length_see_as_much(
    base: AcousticModel, store: FeatureStore, densities: dict[int, torch.Tensor]
) -> None:
    config = replace(CONFIG, feature_transform="lda+mllt", frame_period=0.005)
    model = trainer_of(base, store, densities, config).model
    assert model.transform.feature_dim == 2 * 9
    assert model.observe(store.read(0)).shape == (85, 6)


def test_neighbouring_cepstra_stand_side_by_side() -> None:
    features = torch.arange(4.0)[:, None] * torch.tensor([[1.0, 10.0, 0.0, 0.0, 0.0, 0.0]])
    found = spliced(features, 2)
    assert found.shape == (4, 10)
    assert found[0].tolist() == [0, 0, 0, 1, 2, 0, 0, 0, 10, 20]
    assert found[3].tolist() == [1, 2, 3, 3, 3, 10, 20, 30, 30, 30]
