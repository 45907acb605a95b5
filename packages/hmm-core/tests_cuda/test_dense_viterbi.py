"""Best paths of dense transitions against the definition, bit for bit."""

from typing import Any

import pytest
import torch
from dense_problems import FORMS, assert_agrees, convert, poisoned, single
from torch import Tensor

from hmm_core import viterbi
from hmm_core.backends.cuda import _launch
from hmm_core.backends.cuda.dense import _viterbi
from hmm_core.testing import Arguments, random_hmm

MEMORY = ["full", "linear"]


@pytest.fixture(params=["narrow", "wide"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both kernels: the matrix in registers, and in tiles."""
    if request.param == "wide":
        monkeypatch.setattr(_viterbi, "block_size", lambda *_: None)


def with_ties(hmm: Arguments) -> Arguments:
    """Round all scores to integers, so that many paths are equally good."""
    return convert(hmm, lambda value: value.round() if value.is_floating_point() else value)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("memory", MEMORY)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_paths_and_scores_are_those_of_the_definition(
    device: torch.device, form: dict[str, Any], memory: str
) -> None:
    hmm = poisoned(with_ties(random_hmm(3, 8, 4, impossible=0.2, seed=7, **form)), device)
    assert_agrees(viterbi, hmm, rtol=0, atol=0, memory=memory)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("memory", MEMORY)
def test_impossible_arcs_and_sequences(device: torch.device, memory: str) -> None:
    hmm = random_hmm(4, 10, 6, impossible=0.5, seed=2)._replace(lengths=torch.tensor([10, 9, 0, 5]))
    hmm.log_emission[1, 4] = -torch.inf
    hmm = poisoned(hmm, device)
    assert hmm.apply(viterbi, backend="cuda").log_score[1] == -torch.inf
    assert_agrees(viterbi, hmm, memory=memory)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize(("frames", "states"), [(0, 3), (1, 3), (4, 1), (3, 17)])
def test_any_number_of_frames_and_states(device: torch.device, frames: int, states: int) -> None:
    assert_agrees(viterbi, poisoned(random_hmm(2, frames, states, seed=3), device))


@pytest.mark.parametrize("states", [33, 130, 260])
def test_blocks_of_many_states(device: torch.device, states: int) -> None:
    hmm = with_ties(single(random_hmm(1, 3, states, seed=3, ragged=False)))
    assert_agrees(viterbi, poisoned(hmm, device), rtol=0, atol=0)


def test_no_sequences(device: torch.device) -> None:
    assert_agrees(viterbi, poisoned(random_hmm(0, 4, 3), device))


def test_float32(device: torch.device) -> None:
    hmm = poisoned(single(random_hmm(1, 48, 5, ragged=False, seed=6)), device)
    # The score adds up in float64, and is rounded once.
    assert_agrees(viterbi, hmm, rtol=1e-6, atol=0)


def test_auto_keeps_memory_in_bounds(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    hmm = poisoned(random_hmm(2, 30, 3, ragged=False, seed=1), device)
    expected = hmm.apply(viterbi, backend="cuda")
    sizes: list[int] = []

    def spy(kernel: Any, grid: tuple[int, ...], *arguments: Any, **options: Any) -> None:
        sizes.extend(a.numel() for a in arguments if isinstance(a, Tensor) and a.dtype == torch.uint8)
        _launch.launch(kernel, grid, *arguments, **options)

    monkeypatch.setattr(_viterbi, "launch", spy)
    monkeypatch.setattr(_viterbi, "_FULL_MEMORY", 10)
    found = hmm.apply(viterbi, backend="cuda")
    assert found.states.equal(expected.states)
    assert sizes == [2 * 5 * 3]


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("field", ["log_emission", "log_transition", "log_final"])
def test_a_value_that_is_no_number_spoils_its_sequence_only(
    device: torch.device, field: str, bad: float
) -> None:
    hmm = poisoned(random_hmm(3, 4, 3, ragged=False, per_sequence=True), device)
    clear = hmm.apply(viterbi, backend="cuda")
    value = getattr(hmm, field).clone()
    value[1].view(-1)[2] = bad
    spoiled = hmm._replace(**{field: value}).apply(viterbi, backend="cuda")
    assert spoiled.log_score.isnan().tolist() == [False, True, False]
    assert spoiled.log_score[[0, 2]].equal(clear.log_score[[0, 2]])
    assert spoiled.states[[0, 2]].equal(clear.states[[0, 2]])
    assert spoiled.states[1].eq(-1).all()


def test_a_length_or_an_index_out_of_range_gives_nan(device: torch.device) -> None:
    hmm = poisoned(random_hmm(3, 4, 3, densities=2, per_sequence=True), device)
    for field in ("lengths", "emission_index"):
        for wrong in (-1, 9):
            value = getattr(hmm, field).clone()
            value[1] = wrong
            found = hmm._replace(**{field: value}).apply(viterbi, backend="cuda")
            assert found.log_score.isnan().tolist() == [False, True, False]
