import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import hmm_core
from hmm_bench import (
    CoreImplementation,
    HmmlearnImplementation,
    Implementation,
    Instance,
    UnavailableError,
    Workload,
    compare,
    implementations,
    make_workload,
)


class Altered:
    """The reference, its answer changed on the way."""

    version = "0"

    def __init__(self, name: str, change: Callable[[Tensor], Tensor]) -> None:
        self.name = name
        self._change = change

    def prepare(self, instance: Instance, workload: Workload) -> Callable[[], Tensor]:
        run = CoreImplementation("reference").prepare(instance, workload)
        return lambda: self._change(run())


def answer(implementation: Implementation, instance: Instance) -> Tensor:
    return implementation.prepare(instance, make_workload(instance))()


@pytest.mark.parametrize("op", ["viterbi", "log_likelihood", "posterior"])
@pytest.mark.parametrize("topology", ["dense", "chain", "skip"])
def test_the_reference_is_right_on_every_instance(op: str, topology: str) -> None:
    instance = Instance(op, 2, 9, 4, topology)
    (row,) = compare(instance, [CoreImplementation("reference")], rounds=5)
    assert (row.note, row.ratio) == ("", 1.0)
    assert row.timing is not None


def test_sparse_transitions_may_be_given_as_a_matrix() -> None:
    dense = CoreImplementation("reference", dense=True)
    rows = compare(Instance("viterbi", 2, 9, 4, "skip"), [CoreImplementation("reference"), dense], rounds=5)
    assert [row.note for row in rows] == ["", ""]
    assert rows[1].implementation == "hmm-core reference dense"


@pytest.mark.parametrize(
    ("op", "change"),
    [
        ("viterbi", lambda states: states.flip(1)),
        ("viterbi", lambda states: torch.full_like(states, -1)),
        ("log_likelihood", lambda value: value + 0.1),
        ("log_likelihood", lambda value: value * torch.nan),
        ("posterior", lambda state: state.roll(1, 1)),
    ],
)
def test_a_wrong_answer_has_no_time(op: str, change: Callable[[Tensor], Tensor]) -> None:
    right, wrong = compare(
        Instance(op, 2, 9, 4, "chain"), [CoreImplementation("reference"), Altered("wrong", change)], rounds=5
    )
    assert right.timing is not None
    assert wrong.timing is None
    assert wrong.ratio is None
    assert wrong.note.startswith("wrong: error")


def test_an_answer_of_another_shape_is_wrong() -> None:
    (row,) = compare(
        Instance("log_likelihood", 2, 9, 4), [Altered("short", lambda value: value[:1])], rounds=5
    )
    assert row.note == "wrong: shape (1,) instead of (2,)"


def test_ratios_refer_to_the_first_one_with_a_time() -> None:
    wrong = Altered("wrong", lambda states: states.flip(1))
    rows = compare(Instance("viterbi", 2, 9, 4, "chain"), [wrong, CoreImplementation("reference")], rounds=5)
    assert [row.ratio for row in rows] == [None, 1.0]


def test_a_ratio_above_one_is_slower() -> None:
    def dawdle(value: Tensor) -> Tensor:
        time.sleep(0.1)
        return value

    slow = Altered("slow", dawdle)
    rows = compare(Instance("log_likelihood", 1, 2, 2), [CoreImplementation("reference"), slow], rounds=5)
    ratio = rows[1].ratio
    assert ratio is not None
    assert ratio > 1


def test_an_impossible_instance_is_answered_by_minus_infinity() -> None:
    (row,) = compare(
        Instance("log_likelihood", 2, 3, 4, "chain"), [CoreImplementation("reference")], rounds=5
    )  # four states cannot be passed in three frames
    assert row.note == ""


def test_a_backend_that_cannot_take_the_instance_says_why() -> None:
    (row,) = compare(Instance("posterior", 2, 9, 4, "chain"), [CoreImplementation("cpu")], rounds=5)
    if hmm_core.backends.available()["cpu"] is None and not row.note:
        pytest.skip("the kernels of this hmm-core compute posteriors")
    assert row.note.startswith('unavailable: backend="cpu"')
    assert row.timing is None


