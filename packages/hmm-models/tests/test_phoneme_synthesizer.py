"""Features from phonemes: embedded training with durations, rates, times that are known."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hmm_models import (
    DurationModel,
    GaussianMixtures,
    PhonemeSynthesizer,
    ScaledPosterior,
    SemiMarkovHMM,
    load_model,
    mlpg,
    save_model,
)
from hmm_models.generation._mlpg import WINDOWS


def means(model: PhonemeSynthesizer) -> Tensor:
    """Means (P, 1, D) of the states."""
    assert isinstance(model.emission, GaussianMixtures)
    return model.emission.mean


@pytest.fixture
def truth() -> PhonemeSynthesizer:
    """Make three phonemes of two states that differ in features and durations."""
    duration = DurationModel(6, 12, "gaussian").double()
    model = PhonemeSynthesizer(GaussianMixtures(6, 1, 2), states_per_phoneme=2, duration=duration).double()
    with torch.no_grad():
        means(model).mul_(4.0)
        duration.parameter[:, 0] = torch.tensor([2.0, 4.0, 6.0, 3.0, 8.0, 5.0])
        duration.parameter[:, 1] = 0.3
    return model


def speak(model: PhonemeSynthesizer, said: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Draw features of transcripts."""
    sequences = []
    for phonemes in said:
        states = torch.tensor([2 * p + s for p in phonemes for s in range(2)])
        path = states.repeat_interleave(model.duration.sample(states))
        sequences.append(model.emission.sample(path))  # type: ignore[operator]
    lengths = torch.tensor([len(x) for x in sequences])
    return torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True, padding_value=torch.nan), lengths


def transcripts(B: int) -> list[list[int]]:
    """Draw transcripts of one to six phonemes."""
    generator = torch.Generator().manual_seed(0)
    sizes = torch.randint(1, 7, (B,), generator=generator).tolist()
    return [torch.randint(3, (n,), generator=generator).tolist() for n in sizes]


def test_one_transcript_is_a_semi_markov_model_from_left_to_right(truth: PhonemeSynthesizer) -> None:
    said = [[0, 1, 2]]
    x, _ = speak(truth, said)
    model = SemiMarkovHMM(6, duration=truth.duration, topology="left_to_right", emission=truth.emission)
    torch.testing.assert_close(truth.log_likelihood(x, transcripts=said), model.double().log_likelihood(x))
    path = truth.viterbi(x, transcripts=said)
    assert torch.equal(path.states, model.viterbi(x).states)


@pytest.mark.parametrize("family", ["gaussian", "categorical", "gamma", "neural"])
def test_training_without_times_finds_features_and_durations(truth: PhonemeSynthesizer, family: Any) -> None:
    said = transcripts(80)
    x, lengths = speak(truth, said)
    model = PhonemeSynthesizer(
        GaussianMixtures(6, 1, 2), states_per_phoneme=2, duration=family, max_duration=12
    ).double()
    result = model.fit(x, lengths, said, max_iterations=15)
    assert float(torch.tensor(result.log_likelihood).diff().min()) > -1e-6
    torch.testing.assert_close(
        model.emission.mean,
        truth.emission.mean,
        rtol=0.0,
        atol=0.3,  # some 100 frames a state
    )
    torch.testing.assert_close(model.duration.mean, truth.duration.mean, rtol=0.0, atol=0.7)


