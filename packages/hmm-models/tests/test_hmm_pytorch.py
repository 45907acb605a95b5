"""HMMPyTorch: scores or features, by what the first batch looks like; training by gradient descent."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import hmm_core
from hmm_models import (
    GaussianHMM,
    GaussianMixtures,
    HMMPyTorch,
    StateScores,
    create_left_to_right_matrix,
    load_model,
    save_model,
)


def features(*shape: int) -> Tensor:
    """Random walks, reproducible."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)).cumsum(1)


def test_observations_of_k_numbers_are_scores() -> None:
    hmm = HMMPyTorch(create_left_to_right_matrix(4, 0.6))
    scores, lengths = features(2, 9, 4), torch.tensor([9, 5])
    chain = hmm.topology
    expected = hmm_core.posterior(chain.log_initial, chain.log_transition, scores, lengths)
    posteriors, log_likelihood = hmm.forward_backward(scores, lengths)
    torch.testing.assert_close(posteriors, expected.state)
    torch.testing.assert_close(hmm(scores, lengths), expected.log_likelihood)
    torch.testing.assert_close(log_likelihood, expected.log_likelihood)
    states, score = hmm.viterbi_decode(scores, lengths)
    assert torch.equal(hmm.align(scores, lengths), states)
    assert bool((score <= log_likelihood).all())
    assert isinstance(hmm.emission, StateScores)
    assert hmm.emission.num_parameters == 0
    with pytest.raises(ValueError, match=r"x must have shape \(B, T, D\) = \(B, T, 4\); got \(2, 9, 5\)"):
        hmm(features(2, 9, 5))


def test_other_observations_are_features() -> None:
    hmm = HMMPyTorch(create_left_to_right_matrix(3))
    x = features(2, 20, 13)
    assert hmm(x).shape == (2,)
    assert type(hmm.emission) is GaussianMixtures
    result = hmm.fit(x)
    assert result.log_likelihood[-1] > result.log_likelihood[0]
    assert bool((hmm.align(x).diff() >= 0).all())


def test_a_left_to_right_matrix_starts_in_the_first_state() -> None:
    assert HMMPyTorch(create_left_to_right_matrix(3)).topology.log_initial.exp().tolist() == [1.0, 0.0, 0.0]
    ring = torch.tensor([[0.5, 0.5], [0.5, 0.5]])
    assert HMMPyTorch(ring).topology.log_initial.exp().tolist() == [0.5, 0.5]
    given = HMMPyTorch(ring, initial_probs=torch.tensor([0.1, 0.9])).topology.log_initial.exp()
    torch.testing.assert_close(given, torch.tensor([0.1, 0.9]))
    assert HMMPyTorch(num_states=5).topology.log_transition.exp().tolist() == [[pytest.approx(0.2)] * 5] * 5


def test_a_file_holds_all_of_it(tmp_path: Path) -> None:
    hmm = HMMPyTorch(create_left_to_right_matrix(3), feature_dim=2)
    save_model(hmm, tmp_path / "hmm.safetensors")
    loaded = load_model(tmp_path / "hmm.safetensors")
    assert type(loaded) is HMMPyTorch
    x = features(1, 6, 2)
    assert torch.equal(loaded(x), hmm(x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give transition_matrix or num_states; got neither"),
        ({"num_states": 0}, "num_states must be >= 1; got 0"),
        (
            {"transition_matrix": torch.eye(2), "num_states": 3},
            "rows of transition_matrix = 2; got 3",
        ),
        ({"transition_matrix": torch.ones(2, 2)}, "transition must sum to 1 in each row"),
        (
            {"num_states": 2, "feature_dim": 3, "emission": StateScores(2)},
            "give feature_dim or emission",
        ),
    ],
)
def test_wrong_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HMMPyTorch(**arguments)


def test_scores_have_the_width_that_was_said() -> None:
    with pytest.raises(ValueError, match=r"x must have shape \(..., P\) = \(..., 2\); got \(3,\)"):
        StateScores(2).log_prob(torch.zeros(3))
    with pytest.raises(ValueError, match="num_densities must be >= 1; got 0"):
        StateScores(0)


def test_gradient_descent_goes_on_where_em_stopped_and_never_loses() -> None:
    x, lengths = features(6, 30, 2), torch.tensor([30, 30, 12, 25, 30, 8])
    model = GaussianHMM(3, 2)
    em = model.fit(x, lengths, max_iterations=5)
    result = model.fit_sgd(
        x, lengths, max_epochs=20, optimizer=partial(torch.optim.Adam, lr=0.02), batch_size=2
    )
    assert result.log_likelihood[0] == pytest.approx(em.log_likelihood[-1], rel=1e-4)
    assert len(result.log_likelihood) == 21
    assert max(result.log_likelihood) > result.log_likelihood[0]
    final = float(model.log_likelihood(x, lengths).sum().detach())
    assert final == pytest.approx(max(result.log_likelihood), rel=1e-5)


def test_gradient_descent_stops_without_progress() -> None:
    x = features(2, 10, 1)
    model = GaussianHMM(2, 1)
    result = model.fit_sgd(x, optimizer=partial(torch.optim.SGD, lr=0.0), patience=3)
    assert result.converged
    assert len(result.log_likelihood) == 4


def test_a_sequence_of_weight_zero_teaches_nothing() -> None:
    x = features(2, 10, 1)
    x[1] += 1e3
    model, alone = GaussianHMM(2, 1), GaussianHMM(2, 1)
    alone.load_state_dict(model.state_dict())
    model.fit_sgd(x, weights=torch.tensor([1.0, 0.0]), max_epochs=3)
    alone.fit_sgd(x[:1], max_epochs=3)
    torch.testing.assert_close(model.emission.mean, alone.emission.mean)


def test_too_large_steps_are_an_error_not_nan() -> None:
    x = features(2, 10, 1)
    with pytest.raises(FloatingPointError, match=r"epoch 1: .*; lower the learning rate"):
        GaussianHMM(2, 1).fit_sgd(x, optimizer=partial(torch.optim.SGD, lr=1e30))
    with pytest.raises(ValueError, match="batch_size must be >= 1; got 0"):
        GaussianHMM(2, 1).fit_sgd(x, batch_size=0)
