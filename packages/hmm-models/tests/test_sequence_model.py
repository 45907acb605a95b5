"""Any emission in a hidden Markov model; missing, weighted and labelled frames."""

import pytest
import torch
from torch import Tensor, nn

import hmm_core
from hmm_models import (
    CategoricalEmission,
    Emission,
    GaussianHMM,
    HiddenMarkovModel,
    MixtureStatistics,
    SamplingEmission,
    Topology,
    TrainableEmission,
)


class Classifier(nn.Module):
    """The least that an emission can be."""

    num_densities = 3

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 3)

    def log_prob(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(x)
        return logits.log_softmax(-1)


@pytest.fixture
def model() -> GaussianHMM:
    """A small model with well separated states."""
    model = GaussianHMM(3, 2).double()
    with torch.no_grad():
        model.emission.mean.copy_(torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]]).unsqueeze(1))
    return model


@pytest.fixture
def x(model: GaussianHMM) -> Tensor:
    """Five sequences of twenty frames."""
    return model.sample(20, 5, generator=torch.Generator().manual_seed(1)).features


def test_a_module_with_log_prob_is_an_emission_that_only_gradients_train() -> None:
    model, x = HiddenMarkovModel(Classifier()), torch.randn(2, 6, 2)
    assert isinstance(model.emission, Emission)
    assert not isinstance(model.emission, TrainableEmission | SamplingEmission)
    gradients = torch.autograd.grad(model.log_likelihood(x).sum(), list(model.emission.parameters()))
    assert all(bool(gradient.abs().sum() > 0) for gradient in gradients)
    with pytest.raises(TypeError, match="for EM; Classifier lacks some: train by gradient descent"):
        model.fit(x)
    with pytest.raises(TypeError, match="emission must have sample; Classifier does not"):
        model.sample(3)


def test_missing_frames_are_marginalised(model: GaussianHMM, x: Tensor) -> None:
    observed = torch.ones(5, 20, dtype=torch.bool)
    observed[:, 5:9] = False
    holes = x.masked_fill(~observed.unsqueeze(-1), torch.nan)
    # Without the four frames, the step from frame 4 to frame 9 has the fifth power of the transitions.
    chain = model.topology
    power = torch.linalg.matrix_power(chain.log_transition.exp(), 5).log().detach()
    step = chain.log_transition.detach().expand(1, 15, 3, 3).clone()
    step[:, 4] = power
    short = torch.cat([x[:, :5], x[:, 9:]], 1)
    expected = hmm_core.log_likelihood(chain.log_initial, step, model.emission.log_prob(short))
    torch.testing.assert_close(model.log_likelihood(holes, observed=observed), expected, rtol=1e-12, atol=0)
    assert not model.posterior(holes, observed=observed).state.isnan().any()
    assert model.fit(holes, observed=observed, max_iterations=3).log_likelihood[-1] > -torch.inf


def test_a_frame_of_weight_two_counts_twice(model: GaussianHMM, x: Tensor) -> None:
    weights = torch.ones(5, 20)
    weights[:, 3] = 2.0
    allowed = torch.zeros(5, 20, 3, dtype=torch.bool)
    allowed[..., 1] = True
    path = model.emission.log_prob(x)[..., 1]
    gain = model.log_likelihood(x, allowed=allowed, frame_weights=weights) - model.log_likelihood(
        x, allowed=allowed
    )
    torch.testing.assert_close(gain, path[:, 3], rtol=1e-9, atol=1e-9)
    statistics = model.accumulate(x, allowed=allowed, frame_weights=weights).emission
    assert isinstance(statistics, MixtureStatistics)
    assert float(statistics.occupancy.sum()) == pytest.approx(105.0)


@pytest.mark.parametrize("inference", [False, True])
def test_statistics_are_weighted_posteriors_and_expected_transitions(inference: bool) -> None:
    torch.manual_seed(0)
    forwards = torch.tensor([[0.5, 0.3], [0.0, 0.6]]).log()
    chain = Topology(torch.tensor([0.0, -torch.inf]), forwards, torch.tensor([0.2, 0.4]).log())
    emission = CategoricalEmission(2, 3)
    with torch.no_grad():
        emission.logits[:, 2] = -torch.inf
    model, x = HiddenMarkovModel(emission, chain).double(), torch.randint(3, (4, 7))
    x[3, 4], x[:3] = 2, x[:3] % 2  # nothing produces the last sequence
    lengths, weights = torch.tensor([7, 1, 0, 7]), torch.tensor([1.0, 2.5, 1.0, 3.0])
    with torch.inference_mode(inference):
        found = model.accumulate(x, lengths, weights)
    arguments = model._arguments(model._frames(x, lengths), lengths)
    state = hmm_core.posterior(**arguments).state
    steps = hmm_core.expected_transitions(**arguments)
    ends = 1.0 * state[0, 6] + 2.5 * state[1, 0]
    torch.testing.assert_close(found.initial, 1.0 * state[0, 0] + 2.5 * state[1, 0])
    torch.testing.assert_close(found.transition, torch.cat([steps[0], ends.unsqueeze(1)], 1).detach())
    assert float(found.log_likelihood) == -torch.inf
    assert float(found.num_frames) == 7 + 2.5 * 1 + 3 * 7


def test_labels_confine_the_states(model: GaussianHMM, x: Tensor) -> None:
    states = model.viterbi(x).states
    allowed = torch.ones(5, 20, 3, dtype=torch.bool)
    allowed[:, ::2] = nn.functional.one_hot((states[:, ::2] + 1) % 3, 3).bool()
    found = model.viterbi(x, allowed=allowed).states
    assert torch.equal(found[:, ::2], (states[:, ::2] + 1) % 3)
    fitted = model.fit(x, allowed=allowed, max_iterations=5)
    assert fitted.log_likelihood == tuple(sorted(fitted.log_likelihood))


def test_fully_labelled_frames_start_the_states(x: Tensor) -> None:
    labels = torch.arange(20).expand(5, 20) // 7
    model = GaussianHMM(3, 2).double()
    model.initialize(x, allowed=nn.functional.one_hot(labels, 3).bool())
    expected = torch.stack([x[labels == k].mean(0) for k in range(3)])
    torch.testing.assert_close(model.emission.mean.detach()[:, 0], expected, rtol=1e-9, atol=1e-9)


def test_wrong_masks_and_options_are_named(model: GaussianHMM, x: Tensor) -> None:
    with pytest.raises(ValueError, match=r"allowed must be bool of shape \(5, 20, 3\); got torch.bool of"):
        model.viterbi(x, allowed=torch.ones(5, 20, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"observed must be bool of shape \(5, 20\); got torch.float32"):
        model.viterbi(x, observed=torch.ones(5, 20))
    with pytest.raises(
        TypeError, match=r"options of GaussianMixtures are .*'variance_floor'.*; got .'speed'"
    ):
        model.fit(x, speed=3)
    with pytest.raises(ValueError, match="x must hold at least one valid frame"):
        model.initialize(x, observed=torch.zeros(5, 20, dtype=torch.bool))


def test_scikit_learns_names_do_what_they_say(model: GaussianHMM, x: Tensor) -> None:
    lengths = torch.tensor([20, 5, 20, 20, 1])
    total = model.log_likelihood(x, lengths).sum()
    assert model.score(x, lengths) == pytest.approx(total.item(), rel=1e-12)
    assert torch.equal(model.predict(x, lengths), model.viterbi(x, lengths).states)
    assert torch.equal(model.predict_proba(x, lengths), model.posterior(x, lengths).state)
    assert not model.predict_proba(x).requires_grad
