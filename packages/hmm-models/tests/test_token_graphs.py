"""Graphs of transcripts and of n-grams, against the sum over all transcripts."""

import itertools
import math
from collections.abc import Iterator

import pytest
import torch

from hmm_models import TokenNgram, Topology, graph_log_likelihood, phone_topology, transcript_graph

TRAINING = [[0, 1, 0], [1, 1], [0, 1, 1, 1, 0], [0]]
# A token of one or two states, which may be left from both; and one that repeats.
TOPOLOGIES = [
    Topology.from_probabilities(
        torch.tensor([0.6, 0.4]), torch.tensor([[0.3, 0.5], [0.0, 0.4]]), torch.tensor([0.2, 0.6])
    ),
    phone_topology(1, 0.7),
]


def transcripts(longest: int) -> Iterator[list[int]]:
    """All rows of two tokens."""
    for size in range(1, longest + 1):
        yield from map(list, itertools.product(range(2), repeat=size))


@pytest.mark.parametrize("order", [1, 2, 3, 4])
@pytest.mark.parametrize("smoothing", [0.0, 0.5])
def test_the_graph_sums_over_all_transcripts(order: int, smoothing: float) -> None:
    ngram, scores = TokenNgram(TRAINING, 2, order, smoothing), torch.randn(1, 6, 3).double()
    total = []
    for row in transcripts(6):
        chain = transcript_graph(torch.tensor([row]), topologies=TOPOLOGIES, dtype=torch.float64)
        total.append(graph_log_likelihood(chain, scores) + ngram.log_prob(row))
    found = graph_log_likelihood(ngram.graph(TOPOLOGIES, dtype=torch.float64), scores)
    torch.testing.assert_close(found, torch.stack(total).logsumexp(0), rtol=1e-12, atol=0)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_probabilities_are_relative_counts_and_sum_to_one(order: int) -> None:
    ngram = TokenNgram(TRAINING, 2, order)
    total = 0.0
    for row in TRAINING:
        ended, expected = [-1, *row, -2], 0.0
        for here in range(1, len(ended)):
            history = ended[max(0, here - order + 1) : here]
            seen = [
                other[place]
                for other in ([-1, *line, -2] for line in TRAINING)
                for place in range(1, len(other))
                if other[max(0, place - order + 1) : place] == history
            ]
            expected += math.log(seen.count(ended[here]) / len(seen))
        assert ngram.log_prob(row) == pytest.approx(expected)
    for row in transcripts(12):
        total += math.exp(ngram.log_prob(row))
    # What is left: rows of more than 12 tokens, and with one-grams the row of none.
    assert total == pytest.approx(1.0 - (4 / 15 if order == 1 else 0.0), abs=0.03)


def test_unseen_transcripts_are_possible_only_with_smoothing() -> None:
    assert TokenNgram(TRAINING, 3).log_prob([2]) == -math.inf
    assert TokenNgram(TRAINING, 3, smoothing=0.1).log_prob([2, 2, 0]) > -math.inf
    phones = [phone_topology(1)] * 3
    assert TokenNgram(TRAINING, 3, order=2).graph(phones).log_transition.num_states == 2
    assert TokenNgram(TRAINING, 3, order=2, smoothing=0.1).graph(phones).log_transition.num_states == 3


def test_transcripts_of_different_lengths_stand_side_by_side() -> None:
    tokens, lengths = torch.tensor([[1, 0, 1], [0, -7, -7]]), torch.tensor([3, 1])
    ngram, scores = TokenNgram(TRAINING, 2, smoothing=1.0), torch.randn(2, 7, 3).double()
    both = ngram.transcript_graph(tokens, lengths, topologies=TOPOLOGIES, dtype=torch.float64)
    plain = transcript_graph(tokens, lengths, topologies=TOPOLOGIES, dtype=torch.float64)
    weights = torch.tensor([ngram.log_prob([1, 0, 1]), ngram.log_prob([0])]).double()
    frames = torch.tensor([7, 4])
    found = graph_log_likelihood(both, scores, frames)
    torch.testing.assert_close(found, graph_log_likelihood(plain, scores, frames) + weights)
    one = transcript_graph(tokens[1:, :1], topologies=TOPOLOGIES, dtype=torch.float64)
    torch.testing.assert_close(
        graph_log_likelihood(one, scores[1:, :4]), graph_log_likelihood(plain, scores, frames)[1:]
    )


def test_wrong_arguments_are_named() -> None:
    phone = phone_topology()
    with pytest.raises(
        ValueError, match=r"tokens must be integers of shape \(B, N\); got torch.int64 \(2,\)"
    ):
        transcript_graph(torch.tensor([0, 1]), topologies=phone)
    with pytest.raises(ValueError, match=r"lengths must be B = 1 numbers in 1..N = 1..2; got \[0\]"):
        transcript_graph(torch.tensor([[0, 1]]), torch.tensor([0]), topologies=phone)
    with pytest.raises(ValueError, match="tokens must be >= 0; got -1"):
        transcript_graph(torch.tensor([[0, -1]]), topologies=phone)
    with pytest.raises(ValueError, match=r"tokens must be in 0..V-1 = 0..1; got \[0, 2\]"):
        transcript_graph(torch.tensor([[0, 2]]), topologies=TOPOLOGIES)
    with pytest.raises(ValueError, match="topologies must have log_final"):
        transcript_graph(torch.tensor([[0]]), topologies=phone._replace(log_final=None))
    with pytest.raises(ValueError, match="num_tokens and order must be >= 1; got 2 and 0"):
        TokenNgram(TRAINING, 2, 0)
    with pytest.raises(ValueError, match="smoothing must be >= 0 and finite; got -1"):
        TokenNgram(TRAINING, 2, smoothing=-1)
    with pytest.raises(ValueError, match=r"sequences must hold tokens 0..V-1 = 0..0, one at least in each"):
        TokenNgram(TRAINING, 1)
    with pytest.raises(ValueError, match="topologies must be one, or V = 2 of them; got 3"):
        TokenNgram(TRAINING, 2).graph([phone] * 3)
