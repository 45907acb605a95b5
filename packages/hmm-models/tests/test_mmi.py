"""Maximum mutual information: identities, bounds, gradients, and training by it."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hmm_core import Graph
from hmm_models import (
    MMI,
    GaussianHMM,
    HiddenMarkovModel,
    StateScores,
    TokenNgram,
    conditional_log_likelihood,
    graph_log_likelihood,
    mmi,
    phone_topology,
)

PHONE = phone_topology(2, 0.6)
TRAINING = [[0, 1], [1, 0], [1, 2, 0], [2, 2]]
NGRAM = TokenNgram(TRAINING, 3, order=3)
TOKENS, SIZES = torch.tensor([[0, 1, -1], [1, 2, 0], [2, 2, -1]]), torch.tensor([2, 3, 2])
LENGTHS = torch.tensor([9, 7, 5])


def graphs(dtype: torch.dtype = torch.float64) -> tuple[Graph, Graph]:
    """Numerator of three transcripts, and denominator."""
    numerator = NGRAM.transcript_graph(TOKENS, SIZES, topologies=PHONE, dtype=dtype)
    return numerator, NGRAM.graph(PHONE, dtype=dtype)


def test_of_equal_graphs_it_is_zero_and_flat() -> None:
    _, denominator = graphs()
    scores = torch.randn(3, 9, 6).double().requires_grad_()
    value = mmi(scores, denominator, denominator, LENGTHS)
    assert value.tolist() == [0.0, 0.0, 0.0]
    assert (torch.autograd.grad(value.sum(), scores)[0] == 0.0).all()


def test_it_is_a_log_posterior() -> None:
    scores = 3.0 * torch.randn(3, 9, 6).double()
    value = mmi(scores, *graphs(), LENGTHS)
    assert (value < 0).all()
    # The posteriors of all transcripts of five frames: none has more than two tokens of two states.
    total = torch.zeros(())
    for row in ([0], [1], [2], *[[a, b] for a in range(3) for b in range(3)]):
        if NGRAM.log_prob(row) > -torch.inf:
            one = NGRAM.transcript_graph(torch.tensor([row]), topologies=PHONE, dtype=torch.float64)
            total = total + mmi(scores[:1, :5], one, graphs()[1]).exp()
    assert total.item() == pytest.approx(1.0, rel=1e-12)


def test_gradients_are_right() -> None:
    scores = torch.randn(3, 9, 6).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda s: mmi(s, *graphs(), LENGTHS), scores)
    assert torch.autograd.gradcheck(lambda s: mmi(s, *graphs(), LENGTHS, checkpoint=True), scores)


def test_a_boost_takes_from_the_denominator_what_is_right() -> None:
    numerator, denominator = graphs()
    scores = torch.randn(3, 9, 6).double().requires_grad_()
    right = torch.autograd.grad(graph_log_likelihood(numerator, scores, LENGTHS).sum(), scores)[0]
    expected = graph_log_likelihood(numerator, scores, LENGTHS) - graph_log_likelihood(
        denominator, scores - 0.5 * right, LENGTHS
    )
    found = mmi(scores, numerator, denominator, LENGTHS, boost=0.5)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert (found > mmi(scores, numerator, denominator, LENGTHS)).all()
    assert (found <= 0.5 * LENGTHS).all()
    slope = torch.autograd.grad(found.sum(), scores)[0]
    boosted = (scores - 0.5 * right).detach().requires_grad_()
    wrong = torch.autograd.grad(graph_log_likelihood(denominator, boosted, LENGTHS).sum(), boosted)[0]
    torch.testing.assert_close(slope, right - wrong, rtol=1e-9, atol=1e-12)


def test_without_a_path_nothing_is_learnt() -> None:
    scores = torch.randn(3, 9, 6).double().requires_grad_()
    value = mmi(scores, *graphs(), torch.tensor([9, 5, 0]))
    assert value[1] == -torch.inf
    assert torch.isfinite(value[0])
    slope = torch.autograd.grad(value[:2].sum(), scores)[0]
    assert torch.isfinite(slope).all()
    assert (slope[1] == 0.0).all()


def test_long_recordings_need_no_clipping() -> None:
    # 2,500 frames of scores as loud as a confident network's, in float32.
    rows = torch.randint(3, (1, 400)).tolist()
    ngram = TokenNgram(rows, 3, order=2, smoothing=0.5)
    tokens, scores = torch.tensor(rows), (20.0 * torch.randn(1, 2500, 6)).requires_grad_()
    arguments = ngram.transcript_graph(tokens, topologies=PHONE), ngram.graph(PHONE)
    value = mmi(scores, *arguments)
    exact = mmi(scores.detach().double(), *arguments)
    # Log-likelihoods of some 50,000 nats each, to float32.
    assert value.item() == pytest.approx(exact.item(), rel=1e-5)
    assert value.item() < 0.0
    slope = torch.autograd.grad(value, scores)[0]
    assert torch.isfinite(slope).all()
    assert slope.abs().max() <= 1.0 + 1e-5
    # In each frame the posteriors of the numerator and those of the denominator sum to one.
    assert slope.sum(-1).abs().max() < 1e-4
    parameter = nn.Parameter(scores.detach().clone())
    descent = torch.optim.SGD([parameter], lr=5.0)
    values = []
    for _ in range(10):
        loss = -mmi(parameter, *arguments).sum()
        parameter.grad = torch.autograd.grad(loss, parameter)[0]
        descent.step()
        values.append(loss.item())
    assert values == sorted(values, reverse=True)


def test_low_precision_scores_are_computed_in_float32() -> None:
    scores = torch.randn(3, 9, 6)
    value = mmi(scores.bfloat16(), *graphs(), LENGTHS)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, mmi(scores.bfloat16().float(), *graphs(), LENGTHS))


class Network(nn.Module):
    """Scores of six states from five features."""

    num_densities = 6

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 32), nn.Tanh(), nn.Linear(32, 6))

    def log_prob(self, x: Tensor) -> Tensor:
        scores: Tensor = self.layers(x)
        return scores


def spoken() -> dict[str, Any]:
    """Features whose tokens are random directions, with transcripts."""
    places = 2.0 * torch.randn(3, 2, 5)
    rows = [TRAINING[i % 4] for i in range(40)]
    x, lengths = torch.randn(40, 24, 5), torch.zeros(40, dtype=torch.int64)
    for i, row in enumerate(rows):
        states = torch.stack([places[token, s] for token in row for s in range(2)]).repeat_interleave(4, 0)
        x[i, : len(states)] += states
        lengths[i] = len(states)
    tokens = nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    return {"x": x, "lengths": lengths, "tokens": tokens, "token_lengths": torch.tensor(list(map(len, rows)))}


@pytest.mark.parametrize("boost", [0.0, 0.2])
def test_descent_raises_the_posterior_of_the_transcripts(boost: float) -> None:
    data, objective = spoken(), MMI(NGRAM, PHONE, boost)
    model = HiddenMarkovModel(Network())
    result = model.fit_sgd(
        **data,
        objective=objective,
        max_epochs=15,
        batch_size=10,
        optimizer=lambda p: torch.optim.Adam(p, lr=0.01),
    )
    assert result.log_likelihood[-1] > 0.2 * result.log_likelihood[0] or boost
    assert result.log_likelihood[-1] > result.log_likelihood[0]
    with torch.no_grad():
        value = MMI(NGRAM, PHONE)(model, **data)
    assert (value <= 1e-4).all()
    # The transcript is the likeliest of all for nearly every sequence.
    assert (value.exp() > 0.5).double().mean() > 0.9


def test_sequences_that_no_transcript_fits_are_named() -> None:
    data = spoken()
    data["lengths"][3] = 1
    with pytest.raises(ValueError, match=r"no path of the model can produce sequences \[3\]"):
        HiddenMarkovModel(Network()).fit_sgd(**data, objective=MMI(NGRAM, PHONE))


def test_of_several_models_it_is_the_cross_entropy() -> None:
    models = [GaussianHMM(2, 3).double() for _ in range(4)]
    x, labels, prior = torch.randn(6, 10, 3).double(), torch.randint(4, (6,)), torch.randn(4).double()
    lengths = torch.tensor([10, 3, 7, 10, 1, 5])
    found = conditional_log_likelihood(models, x, labels, lengths, log_prior=prior)
    scores = torch.stack([model.log_likelihood(x, lengths) for model in models], -1) + prior
    expected = -nn.functional.cross_entropy(scores, labels, reduction="none")
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert (found < 0).all()
    chain = GaussianHMM(3, 3, topology=phone_topology(3)).double()
    value = conditional_log_likelihood([chain, models[0]], x, torch.zeros(6, dtype=torch.int64), lengths)
    assert value[4] == -torch.inf
    slopes = torch.autograd.grad(value[[0, 4]].sum(), list(chain.parameters()))
    assert all(bool(torch.isfinite(slope).all()) for slope in slopes)


def test_word_models_trained_by_it_confuse_less() -> None:
    # Three words that share most of what they are: the likelihood spends its Gaussian on that.
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(3, (90,), generator=generator)
    x = 3.0 * torch.randn(90, 12, 4, generator=generator)
    x[..., 0] += 2.0 * (labels.double()[:, None] - 1.0) * torch.rand(90, 12, generator=generator)
    words = nn.ModuleList(GaussianHMM(2, 4, topology="left_to_right") for _ in range(3))
    for label, word in enumerate(words):
        word.fit(x[labels == label], max_iterations=5)  # type: ignore[operator]  # torch types submodules loosely

    def value() -> Tensor:
        return conditional_log_likelihood(list(words), x, labels).mean()  # type: ignore[arg-type]

    def accuracy() -> float:
        with torch.no_grad():
            scores = torch.stack([word(x) for word in words], -1)
        return float((scores.argmax(-1) == labels).double().mean())

    before, right = value().item(), accuracy()
    optimizer = torch.optim.Adam(words.parameters(), lr=0.02)
    for _ in range(40):
        optimizer.zero_grad()
        torch.autograd.backward(-value())
        optimizer.step()
    assert value().item() > before + 0.1
    assert accuracy() > right


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="boost must be >= 0 and finite; got -1"):
        mmi(torch.zeros(3, 9, 6), *graphs(), boost=-1)
    with pytest.raises(ValueError, match="models must hold one model at least; got none"):
        conditional_log_likelihood([], torch.zeros(1, 2, 3), torch.zeros(1, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"labels must have shape \(B,\) = \(2,\); got \(1,\)"):
        conditional_log_likelihood(
            [GaussianHMM(1, 3)], torch.zeros(2, 2, 3), torch.zeros(1, dtype=torch.int64)
        )


def test_scores_themselves_are_an_emission() -> None:
    data = spoken()
    model = HiddenMarkovModel(StateScores(6))
    scores = Network().log_prob(data["x"]).detach()
    found = MMI(NGRAM, PHONE)(
        model, scores, data["lengths"], tokens=data["tokens"], token_lengths=data["token_lengths"]
    )
    assert found.shape == (40,)
