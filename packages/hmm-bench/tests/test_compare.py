import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from hmm_bench import (
    Absent,
    Computation,
    CoreImplementation,
    Instance,
    LocalComputation,
    UnavailableError,
    Workload,
    compare,
    make_workload,
)
from hmm_bench.problems import PROBLEMS, Answer

# One small instance of every operation.
SMALL = [
    Instance("log_likelihood", 2, 9, 4),
    Instance("gradient", 2, 9, 4),
    Instance("gradient", 2, 9, 4, "chain"),
    Instance("posterior", 2, 9, 4, "skip"),
    Instance("viterbi", 2, 9, 4, "chain"),
    Instance("filter", 1, 9, 4),
    Instance("filter", 1, 9, 4, chunk=2),
    Instance("semi_markov_log_likelihood", 2, 9, 3, durations=4),
    Instance("semi_markov_viterbi", 2, 9, 3, durations=4),
    Instance("ctc_alignment", 2, 12, densities=5, tokens=3),
    Instance("ctc_loss", 2, 12, densities=5, tokens=3),
    Instance("ctc_decode", 2, 12, densities=5, tokens=3),
    Instance("dtw", 2, 9, tokens=7),
    Instance("dtw", 2, 9, tokens=7, features=3),
    Instance("soft_dtw", 2, 9, tokens=7),
    Instance("soft_dtw", 2, 9, tokens=7, features=3),
]


class Altered:
    """The reference, its answer changed on the way."""

    version = "0"

    def __init__(self, name: str, change: Callable[[Tensor], Tensor]) -> None:
        self.name = name
        self._change = change

    def prepare(self, instance: Instance, workload: Workload) -> Computation:
        run = PROBLEMS[instance.op].core(instance, workload, "reference")
        return LocalComputation(lambda: tuple(self._change(part) for part in run()))


@pytest.mark.parametrize("instance", SMALL, ids=str)
def test_hmm_core_is_right_on_every_operation(instance: Instance) -> None:
    rows = compare(instance, [CoreImplementation("reference"), CoreImplementation()], rounds=5)
    assert [row.note for row in rows] == ["", ""]
    assert rows[0].ratio == 1.0
    assert all(row.timing is not None and row.first_call is not None for row in rows)


@pytest.mark.parametrize("instance", SMALL, ids=str)
def test_a_wrong_answer_has_no_time_on_any_operation(instance: Instance) -> None:
    def spoil(value: Tensor) -> Tensor:
        return value.flip(1) if value.dtype == torch.int64 else value + 0.01

    (row,) = compare(instance, [Altered("spoilt", spoil)], rounds=5)
    assert row.note.startswith("wrong: error")
    assert (row.timing, row.first_call, row.ratio) == (None, None, None)


def test_a_step_of_em_is_right_and_a_wrong_one_has_no_time() -> None:
    instance = Instance("em", 2, 30, 2, mixtures=2, features=3)
    (row,) = compare(instance, [CoreImplementation()], rounds=5)
    assert row.note == ""
    assert row.timing is not None

    class Spoilt(CoreImplementation):
        """One step, every parameter off by a tenth."""

        def prepare(self, instance: Instance, workload: Workload) -> Computation:
            run = PROBLEMS[instance.op].core(instance, workload, "auto")
            return LocalComputation(lambda: tuple(part + 0.1 for part in run()))

    (row,) = compare(instance, [Spoilt()], rounds=5)
    assert row.note.startswith("wrong: error")
    (row,) = compare(instance, [CoreImplementation("reference")], rounds=5)
    assert row.note == "unavailable: hmm-models chooses the backend itself"


def test_impossible_paths_are_wrong() -> None:
    paths = {
        "viterbi": Instance("viterbi", 1, 9, 4),
        "semi_markov_viterbi": Instance("semi_markov_viterbi", 1, 9, 3, durations=2),
        "ctc_alignment": Instance("ctc_alignment", 1, 9, densities=5, tokens=3),
        "dtw": Instance("dtw", 1, 9, tokens=7),
    }
    for instance in paths.values():
        exact = make_workload(instance).to(torch.float64)
        problem = PROBLEMS[instance.op]
        expected = problem.expected(instance, exact)
        impossible: Answer = (torch.full_like(expected[0], -1),)
        assert problem.error(exact, impossible, expected) == torch.inf
        assert problem.error(exact, (expected[0][:, 1:],), expected) == torch.inf
        assert problem.error(exact, expected, expected) == 0


def test_decoded_labels_may_be_more_likely_but_not_less() -> None:
    instance = Instance("ctc_decode", 1, 30, densities=5, tokens=4)
    exact = make_workload(instance).to(torch.float64)
    problem = PROBLEMS[instance.op]
    expected = problem.expected(instance, exact)
    assert problem.error(exact, expected, expected) == 0
    worse: Answer = (torch.zeros_like(expected[0]),)
    assert problem.error(exact, worse, expected) > problem.tolerance
    assert problem.error(exact, expected, worse) == 0
    assert problem.error(exact, (-1 + worse[0],), expected) == torch.inf


def test_segments_longer_than_the_longest_duration_are_wrong() -> None:
    instance = Instance("semi_markov_viterbi", 1, 9, 3, durations=2)
    exact = make_workload(instance).to(torch.float64)
    problem = PROBLEMS[instance.op]
    expected = problem.expected(instance, exact)
    assert problem.error(exact, (torch.zeros(1, 9, dtype=torch.int64),), expected) == torch.inf


def test_nan_is_wrong() -> None:
    nothing = Altered("nan", lambda value: value * torch.nan)
    (row,) = compare(Instance("log_likelihood", 2, 9, 4), [nothing], rounds=5)
    assert row.note == "wrong: error inf > 1e-05 against the float64 reference"


def test_an_answer_of_another_shape_is_wrong() -> None:
    (row,) = compare(
        Instance("log_likelihood", 2, 9, 4), [Altered("short", lambda value: value[:1])], rounds=5
    )
    assert row.note == "wrong: shapes [(1,)] instead of [(2,)]"


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


def test_a_backend_that_is_not_there_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmm_core.backends.native_problem", lambda: "was built without kernels")
    (row,) = compare(Instance("posterior", 2, 9, 4, "chain"), [CoreImplementation("cpu")], rounds=5)
    assert row.note.startswith("unavailable: ")
    assert row.timing is None


def test_who_is_absent_is_named_with_the_reason() -> None:
    (row,) = compare(Instance("viterbi", 1, 2, 2), [Absent("abacus", "1.0", "has no beads")], rounds=5)
    assert (row.implementation, row.version, row.note) == ("abacus", "1.0", "unavailable: has no beads")


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


def test_chains_give_every_path_the_same_weight() -> None:
    workload = make_workload(Instance("viterbi", 1, 9, 4, "chain", "float64"))
    weights = workload["log_weight"][workload["predecessors"] >= 0]
    assert torch.equal(weights, torch.full_like(weights, float(np.log(0.5))))


def test_errors_can_be_caught_by_name() -> None:
    with pytest.raises(UnavailableError, match="has no beads"):
        Absent("abacus", "1.0", "has no beads").prepare(
            Instance("viterbi", 1, 1, 1), make_workload(Instance("viterbi", 1, 1, 1))
        )
