"""Errors name the argument, the rule in letters and numbers, and what came."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from hmm_core import Sparse, log_likelihood, viterbi

K5 = torch.zeros(5)
EMISSION = torch.zeros(2, 7, 5)
MATRIX = torch.zeros(5, 5)
NAN, INF = torch.nan, torch.inf


def _with(tensor: torch.Tensor, position: tuple[int, ...], value: float) -> torch.Tensor:
    changed = tensor.clone()
    changed[position] = value
    return changed


FROM_EMISSION = "with K from log_emission (B, T, K) = (2, 7, 5)"
FROM_BATCH = "with B from log_emission (B, T, P) = (2, 7, 5)"
CASES: list[tuple[dict[str, Any], type[Exception], str]] = [
    (
        {"log_transition": torch.zeros(5, 4)},
        ValueError,
        f"log_transition must have shape (K, K) = (5, 5), {FROM_EMISSION}; got (5, 4)",
    ),
    (
        {"log_transition": torch.zeros(3, 5, 5)},
        ValueError,
        f"log_transition must have shape (B, K, K) = (2, 5, 5), {FROM_EMISSION}; got (3, 5, 5)",
    ),
    (
        {"log_transition": torch.zeros(2, 7, 5, 5)},
        ValueError,
        f"log_transition must have shape (B, T-1, K, K) = (2, 6, 5, 5), {FROM_EMISSION}; got (2, 7, 5, 5)",
    ),
    (
        {"log_transition": torch.zeros(5)},
        ValueError,
        f"log_transition must have shape (K, K) or (B, K, K) or (B, T-1, K, K), {FROM_EMISSION}; got (5,)",
    ),
    ({"log_transition": [[0.0]]}, TypeError, "log_transition must be a Tensor or Sparse; got list"),
    (
        {"log_transition": MATRIX.double()},
        TypeError,
        "log_transition must have dtype torch.float32 like log_emission; got torch.float64",
    ),
    (
        {"log_transition": _with(MATRIX, (1, 2), INF)},
        ValueError,
        "log_transition must not hold NaN or +inf; got inf at [1, 2]",
    ),
    (
        {"log_transition": Sparse(torch.zeros(4, 1).long(), torch.zeros(4, 1))},
        ValueError,
        f"log_transition.predecessors must have shape (K, R) = (5, 1), {FROM_EMISSION}; got (4, 1)",
    ),
    (
        {"log_transition": Sparse(torch.zeros(5, 1).long(), torch.zeros(3, 5, 1))},
        ValueError,
        f"log_transition.log_weight must have shape (B, K, R) = (2, 5, 1), {FROM_EMISSION}; got (3, 5, 1)",
    ),
    (
        {"log_initial": torch.zeros(4)},
        ValueError,
        f"log_initial must have shape (K,) = (5,), {FROM_EMISSION}; got (4,)",
    ),
    (
        {"log_initial": torch.zeros(3, 5)},
        ValueError,
        f"log_initial must have shape (B, K) = (2, 5), {FROM_EMISSION}; got (3, 5)",
    ),
    ({"log_initial": 0.0}, TypeError, "log_initial must be a Tensor; got float"),
    ({"log_initial": K5.long()}, TypeError, "log_initial must have a floating dtype; got torch.int64"),
    (
        {"log_initial": K5.to("meta")},
        ValueError,
        "log_initial must be on cpu like log_emission; got meta",
    ),
    (
        {"log_initial": _with(K5, (3,), NAN)},
        ValueError,
        "log_initial must not hold NaN or +inf; got nan at [3]",
    ),
    (
        {"log_emission": torch.zeros(7, 5)},
        ValueError,
        "log_emission must have shape (B, T, P) with P at least 1; got (7, 5)",
    ),
    (
        {"log_emission": _with(EMISSION, (1, 2, 3), NAN)},
        ValueError,
        "log_emission must not hold NaN or +inf; got nan at [1, 2, 3]",
    ),
    (
        {"log_final": torch.zeros(4)},
        ValueError,
        f"log_final must have shape (K,) = (5,), {FROM_EMISSION}; got (4,)",
    ),
    ({"log_final": _with(K5, (0,), INF)}, ValueError, "log_final must not hold NaN or +inf; got inf at [0]"),
    (
        {"lengths": torch.tensor([1])},
        ValueError,
        f"lengths must have shape (B,) = (2,), {FROM_BATCH}; got (1,)",
    ),
    ({"lengths": torch.tensor([1, 8])}, ValueError, "lengths must lie in 0..T = 0..7; got 8 at [1]"),
    ({"lengths": torch.tensor([-1, 8])}, ValueError, "lengths must lie in 0..T = 0..7; got -1 at [0]"),
    (
        {"lengths": torch.tensor([1.0, 2.0])},
        TypeError,
        "lengths must have dtype torch.int64; got torch.float32",
    ),
    (
        {"lengths": torch.tensor([1, 2]).to("meta")},
        ValueError,
        "lengths must be on cpu like log_emission; got meta",
    ),
    (
        {"emission_index": torch.zeros(3, 5).long()},
        ValueError,
        f"emission_index must have shape (B, K) = (2, any), {FROM_BATCH}; got (3, 5)",
    ),
    (
        {"emission_index": torch.zeros(4).long()},
        ValueError,
        "log_initial must have shape (K,) = (4,), with K from emission_index (K,) = (4,); got (5,)",
    ),
    (
        {"emission_index": torch.tensor([0, 1, 2, 3, 5])},
        ValueError,
        "emission_index must lie in 0..P-1 = 0..4; got 5 at [4]",
    ),
    ({"backend": "tpu"}, ValueError, 'backend must be "auto", "reference", "cpu" or "cuda"; got \'tpu\''),
]


@pytest.mark.parametrize(("change", "error", "message"), CASES, ids=lambda value: str(value)[:40])
@pytest.mark.parametrize("op", [log_likelihood, viterbi])
def test_wrong_arguments_are_refused(
    op: Callable[..., Any], change: dict[str, Any], error: type[Exception], message: str
) -> None:
    arguments = {"log_initial": K5, "log_transition": MATRIX, "log_emission": EMISSION} | change
    assert callable(op)
    with pytest.raises(error) as caught:
        op(**arguments)
    assert str(caught.value) == message


def test_what_is_never_read_may_hold_anything() -> None:
    emission = EMISSION.clone()
    emission[1, 3:] = torch.nan
    graph = Sparse(torch.tensor([[0, -1]] * 5), torch.tensor([[0.0, NAN]] * 5))
    lengths = torch.tensor([7, 3], dtype=torch.int32)
    assert log_likelihood(K5, graph, emission, lengths).isfinite().all()
    assert viterbi(K5, graph, emission, lengths).log_score.isfinite().all()
    assert viterbi(K5, graph, emission, lengths, backend="reference").log_score.isfinite().all()
