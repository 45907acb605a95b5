"""Every operation equals the sum over all paths."""

from functools import partial
from typing import Any

import pytest
import torch

from hmm_core import Sparse, backward, expected_transitions, forward, log_likelihood, posterior, viterbi
from hmm_core.testing import Arguments, PathEnumeration, enumerate_paths, random_hmm

# Only the order of float64 additions differs.
close = partial(torch.testing.assert_close, rtol=1e-10, atol=1e-12)


@pytest.fixture(params=[0.0, 0.5, 0.95], ids=lambda fraction: f"impossible={fraction}")
def case(request: pytest.FixtureRequest, form: dict[str, Any]) -> tuple[Arguments, PathEnumeration]:
    hmm = random_hmm(3, 4, 3, impossible=request.param, seed=11, **form)
    return hmm, enumerate_paths(hmm)


def test_log_likelihood_sums_over_all_paths(case: tuple[Arguments, PathEnumeration]) -> None:
    hmm, paths = case
    close(hmm.apply(log_likelihood), paths.log_likelihood)
    close(hmm.apply(forward).log_likelihood, paths.log_likelihood)


def test_posterior_is_the_share_of_paths_through_a_state(case: tuple[Arguments, PathEnumeration]) -> None:
    hmm, paths = case
    close(hmm.apply(posterior).state, paths.state)


def test_expected_transitions_count_the_steps_of_all_paths(case: tuple[Arguments, PathEnumeration]) -> None:
    hmm, paths = case
    counts = hmm.apply(expected_transitions)
    transition = hmm.log_transition
    weight = transition.log_weight if isinstance(transition, Sparse) else transition
    expected = paths.transition if weight.ndim == 4 else paths.transition.sum(1)
    if isinstance(transition, Sparse):
        used = transition.predecessors >= 0
        assert (
            counts.masked_select(~(used if weight.ndim < 4 or used.ndim == 2 else used[:, None])) == 0
        ).all()
        counts = Sparse(
            transition.predecessors if weight.ndim == 4 else transition.predecessors.expand_as(counts),
            counts,
        ).to_dense()
        counts = counts.masked_fill(counts == -torch.inf, 0.0)
    close(counts, expected)


def test_viterbi_score_is_that_of_the_best_of_all_paths(case: tuple[Arguments, PathEnumeration]) -> None:
    hmm, paths = case
    close(hmm.apply(viterbi).log_score, paths.best_score)


def test_messages_are_the_textbook_ones() -> None:
    hmm = random_hmm(1, 4, 3, ragged=False, seed=2)
    log_alpha, log_beta = hmm.apply(forward).log_alpha, hmm.apply(backward)
    for t in range(4):
        # log_alpha sums over the paths of the first t + 1 frames that end in one state.
        for k in range(3):
            ending = torch.full((3,), -torch.inf, dtype=torch.float64).index_fill(0, torch.tensor(k), 0.0)
            head = hmm._replace(log_emission=hmm.log_emission[:, : t + 1], log_final=ending)
            close(log_alpha[:, t, k], enumerate_paths(head).log_likelihood)
            tail = hmm._replace(
                log_initial=ending,
                log_emission=hmm.log_emission[:, t:].clone().index_fill(1, torch.tensor(0), 0.0),
            )
            close(log_beta[:, t, k], enumerate_paths(tail).log_likelihood)


def test_enumeration_refuses_more_than_a_million_paths() -> None:
    with pytest.raises(ValueError, match=r"^K \*\* T must be at most a million; got 3 \*\* 20$"):
        enumerate_paths(random_hmm(1, 20, 3))
