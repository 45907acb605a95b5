"""Forward, backward, log-likelihood, posteriors and counts of dense transitions against the definition."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from dense_problems import FORMS, assert_agrees, clean, poisoned, single
from torch import Tensor

from hmm_core import backward, expected_transitions, forward, log_likelihood, posterior, testing
from hmm_core.backends.cuda.dense import _narrow, _operations
from hmm_core.testing import Arguments, random_hmm

OPS: list[Callable[..., Any]] = [forward, backward, posterior, expected_transitions]


@pytest.fixture(params=FORMS)
def hmm(request: pytest.FixtureRequest, device: torch.device) -> Arguments:
    """Ragged sequences of every form with some impossible entries, NaN in what is never read."""
    return poisoned(random_hmm(3, 6, 3, impossible=0.2, seed=5, **FORMS[request.param]), device)


@pytest.fixture(params=["narrow", "chunks", "wide"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The three kernels: the matrix in registers, up to four chunks at once, and the matrix in tiles."""
    if request.param == "wide":
        monkeypatch.setattr(_operations, "block_size", lambda *_: None)
    if request.param == "chunks":
        monkeypatch.setattr(_narrow, "chunk_count", lambda model, _: max(1, min(3, model.sizes[1] // 2)))


@pytest.mark.usefixtures("kernel")
def test_a_kernel_gives_what_the_definition_gives(hmm: Arguments) -> None:
    for op in (forward, backward, expected_transitions):  # the gradients below are posteriors
        assert_agrees(op, hmm)


def test_the_log_likelihood_alone(hmm: Arguments) -> None:
    assert_agrees(log_likelihood, hmm)


@pytest.mark.parametrize(("frames", "states"), [(0, 3), (1, 3), (4, 1), (2, 16), (2, 17), (2, 33), (2, 40)])
@pytest.mark.parametrize("op", [posterior, expected_transitions])
def test_any_number_of_frames_and_states(
    device: torch.device, op: Callable[..., Any], frames: int, states: int
) -> None:
    hmm = poisoned(random_hmm(2, frames, states, seed=3), device)
    assert_agrees(op, hmm)


def test_states_of_several_programs(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_operations, "block_size", lambda *_: None)
    # On a GPU, three programs share each sequence.
    hmm = poisoned(random_hmm(2, 4, 40, impossible=0.5, seed=3), device)
    assert_agrees(forward, hmm)
    assert_agrees(backward, hmm)


def test_no_sequences(device: torch.device) -> None:
    hmm = poisoned(random_hmm(0, 4, 3), device)
    for op in OPS:
        assert_agrees(op, hmm)


@pytest.mark.usefixtures("kernel")
def test_impossible_arcs_and_sequences(device: torch.device) -> None:
    hmm = poisoned(random_hmm(3, 7, 4, impossible=0.5, seed=2), device)
    log_emission = hmm.log_emission.clone()
    log_emission[1, 0] = -torch.inf
    hmm = hmm._replace(log_emission=log_emission)
    assert hmm.apply(log_likelihood, backend="cuda")[1] == -torch.inf
    for op in OPS:
        assert_agrees(op, hmm)


def test_enumeration_of_all_paths(device: torch.device) -> None:
    hmm = random_hmm(2, 4, 3, impossible=0.2, seed=8)
    exact = testing.enumerate_paths(hmm)
    hmm = poisoned(hmm, device)
    found = hmm.apply(posterior, backend="cuda")
    torch.testing.assert_close(found.log_likelihood.cpu(), exact.log_likelihood)
    torch.testing.assert_close(found.state.cpu(), exact.state)


@pytest.mark.usefixtures("kernel")
def test_float32_is_accurate(device: torch.device) -> None:
    hmm = poisoned(random_hmm(1, 48, 3, ragged=False, seed=6, scale=3.0), device)
    hmm = single(hmm)
    # 48 frames, a few roundings of 6e-8 each.
    assert_agrees(log_likelihood, hmm, rtol=1e-6, atol=0)
    assert_agrees(expected_transitions, hmm, rtol=1e-4, atol=1e-5)


def test_sums_too_small_for_a_floating_number(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_operations, "block_size", lambda *_: None)
    # Scores that differ by hundreds: exp(-100) is no float32 number.
    hmm = poisoned(single(random_hmm(2, 6, 5, impossible=0.3, seed=3, scale=150.0)), device)
    assert_agrees(log_likelihood, hmm, rtol=1e-6, atol=0)
    assert_agrees(forward, hmm, rtol=1e-5, atol=1e-3)
    assert_agrees(backward, hmm, rtol=1e-5, atol=1e-3)


def test_a_large_common_score_costs_no_precision(device: torch.device) -> None:
    hmm = poisoned(random_hmm(2, 6, 4, dtype=torch.float32, seed=1), device)
    shifted = hmm._replace(log_emission=(hmm.log_emission * 64).round() / 64 - 4096)
    hmm = hmm._replace(log_emission=shifted.log_emission + 4096)
    expected = hmm.apply(posterior, backend="cuda").state
    # The same scores to the bit, once 4096 is taken off.
    torch.testing.assert_close(shifted.apply(posterior, backend="cuda").state, expected, rtol=0, atol=0)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_value_that_is_no_number_spoils_its_sequence_only(device: torch.device, bad: float) -> None:
    hmm = poisoned(random_hmm(3, 7, 4, ragged=False)._replace(lengths=torch.tensor([7, 5, 7])), device)
    clear = hmm.apply(log_likelihood, backend="cuda")
    log_emission = hmm.log_emission.clone()
    log_emission[1, 2, 3] = bad
    spoiled = hmm._replace(log_emission=log_emission).apply(log_likelihood, backend="cuda")
    assert spoiled.isnan().tolist() == [False, True, False]
    assert spoiled[[0, 2]].equal(clear[[0, 2]])


@pytest.mark.parametrize("field", ["lengths", "emission_index"])
def test_a_length_or_an_index_out_of_range_gives_nan(device: torch.device, field: str) -> None:
    hmm = poisoned(random_hmm(3, 4, 3, densities=2, per_sequence=True), device)
    value = getattr(hmm, field).clone()
    value[1] = 9
    found = hmm._replace(**{field: value}).apply(log_likelihood, backend="cuda")
    assert found.isnan().tolist() == [False, True, False]
    value[1] = -1
    found = hmm._replace(**{field: value}).apply(log_likelihood, backend="cuda")
    assert found.isnan().tolist() == [False, True, False]


def gradients(hmm: Arguments, upstream: Tensor, **options: Any) -> tuple[Tensor, ...]:
    """Derivatives of the log-likelihood by all four arguments."""
    assert hmm.log_final is not None
    assert isinstance(hmm.log_transition, Tensor)
    inputs = (hmm.log_initial, hmm.log_transition, hmm.log_emission, hmm.log_final)
    leaves = [value.detach().requires_grad_() for value in inputs]
    hmm = Arguments(leaves[0], leaves[1], leaves[2], hmm.lengths, leaves[3], hmm.emission_index)
    return torch.autograd.grad(hmm.apply(log_likelihood, **options), leaves, upstream)


@pytest.mark.parametrize("checkpoint", [False, True])
@pytest.mark.parametrize("wide", [False, True])
def test_gradients(
    hmm: Arguments, device: torch.device, monkeypatch: pytest.MonkeyPatch, *, checkpoint: bool, wide: bool
) -> None:
    monkeypatch.setattr(_operations, "_SEGMENT", 2)
    if wide:
        monkeypatch.setattr(_operations, "block_size", lambda *_: None)
    upstream = torch.tensor([0.5, -2.0, 3.0], dtype=torch.float64, device=device)
    found = gradients(hmm, upstream, backend="cuda", checkpoint=checkpoint)
    expected = gradients(clean(hmm), upstream, backend="reference")
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-11)


def test_gradcheck(device: torch.device) -> None:
    hmm = poisoned(random_hmm(2, 3, 3, seed=1, ragged=False)._replace(lengths=torch.tensor([3, 2])), device)
    hmm = clean(hmm)
    assert hmm.log_final is not None
    assert isinstance(hmm.log_transition, Tensor)
    inputs = (hmm.log_initial, hmm.log_transition, hmm.log_emission, hmm.log_final)

    def total(initial: Tensor, transition: Tensor, emission: Tensor, final: Tensor) -> Tensor:
        return log_likelihood(initial, transition, emission, hmm.lengths, log_final=final, backend="cuda")

    assert torch.autograd.gradcheck(total, [value.requires_grad_() for value in inputs])
