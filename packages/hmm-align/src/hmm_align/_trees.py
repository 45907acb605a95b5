"""Decision trees that tie the states of a phone across its neighbours (Young, Odell and Woodland, 1994)."""

import heapq
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hmm_speech import Articulation, PhoneSet, articulation, articulatory_class

Array = NDArray[np.float64]
Index = NDArray[np.int64]

_LEFT, _RIGHT, _LEAF = 0, 1, -1


class ContextStatistics(NamedTuple):
    """What was seen of states between neighbours: one row for each state with each pair of them."""

    state: Index  # (C,)
    neighbours: Index  # (C, 2) the units before and after
    moments: Array  # (C, 1 + 2 D) frames, the sum of their features, and of their squares


class StateTrees(NamedTuple):
    """One tree a state; a leaf is a tied state. Its questions are asked from the root on."""

    sets: NDArray[np.bool_]  # (Q, U) which units a question means
    root: Index  # (P,) the node where the tree of each state begins
    side: Index  # (N,) which neighbour is asked for: 0 before, 1 after, -1 none, at a leaf
    question: Index  # (N,) the number of a set; at a leaf, that of the tied state
    children: Index  # (N, 2) where to go on: no, yes

    @property
    def num_leaves(self) -> int:
        """Tied states of all trees."""
        return int((self.side == _LEAF).sum())

    @property
    def states(self) -> Index:
        """The state whose tree each leaf belongs to, in the order of their numbers."""
        state = np.empty_like(self.side)
        state[self.root] = np.arange(len(self.root))
        for node in np.flatnonzero(self.side != _LEAF):  # children come after their parents
            state[self.children[node]] = state[node]
        (leaf,) = np.nonzero(self.side == _LEAF)
        found = np.empty(len(leaf), dtype=np.int64)
        found[self.question[leaf]] = state[leaf]
        return found

    def leaves(self, state: Index, neighbours: Index) -> Index:
        """Return the tied states of states (C,) between neighbours (C, 2)."""
        node = self.root[state]
        while True:
            (inner,) = np.nonzero(self.side[node] != _LEAF)
            if not len(inner):
                found: Index = self.question[node]
                return found
            at = node[inner]
            asked = neighbours[inner, self.side[at]]
            node[inner] = self.children[at, self.sets[self.question[at], asked].astype(np.int64)]


def phonetic_questions(units: Sequence[str], language: str) -> NDArray[np.bool_]:
    """Return the sets (Q, U) of units that trees may ask for.

    Each unit alone, the silence (``""``) among them; and for phones of which it is known how they are made,
    each manner class and all that have more of a feature than another phone.
    """
    phones = PhoneSet.of(language)
    known: dict[int, str] = {}
    for number, unit in enumerate(units):
        ipa = phones.get(unit, unit)
        try:
            articulation(ipa)
        except ValueError:
            continue
        known[number] = ipa
    sets = list(np.eye(len(units), dtype=np.bool_))
    kinds = {number: articulatory_class(ipa) for number, ipa in known.items()}
    sets += [
        np.array([kinds.get(number) == kind for number in range(len(units))])
        for kind in sorted(set(kinds.values()))
    ]
    rows = np.full((len(units), len(Articulation._fields)), -np.inf)
    for number, ipa in known.items():
        rows[number] = articulation(ipa)
    sets += [column >= level for column in rows.T for level in np.unique(column[np.isfinite(column)])]
    different = {row.tobytes(): row for row in sets if 0 < row.sum() < len(units)}
    return np.stack(list(different.values()))


def log_likelihood(moments: Array, floor: Array) -> Array:
    """Return how likely frames of moments (..., 1 + 2 D) are under the best diagonal Gaussian."""
    count = moments[..., 0]
    dim = len(floor)
    per_frame = moments[..., 1:] / np.maximum(count, 1.0)[..., None]
    square = np.maximum(per_frame[..., dim:] - per_frame[..., :dim] ** 2, 0.0)
    variance = np.maximum(square, floor)
    spread = (np.log(2 * np.pi * variance) + square / variance).sum(axis=-1)
    return np.where(count > 0, -0.5 * count * spread, 0.0)


class _Split(NamedTuple):
    """The best question for a node."""

    gain: float
    side: int
    question: int


def grow_trees(
    statistics: ContextStatistics,
    sets: NDArray[np.bool_],
    num_states: int,
    floor: Array,
    *,
    unsplit: Sequence[int],
    max_leaves: int,
    min_count: float,
    min_gain: float,
) -> StateTrees:
    """Split states by their neighbours, always where most likelihood is gained.

    Until there are ``max_leaves`` (of all trees), or no split gains ``min_gain`` nats and leaves
    ``min_count`` frames on both sides. The states ``unsplit`` are not asked for their neighbours.
    Deterministic: of equal gains that of the first node, side and question is taken.
    """
    side, question = [_LEAF] * num_states, [0] * num_states
    children = [(0, 0)] * num_states
    rows = {state: np.flatnonzero(statistics.state == state) for state in range(num_states)}
    queue: list[tuple[float, int, _Split]] = []

    def consider(node: int) -> None:
        """Put the best split of a leaf into the queue."""
        split = _best_split(statistics, rows[node], sets, floor, min_count)
        if split is not None and split.gain >= min_gain:
            heapq.heappush(queue, (-split.gain, node, split))

    for state in range(num_states):
        if state not in unsplit:
            consider(state)
    num_leaves = num_states
    while queue and num_leaves < max_leaves:
        _, node, split = heapq.heappop(queue)
        answers = sets[split.question, statistics.neighbours[rows[node], split.side]]
        side[node], question[node] = split.side, split.question
        children[node] = (len(side), len(side) + 1)
        for answer in (False, True):
            rows[len(side)] = rows[node][answers == answer]
            side.append(_LEAF)
            question.append(0)
            children.append((0, 0))
            consider(len(side) - 1)
        num_leaves += 1
    asked = np.array(side)
    numbers = np.array(question)
    numbers[asked == _LEAF] = np.arange((asked == _LEAF).sum())
    return StateTrees(sets, np.arange(num_states), asked, numbers, np.array(children, dtype=np.int64))


def _best_split(
    statistics: ContextStatistics,
    rows: Index,
    sets: NDArray[np.bool_],
    floor: Array,
    min_count: float,
) -> _Split | None:
    """Return the question that gains most for a node of these contexts; None if none leaves enough frames."""
    moments = statistics.moments[rows]
    total = moments.sum(axis=0)
    whole = float(log_likelihood(total, floor))
    best = None
    for side in (_LEFT, _RIGHT):
        by_unit = np.zeros((sets.shape[1], moments.shape[1]))
        np.add.at(by_unit, statistics.neighbours[rows, side], moments)
        yes = sets.astype(np.float64) @ by_unit
        no = total - yes
        enough = np.minimum(yes[:, 0], no[:, 0]) >= min_count
        if not enough.any():
            continue
        gains = np.where(enough, log_likelihood(yes, floor) + log_likelihood(no, floor) - whole, -np.inf)
        number = int(gains.argmax())
        if best is None or gains[number] > best.gain:
            best = _Split(float(gains[number]), side, number)
    return best
