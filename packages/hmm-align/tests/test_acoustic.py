"""The acoustic model: numbering of densities, counts of steps, transitions from counts."""

import numpy as np
import pytest
import torch

from hmm_align._acoustic import AcousticModel
from hmm_align._graph import SILENCE


@pytest.fixture
def model() -> AcousticModel:
    return AcousticModel(["a", "b"], 2, states_per_phone=3, silence_states=5, variance_floor=0.01)


def test_densities_are_numbered_unit_by_unit(model: AcousticModel) -> None:
    assert {label: unit.densities.tolist() for label, unit in model.units.items()} == {
        SILENCE: [0, 1, 2, 3, 4], "a": [5, 6, 7], "b": [8, 9, 10],
    }  # fmt: skip
    assert model.num_densities == 11
    assert model.log_emission(torch.zeros(4, 7, 2)).shape == (4, 7, 11)


def test_the_table_of_steps_holds_each_units_transitions(model: AcousticModel) -> None:
    table = model.log_steps()
    assert table.shape == (11, 6)
    for unit in model.units.values():
        size = len(unit.densities)
        np.testing.assert_allclose(table[unit.densities, :size], unit.log_transition, rtol=1e-6)  # float32
        np.testing.assert_allclose(table[unit.densities, -1], unit.log_final, rtol=1e-6)
        assert (table[unit.densities, size:-1] == -torch.inf).all()


def test_transitions_follow_the_counts_and_forbidden_steps_stay_so(model: AcousticModel) -> None:
    before = {label: unit.log_transition > -np.inf for label, unit in model.units.items()}
    steps = model.no_steps()
    steps[5, :2] = [895, 95]  # a's first state; 5 are added to each
    steps[9, 5] = 1000.0  # b's second state cannot leave the phone
    model.update_transitions(steps)
    np.testing.assert_allclose(np.exp(model.units["a"].log_transition[0]), [0.9, 0.1, 0.0])
    for label, unit in model.units.items():
        np.testing.assert_array_equal(unit.log_transition > -np.inf, before[label])
        away = np.exp(np.concatenate([unit.log_transition, unit.log_final[:, None]], axis=1)).sum(axis=1)
        np.testing.assert_allclose(away, 1.0)
    assert model.units["b"].log_final.tolist()[:2] == [-np.inf, -np.inf]


def test_a_copy_made_of_tensors_gives_the_same_scores(model: AcousticModel) -> None:
    steps = model.no_steps()
    steps[:, 0] = 7.0
    model.update_transitions(steps)
    model.mixtures.split(20, torch.ones(11), power=0.25)
    other = AcousticModel(["a", "b"], 2, states_per_phone=3, silence_states=5, variance_floor=0.01)
    other.load_tensors(model.to_tensors())
    x = torch.randn(9, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(other.log_emission(x), model.log_emission(x))
    for label, unit in model.units.items():
        np.testing.assert_array_equal(other.units[label].log_transition, unit.log_transition)
        np.testing.assert_array_equal(other.units[label].log_final, unit.log_final)
