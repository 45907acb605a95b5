"""CTC and a hidden Markov model over one encoder."""

import pytest
import torch
from torch import Tensor, nn

from hmm_core import Graph
from hmm_models import ctc_hmm_loss, graph_log_likelihood, phone_topology, transcript_graph

TOKENS, SIZES = torch.tensor([[2, 0, 0], [1, 2, -5]]), torch.tensor([3, 2])
LENGTHS = torch.tensor([9, 7])


def graph(dtype: torch.dtype = torch.float64) -> Graph:
    """States of the transcripts, two for each of three tokens."""
    return transcript_graph(TOKENS, SIZES, topologies=phone_topology(2), dtype=dtype)


def scores(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Log-probabilities of blank and three labels, and of six states."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randn(2, 9, 4, generator=generator).double().requires_grad_()
    states = torch.randn(2, 9, 6, generator=generator).double().requires_grad_()
    return labels, states


def test_one_part_is_the_ctc_of_torch_and_the_other_the_graphs_likelihood() -> None:
    labels, states = scores()
    log_prob = labels.log_softmax(-1)
    found = ctc_hmm_loss(log_prob, states, graph(), TOKENS + 1, LENGTHS, SIZES, ctc_weight=0.3)
    expected = nn.functional.ctc_loss(
        log_prob.transpose(0, 1), (TOKENS + 1).clamp_min(0), LENGTHS, SIZES, reduction="none"
    )
    torch.testing.assert_close(found.ctc, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.hmm, -graph_log_likelihood(graph(), states, LENGTHS))
    torch.testing.assert_close(found.loss, 0.3 * found.ctc + 0.7 * found.hmm)
    slopes = [
        torch.autograd.grad(value.sum(), labels, retain_graph=True)[0] for value in (found.loss, expected)
    ]
    torch.testing.assert_close(slopes[0], 0.3 * slopes[1], rtol=1e-9, atol=1e-9)


def test_gradients_are_right() -> None:
    def loss(labels: Tensor, states: Tensor) -> Tensor:
        log_prob, log_emission = labels.log_softmax(-1), states.log_softmax(-1)
        return ctc_hmm_loss(log_prob, log_emission, graph(), TOKENS + 1, LENGTHS, SIZES).loss

    assert torch.autograd.gradcheck(loss, scores())


def test_a_transcript_that_does_not_fit_costs_everything_and_teaches_nothing() -> None:
    labels, states = scores()
    found = ctc_hmm_loss(labels.log_softmax(-1), states, graph(), TOKENS + 1, torch.tensor([3, 7]), SIZES)
    # Three labels, of which two are alike, need four frames; six states need six.
    assert found.loss[0] == torch.inf
    assert torch.isfinite(found.loss[1])
    for slope in torch.autograd.grad(found.loss.sum(), (labels, states)):
        assert torch.isfinite(slope).all()
        assert (slope[0] == 0.0).all()


def test_a_part_of_weight_zero_counts_nothing() -> None:
    labels, states = scores()
    short = torch.tensor([5, 7])  # enough for the labels, not for the states
    arguments = (labels.log_softmax(-1), states, graph(), TOKENS + 1, short, SIZES)
    found = ctc_hmm_loss(*arguments, ctc_weight=1.0)
    assert found.hmm[0] == torch.inf
    assert torch.equal(found.loss, found.ctc)
    assert torch.equal(ctc_hmm_loss(*arguments, ctc_weight=0.0).loss, found.hmm)


def test_padding_and_precision_do_not_matter() -> None:
    labels, states = (value.detach().clone() for value in scores())
    expected = ctc_hmm_loss(labels.log_softmax(-1), states, graph(), TOKENS + 1, LENGTHS, SIZES).loss
    labels[1, 7:] = states[1, 7:] = torch.nan
    found = ctc_hmm_loss(
        labels.log_softmax(-1), states, graph(), TOKENS + 1, LENGTHS, SIZES, checkpoint=True
    ).loss
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    rough = ctc_hmm_loss(
        labels.log_softmax(-1).bfloat16(), states.bfloat16(), graph(torch.float32), TOKENS + 1, LENGTHS, SIZES
    ).loss
    assert rough.dtype == torch.float32
    # bfloat16 has three digits.
    torch.testing.assert_close(rough.double(), expected, rtol=0.02, atol=0.0)


def test_a_weight_out_of_range_is_named() -> None:
    labels, states = scores()
    with pytest.raises(ValueError, match=r"ctc_weight must be in 0..1; got 1.5"):
        ctc_hmm_loss(labels.log_softmax(-1), states, graph(), TOKENS + 1, ctc_weight=1.5)