def test_a_batch_is_what_its_sequences_are_and_padding_is_not_read(truth: PhonemeSynthesizer) -> None:
    said = transcripts(7)
    x, lengths = speak(truth, said)
    whole = truth.accumulate(x, lengths, transcripts=said)
    total = truth.zero_statistics()
    for b in range(7):
        n = int(lengths[b])
        total += truth.accumulate(x[b : b + 1, :n], transcripts=said[b : b + 1])
    for one, other in zip(whole.tensors(), total.tensors(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    assert float(whole.duration.sum()) == pytest.approx(2.0 * sum(map(len, said)))
    weighted = truth.accumulate(x, lengths, torch.full((7,), 3.0), transcripts=said)
    for one, other in zip(weighted.tensors(), (whole * 3.0).tensors(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_times_that_are_known_are_kept(truth: PhonemeSynthesizer) -> None:
    x = torch.randn(1, 20, 2).double()
    known = torch.ones(1, 20, 6, dtype=torch.bool)
    known[0, :13, 2:] = False
    known[0, 13:, :4] = False
    found = truth.accumulate(x, transcripts=[[0, 2]], allowed=known)
    frames = (found.duration * torch.arange(1, 13)).sum(1)
    torch.testing.assert_close(frames.view(3, 2).sum(1), torch.tensor([13.0, 0.0, 7.0]).double())


def test_phonemes_last_what_they_should(truth: PhonemeSynthesizer) -> None:
    said = [[0, 2, 1], [1]]
    mean = truth.duration.mean.detach().view(3, 2).sum(1)
    natural = truth.durations(said)
    assert natural.shape == (2, 3)
    assert natural[1, 1:].tolist() == [0, 0]
    torch.testing.assert_close(natural[0].double(), mean[[0, 2, 1]], rtol=0.0, atol=1.0)
    slow = truth.generate(said, rate=0.7)
    assert int(slow.lengths[0]) == round(float(mean.sum()) / 0.7)
    exact = truth.generate(said, num_frames=torch.tensor([31, 9]))
    assert exact.lengths.tolist() == [31, 9]
    assert (exact.states[1, 9:] == -1).all()
    given = torch.tensor([[5, 11, 8], [9, 0, 0]])
    phonemes = truth.generate(said, durations=given).states // 2
    assert phonemes[0].tolist() == [0] * 5 + [2] * 11 + [1] * 8
    assert torch.equal(truth.durations(said, num_frames=torch.tensor([31, 9])).sum(1), torch.tensor([31, 9]))


def test_what_is_generated_is_smooth(tmp_path: Path) -> None:
    model = PhonemeSynthesizer(GaussianMixtures(10, 1, 6, windows=WINDOWS), max_duration=9)
    with torch.no_grad():
        means(model)[..., 2:] = 0.0
    found = model.generate([[0, 1]], num_frames=30)
    emission = model.emission
    assert isinstance(emission, GaussianMixtures)
    mean, variance = (value.detach()[found.states, 0] for value in (emission.mean, emission.variance))
    assert torch.equal(found.features, mlpg(mean, variance, WINDOWS))
    save_model(model, tmp_path / "voice.safetensors")
    again = load_model(tmp_path / "voice.safetensors")
    assert isinstance(again, PhonemeSynthesizer)
    assert torch.equal(again.generate([[0, 1]], num_frames=30).features, found.features)


def test_nothing_said_takes_no_time(truth: PhonemeSynthesizer) -> None:
    found = truth.generate([[], [1]])
    assert found.lengths[0] == 0
    assert truth.generate([[]]).features.shape == (1, 0, 2)
    x = torch.zeros(2, 3, 2).double()
    likelihood = truth.log_likelihood(x, torch.tensor([3, 0]), transcripts=[[], []])
    assert likelihood[0] == -torch.inf


def test_wrong_arguments_are_named(truth: PhonemeSynthesizer) -> None:
    with pytest.raises(ValueError, match="for each phoneme; got 6 densities and 4"):
        PhonemeSynthesizer(GaussianMixtures(6, 1, 2), states_per_phoneme=4)
    with pytest.raises(ValueError, match="duration must have P = 6 states; got 5"):
        PhonemeSynthesizer(GaussianMixtures(6, 1, 2), states_per_phoneme=2, duration=DurationModel(5, 9))
    with pytest.raises(ValueError, match=r"durations must have shape \(B, N\) = \(1, 2\)"):
        truth.generate([[0, 1]], durations=torch.tensor([[5]]))
    with pytest.raises(ValueError, match="number of states 2 and at most 24 in sequence 1; got 1"):
        truth.generate([[0, 1]], durations=torch.tensor([[5, 1]]))
    with pytest.raises(ValueError, match=r"transcripts must hold units in 0..2; got \[7\]"):
        truth.generate([[7]])
    x = torch.zeros(1, 50, 2).double()
    with pytest.raises(ValueError, match=r"no path of the model can produce sequences \[0\]"):
        truth.fit(x, None, [[0]])
    network = PhonemeSynthesizer(ScaledPosterior(torch.nn.Linear(2, 6), 6), states_per_phoneme=2)
    with pytest.raises(TypeError, match="emission must have generate; ScaledPosterior does not"):
        network.generate([[0]])
