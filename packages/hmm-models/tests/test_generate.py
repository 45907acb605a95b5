"""Generation: successions of states, their durations and their most likely features."""

from pathlib import Path
from typing import Any

import pytest
import torch

from hmm_models import (
    DurationModel,
    FullGaussianMixtures,
    GaussianHMM,
    GaussianMixtures,
    HiddenMarkovModel,
    HMMPyTorch,
    MultiSpaceEmission,
    MultiStreamEmission,
    NeuralHMM,
    ScaledPosterior,
    SemiContinuousMixtures,
    SemiMarkovHMM,
    SphericalGaussianMixtures,
    StudentTEmission,
    Topology,
    load_model,
    mlpg,
    phone_topology,
    save_model,
    state_durations,
)
from hmm_models.generation._mlpg import WINDOWS


def test_a_phone_lasts_what_its_loops_say_and_a_rate_makes_it_shorter() -> None:
    model = GaussianHMM(3, 2, topology=phone_topology(3, 0.8))
    natural, fast = model.generate(), model.generate(rate=2.5)
    assert natural.states.tolist() == [[0] * 5 + [1] * 5 + [2] * 5]
    assert fast.states.tolist() == [[0, 0, 1, 1, 2, 2]]
    assert torch.equal(natural.features, model.emission.mean.detach()[:, 0][natural.states])
    assert natural.lengths.tolist() == [15]


def test_a_semi_markov_model_lasts_what_its_durations_say() -> None:
    duration = DurationModel(3, 20, "gaussian")
    with torch.no_grad():
        duration.parameter[:, 0] = torch.tensor([4.0, 9.0, 6.0])
        duration.parameter[:, 1] = torch.tensor([0.2, 1.5, 0.7])
    model = SemiMarkovHMM(3, 2, duration=duration, topology="left_to_right")
    for frames in (3, 12, 19, 44, 60):
        states = model.generate(frames).states[0]
        expected = state_durations(
            duration.mean[None].detach(),
            duration.variance[None].detach(),
            num_frames=frames,
            max_duration=20,
        )
        assert torch.equal(states.bincount(minlength=3), expected[0])
        assert bool((states.diff() >= 0).all())
    with pytest.raises(ValueError, match="states 3 and at most 60 in sequence 0; got 61"):
        model.generate(61)
    slow = model.generate(rate=torch.tensor([0.5, 1.0]), num_sequences=2)
    assert int(slow.lengths[0]) == round(2.0 * float(duration.mean.sum().detach()))


def test_given_states_are_gone_through_in_ragged_batches() -> None:
    model = GaussianHMM(4, 3)
    given = torch.tensor([[2, 0, 3], [1, -1, -1], [-1, -1, -1]])
    frames = torch.tensor([7, 4])
    found = model.generate(frames, given[:2])
    assert found.states[0].tolist() == [2, 2, 2, 0, 0, 3, 3]
    assert found.states[1].tolist() == [1, 1, 1, 1, -1, -1, -1]
    assert not found.features[1, 4:].any()
    alone = model.generate(4, given[1:2])
    assert torch.equal(alone.features[0], found.features[1, :4])
    assert model.generate(states=given).lengths[2] == 0


def test_an_ergodic_model_draws_the_path_it_goes() -> None:
    model = GaussianHMM(3, 2)

    def draw(seed: int) -> torch.Tensor:
        return model.generate(50, num_sequences=2, generator=torch.Generator().manual_seed(seed)).states

    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))
    assert set(draw(0).flatten().tolist()) == {0, 1, 2}
    drawn = GaussianHMM(3, 2, topology=phone_topology(3)).generate(torch.tensor([30, 9]), draw_states=True)
    assert drawn.lengths.tolist() == [30, 9]
    assert (drawn.states[1, 9:] == -1).all()
    assert drawn.states[:, 0].tolist() == [0, 0]
    with pytest.raises(ValueError, match="drawn needs num_frames"):
        model.generate()


def test_a_state_without_an_exit_lasts_as_long_as_the_others() -> None:
    model = GaussianHMM(4, 2, topology="left_to_right")
    assert model.generate(20).states.flatten().bincount().tolist() == [5, 5, 5, 5]
    assert model.generate(2).states.tolist() == [[0, 1]]
    assert GaussianHMM(1, 2, topology="left_to_right").generate(6).states.tolist() == [[0] * 6]


def test_the_likeliest_arcs_say_which_states_come() -> None:
    steps = torch.tensor([[0.5, 0.1, 0.4, 0.0], [0.0, 0.5, 0.5, 0.0], [0.0, 0.0, 0.5, 0.2], [0.0, 0, 0, 0.5]])
    chain = Topology.from_probabilities(torch.eye(4)[0], steps, torch.tensor([0.0, 0.0, 0.3, 0.5]))
    assert GaussianHMM(4, 1, topology=chain).generate().states.tolist() == [[0, 0, 2, 2]]


@pytest.mark.parametrize("covariance_type", ["spherical", "diag", "tied", "full"])
def test_features_with_windows_are_smooth_and_what_mlpg_makes_of_them(
    covariance_type: str, tmp_path: Path
) -> None:
    model = GaussianHMM(3, 6, 2, covariance_type=covariance_type, topology="left_to_right", windows=WINDOWS)
    with torch.no_grad():
        model.emission.weight_logits.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]))
        model.emission.mean[..., 2:] = 0.0
    found = model.generate(18)
    component = torch.tensor([0, 1, 0])[found.states]
    mean = model.emission.mean.detach()[found.states, component]
    variance = model.emission.variance.detach()[found.states, component]
    assert torch.equal(found.features, mlpg(mean, variance, WINDOWS))
    assert found.features.shape == (1, 18, 2)
    assert float(found.features.diff(dim=1).abs().max()) < float(mean[..., :2].diff(dim=1).abs().max())
    save_model(model, tmp_path / "model.safetensors")
    again = load_model(tmp_path / "model.safetensors")
    assert isinstance(again, GaussianHMM)
    assert again.emission.windows == WINDOWS
    assert torch.equal(again.generate_sequence(18), found.features)


