"""Decision trees over the neighbours of states."""

from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from hmm_align._trees import ContextStatistics, StateTrees, grow_trees, log_likelihood, phonetic_questions

FLOOR = np.full(2, 0.01)


def moments_of(frames: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the count, sum and sum of squares of frames (N, 2)."""
    return np.concatenate([[len(frames)], frames.sum(axis=0), (frames**2).sum(axis=0)])


def gaussian(frames: NDArray[np.float64]) -> float:
    """Return the log-likelihood of frames under the diagonal Gaussian that fits them best."""
    mean, variance = frames.mean(axis=0), np.maximum(frames.var(axis=0), FLOOR)
    return float((-0.5 * (np.log(2 * np.pi * variance) + (frames - mean) ** 2 / variance)).sum())


Sounds = dict[tuple[int, int, int], NDArray[np.float64]]


@pytest.fixture(scope="module")
def sounds() -> Sounds:
    """Return frames of two states between four units; the one before moves the first state's sound."""
    chance = np.random.default_rng(0)
    return {
        (state, left, right): chance.normal([3.0 * (left > 1) * (state == 0), 0.3 * right], 1.0, (30, 2))
        for state, left, right in product(range(2), range(4), range(4))
    }


def statistics_of(sounds: Sounds) -> ContextStatistics:
    keys = np.array(list(sounds))
    return ContextStatistics(keys[:, 0], keys[:, 1:], np.stack([moments_of(x) for x in sounds.values()]))


def grown(sounds: Sounds, sets: NDArray[np.bool_], **choices: float) -> StateTrees:
    options = {"max_leaves": 3, "min_count": 10.0, "min_gain": 0.0} | choices
    return grow_trees(
        statistics_of(sounds),
        sets,
        2,
        FLOOR,
        unsplit=[],
        max_leaves=int(options["max_leaves"]),
        min_count=options["min_count"],
        min_gain=options["min_gain"],
    )


SETS = np.array(
    [[number in chosen for number in range(4)] for chosen in ([0], [1], [2], [3], [0, 1], [0, 2], [0, 3])]
)


def test_the_likelihood_of_moments_is_that_of_the_frames(sounds: Sounds) -> None:
    for frames in list(sounds.values())[:5]:
        assert float(log_likelihood(moments_of(frames), FLOOR)) == pytest.approx(gaussian(frames), rel=1e-9)
    same = np.ones((20, 2))  # the floor holds
    assert float(log_likelihood(moments_of(same), FLOOR)) == pytest.approx(gaussian(same), rel=1e-9)
    assert float(log_likelihood(np.zeros(5), FLOOR)) == 0.0


def test_the_first_split_is_the_best_of_all_that_can_be_asked(sounds: Sounds) -> None:
    trees = grown(sounds, SETS)
    (node,) = np.flatnonzero(trees.side != -1)
    gains = {}
    for state, side, question in product(range(2), range(2), range(len(SETS))):
        parts: list[list[NDArray[np.float64]]] = [[], []]
        for (own, *neighbours), frames in sounds.items():
            if own == state:
                parts[int(SETS[question, neighbours[side]])].append(frames)
        no, yes = (np.concatenate(part) for part in parts)
        gains[state, side, question] = gaussian(no) + gaussian(yes) - gaussian(np.concatenate([no, yes]))
    best = max(gains, key=lambda key: gains[key])
    assert (int(node), int(trees.side[node]), int(trees.question[node])) == best == (0, 0, 4)


def test_a_state_finds_the_leaf_that_its_neighbours_answer_for(sounds: Sounds) -> None:
    trees = grown(sounds, SETS, max_leaves=20)
    assert 3 < trees.num_leaves <= 20
    keys = np.array(list(sounds))
    found = trees.leaves(keys[:, 0], keys[:, 1:])
    for (state, *neighbours), leaf in zip(keys.tolist(), found.tolist(), strict=True):
        node = int(trees.root[state])
        while trees.side[node] != -1:
            node = int(
                trees.children[node, int(trees.sets[trees.question[node], neighbours[trees.side[node]]])]
            )
        assert leaf == trees.question[node]
        assert trees.states[leaf] == state
    assert sorted(set(found.tolist())) == list(range(trees.num_leaves))


def test_splits_stop_where_frames_or_gain_do_not_suffice(sounds: Sounds) -> None:
    assert grown(sounds, SETS, max_leaves=99, min_count=241.0).num_leaves == 2  # half of a state's frames
    few = grown(sounds, SETS, max_leaves=99, min_gain=100.0)
    assert few.num_leaves == 3
    assert grown(sounds, SETS, max_leaves=1).num_leaves == 2  # every state has a leaf


def test_a_state_that_is_not_split_has_one_leaf(sounds: Sounds) -> None:
    trees = grow_trees(
        statistics_of(sounds), SETS, 2, FLOOR, unsplit=[0], max_leaves=99, min_count=10.0, min_gain=0.0
    )
    assert (trees.states == 0).sum() == 1


def test_the_order_of_what_was_seen_does_not_matter(sounds: Sounds) -> None:
    turned = dict(reversed(list(sounds.items())))
    for one, two in zip(grown(sounds, SETS, max_leaves=9), grown(turned, SETS, max_leaves=9), strict=True):
        np.testing.assert_array_equal(one, two)


def test_questions_are_phonetic_and_each_asked_once() -> None:
    units = ["", "AA", "B", "IY", "M", "S", "T", "?"]
    sets = phonetic_questions(units, "en")
    asked = {frozenset(np.array(units)[row]) for row in sets}
    assert len(asked) == len(sets)
    assert {frozenset({unit}) for unit in units} <= asked
    assert {frozenset({"AA", "IY"}), frozenset({"B", "T"}), frozenset({"AA", "IY", "B", "M"})} <= asked
    assert frozenset() not in asked
    assert frozenset(units) not in asked
