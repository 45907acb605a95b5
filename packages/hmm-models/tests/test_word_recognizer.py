"""Connected words: graphs by enumeration, embedded training, decoding."""

import itertools
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hmm_models import (
    GaussianMixtures,
    ScaledPosterior,
    WordRecognizer,
    load_model,
    save_model,
    split_targets,
)

Words = list[list[int]]


def means(model: WordRecognizer) -> Tensor:
    """Means (P, 1, D) of the states."""
    assert isinstance(model.emission, GaussianMixtures)
    return model.emission.mean


def make(W: int = 3, S: int = 2, Z: int = 1, D: int = 2, **options: Any) -> WordRecognizer:
    """Make a recogniser in float64 whose states are well apart."""
    model = WordRecognizer(
        GaussianMixtures(W * S + Z, 1, D),
        [[w] for w in range(W)],
        states_per_unit=S,
        silence_states=Z,
        **options,
    ).double()
    with torch.no_grad():
        means(model).copy_(4.0 * torch.randn(W * S + Z, 1, D))
        model.transition.logits.copy_(torch.randn(W * S + Z, 2).log_softmax(-1))
        model.log_language.copy_(torch.randn(W + 1, W + 1).log_softmax(-1))
        if model.language_model != "bigram":
            model.log_language.copy_(model.log_language[:1].expand(W + 1, -1).clone())
    return model


def padded(transcripts: Words) -> Tensor:
    """Transcripts of at most five words as a Tensor."""
    return torch.tensor([[*words, *[-1] * (5 - len(words))] for words in transcripts])


def speak(model: WordRecognizer, transcripts: Words) -> tuple[Tensor, Tensor]:
    """Draw features of transcripts, with a silence now and then."""
    sequences = []
    for words in transcripts:
        states = []
        for word in [None, *words]:
            if word is not None:
                states += [word * 2, word * 2, word * 2 + 1]
            if model.silence_states and torch.rand(()) < 0.5:
                states += [model.num_states - 1] * 2
        sequences.append(model.emission.sample(torch.tensor(states)))  # type: ignore[operator]
    lengths = torch.tensor([len(x) for x in sequences])
    return torch.nn.utils.rnn.pad_sequence(sequences, batch_first=True, padding_value=torch.nan), lengths