def test_names_must_differ() -> None:
    twice = [CoreImplementation("reference"), CoreImplementation("reference")]
    with pytest.raises(ValueError, match="different names; got hmm-core reference, hmm-core reference"):
        compare(Instance("viterbi", 1, 1, 1), twice)


def test_the_number_of_threads_is_the_instances_and_then_as_before() -> None:
    seen = []

    def note(value: Tensor) -> Tensor:
        seen.append(torch.get_num_threads())
        return value

    before = torch.get_num_threads()
    compare(Instance("log_likelihood", 1, 2, 2, threads=3), [Altered("x", note)], rounds=5)
    assert set(seen) == {3}
    assert torch.get_num_threads() == before


def test_without_hmmlearn_it_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hmmlearn", None)
    with pytest.raises(UnavailableError, match=r"hmmlearn is not installed; pip install hmm-bench\[peers\]"):
        answer(HmmlearnImplementation(), Instance("viterbi", 1, 2, 2))


def test_the_version_of_what_is_not_installed_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("hmm_bench._implementations.version", missing)
    assert HmmlearnImplementation().version == ""


class Kernels(ModuleType):
    """hmmlearn's kernels in NumPy, as its documentation defines them."""

    @staticmethod
    def viterbi(
        initial: NDArray[Any], matrix: NDArray[Any], log_emission: NDArray[Any]
    ) -> tuple[float, NDArray[Any]]:
        with np.errstate(divide="ignore"):
            score, log_matrix = np.log(initial) + log_emission[0], np.log(matrix)
        origins = []
        for frame in log_emission[1:]:
            table = score[:, None] + log_matrix
            origins.append(table.argmax(0))
            score = table.max(0) + frame
        path = [int(score.argmax())]
        for origin in reversed(origins):
            path.append(int(origin[path[-1]]))
        return float(score.max()), np.array(path[::-1])

    @staticmethod
    def forward_scaling(
        initial: NDArray[Any], matrix: NDArray[Any], emission: NDArray[Any]
    ) -> tuple[float, NDArray[Any], NDArray[Any]]:
        forward, scaling = np.empty_like(emission), np.empty(len(emission))
        for t, frame in enumerate(emission):
            joint = (initial if t == 0 else forward[t - 1] @ matrix) * frame
            scaling[t] = 1 / joint.sum()
            forward[t] = joint * scaling[t]
        return float(-np.log(scaling).sum()), forward, scaling

    @staticmethod
    def backward_scaling(
        _initial: NDArray[Any], matrix: NDArray[Any], emission: NDArray[Any], scaling: NDArray[Any]
    ) -> NDArray[Any]:
        backward = np.empty_like(emission)
        backward[-1] = scaling[-1]
        for t in range(len(emission) - 2, -1, -1):
            backward[t] = matrix @ (emission[t + 1] * backward[t + 1]) * scaling[t]
        return backward


@pytest.fixture(params=["installed", "stand-in"])
def hmmlearn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> HmmlearnImplementation:
    """The peer with its own kernels, and with the stand-in's."""
    if request.param == "installed":
        pytest.importorskip("hmmlearn", reason="the peer hmmlearn is not installed")
    else:
        monkeypatch.setitem(sys.modules, "hmmlearn", ModuleType("hmmlearn"))
        monkeypatch.setitem(sys.modules, "hmmlearn._hmmc", Kernels("hmmlearn._hmmc"))
    return HmmlearnImplementation()


@pytest.mark.parametrize("op", ["viterbi", "log_likelihood", "posterior"])
@pytest.mark.parametrize("topology", ["dense", "chain"])
@pytest.mark.parametrize("threads", [1, 2])
def test_hmmlearn_agrees(hmmlearn: HmmlearnImplementation, op: str, topology: str, threads: int) -> None:
    (row,) = compare(Instance(op, 3, 12, 4, topology, threads=threads), [hmmlearn], rounds=5)
    assert row.note == ""


def test_kernels_come_first() -> None:
    first = implementations()[0]
    assert first.name == "hmm-core cpu"
    assert first.version
