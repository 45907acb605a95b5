"""Counts of parameters, information criteria, and the sizes that they choose."""

import math
from typing import Any

import pytest
import torch
from hmmlearn import hmm
from torch import Tensor, nn

from hmm_models import (
    GaussianHMM,
    HiddenMarkovModel,
    SemiMarkovHMM,
    phone_topology,
    select_num_mixtures,
    select_num_states,
)


@pytest.fixture
def x() -> Tensor:
    """Six sequences of a model of three states."""
    truth = GaussianHMM(3, 2)
    with torch.no_grad():
        truth.emission.mean.copy_(torch.tensor([[-4.0, 0.0], [0.0, 4.0], [4.0, 0.0]]).unsqueeze(1))
    return truth.sample(80, 6, generator=torch.Generator().manual_seed(0)).features


@pytest.mark.parametrize("covariance_type", ["spherical", "diag", "full", "tied"])
def test_parameters_are_counted_as_hmmlearn_counts_them(covariance_type: str) -> None:
    peer = hmm.GaussianHMM(3, covariance_type)
    peer.n_features = 2
    expected = sum(peer._get_n_fit_scalars_per_param()[name] for name in "stmc")
    assert GaussianHMM(3, 2, covariance_type=covariance_type).num_parameters == expected


def test_what_is_forbidden_does_not_count() -> None:
    model = GaussianHMM(3, 2, topology=phone_topology(3))
    # Each state may stay or go on; means and variances; no choice of the start.
    assert model.num_parameters == 3 + 12
    segments = SemiMarkovHMM(3, 2, 10, topology="left_to_right")
    assert segments.num_parameters == 12 + 6  # and two numbers for each state's duration


def test_the_criteria_are_their_formulas(x: Tensor) -> None:
    model, lengths = GaussianHMM(2, 2), torch.tensor([80, 80, 10, 0, 80, 50])
    total = float(model.log_likelihood(x, lengths).double().sum().detach())
    k, n = model.num_parameters, 300
    assert model.aic(x, lengths) == pytest.approx(2 * k - 2 * total)
    assert model.bic(x, lengths) == pytest.approx(k * math.log(n) - 2 * total)
    assert model.hqc(x, lengths) == pytest.approx(2 * k * math.log(math.log(n)) - 2 * total)


@pytest.mark.parametrize("criterion", ["aic", "bic", "hqc", "cross_validation"])
def test_three_states_are_found(criterion: Any, x: Tensor) -> None:
    found = select_num_states(x, candidates=(1, 2, 3), criterion=criterion, num_folds=3)
    assert found.best == 3
    assert set(found.scores) == {1, 2, 3}


def test_a_needless_state_costs_more_than_it_gains(x: Tensor) -> None:
    assert select_num_states(x, candidates=(3, 5), criterion="bic").best == 3


def test_two_heaps_are_two_components() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 100, 1, generator=generator)
    x += 6.0 * torch.randint(0, 2, x.shape, generator=generator)
    assert select_num_mixtures(x, candidates=(1, 2, 4), num_states=1).best == 2


def test_wrong_arguments_are_named(x: Tensor) -> None:
    with pytest.raises(ValueError, match="candidates must name at least one number; got none"):
        select_num_states(x, candidates=())
    with pytest.raises(ValueError, match=r'criterion must be "aic", "bic", .*; got \'mdl\''):
        select_num_states(x, criterion="mdl")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cross_validation needs two sequences and two folds; got 1 and 5"):
        select_num_states(x[:1], criterion="cross_validation")

    class Silent(nn.Module):
        num_densities = 2

    with pytest.raises(TypeError, match="emission must have num_parameters; Silent does not"):
        _ = HiddenMarkovModel(Silent()).num_parameters