def random_transcripts(B: int, W: int, seed: int = 0) -> Words:
    """Draw transcripts of two to five words."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(2, 6, (B,), generator=generator).tolist()
    return [torch.randint(W, (n,), generator=generator).tolist() for n in sizes]


@pytest.mark.parametrize("language_model", ["uniform", "unigram", "bigram"])
@pytest.mark.parametrize("Z", [0, 1, 2])
def test_what_may_be_said_is_the_sum_of_all_that_may_be_said(language_model: str, Z: int) -> None:
    model = make(Z=Z, language_model=language_model)
    x = torch.randn(1, 6, 2, dtype=torch.float64)
    # A word takes two frames at least.
    every = [list(words) for n in range(4) for words in itertools.product(range(3), repeat=n)]
    if not Z:
        every = every[1:]
    joint = model.log_likelihood(x.expand(len(every), -1, -1), transcripts=every)
    torch.testing.assert_close(model.log_likelihood(x)[0], joint.logsumexp(0), rtol=1e-10, atol=1e-10)
    best = int(torch.stack([_path_score(model, x, words) for words in every]).argmax())
    assert model.decode(x) == [every[best]]
    assert model.recognize(x)[0].log_score == pytest.approx(float(_path_score(model, x, every[best])))


def _path_score(model: WordRecognizer, x: Tensor, words: list[int]) -> Tensor:
    """Score of the best path through a transcript."""
    return model.viterbi(x, transcripts=[words]).log_score.detach()[0]


@pytest.mark.parametrize("language_model", ["unigram", "bigram"])
def test_the_counts_are_the_derivatives_of_the_likelihood(
    language_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make(language_model=language_model)
    transcripts = [[0, 2, 1], [1], [2, 2]]
    x, lengths = speak(model, transcripts)
    table = model.transition.log_prob().detach().requires_grad_()
    monkeypatch.setattr(model.transition, "log_prob", lambda: table)
    weights = torch.tensor([1.0, 0.5, 2.0])
    found = model.accumulate(x, lengths, weights, transcripts=transcripts)
    total = (model.log_likelihood(x, lengths, transcripts=transcripts) * weights).sum()
    (expected,) = torch.autograd.grad(total, table)
    torch.testing.assert_close(found.transition, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found.log_likelihood, total.detach(), rtol=1e-12, atol=1e-9)
    # In each frame a state is stayed in or left.
    state = model.posterior(x, lengths, transcripts=transcripts).state.detach()
    frames = (state * weights.double()[:, None, None]).sum((0, 1))
    torch.testing.assert_close(found.transition.sum(-1), frames, rtol=1e-9, atol=1e-9)
    occupancy = next(found.emission.tensors())
    torch.testing.assert_close(occupancy.squeeze(-1), frames, rtol=1e-9, atol=1e-9)
    assert float(occupancy.sum()) == pytest.approx(float((weights * lengths).sum()))


def test_training_without_times_finds_the_words() -> None:
    truth = make(W=4)
    with torch.no_grad():
        means(truth).mul_(4.0)
    said = random_transcripts(60, 4)
    x, lengths = speak(truth, said)
    model = WordRecognizer(GaussianMixtures(9, 1, 2), [[0], [1], [2], [3]], states_per_unit=2)
    result = model.fit(x.float(), lengths, said, max_iterations=30)
    steps = torch.tensor(result.log_likelihood).diff()
    assert float(steps.min()) > -1e-3 * len(x)
    new = random_transcripts(20, 4, seed=1)
    x, lengths = speak(truth, new)
    assert model.decode(x.float(), lengths) == new
    assert model.score(x.float(), lengths) > model.score(x.float(), lengths, transcripts=padded(new))


def test_mixtures_grow_from_one_component() -> None:
    truth = make()
    said = random_transcripts(30, 3)
    x, lengths = speak(truth, said)
    model = WordRecognizer(GaussianMixtures(7, 3, 2), [[0], [1], [2]], states_per_unit=2)
    result = model.fit(x, lengths, said, max_iterations=4, tolerance=0.0, min_occupancy=1.0)
    assert len(result.log_likelihood) == 3 * 5
    assert len(result.reports) == 3 * 4
    assert isinstance(model.emission, GaussianMixtures)
    assert int(model.emission.num_components.max()) == 3
    assert split_targets(torch.ones(7), 7).tolist() == [1] * 7
    direct = model.fit(x, lengths, said, max_iterations=4, tolerance=0.0, num_components=2)
    assert len(direct.log_likelihood) == 5


def test_batches_change_nothing_and_padding_is_not_read() -> None:
    truth = make()
    said = random_transcripts(9, 3)
    x, lengths = speak(truth, said)
    whole = truth.accumulate(x, lengths, transcripts=said)
    parts = truth.accumulate(x[:4], lengths[:4], transcripts=said[:4])
    parts += truth.accumulate(x[4:], lengths[4:], transcripts=said[4:])
    for one, other in zip(whole.tensors(), parts.tensors(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    assert bool(torch.isfinite(whole.transition).all())


def test_an_alignment_goes_through_the_transcript() -> None:
    model = make()
    said = [[0, 2, 2, 1]]
    x, lengths = speak(model, said)
    path = model.viterbi(x, lengths, transcripts=said).states[0]
    spoken = path[path < 6]
    entered = spoken[torch.cat([torch.tensor([True]), spoken.diff() != 0])]
    assert entered.tolist() == [0, 1, 4, 5, 4, 5, 2, 3]
    found = model.posterior(x, lengths, transcripts=said)
    torch.testing.assert_close(found.state.sum(-1), torch.ones_like(found.state[..., 0]))
    starts = model.recognize(x, lengths)[0].starts
    assert [int(path[t]) for t in starts] == [0, 4, 4, 2]


def test_words_share_units() -> None:
    model = WordRecognizer(GaussianMixtures(4, 1, 1), [[0, 1], [1, 0]], states_per_unit=2, silence_states=0)
    with torch.no_grad():
        means(model).copy_(torch.tensor([-9.0, -3.0, 3.0, 9.0]).view(4, 1, 1))
    x = torch.tensor([3.0, 9, 9, -9, -3, -9, -3, 3, 9]).view(1, -1, 1)
    assert model.decode(x) == [[1, 0]]


def test_the_language_model_counts_words() -> None:
    said = [[0, 1, 0, 1], [0, 1], [0]]
    for language_model, first, after in (
        ("uniform", 0.25, 0.25),
        ("unigram", (4 + 1) / (10 + 4), (4 + 1) / (10 + 4)),
        ("bigram", (3 + 5 / 14) / (3 + 1), (1 + 5 / 14) / (3 + 1)),
    ):
        model = make(language_model=language_model)
        if language_model == "uniform":
            model.log_language.fill_(math.log(0.25))
        x, lengths = speak(model, said)
        model.fit(x, lengths, said, max_iterations=1)
        table = model.log_language.exp()
        torch.testing.assert_close(table.sum(1), torch.ones(4).double())
        assert float(table[0, 0]) == pytest.approx(first)
        assert float(table[2, 0]) == pytest.approx(after)


def test_penalties_and_beams() -> None:
    model = make()
    x, lengths = speak(model, random_transcripts(6, 3))
    said = model.decode(x, lengths)
    assert model.decode(x, lengths, beam=1e4) == said
    fewer = model.decode(x, lengths, word_penalty=60.0)
    assert sum(map(len, fewer)) < sum(map(len, said))
    more = model.recognize(x, lengths, language_weight=0.0)
    assert all(found.log_score > -math.inf for found in more)


def test_networks_train_by_gradient_descent() -> None:
    truth = make()
    said = random_transcripts(12, 3)
    x, lengths = speak(truth, said)
    x = x.float().nan_to_num()
    network = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 7))
    model = WordRecognizer(ScaledPosterior(network, 7), [[0], [1], [2]], states_per_unit=2)
    result = model.fit_sgd(x, lengths, max_epochs=3, transcripts=padded(said))
    assert result.log_likelihood[-1] > result.log_likelihood[0]


def test_it_is_saved_whole(tmp_path: Path) -> None:
    model = make(language_model="bigram")
    save_model(model, tmp_path / "words.safetensors")
    again = load_model(tmp_path / "words.safetensors")
    assert isinstance(again, WordRecognizer)
    x, lengths = speak(model, random_transcripts(4, 3))
    torch.testing.assert_close(again.double().log_likelihood(x, lengths), model.log_likelihood(x, lengths))
    assert again.double().decode(x, lengths) == model.decode(x, lengths)


def test_an_utterance_without_frames_says_nothing() -> None:
    model = make()
    found = model.recognize(torch.zeros(2, 4, 2).double(), torch.tensor([0, 4]))
    assert found[0].words == ()
    assert len(found) == 2


def test_wrong_arguments_are_named() -> None:
    emission = GaussianMixtures(7, 1, 2)
    with pytest.raises(ValueError, match=re.escape("= 2 * U + 0 densities")):
        WordRecognizer(emission, [[0]], states_per_unit=2, silence_states=0)
    with pytest.raises(ValueError, match=r"got 7 densities and units 0..3"):
        WordRecognizer(emission, [[0], [3]], states_per_unit=2)
    with pytest.raises(ValueError, match=r"at least two states; got less for words \[1\]"):
        WordRecognizer(emission, [[0, 1], [2]], states_per_unit=1)
    with pytest.raises(ValueError, match="lexicon must hold at least one word"):
        WordRecognizer(emission, [])
    with pytest.raises(ValueError, match="language_model must be one of"):
        WordRecognizer(emission, [[0]], states_per_unit=2, language_model="trigram")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"silence_prob must be in \(0, 1\); got 1.0"):
        WordRecognizer(emission, [[0]], states_per_unit=2, silence_prob=1.0)
    model = make()
    x = torch.zeros(2, 9, 2).double()
    with pytest.raises(ValueError, match="transcripts must be B = 2 sequences, as many as in x; got 1"):
        model.fit(x, None, [[0]])
    with pytest.raises(ValueError, match=r"units in 0..2; got \[3\] for sequence 1"):
        model.fit(x, None, [[0], [3]])
    with pytest.raises(ValueError, match=r"no path of the model can produce sequences \[1\]"):
        model.fit(x, torch.tensor([9, 3]), [[0], [1, 1]])
    with pytest.raises(TypeError, match=r"options of GaussianMixtures are \[.*'variance_floor'.*\]"):
        model.fit(x, None, [[0], [1]], floor=0.1)
    with pytest.raises(ValueError, match="batch_size must be >= 1; got 0"):
        model.fit(x, None, [[0], [1]], batch_size=0)
    with pytest.raises(ValueError, match="language_weight must be finite and >= 0; got -1"):
        model.decode(x, language_weight=-1.0)
