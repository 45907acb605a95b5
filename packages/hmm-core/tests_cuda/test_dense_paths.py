"""The N best paths, sampled paths and the entropy over dense transitions against the definition."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from dense_problems import FORMS, assert_agrees, clean, convert, poisoned, single
from torch import Tensor

from hmm_core import entropy, kbest, sample
from hmm_core.testing import Arguments, random_hmm


@pytest.fixture(params=FORMS)
def hmm(request: pytest.FixtureRequest, device: torch.device) -> Arguments:
    """Ragged sequences of every form with some impossible entries, NaN in what is never read."""
    return poisoned(random_hmm(3, 6, 4, impossible=0.2, seed=5, **FORMS[request.param]), device)


def assert_same_samples(hmm: Arguments, num_samples: int) -> None:
    """Draw with the same numbers from the kernel and the definition."""
    found, expected = (
        problem.apply(
            sample,
            num_samples=num_samples,
            generator=torch.Generator(hmm.log_emission.device).manual_seed(3),
            backend=backend,
        )
        for problem, backend in ((hmm, "cuda"), (clean(hmm), "reference"))
    )
    assert found.equal(expected)


def with_an_impossible_sequence(hmm: Arguments, device: torch.device) -> Arguments:
    """Forbid all states of one frame of the second of four sequences; the third is empty."""
    hmm = hmm._replace(lengths=torch.tensor([6, 6, 0, 4]))
    hmm.log_emission[1, 3] = -torch.inf
    return poisoned(hmm, device)


def test_the_best_paths_of_every_form(hmm: Arguments) -> None:
    assert_agrees(kbest, hmm, num_paths=3)


def test_equally_good_paths_come_in_the_same_order(device: torch.device) -> None:
    hmm = convert(random_hmm(2, 5, 4, seed=7), lambda x: x.round() if x.is_floating_point() else x)
    assert_agrees(kbest, poisoned(hmm, device), rtol=0, atol=0, num_paths=9)


def test_fewer_paths_than_asked_for(device: torch.device) -> None:
    hmm = with_an_impossible_sequence(random_hmm(4, 6, 3, impossible=0.5, seed=2), device)
    assert_agrees(kbest, hmm, num_paths=5)
    assert_agrees(kbest, poisoned(random_hmm(2, 2, 2, seed=2, ragged=False), device), num_paths=6)


@pytest.mark.parametrize(("frames", "states"), [(0, 3), (1, 3), (4, 1), (2, 33), (2, 260)])
def test_any_number_of_frames_and_states(device: torch.device, frames: int, states: int) -> None:
    hmm = poisoned(random_hmm(2, frames, states, seed=3), device)
    assert_agrees(kbest, hmm, num_paths=2)
    assert_agrees(entropy, hmm)
    assert_same_samples(hmm, 2)


def test_samples_of_every_form(hmm: Arguments) -> None:
    assert_same_samples(hmm, 3)


def test_no_samples_and_no_sequences(device: torch.device) -> None:
    assert_same_samples(poisoned(random_hmm(2, 3, 3), device), 0)
    nothing = poisoned(random_hmm(0, 3, 3), device)
    assert_same_samples(nothing, 2)
    assert_agrees(kbest, nothing, num_paths=2)
    assert_agrees(entropy, nothing)


def test_impossible_sequences_have_no_samples(device: torch.device) -> None:
    hmm = with_an_impossible_sequence(random_hmm(4, 6, 3, impossible=0.3, seed=9), device)
    assert_same_samples(hmm, 2)


def test_the_entropy_of_every_form(hmm: Arguments) -> None:
    assert_agrees(entropy, hmm)


def test_the_entropy_of_impossible_arcs_and_sequences(device: torch.device) -> None:
    hmm = with_an_impossible_sequence(random_hmm(4, 6, 3, impossible=0.5, seed=2), device)
    assert_agrees(entropy, hmm)


def test_float32(device: torch.device) -> None:
    hmm = poisoned(single(random_hmm(1, 48, 3, ragged=False, seed=6)), device)
    assert_same_samples(hmm, 1)
    # Each frame adds about a nat, whose rounding errors add up.
    assert_agrees(entropy, hmm, rtol=1e-5, atol=0)
    assert_agrees(kbest, hmm, rtol=1e-6, atol=0, num_paths=2)


def kbest_scores(hmm: Arguments) -> Tensor:
    """Scores of the two best paths of each sequence."""
    return hmm.apply(kbest, num_paths=2, backend="cuda").log_score


def entropies(hmm: Arguments) -> Tensor:
    """Entropy of each sequence."""
    return hmm.apply(entropy, backend="cuda")[None]


@pytest.mark.parametrize("result", [kbest_scores, entropies])
@pytest.mark.parametrize("field", ["log_emission", "log_transition", "log_final"])
def test_a_value_that_is_no_number_spoils_its_sequence_only(
    device: torch.device, field: str, result: Callable[[Arguments], Tensor]
) -> None:
    hmm = poisoned(random_hmm(3, 4, 3, ragged=False, per_sequence=True), device)
    value: Any = getattr(hmm, field).clone()
    value[1].view(-1)[2] = torch.nan
    found = result(hmm._replace(**{field: value}))
    assert found[0].isnan().tolist() == [False, True, False]
    assert found[:, [0, 2]].equal(result(hmm)[:, [0, 2]])
