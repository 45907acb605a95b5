"""Identities that hold for every model, also where paths cannot be enumerated; faults that they catch."""

from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

import hmm_core.testing
from hmm_core import (
    Posterior,
    Sparse,
    ViterbiPath,
    backward,
    forward,
    left_to_right,
    log_likelihood,
    posterior,
    viterbi,
)
from hmm_core.testing import Arguments, assert_coherent, random_hmm


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("impossible", [0.0, 0.5, 0.95])
def test_identities_hold(
    form: dict[str, Any], dtype: torch.dtype, impossible: float, any_backend: Any
) -> None:
    hmm = random_hmm(4, 9, 5, dtype=dtype, impossible=impossible, seed=3, **form)
    assert_coherent(hmm, backend=any_backend)


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 3),
    frames=st.integers(1, 7),
    states=st.integers(1, 6),
    sparse=st.booleans(),
    densities=st.none() | st.integers(1, 3),
    per_sequence=st.booleans(),
    time_varying=st.booleans(),
    final=st.booleans(),
    ragged=st.booleans(),
    impossible=st.sampled_from([0.0, 0.3, 0.8]),
    scale=st.sampled_from([0.1, 3.0, 100.0]),
    seed=st.integers(0, 2**20),
)
def test_identities_hold_whatever_the_sizes(**choices: Any) -> None:
    assert_coherent(random_hmm(**choices))


@pytest.mark.parametrize("states", [17, 33, 64, 100])
def test_identities_hold_for_left_to_right_models(states: int) -> None:
    generator = torch.Generator().manual_seed(states)
    start = torch.full((states,), -torch.inf).index_fill(0, torch.tensor(0), 0.0)
    log_emission = torch.randn(2, 2 * states, states, generator=generator) * 5
    assert_coherent(Arguments(start, left_to_right(states), log_emission, torch.tensor([2 * states, states])))


def test_identities_hold_for_parameters_that_require_gradients() -> None:
    hmm = random_hmm(sparse=True)
    assert isinstance(hmm.log_transition, Sparse)
    weight = hmm.log_transition.log_weight.clone().requires_grad_() * 2
    assert_coherent(
        hmm._replace(
            log_initial=hmm.log_initial.clone().requires_grad_(),
            log_transition=Sparse(hmm.log_transition.predecessors, weight),
        )
    )


def test_time_reversal_exchanges_the_messages() -> None:
    hmm = random_hmm(2, 6, 4, ragged=False, seed=8)
    assert isinstance(hmm.log_transition, torch.Tensor)
    assert hmm.log_final is not None
    reverse = hmm._replace(
        log_initial=hmm.log_final,
        log_transition=hmm.log_transition.T,
        log_emission=hmm.log_emission.flip(1),
        log_final=hmm.log_initial,
    )
    # The forward messages hold the emission of their own frame, the backward ones do not.
    turned = reverse.apply(forward).log_alpha.flip(1) - hmm.log_emission
    torch.testing.assert_close(turned, hmm.apply(backward))
    torch.testing.assert_close(reverse.apply(log_likelihood), hmm.apply(log_likelihood))
    torch.testing.assert_close(reverse.apply(posterior).state.flip(1), hmm.apply(posterior).state)
    assert (reverse.apply(viterbi).states.flip(1) == hmm.apply(viterbi).states).all()


def _too_high(*arguments: Any, **options: Any) -> ViterbiPath:
    path = viterbi(*arguments, **options)
    return path._replace(log_score=path.log_score + 1e-3)


def _wrong_state(*arguments: Any, **options: Any) -> ViterbiPath:
    path = viterbi(*arguments, **options)
    return path._replace(states=torch.where(path.states >= 0, (path.states + 1) % 5, -1))


def _unnormalised(*arguments: Any, **options: Any) -> Posterior:
    result = posterior(*arguments, **options)
    return result._replace(state=result.state * 1.001)


def _reads_padding(*arguments: Any, **options: Any) -> Posterior:
    emission = arguments[2]
    assert isinstance(emission, torch.Tensor)
    result = posterior(*arguments, **options)
    return result._replace(state=result.state + 0 * emission.sum())


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("viterbi", _too_high),
        ("viterbi", _wrong_state),
        ("posterior", _unnormalised),
        ("posterior", _reads_padding),
    ],
)
def test_assert_coherent_catches_a_fault(name: str, fault: object, monkeypatch: pytest.MonkeyPatch) -> None:
    hmm = random_hmm(4, 9, 5, seed=3)
    monkeypatch.setattr(hmm_core.testing, name, fault)
    with pytest.raises(AssertionError):
        assert_coherent(hmm)


def test_random_hmm_is_determined_by_its_seed() -> None:
    first, again, other = random_hmm(seed=1), random_hmm(seed=1), random_hmm(seed=2)
    assert torch.equal(first.log_emission, again.log_emission)
    assert not torch.equal(first.log_emission, other.log_emission)
