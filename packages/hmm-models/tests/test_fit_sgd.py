"""Gradient descent: checkpoints, low precision, other objectives, long sequences."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hmm_models import (
    GaussianHMM,
    GaussianMixtures,
    HiddenMarkovModel,
    NeuralHMM,
    ProbabilityTable,
    SemiMarkovHMM,
)


class Network(nn.Module):
    """Scores of three states, which notes the dtype that its layers compute in."""

    num_densities = 3

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(4, 32)
        self.head = nn.Linear(32, 3)
        self.dtypes = set[torch.dtype]()

    def log_prob(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.hidden(x).tanh())
        self.dtypes.add(scores.dtype)
        return scores


def speech(B: int = 6, T: int = 30) -> tuple[Tensor, Tensor]:
    """Sequences of four features, and their lengths."""
    return torch.randn(B, T, 4).cumsum(1) / 4, torch.randint(T // 2, T + 1, (B,))


def test_checkpoints_change_nothing_but_the_memory() -> None:
    x, lengths = speech()
    results, states = [], []
    for checkpoint in (False, True):
        torch.manual_seed(5)
        model = GaussianHMM(3, 4).double()
        results.append(model.fit_sgd(x.double(), lengths, max_epochs=6, checkpoint=checkpoint).log_likelihood)
        states.append(model.state_dict())
    assert results[0] == pytest.approx(results[1], rel=1e-12)
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=1e-9, atol=1e-12)


def test_the_gradient_keeps_no_messages_with_checkpoints() -> None:
    x, model = torch.randn(1, 400, 4), GaussianHMM(20, 4)
    kept = []
    for checkpoint in (False, True):
        sizes: list[int] = []

        def keep(tensor: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model.log_likelihood(x, checkpoint=checkpoint)
        kept.append(sum(sizes))
    # The forward messages of all frames and states, and what belongs to them.
    assert kept[0] - kept[1] >= 400 * 20


def test_models_that_cannot_say_so() -> None:
    x, lengths = speech()
    with pytest.raises(TypeError, match="checkpoint must be False for a model with explicit durations"):
        SemiMarkovHMM(2, 4).fit_sgd(x, lengths, checkpoint=True)
    with pytest.raises(
        TypeError, match=r"checkpoint must be False: NeuralHMM.log_likelihood does not take it"
    ):
        NeuralHMM(2, 4).fit_sgd(x, lengths, checkpoint=True)


def test_autocast_runs_the_network_in_bfloat16_and_the_recursion_in_float32() -> None:
    x, lengths = speech()
    histories = []
    for dtype in (None, torch.bfloat16):
        torch.manual_seed(3)
        model = HiddenMarkovModel(Network())
        result = model.fit_sgd(
            x, lengths, max_epochs=20, autocast=dtype, optimizer=partial(torch.optim.Adam, lr=0.02)
        )
        histories.append(result.log_likelihood)
        assert isinstance(model.emission, Network)
        assert model.emission.dtypes == {dtype or torch.float32}
        assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    assert histories[1][-1] > histories[1][0] + 10.0
    # bfloat16 has three digits: 0.01 nats in each of 140 frames.
    assert histories[1] == pytest.approx(histories[0], rel=0.02, abs=1.4)


def test_gaussians_keep_their_precision_under_autocast() -> None:
    x, lengths = speech()
    model = GaussianHMM(3, 4)
    model.initialize(x + 1000.0, lengths)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    expected = model.fit_sgd(x + 1000.0, lengths, max_epochs=3).log_likelihood
    model.load_state_dict(state)
    found = model.fit_sgd(x + 1000.0, lengths, max_epochs=3, autocast=torch.bfloat16).log_likelihood
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("checkpoint", [False, True])
def test_two_thousand_frames_need_no_clipping(checkpoint: bool) -> None:
    x = torch.randn(2, 2500, 13).cumsum(1)
    model = GaussianHMM(8, 13, num_mixtures=2, topology="left_to_right")
    model.initialize(x)
    total = model.log_likelihood(x, checkpoint=checkpoint).sum() / x.shape[:2].numel()
    slopes = torch.autograd.grad(total, list(model.parameters()))
    assert all(bool(torch.isfinite(slope).all()) for slope in slopes)
    # Nats per frame: means move by standardised distances, whatever the length.
    assert max(float(slope.abs().max()) for slope in slopes) < 10.0
    result = model.fit_sgd(
        x, max_epochs=15, checkpoint=checkpoint, optimizer=partial(torch.optim.SGD, lr=0.05)
    )
    assert torch.tensor(result.log_likelihood).isfinite().all()
    assert result.log_likelihood[-1] > result.log_likelihood[0]


def test_an_objective_replaces_the_likelihood() -> None:
    x, lengths = speech()
    model = GaussianHMM(3, 4)
    seen: list[int] = []

    def objective(model: GaussianHMM, x: Tensor, lengths: Tensor, *, target: Tensor) -> Tensor:
        seen.append(len(x))
        return -(model.emission.mean.square().sum() - target).square() - 0.0 * lengths

    target = torch.arange(6.0)
    result = model.fit_sgd(x, lengths, objective=objective, target=target, batch_size=4, max_epochs=2)
    assert set(seen) == {6, 4, 2}
    expected = objective(model, x, lengths, target=target).sum()
    assert max(result.log_likelihood) == pytest.approx(expected.item(), rel=1e-5)


def test_scores_of_frames_are_those_of_the_recursions() -> None:
    x, lengths = speech()
    model = GaussianHMM(3, 4)
    found = model.log_emission(x, lengths)
    torch.testing.assert_close(found[0, : lengths[0]], model.emission.log_prob(x[0, : lengths[0]]))
    weights = torch.full((6, 30), 2.0)
    torch.testing.assert_close(model.log_emission(x, lengths, frame_weights=weights), 2.0 * found)


def test_priors_of_tables_count_as_they_do_in_em() -> None:
    x = torch.randn(4, 30, 4).double()
    table = ProbabilityTable(torch.zeros(3, 3), concentration=torch.tensor([[40.0, 1.0, 1.0]]))
    model = HiddenMarkovModel(GaussianMixtures(3, 1, 4), transition=table).double()
    model.fit(x, max_iterations=2000, tolerance=1e-12)
    best = model.transition.log_prob().detach().exp()
    options: dict[str, Any] = {"optimizer": partial(torch.optim.SGD, lr=0.05), "max_epochs": 20}
    for batch_size in (None, 1):  # parts of the loss bear parts of the prior
        found = model.fit_sgd(x, batch_size=batch_size, **options)
        assert found.log_likelihood[0] == pytest.approx(model.score(x), rel=1e-6)
        # EM ends where the gradient of likelihood and prior is 0; that of the likelihood alone is not.
        torch.testing.assert_close(model.transition.log_prob().detach().exp(), best, rtol=0.0, atol=1e-4)
    model.transition.concentration = None
    model.fit_sgd(x, **options)
    assert (model.transition.log_prob().detach().exp() - best).abs().max() > 1e-3
