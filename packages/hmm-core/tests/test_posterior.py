"""Precision and independence of batch and padding of the sum recursions."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from hmm_core import (
    backward,
    expected_transitions,
    forward,
    left_to_right,
    log_likelihood,
    posterior,
)
from hmm_core.testing import Arguments, random_hmm

OPS = [forward, backward, log_likelihood, posterior, expected_transitions]


def _tensors(result: Any) -> list[torch.Tensor]:
    return [result] if isinstance(result, torch.Tensor) else list(result)


@pytest.mark.parametrize(("states", "scale"), [(4, 30.0), (20, 3.0)])
def test_ten_thousand_frames_in_float32_are_as_exact_as_promised(states: int, scale: float) -> None:
    frames = 10_000
    generator = torch.Generator().manual_seed(0)
    log_emission = torch.randn(1, frames, states, generator=generator) * scale - 100
    log_emission[0, torch.arange(frames), torch.arange(frames) * states // frames] += scale
    border = torch.full((states,), -torch.inf)
    hmm = Arguments(
        border.index_fill(0, torch.tensor(0), 0.0),
        left_to_right(states, 0.9),
        log_emission,
        log_final=border.index_fill(0, torch.tensor(states - 1), 0.0),
    )
    exact = Arguments(
        hmm.log_initial.double(),
        left_to_right(states, 0.9).to(dtype=torch.float64),
        log_emission.double(),
        log_final=border.double().index_fill(0, torch.tensor(states - 1), 0.0),
    )
    # The exact model has the rounded weights: the inputs are the same numbers.
    single, double = hmm.apply(posterior), exact.apply(posterior)
    torch.testing.assert_close(single.log_likelihood.double(), double.log_likelihood, rtol=1e-6, atol=0)
    torch.testing.assert_close(single.state.double(), double.state, rtol=0, atol=1e-5)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("sparse", [False, True])
def test_batch_and_padding_change_no_bit(op: Callable[..., Any], sparse: bool) -> None:
    hmm = random_hmm(5, 20, 8, sparse=sparse, dtype=torch.float32, impossible=0.1, seed=4)
    assert hmm.lengths is not None
    padded = torch.cat((hmm.log_emission, torch.full((5, 7, 8), torch.nan)), dim=1)
    results = _tensors(hmm._replace(log_emission=padded).apply(op))
    for b, length in enumerate(hmm.lengths.tolist()):
        alone = hmm._replace(log_emission=hmm.log_emission[b : b + 1, :length], lengths=None)
        for one, many in zip(_tensors(alone.apply(op)), results, strict=True):
            framed = many.ndim == 3 and many.shape[1] == 27
            assert torch.equal(one[0], many[b, :length] if framed else many[b])


@pytest.mark.parametrize("op", [forward, backward])
def test_padded_messages_are_minus_infinity(op: Callable[..., Any]) -> None:
    hmm = random_hmm(2, 5, 3)._replace(lengths=torch.tensor([3, 0]))
    message = _tensors(hmm.apply(op))[0]
    assert (message[0, 3:] == -torch.inf).all()
    assert (message[1] == -torch.inf).all()
    assert message[0, :3].isfinite().all()


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("time_varying", [False, True])
def test_no_frames_and_no_sequences_are_no_problem(
    op: Callable[..., Any], sparse: bool, time_varying: bool
) -> None:
    nothing = random_hmm(2, 0, 3, sparse=sparse, time_varying=time_varying)
    emission = nothing.log_emission.requires_grad_()
    for tensor in _tensors(nothing.apply(op)):
        assert tensor.eq(0).all()
    nothing.apply(log_likelihood).sum().backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    assert emission.grad is not None
    for tensor in _tensors(random_hmm(0, 4, 3, sparse=sparse, time_varying=time_varying).apply(op)):
        assert tensor.shape[0] == 0


@pytest.mark.parametrize("op", OPS)
def test_strides_do_not_matter(op: Callable[..., Any]) -> None:
    hmm = random_hmm(3, 6, 4, seed=1)
    assert isinstance(hmm.log_transition, torch.Tensor)
    other = hmm._replace(
        log_transition=hmm.log_transition.T.contiguous().T,
        log_emission=hmm.log_emission.permute(2, 0, 1).contiguous().permute(1, 2, 0),
    )
    for one, two in zip(_tensors(hmm.apply(op)), _tensors(other.apply(op)), strict=True):
        # Sums may run in another order.
        torch.testing.assert_close(one, two, rtol=1e-12, atol=1e-13)


def test_extreme_scores_neither_overflow_nor_vanish() -> None:
    hmm = random_hmm(2, 50, 6, dtype=torch.float32, scale=1e4, ragged=False)
    result = hmm.apply(posterior)
    assert result.log_likelihood.isfinite().all()
    torch.testing.assert_close(result.state.sum(2), torch.ones(2, 50), rtol=1e-5, atol=0)
