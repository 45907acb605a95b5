"""Paths through sparse graphs on CUDA: those of the reference, in every form."""

import pytest
import torch
from sparse_problems import CASES, INF, STRUCTURES, converted, draw, poisoned, use_form
from torch import Tensor

from hmm_core import KBestPaths, Sparse, ViterbiPath, from_arcs, kbest, sample, viterbi
from hmm_core.backends.cuda._launch import recording
from hmm_core.backends.cuda.sparse import _plan
from hmm_core.backends.cuda.sparse._viterbi import bits_of_a_slot
from hmm_core.testing import Arguments, random_hmm

# numpy, behind Triton's interpreter, warns of the logarithm of 0 and of differences of -inf.
pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in:RuntimeWarning")


def assert_same_path(actual: ViterbiPath | KBestPaths, expected: ViterbiPath | KBestPaths) -> None:
    """Compare paths to the bit, and scores to a rounding of their sum."""
    assert torch.equal(actual.states.cpu(), expected.states.cpu())
    torch.testing.assert_close(actual.log_score.cpu(), expected.log_score.cpu(), rtol=1e-6, atol=0.0)


@pytest.mark.parametrize("whole", [False, True], ids=["", "ties"])
@pytest.mark.parametrize(("structure", "form"), CASES)
def test_the_best_path_is_that_of_the_reference(
    structure: str, form: str, whole: bool, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_form(monkeypatch, form)
    hmm = converted(STRUCTURES[structure](whole), torch.float64 if whole else torch.float32, device)
    expected = converted(hmm, torch.float64, torch.device("cpu")).apply(viterbi, backend="reference")
    found = poisoned(hmm).apply(viterbi, backend="cuda")
    assert_same_path(found._replace(log_score=found.log_score.double()), expected)


@pytest.mark.parametrize("form", ["one program", "pipeline"])
def test_paths_of_linear_memory_are_the_same(
    form: str, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_form(monkeypatch, form)
    hmm = converted(STRUCTURES["skips"](False), torch.float64, device)
    # 40 frames are two spans of 36 frames at most.
    long = hmm._replace(log_emission=draw(2, 40, 3).to(device), lengths=torch.tensor([40, 20], device=device))
    full = long.apply(viterbi, memory="full", backend="cuda")
    assert_same_path(long.apply(viterbi, memory="linear", backend="cuda"), full)


def test_linear_memory_is_less_memory() -> None:
    hmm = converted(STRUCTURES["skips"](False), torch.float64, torch.device("cpu"))
    long = hmm._replace(log_emission=draw(2, 400, 3), lengths=None)
    words = {}
    for memory in ("full", "linear"):
        with recording() as launches:
            long.apply(viterbi, memory=memory, backend="cuda")
        pointers = [call.arguments.get("pointers") for call in launches]
        words[memory] = max(table.numel() for table in pointers if isinstance(table, Tensor))
    assert words["linear"] * 3 < words["full"]


@pytest.mark.parametrize("slots", [2, 3, 5])
def test_of_equal_paths_the_one_through_the_lowest_states_is_taken(slots: int, device: torch.device) -> None:
    predecessors = torch.stack([torch.arange(j, j + slots) for j in range(4)])
    K = 4 + slots - 1
    predecessors = torch.nn.functional.pad(predecessors, (0, 0, 0, K - 4), value=-1)
    graph = Sparse(predecessors, torch.zeros((K, slots), dtype=torch.float64))
    hmm = Arguments(draw(K) * 0, graph, draw(1, 5, K) * 0, None, draw(K) * 0)
    path = converted(hmm, torch.float64, device).apply(viterbi, backend="cuda")
    assert path.states.tolist() == [[0] * 5]


@pytest.mark.parametrize("slots", [1, 5, 17])
def test_any_number_of_predecessors(slots: int, device: torch.device) -> None:
    K = 18
    generator = torch.Generator().manual_seed(slots)
    predecessors = torch.rand((K, K), generator=generator).argsort(1)[:, :slots].sort(1).values
    graph = Sparse(predecessors, draw(K, slots, seed=1))
    hmm = converted(Arguments(draw(K), graph, draw(1, 12, K), None, draw(K, seed=2)), torch.float64, device)
    assert_same_path(hmm.apply(viterbi, backend="cuda"), hmm.apply(viterbi, backend="reference"))


def test_back_pointers_are_as_small_as_they_can_be() -> None:
    assert [bits_of_a_slot(slots) for slots in (1, 2, 4, 5, 16, 17, 256, 257)] == [2, 2, 2, 4, 4, 8, 8, 16]


@pytest.mark.parametrize(("frames", "states"), [(0, 3), (1, 3), (1, 1), (3, 1)])
def test_the_smallest_problems(frames: int, states: int, device: torch.device) -> None:
    hmm = converted(random_hmm(2, frames, states, sparse=True, ragged=False), torch.float64, device)
    assert_same_path(hmm.apply(viterbi, backend="cuda"), hmm.apply(viterbi, backend="reference"))


def test_a_sequence_with_nan_has_no_path(device: torch.device) -> None:
    hmm = converted(random_hmm(3, 4, 3, sparse=True, ragged=False), torch.float32, device)
    emission = hmm.log_emission.clone()
    emission[1, 2, 1] = torch.nan
    path = hmm._replace(log_emission=emission).apply(viterbi, backend="cuda")
    assert path.log_score.isnan().tolist() == [False, True, False]
    assert (path.states[1] == -1).all()
    assert (path.states[[0, 2]] >= 0).all()


def test_without_a_path_there_are_no_states(device: torch.device) -> None:
    graph = from_arcs(2, [0], [0], torch.zeros(1))
    final = torch.tensor([-INF, 0.0])
    hmm = converted(Arguments(final.flip(0), graph, draw(1, 3, 2), None, final), torch.float32, device)
    path = hmm.apply(viterbi, backend="cuda")
    assert path.log_score.item() == -INF
    assert (path.states == -1).all()


@pytest.mark.parametrize("whole", [False, True], ids=["", "ties"])
@pytest.mark.parametrize(
    "structure", ["skips", "ctc", "loop of words", "random, impossible", "random, all per sequence"]
)
def test_the_best_paths_are_those_of_the_reference(structure: str, whole: bool, device: torch.device) -> None:
    hmm = converted(STRUCTURES[structure](whole), torch.float64, device)
    for paths in (1, 3):
        found = poisoned(hmm).apply(kbest, num_paths=paths, backend="cuda")
        assert_same_path(found, hmm.apply(kbest, num_paths=paths, backend="reference"))


def test_more_paths_are_asked_for_than_there_are(device: torch.device) -> None:
    hmm = converted(random_hmm(3, 2, 2, sparse=True), torch.float64, device)
    hmm = hmm._replace(lengths=torch.tensor([2, 1, 0], device=device))
    assert_same_path(
        hmm.apply(kbest, num_paths=6, backend="cuda"), hmm.apply(kbest, num_paths=6, backend="reference")
    )


@pytest.mark.parametrize("form", ["one program", "pipeline", "one program, messages computed again"])
@pytest.mark.parametrize("structure", ["skips", "ctc", "random, impossible"])
def test_the_same_numbers_draw_the_paths_of_the_reference(
    structure: str, form: str, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    hmm = converted(STRUCTURES[structure](False), torch.float64, device)
    if form == "one program, messages computed again":
        monkeypatch.setattr(_plan, "plenty", lambda _: 0)
    else:
        use_form(monkeypatch, form)
    drawn = [
        hmm.apply(sample, num_samples=8, generator=torch.Generator(device).manual_seed(1), backend=backend)
        for backend in ("cuda", "reference")
    ]
    assert torch.equal(*drawn)


@pytest.mark.parametrize(("frames", "states"), [(0, 3), (1, 3), (3, 1)])
def test_the_smallest_problems_of_many_paths(frames: int, states: int, device: torch.device) -> None:
    hmm = converted(random_hmm(2, frames, states, sparse=True, ragged=False), torch.float64, device)
    assert_same_path(
        hmm.apply(kbest, num_paths=2, backend="cuda"), hmm.apply(kbest, num_paths=2, backend="reference")
    )
    drawn = [
        hmm.apply(sample, num_samples=2, generator=torch.Generator(device).manual_seed(1), backend=backend)
        for backend in ("cuda", "reference")
    ]
    assert torch.equal(*drawn)
