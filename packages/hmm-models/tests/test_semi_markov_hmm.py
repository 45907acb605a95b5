"""Hidden semi-Markov models: they score, decode, generate, and EM finds what generated the data."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hmm_core import semi_markov
from hmm_models import (
    DurationModel,
    HSMMLayer,
    LazyGaussianMixtures,
    SemiMarkovHMM,
    load_model,
    phone_topology,
    save_model,
)


def generator(seed: int = 0) -> torch.Generator:
    """Reproducible randomness."""
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def truth() -> SemiMarkovHMM:
    """Three well separated states of 4, 8 and 12 frames that take turns."""
    model = SemiMarkovHMM(3, 2, 30, duration="poisson", censoring="right").double()
    with torch.no_grad():
        model.emission.mean.copy_(torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]]).unsqueeze(1))  # type: ignore[operator]
        model.duration.parameter.copy_(torch.tensor([[3.0], [7.0], [11.0]]).log())
        steps = torch.tensor([[0.0, 0.8, 0.2, 0.0], [0.3, 0.0, 0.7, 0.0], [0.9, 0.1, 0.0, 0.0]])
        model.transition.logits.copy_(steps.log())
    return model


def test_em_recovers_what_generated_the_data(truth: SemiMarkovHMM) -> None:
    x = truth.sample(400, 20, generator=generator(1)).features
    model = SemiMarkovHMM(3, 2, 30, duration="poisson", censoring="right").double()
    result = model.fit(x, seed=1)
    assert result.converged
    assert list(result.log_likelihood) == sorted(result.log_likelihood)
    # In the order of the true states, by their means.
    order = torch.cdist(truth.emission.mean[:, 0], model.emission.mean[:, 0]).argmin(-1)  # type: ignore[index]
    assert sorted(order.tolist()) == [0, 1, 2]
    # 20 sequences of some 50 segments: three standard errors of a mean duration.
    expected, found = truth.duration.mean, model.duration.mean[order]
    torch.testing.assert_close(found, expected, rtol=0.0, atol=0.6)
    steps = model.topology.log_transition.exp()[order][:, order]
    torch.testing.assert_close(steps, truth.topology.log_transition.exp(), rtol=0.0, atol=0.1)


@pytest.mark.parametrize(
    "family", ["categorical", "gaussian", "gamma", "lognormal", "negative_binomial", "neural"]
)
def test_the_likelihood_never_falls(family: Any, truth: SemiMarkovHMM) -> None:
    x = truth.sample(60, 4, generator=generator(2)).features
    model = SemiMarkovHMM(3, 2, 25, duration=family, censoring="both").double()
    result = model.fit(x, torch.tensor([60, 1, 43, 20]), max_iterations=6, tolerance=0.0)
    gains = torch.tensor(result.log_likelihood).diff()
    assert bool((gains > -1e-9).all())


def test_it_is_the_recursion_of_hmm_core(truth: SemiMarkovHMM) -> None:
    truth.censoring = "none"
    with torch.no_grad():
        truth.transition.logits[:, 3] = -1.0
    x, lengths = truth.sample(40, 3, generator=generator(3)).features, torch.tensor([40, 25, 7])
    chain, scores = truth.topology, truth.emission.log_prob(x)  # type: ignore[operator]
    arguments = (chain.log_initial, chain.log_transition, truth.duration.log_prob(), scores, lengths)
    expected = semi_markov.log_likelihood(*arguments, log_final=chain.log_final)
    torch.testing.assert_close(truth(x, lengths), expected)
    path = semi_markov.viterbi(*arguments, log_final=chain.log_final)
    assert torch.equal(truth.viterbi(x, lengths).durations, path.durations)
    state = truth.posterior(x, lengths).state
    torch.testing.assert_close(state.sum(-1)[1, :25], torch.ones(25).double(), rtol=1e-9, atol=0)


def test_every_part_has_a_gradient(truth: SemiMarkovHMM) -> None:
    truth.censoring = "none"
    with torch.no_grad():
        truth.transition.logits[:, 3] = -1.0
    x = truth.sample(30, 2, generator=generator(4)).features
    # The weight of an only Gaussian is 1 whatever its logit.
    parameters = {name: value for name, value in truth.named_parameters() if "weight_logits" not in name}
    gradients = torch.autograd.grad(truth.log_likelihood(x).sum(), list(parameters.values()))
    for name, gradient in zip(parameters, gradients, strict=True):
        assert torch.isfinite(gradient).all(), name
        assert gradient.abs().sum() > 0, name


def test_a_left_to_right_model_passes_through_all_states() -> None:
    model = SemiMarkovHMM(4, 1, 6, topology="left_to_right").double()
    assert model.is_left_to_right()
    states = model.sample(12, 5, generator=generator()).states
    assert bool((states[:, 0] == 0).all() and (states[:, -1] == 3).all() and (states.diff() >= 0).all())
    with pytest.raises(ValueError, match="num_frames must be the length of a possible path; got 25"):
        model.sample(25)
    assert model(torch.zeros(1, 3, 1).double()).tolist() == [-torch.inf]
    with pytest.raises(ValueError, match=r"no path of the model can produce sequences \[1\]"):
        model.fit(torch.zeros(2, 9, 1).double(), torch.tensor([9, 3]))


def test_missing_frames_do_not_stop_a_segment(truth: SemiMarkovHMM) -> None:
    x, states, _ = *reversed(truth.sample(50, 2, generator=generator(5))), None
    observed = torch.ones(2, 50, dtype=torch.bool)
    observed[:, 20:22] = False
    holes = x.masked_fill(~observed.unsqueeze(-1), torch.nan)
    found = truth.viterbi(holes, observed=observed).states
    assert float((found == states).double().mean()) > 0.9
    assert torch.isfinite(truth.log_likelihood(holes, observed=observed)).all()


def test_the_first_batch_tells_the_width_of_the_features() -> None:
    model = HSMMLayer(3, max_duration=10)
    assert isinstance(model.emission, LazyGaussianMixtures)
    with pytest.raises(RuntimeError, match="feature_dim is not known before the first batch"):
        _ = model.emission.feature_dim
    x = 3.0 + torch.randn(2, 40, 7, generator=generator())
    x[1, 30:] = torch.nan
    assert model(x, torch.tensor([40, 30])).shape == (2,)
    assert type(model.emission).__name__ == "GaussianMixtures"
    read = torch.cat([x[0], x[1, :30]])
    assert isinstance(model.emission.mean, Tensor)
    torch.testing.assert_close(model.emission.mean[:, 0], read.mean(0).expand(3, 7), rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match=r"x must have shape \(B, T, D\) = \(B, T, 7\); got \(2, 40, 8\)"):
        model(torch.zeros(2, 40, 8))
    with pytest.raises(ValueError, match=r"x must have shape \(B, T, D\); got \(4, 5\)"):
        HSMMLayer(3)(torch.zeros(4, 5))
    with pytest.raises(ValueError, match=r"x must have shape \(N, D\) with N at least 1; got \(0, 5\)"):
        HSMMLayer(3)(torch.zeros(4, 6, 5), torch.zeros(4, dtype=torch.int64))


def test_a_file_holds_all_of_it(truth: SemiMarkovHMM, tmp_path: Any) -> None:
    save_model(truth, tmp_path / "hsmm.safetensors")
    loaded = load_model(tmp_path / "hsmm.safetensors")
    x = truth.sample(20, generator=generator(6)).features
    assert torch.equal(loaded(x), truth(x))


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="give one of feature_dim and its alias obs_dim; got 3 and 4"):
        SemiMarkovHMM(2, 3, obs_dim=4)
    with pytest.raises(ValueError, match="num_states must be >= 1; got 0"):
        SemiMarkovHMM(0)
    with pytest.raises(ValueError, match=r'censoring must be "none", "left", "right" or "both"; got \'all\''):
        SemiMarkovHMM(2, censoring="all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="duration must have num_states = 2 states; got 3"):
        SemiMarkovHMM(2, duration=DurationModel(3, 5))
    with pytest.raises(ValueError, match=r"topology must be a Topology or one of .*; got 'ring'"):
        SemiMarkovHMM(2, topology="ring")
    with pytest.raises(ValueError, match="topology must have log_final"):
        SemiMarkovHMM(3, topology=phone_topology()._replace(log_final=None))
    lazy = LazyGaussianMixtures(3)
    with pytest.raises(ValueError, match="emission must have num_states = 2 densities; got 3"):
        SemiMarkovHMM(2, emission=lazy)
    silent = nn.Module()
    silent.num_densities = 2  # type: ignore[assignment]
    with pytest.raises(TypeError, match="emission must have sample; Module does not"):
        SemiMarkovHMM(2, emission=silent).sample(5)
