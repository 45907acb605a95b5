"""Transition matrices of the usual shapes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import hmm_core
from hmm_models import (
    create_duration_constrained_matrix,
    create_hierarchical_transitions,
    create_left_to_right_matrix,
    create_phoneme_aware_transitions,
    create_prosody_aware_transitions,
    create_skip_state_matrix,
)

MADE: dict[str, Callable[[], Tensor]] = {
    "left to right": lambda: create_left_to_right_matrix(5, 0.6, 0.1),
    "one state": lambda: create_left_to_right_matrix(1),
    "skips": lambda: create_skip_state_matrix(6, 0.5, 0.3, 3),
    "hierarchy": lambda: create_hierarchical_transitions([3, 1, 2], torch.full((3, 3), 1 / 3)),
    "prosody": lambda: create_prosody_aware_transitions(torch.randn(2, 9, 3), 4),
    "flat prosody": lambda: create_prosody_aware_transitions(torch.ones(9, 1), 4),
    "phonemes": lambda: create_phoneme_aware_transitions([3.0, 8.5, 12.0]),
    "durations": lambda: create_duration_constrained_matrix(3, 2, 5),
}


@pytest.mark.parametrize("name", MADE)
def test_rows_are_distributions_in_float32(name: str) -> None:
    torch.manual_seed(0)
    matrix = MADE[name]()
    assert matrix.dtype == torch.float32
    assert bool((matrix >= 0.0).all())
    # A rounding or two for each entry of a row.
    torch.testing.assert_close(matrix.sum(-1), torch.ones(matrix.shape[:-1]), rtol=0.0, atol=1e-6)


def test_states_last_as_long_as_the_phonemes() -> None:
    matrix = create_phoneme_aware_transitions([6.0, 12.0, 9.0], 3).double()
    # Expected visits before the end: the inverse of what does not stay among the states.
    visits = torch.linalg.inv(torch.eye(8).double() - matrix[:8, :8])[0]
    torch.testing.assert_close(visits[:3].sum(), torch.tensor(6.0).double(), rtol=1e-5, atol=0)
    torch.testing.assert_close(visits[3:6].sum(), torch.tensor(12.0).double(), rtol=1e-5, atol=0)


def test_no_state_is_shorter_or_longer_than_allowed() -> None:
    K, low, high = 3, 2, 4
    matrix = create_duration_constrained_matrix(K, low, high)
    size = K * high
    initial = torch.full((size,), -torch.inf)
    initial[0] = 0.0
    final = torch.full((size,), -torch.inf)
    final[-high + low - 1 :] = 0.0
    index = torch.arange(size) // high
    emission = torch.zeros(200, 9, K)
    paths = hmm_core.sample(
        initial,
        matrix.log(),
        emission,
        log_final=final,
        emission_index=index,
        generator=torch.Generator().manual_seed(0),
    )
    states = index[paths]
    for k in range(K - 1):
        lasted = (states == k).sum(1)
        assert int(lasted.min()) >= low
        assert int(lasted.max()) <= high
        assert set(lasted.tolist()) == {2, 3, 4}


def test_a_jump_in_the_prosody_makes_a_boundary_likely() -> None:
    prosody = torch.zeros(20, 1)
    prosody[12:] = 3.0
    leave = create_prosody_aware_transitions(prosody, 2)[:, 0, 1]
    assert int(leave.argmax()) == 11  # from frame 11 to frame 12
    assert float(leave[11]) > 0.9
    flat = create_prosody_aware_transitions(prosody, 2, sensitivity=0.0)
    torch.testing.assert_close(flat, torch.tensor([[0.7, 0.3], [0.0, 1.0]]).expand(19, 2, 2))


REFUSALS: list[tuple[Callable[[], object], str]] = [
    (lambda: create_left_to_right_matrix(0), r"num_states must be >= 1; got 0"),
    (lambda: create_left_to_right_matrix(2, 1.0), r"self_loop_prob must be in \[0, 1\); got 1.0"),
    (lambda: create_left_to_right_matrix(2, 0.7, 0.4), r"skip_prob must be in 0\.\.1 - self_loop_prob"),
    (lambda: create_skip_state_matrix(2, max_skip=0), r"max_skip must be >= 1; got 0"),
    (lambda: create_hierarchical_transitions([], torch.ones(0, 0)), r"for one unit at least; got \[\]"),
    (
        lambda: create_hierarchical_transitions([1], torch.ones(2, 2)),
        r"must have shape \(U, U\)",
    ),
    (lambda: create_hierarchical_transitions([1], torch.tensor([[0.5]])), r"unit_transition must sum to 1"),
    (lambda: create_prosody_aware_transitions(torch.ones(1, 1), 2), r"with T at least 2; got \(1, 1\)"),
    (lambda: create_prosody_aware_transitions(torch.ones(3), 2), r"prosody must have shape"),
    (lambda: create_prosody_aware_transitions(torch.ones(3, 1) / 0, 2), r"prosody must be finite"),
    (lambda: create_prosody_aware_transitions(torch.ones(3, 1), 0), r"num_states must be >= 1"),
    (lambda: create_prosody_aware_transitions(torch.ones(3, 1), 2, 0.0), r"in \(0, 1\); got 0.0"),
    (lambda: create_prosody_aware_transitions(torch.ones(3, 1), 2, sensitivity=-1.0), r"sensitivity must be"),
    (lambda: create_phoneme_aware_transitions([2.0]), r"mean_durations must be >= states_per_phoneme = 3"),
    (lambda: create_phoneme_aware_transitions([2.0], 0), r"states_per_phoneme must be >= 1; got 0"),
    (lambda: create_duration_constrained_matrix(0, 1, 2), r"num_states must be >= 1; got 0"),
    (lambda: create_duration_constrained_matrix(2, 3, 2), r"min_duration <= max_duration; got 3 and 2"),
]


@pytest.mark.parametrize(("make", "message"), REFUSALS)
def test_wrong_arguments_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
