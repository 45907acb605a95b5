"""Neural hidden Markov models: exact likelihoods of causal networks, contexts, generation."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hmm_models import AdaptiveTransitionMatrix, ContextualNeuralHMM, NeuralHMM, load_model, save_model


def data(B: int = 2, T: int = 7, D: int = 2, seed: int = 0) -> Tensor:
    """Random walks."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(B, T, D, generator=generator, dtype=torch.float64).cumsum(1) / 2.0


def small(**options: Any) -> NeuralHMM:
    """Three states, few units."""
    return NeuralHMM(3, 2, hidden_dim=5, **options).double()


@pytest.mark.parametrize("topology", ["left_to_right", "ergodic"])
@pytest.mark.parametrize("num_mixtures", [1, 2])
def test_the_likelihood_sums_over_all_paths(topology: Any, num_mixtures: int) -> None:
    model, x = small(topology=topology, num_mixtures=num_mixtures), data(1, 4)
    # Frame by frame, as sampling does it, weighing every path.
    summary, _ = model._summary(torch.cat([x.new_zeros(1, 1, 2), x[:, :-1]], 1), None)
    emit, step = model._emit_and_step(summary, x, model.state_bias)
    paths = torch.cartesian_prod(*[torch.arange(3)] * 4)
    total = []
    for path in paths.tolist():
        score = model._log_initial()[path[0]] + emit[0, range(4), path].sum()
        for t in range(3):
            here, there = path[t : t + 2]
            if topology == "ergodic":
                arc = step[0, t, here, there]
            elif there - here in {0, 1}:
                arc = step[0, t, here, there - here] if here < 2 else torch.tensor(0.0)
            else:
                arc = torch.tensor(-torch.inf)
            score = score + arc
        total.append(score)
    expected = torch.stack(total).logsumexp(0)
    torch.testing.assert_close(model(x)[0], expected, rtol=1e-9, atol=1e-9)


def test_the_future_does_not_change_the_past() -> None:
    model, x = small(), data(1, 9)
    other = x.clone()
    other[:, 6:] += 5.0
    lengths = torch.tensor([6])
    assert torch.equal(model(x, lengths), model(other, lengths))
    assert not torch.equal(model(x), model(other))


def test_padding_is_never_read() -> None:
    model = small(context_dim=1)
    x, context, lengths = data(2, 9), data(2, 9, 1), torch.tensor([9, 5])
    x[1, 5:], context[1, 5:] = torch.nan, torch.nan
    total = model(x, lengths, context)
    torch.testing.assert_close(total[1:], model(x[1:, :5], None, context[1:, :5]), rtol=1e-12, atol=1e-12)
    gradients = torch.autograd.grad(total.sum(), list(model.parameters()))
    assert all(bool(torch.isfinite(g).all()) for g in gradients)
    assert model.viterbi(x, lengths, context=context).states[1, 5:].tolist() == [-1] * 4