@pytest.mark.parametrize(
    "emission",
    [
        GaussianMixtures(3, 2, 4),
        SphericalGaussianMixtures(3, 2, 4),
        FullGaussianMixtures(3, 1, 4),
        StudentTEmission(3, 4),
        SemiContinuousMixtures(3, GaussianMixtures(5, 1, 4)),
        MultiStreamEmission([GaussianMixtures(3, 1, 3), StudentTEmission(3, 1)], [3, 1]),
        MultiSpaceEmission(GaussianMixtures(3, 1, 3)),
    ],
    ids=lambda emission: type(emission).__name__,
)
def test_every_emission_with_a_likeliest_value_generates(emission: Any) -> None:
    model = HiddenMarkovModel(emission, topology="left_to_right")
    found = model.generate(torch.tensor([9, 5]))
    assert found.features.shape == (2, 9, 4)
    assert not found.features[1, 5:].any()
    assert torch.isfinite(found.features).all()
    assert torch.equal(model.generate_sequence(9)[0], found.features[0])


def test_values_are_smooth_within_a_run_and_do_not_reach_across_a_gap() -> None:
    value = GaussianMixtures(3, 1, 3, windows=WINDOWS)
    emission = MultiSpaceEmission(value)
    with torch.no_grad():
        emission.presence_logit.copy_(torch.tensor([2.0, -2.0, 2.0]))
    path = torch.tensor([[0, 0, 0, 2, 2, 1, 1, 0, 0, 2], [1, 2, 2, 2, -1, -1, -1, -1, -1, -1]])
    found = emission.generate(path)
    assert found[0, :, 0].tolist() == [1, 1, 1, 1, 1, 0, 0, 1, 1, 1]
    assert found[1, :, 0].tolist() == [0, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert not found[..., 1][found[..., 0] == 0].any()
    for row, run in ((0, slice(0, 5)), (0, slice(7, 10)), (1, slice(1, 4))):
        torch.testing.assert_close(
            found[row, run, 1:], value.generate(path[row : row + 1, run])[0], rtol=0.0, atol=0.0
        )
    nothing = torch.full((1, 4), 1)
    assert emission.generate(nothing).tolist() == [[[0.0, 0.0]] * 4]


def test_what_the_documents_ask_of_a_matrix_of_probabilities() -> None:
    model = HMMPyTorch(torch.tensor([[0.5, 0.5], [0.0, 1.0]]), feature_dim=3)
    assert model.generate_sequence(10).shape == (1, 10, 3)
    assert model.generate_sequence(10, 4).shape == (4, 10, 3)


def test_wrong_arguments_are_named() -> None:
    model = GaussianHMM(3, 2, topology=phone_topology(3))
    with pytest.raises(TypeError, match="emission must have generate; ScaledPosterior does not"):
        HiddenMarkovModel(ScaledPosterior(torch.nn.Linear(2, 3), 3)).generate(5)
    with pytest.raises(ValueError, match="num_frames must be >= 1; got 0"):
        model.generate(0)
    with pytest.raises(ValueError, match="at least the number of states 3 in sequence 0; got 2"):
        model.generate(2)
    with pytest.raises(ValueError, match=r"states must lie in 0..K-1 = 0..2, with -1 last; got \[\[0, 3\]\]"):
        model.generate(states=torch.tensor([[0, 3]]))
    with pytest.raises(ValueError, match=r"with -1 last; got \[\[0, -1, 1\]\]"):
        model.generate(states=torch.tensor([[0, -1, 1]]))
    with pytest.raises(ValueError, match=r"states must be int64 of shape \(B, N\)"):
        model.generate(states=torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="multiple of the 3 windows; got 4"):
        GaussianHMM(2, 4, windows=WINDOWS)


@pytest.fixture
def neural() -> NeuralHMM:
    """Make a model of four states whose network leaves a state with a fifth each frame."""
    model = NeuralHMM(4, 3, 8)
    with torch.no_grad():
        model.step.weight.zero_()
        model.step.bias.copy_(torch.tensor([0.8, 0.2]).log())
    return model


def test_a_neural_model_goes_on_when_it_has_likely_left(neural: NeuralHMM) -> None:
    # 1 - 0.8^3 < 0.5 <= 1 - 0.8^4
    found = neural.sample(16, quantile=0.5, temperature=0.0)
    assert found.states.flatten().bincount().tolist() == [4, 4, 4, 4]
    assert torch.equal(neural.generate_sequence(16), found.features)
    hasty = neural.sample(16, quantile=0.1, temperature=0.0).states
    assert hasty.tolist() == [[0, 1, 2] + [3] * 13]


def test_a_neural_model_that_goes_anywhere_draws_its_states() -> None:
    model = NeuralHMM(4, 3, 8, topology="ergodic", context_dim=2)
    context = torch.randn(2, 9, 2)

    def generate(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return model.generate_sequence(9, 2, context=context, generator=generator)

    assert torch.equal(generate(0), generate(0))
    assert generate(0).shape == (2, 9, 3)
    with pytest.raises(ValueError, match='quantile needs topology="left_to_right"; got "ergodic"'):
        model.sample(9, 2, context=context, quantile=0.5)
    with pytest.raises(ValueError, match=r"quantile must be in \(0, 1\); got 1.0"):
        NeuralHMM(2, 2, 4).sample(3, quantile=1.0)
