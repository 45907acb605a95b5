"""Prefix beam search, against every path."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hmm_align import CTCAligner


def log_probs_of(T: int, V: int, seed: int = 0, sharpness: float = 1.0) -> Tensor:
    chance = torch.Generator().manual_seed(seed)
    return (sharpness * torch.randn(1, T, V, generator=chance, dtype=torch.float64)).log_softmax(-1)


def spellings(log_probs: Tensor, blank: int) -> dict[tuple[int, ...], float]:
    """Log-probability of every sequence of labels, summed over all of its paths."""
    T, V = log_probs.shape
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(V), repeat=T):
        tokens = tuple(label for label, _ in itertools.groupby(path) if label != blank)
        score = float(log_probs[torch.arange(T), torch.tensor(path)].sum())
        found[tokens] = float(np.logaddexp(found.get(tokens, -np.inf), score))
    return found


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("seed", range(3))
def test_a_beam_that_holds_everything_finds_every_probability(blank: int, seed: int) -> None:
    log_probs = log_probs_of(6, 3, seed)
    wanted = spellings(log_probs[0], blank)
    found = CTCAligner(blank).decode(len(wanted), log_probs)[0]
    assert {item.tokens for item in found} == set(wanted)
    for item in found:
        assert item.log_prob == pytest.approx(wanted[item.tokens], rel=1e-12)
        assert item.score == item.log_prob
    assert [item.score for item in found] == sorted((item.score for item in found), reverse=True)


def straightforward(log_probs: Tensor, blank: int, width: int) -> dict[tuple[int, ...], float]:
    """Prefix beam search with a dictionary of prefixes, as Hannun et al. write it."""
    beam: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, -np.inf)}
    for frame in log_probs.tolist():
        after: dict[tuple[int, ...], list[float]] = {}

        def add(prefix: tuple[int, ...], place: int, value: float, into: Any = after) -> None:
            pair = into.setdefault(prefix, [-np.inf, -np.inf])
            pair[place] = np.logaddexp(pair[place], value)

        for prefix, (ending_blank, ending_label) in beam.items():
            for label, value in enumerate(frame):
                if label == blank:
                    add(prefix, 0, np.logaddexp(ending_blank, ending_label) + value)
                elif prefix and label == prefix[-1]:
                    add(prefix, 1, ending_label + value)
                    add((*prefix, label), 1, ending_blank + value)
                else:
                    add((*prefix, label), 1, np.logaddexp(ending_blank, ending_label) + value)
        best = sorted(after, key=lambda prefix: -np.logaddexp(after[prefix][0], after[prefix][1]))[:width]
        beam = {prefix: (after[prefix][0], after[prefix][1]) for prefix in best}
    return {prefix: float(np.logaddexp(blank, label)) for prefix, (blank, label) in beam.items()}


@pytest.mark.parametrize("width", [1, 2, 7, 25])
@pytest.mark.parametrize("sharpness", [0.5, 3.0])
def test_the_beam_is_that_of_the_textbook(width: int, sharpness: float) -> None:
    """Also where labels are left out beforehand."""
    log_probs = log_probs_of(60, 6, 5, sharpness)
    wanted = straightforward(log_probs[0], 0, width)
    # A bonus of nearly nothing asks for the search where a beam of one would be greedy.
    found = CTCAligner().decode(width, log_probs, token_bonus=1e-13)[0]
    assert {item.tokens for item in found} == set(wanted)
    for item in found:
        assert item.log_prob == pytest.approx(wanted[item.tokens], rel=1e-10)


@pytest.mark.parametrize(("V", "width", "seed"), [(4, 5, 1), (4, 5, 2), (3, 4, 6)])
def test_a_prefix_that_comes_back_is_the_one_that_left(V: int, width: int, seed: int) -> None:
    """While one that continues it stayed: two ways to the latter are summed here."""
    log_probs = log_probs_of(60, V, seed)
    wanted = straightforward(log_probs[0], 0, width)
    found = CTCAligner().decode(width, log_probs)[0]
    assert {item.tokens: pytest.approx(item.log_prob, rel=1e-10) for item in found} == wanted


def test_the_probability_found_is_at_most_the_true_one() -> None:
    log_probs = log_probs_of(40, 8, 1, 2.0)
    aligner = CTCAligner()
    for item in aligner.decode(6, log_probs)[0]:
        if item.tokens:
            true = -aligner.loss(torch.tensor([item.tokens]), log_probs, reduction="sum")
            assert item.log_prob <= float(true) + 1e-9


def test_a_wider_beam_finds_what_a_narrow_one_misses() -> None:
    """Two paths of "1" together beat the best path, which spells nothing."""
    log_probs = torch.tensor([[[0.6, 0.4], [0.6, 0.4]]]).log()
    assert CTCAligner().decode(1, log_probs)[0][0].tokens == ()
    best = CTCAligner().decode(3, log_probs)[0][0]
    assert best.tokens == (1,)
    assert np.exp(best.log_prob) == pytest.approx(0.64, rel=1e-6)


def test_a_beam_of_one_is_greedy() -> None:
    log_probs = log_probs_of(50, 5, 2)
    ((best,),) = CTCAligner().decode(1, log_probs)
    path = log_probs[0].argmax(-1).tolist()
    assert best.tokens == tuple(label for label, _ in itertools.groupby(path) if label)
    assert best.log_prob == pytest.approx(float(log_probs.amax(-1).sum()))


def test_a_language_model_weighs_every_label_once() -> None:
    """With everything in the beam, hypotheses are ranked by CTC, model and bonus together."""
    log_probs = log_probs_of(5, 3, 4)
    asked: list[tuple[int, ...]] = []

    def model(prefix: tuple[int, ...]) -> list[float]:
        asked.append(prefix)
        return [0.0, -2.0 if prefix[-1:] == (1,) else -0.2, -1.0]

    wanted = {}
    for tokens, score in spellings(log_probs[0], 0).items():
        weights = [model(tokens[:n])[token] for n, token in enumerate(tokens)]
        wanted[tokens] = score + 0.7 * sum(weights) + 0.3 * len(tokens)
    asked.clear()
    found = CTCAligner().decode(100, log_probs, language_model=model, lm_weight=0.7, token_bonus=0.3)[0]
    assert {item.tokens: pytest.approx(item.score, rel=1e-10) for item in found} == wanted
    assert len(asked) == len(set(asked)), "each prefix once"
    wrong = CTCAligner().decode(100, log_probs, language_model=model, lm_weight=0.0)[0]
    assert wrong == CTCAligner().decode(100, log_probs)[0]


def test_what_a_language_model_forbids_is_never_spelt() -> None:
    log_probs = log_probs_of(30, 4, 6)
    found = CTCAligner().decode(
        8, log_probs, language_model=lambda prefix: [0, -np.inf if 1 in prefix else 0, 0, -np.inf]
    )[0]
    assert found
    assert all(item.tokens.count(1) <= 1 and 3 not in item.tokens for item in found)


def test_impossible_frames_leave_no_hypothesis() -> None:
    log_probs = log_probs_of(6, 3)
    log_probs[0, 3] = -torch.inf
    assert CTCAligner().decode(4, log_probs) == [[]]
    assert CTCAligner().decode(1, log_probs) == [[]]


def test_no_frames_spell_nothing() -> None:
    ((best, *others),) = CTCAligner().decode(4, torch.zeros(1, 0, 3))
    assert best == ((), 0.0, 0.0)
    assert not others


def test_what_was_aligned_last_is_decoded() -> None:
    aligner, log_probs = CTCAligner(), log_probs_of(20, 5)
    with pytest.raises(RuntimeError, match="decode without log_probs needs an alignment"):
        aligner.decode(3)
    aligner.align(torch.tensor([[1, 2]]), log_probs, lengths=torch.tensor([12]))
    assert aligner.decode(3) == aligner.decode(3, log_probs[:, :12])


def test_bad_choices_are_named() -> None:
    aligner, log_probs = CTCAligner(), log_probs_of(5, 3)
    with pytest.raises(ValueError, match="beam_width must be an integer of at least 1; got 0"):
        aligner.decode(0, log_probs)
    with pytest.raises(ValueError, match=r"lm_weight must be 0 or more; got -1\.0"):
        aligner.decode(2, log_probs, lm_weight=-1.0)
    with pytest.raises(ValueError, match="token_bonus must be a finite number; got nan"):
        aligner.decode(2, log_probs, token_bonus=float("nan"))
    with pytest.raises(ValueError, match=r"language_model must return V = 3 log-probabilities.*prefix \(\)"):
        aligner.decode(2, log_probs, language_model=lambda _: [0.0])