def test_gradients_are_right_and_checkpointing_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmm_models.models._neural_hmm._CHUNK", 3)
    model, x = small(), data()
    parameters = list(model.parameters())
    plain = torch.autograd.grad(model(x).sum(), parameters, allow_unused=True)
    model.checkpoint = True
    saved = torch.autograd.grad(model(x).sum(), parameters, allow_unused=True)
    for one, other in zip(plain, saved, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(model, (x.requires_grad_(),))


def test_it_learns_what_depends_on_the_past() -> None:
    x = torch.empty(8, 40, 1)
    x[:, 0] = torch.randn(8, 1, generator=torch.Generator().manual_seed(1))
    noise = 0.1 * torch.randn(8, 40, 1, generator=torch.Generator().manual_seed(2))
    for t in range(1, 40):
        x[:, t] = -0.9 * x[:, t - 1] + noise[:, t]
    scores = []
    for autoregressive in (True, False):
        model = NeuralHMM(2, 1, hidden_dim=16, autoregressive=autoregressive, topology="ergodic")
        result = model.fit_sgd(x, max_epochs=150)
        scores.append(max(result.log_likelihood) / x.numel())
    # An alternating sequence is easy to foretell from the frame before, and hardly from two states.
    assert scores[0] > scores[1] + 0.2


@pytest.mark.parametrize("context_per", ["frame", "state"])
def test_the_context_makes_the_difference(context_per: Any) -> None:
    model = ContextualNeuralHMM(3, 2, 4, 8, context_per=context_per, autoregressive=False).double()
    x, rows = data(2, 6), 6 if context_per == "frame" else 3
    context = data(2, rows, 4, seed=3)
    first = model(x, context=context)
    second = model(x, context=context + 1.0)
    assert bool((first != second).all())
    drawn = model.sample(5, 2, context=data(2, 5 if context_per == "frame" else 3, 4))
    assert drawn.features.shape == (2, 5, 2)
    with pytest.raises(ValueError, match=r"context must have shape \(B, [TK], C\) = .*; got None"):
        model(x)


def test_sampling_is_what_the_likelihood_says() -> None:
    torch.manual_seed(0)
    model = small(topology="ergodic")
    drawn = model.sample(6, 4000, generator=torch.Generator().manual_seed(0))
    states = model.posterior(drawn.features).state
    # The mean posterior of many samples is how often each state was drawn.
    for k in range(3):
        frequency = (drawn.states == k).double().mean(0)
        torch.testing.assert_close(states[..., k].mean(0).detach(), frequency, rtol=0.0, atol=0.03)
    means = model.sample(6, 2, temperature=0.0, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(means.features).all()
    left = small().sample(30, 3, generator=torch.Generator().manual_seed(0)).states
    assert bool((left.diff() >= 0).all() and (left.diff() <= 1).all() and (left[:, 0] == 0).all())


def test_one_state_and_one_frame() -> None:
    model = NeuralHMM(1, 2, hidden_dim=4)
    assert torch.isfinite(model(torch.zeros(1, 1, 2))).all()
    assert model.viterbi(torch.zeros(1, 3, 2)).states.tolist() == [[0, 0, 0]]
    assert model(torch.zeros(1, 0, 2)).tolist() == [0.0]


@pytest.mark.parametrize("kind", [NeuralHMM, ContextualNeuralHMM])
def test_a_file_holds_all_of_it(kind: Any, tmp_path: Path) -> None:
    model = kind(3, 2, hidden_dim=4, context_dim=3, num_mixtures=2)
    save_model(model, tmp_path / "neural.safetensors")
    loaded = load_model(tmp_path / "neural.safetensors")
    assert type(loaded) is kind
    x, context = torch.randn(2, 5, 2), torch.randn(2, 5, 3)
    assert torch.equal(loaded(x, context=context), model(x, context=context))


def test_missing_and_labelled_frames() -> None:
    model, x = small(), data(1, 6)
    observed = torch.tensor([[True, True, False, True, True, True]])
    holes = x.masked_fill(~observed.unsqueeze(-1), torch.nan)
    assert torch.isfinite(model.log_likelihood(holes, observed=observed)).all()
    allowed = torch.zeros(1, 6, 3, dtype=torch.bool)
    allowed[0, range(6), [0, 0, 1, 1, 2, 2]] = True
    assert model.viterbi(x, allowed=allowed).states.tolist() == [[0, 0, 1, 1, 2, 2]]
    with pytest.raises(TypeError, match="NeuralHMM cannot marginalise single dimensions"):
        model.log_likelihood(x, observed=torch.ones(1, 6, 2, dtype=torch.bool))


REFUSALS: list[tuple[Any, str]] = [
    (lambda: NeuralHMM(3), "give exactly one of feature_dim and its alias obs_dim; got None and None"),
    (lambda: NeuralHMM(0, 2), "num_states must be >= 1; got 0"),
    (lambda: NeuralHMM(3, 2, context_dim=-1), "context_dim must be >= 0; got -1"),
    (lambda: NeuralHMM(3, 2, topology="ring"), 'topology must be "left_to_right" or "ergodic"'),  # type: ignore[arg-type]
    (lambda: NeuralHMM(3, 2, context_per="phone"), 'context_per must be "frame" or "state"'),  # type: ignore[arg-type]
    (lambda: ContextualNeuralHMM(3, 2), "context_dim must be >= 1; got 0"),
    (lambda: small().sample(0), "num_frames and num_sequences must be >= 1; got 0 and 1"),
    (lambda: small().sample(1, temperature=-1.0), r"temperature must be >= 0; got -1\.0"),
    (lambda: small()(data(), None, data()), r"context must not be given: context_dim is 0; got \(2, 7, 2\)"),
    (lambda: small()(data(2, 7, 3)), r"x must have shape \(B, T, D\) = \(B, T, 2\); got \(2, 7, 3\)"),
]


@pytest.mark.parametrize(("make", "message"), REFUSALS)
def test_wrong_arguments_are_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_an_adaptive_matrix_starts_from_the_one_given_and_keeps_its_zeros(tmp_path: Path) -> None:
    start = torch.tensor([[0.9, 0.1], [0.0, 1.0]])
    adaptive = AdaptiveTransitionMatrix(2, 3, transition_matrix=start)
    context = torch.randn(4, 3)
    torch.testing.assert_close(adaptive(context), start.expand(4, 2, 2))
    optimizer = torch.optim.Adam(adaptive.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        torch.autograd.backward(-adaptive(context)[:2, 0, 1].sum() + adaptive(context)[2:, 0, 1].sum())
        optimizer.step()
    trained = adaptive(context)
    assert bool((trained[:2, 0, 1] > trained[2:, 0, 1].max()).all())
    assert trained[:, 1].tolist() == [[0.0, 1.0]] * 4
    save_model(adaptive, tmp_path / "adaptive.safetensors")
    loaded = load_model(tmp_path / "adaptive.safetensors")
    assert torch.equal(loaded(context), trained)
    uniform = AdaptiveTransitionMatrix(4, 1)
    torch.testing.assert_close(uniform(torch.zeros(1)), torch.full((4, 4), 0.25))
    with pytest.raises(ValueError, match=r"context must have shape \(..., C\) = \(..., 3\); got \(4, 2\)"):
        adaptive(torch.zeros(4, 2))
    with pytest.raises(ValueError, match="hidden_dim must be >= 1; got 0"):
        AdaptiveTransitionMatrix(2, 3, 0)
    with pytest.raises(ValueError, match="transition_matrix must sum to 1 in each row"):
        AdaptiveTransitionMatrix(2, 3, transition_matrix=torch.ones(2, 2) / 4)
