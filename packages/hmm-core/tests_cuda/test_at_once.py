"""Programs that wait for each other: several for one sequence, at the same time."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from at_once import run_programs_at_once
from dense_problems import assert_agrees, poisoned
from sparse_problems import INF, STRUCTURES, converted
from sparse_problems import poisoned as poisoned_graph

from hmm_core import backward, dtw, entropy, expected_transitions, forward, viterbi
from hmm_core.backends.cuda import _warping
from hmm_core.backends.cuda.dense import _operations, _viterbi, _wide
from hmm_core.backends.cuda.sparse import _plan
from hmm_core.testing import Arguments, random_hmm

pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")

OPS: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (forward, {}),
    (backward, {}),
    (entropy, {}),
    (viterbi, {"memory": "full"}),
    (viterbi, {"memory": "linear"}),
]


@pytest.fixture
def numbers(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Programs of each launch: those of a device of six processors, or of the one at hand."""
    if device.type == "cuda":
        return []
    monkeypatch.setattr(_wide, "processors", lambda _: 6)
    monkeypatch.setattr(_plan, "processors", lambda _: 6)
    return run_programs_at_once(monkeypatch)


@pytest.mark.parametrize(("op", "options"), OPS)
def test_programs_share_a_dense_sequence(
    device: torch.device,
    numbers: list[int],
    monkeypatch: pytest.MonkeyPatch,
    op: Callable[..., Any],
    options: dict[str, Any],
) -> None:
    for module in (_operations, _viterbi):
        monkeypatch.setattr(module, "block_size", lambda *_: None)
    hmm = poisoned(random_hmm(2, 4, 40, impossible=0.3, seed=3), device)
    assert_agrees(op, hmm, **options)
    assert not numbers or 6 in numbers


def agrees_with_the_reference(structure: str, device: torch.device) -> None:
    """Compare what goes through the frames, in both directions."""
    problem = converted(STRUCTURES[structure](False), torch.float64, device)
    assert problem.lengths is not None
    assert problem.lengths.max() >= 4
    for op in (forward, backward, expected_transitions, viterbi):
        found = poisoned_graph(problem).apply(op, backend="cuda")
        expected = problem.apply(op, backend="reference")
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("structure", ["random", "random, all per sequence", "loop of words"])
def test_programs_share_a_graph_with_arcs_in_all_directions(
    device: torch.device, numbers: list[int], monkeypatch: pytest.MonkeyPatch, structure: str
) -> None:
    monkeypatch.setattr(_plan, "SINGLE", 2)
    agrees_with_the_reference(structure, device)
    assert not numbers or max(numbers) == 6


@pytest.mark.parametrize(("structure", "tile"), [("ctc", 4), ("leaps", 2)])
def test_tiles_wait_for_their_neighbours(
    device: torch.device, numbers: list[int], monkeypatch: pytest.MonkeyPatch, structure: str, tile: int
) -> None:
    for name, value in (("SINGLE", 2), ("TILE", tile), ("CHUNK", 2)):
        monkeypatch.setattr(_plan, name, value)
    agrees_with_the_reference(structure, device)
    assert not numbers or max(numbers) >= 4


def test_strips_wait_for_the_one_above(
    device: torch.device, numbers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("ROWS", 4), ("CHUNK", 4)):
        monkeypatch.setattr(_warping, name, value)
    cost = torch.randint(1, 5, (2, 10, 12), generator=torch.Generator().manual_seed(1)).double().to(device)
    cost[1, 4, 3] = INF
    found, expected = (dtw(cost, backend=backend) for backend in ("cuda", "reference"))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert not numbers or max(numbers) == 6


def test_a_program_that_waits_in_vain_is_found(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    if device.type == "cuda":
        pytest.skip("a GPU would wait, too")
    monkeypatch.setattr("at_once.PATIENCE", 1)
    run_programs_at_once(monkeypatch)
    # One of three does not come: they were told to expect more.
    monkeypatch.setattr(_wide, "processors", lambda _: 6)
    monkeypatch.setattr(_operations, "block_size", lambda *_: None)
    monkeypatch.setattr(_wide, "programs_per_sequence", lambda _: 4)
    monkeypatch.setattr(_wide, "launch", _with_one_program_less)
    hmm: Arguments = poisoned(random_hmm(1, 3, 40, seed=3), device)
    with pytest.raises(AssertionError, match="programs wait for each other"):
        hmm.apply(forward, backend="cuda")


def _with_one_program_less(kernel: Any, grid: tuple[int, ...], *arguments: Any, **constants: Any) -> None:
    """Launch all programs but the last."""
    from hmm_core.backends.cuda._launch import launch  # noqa: PLC0415  (the original, whatever was patched)

    launch(kernel, (grid[0] - 1,), *arguments, **constants)
