"""Prefix beam search through the outputs of a network trained with CTC."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Prefix = tuple[int, ...]
LanguageModel = Callable[[Prefix], ArrayLike]
_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]


class CTCHypothesis(NamedTuple):
    """A sequence of labels that a network may mean.

    Attributes
    ----------
    tokens : tuple of int
        Labels without blanks.
    score : float
        What hypotheses are ranked by: ``log_prob``, the weighted language model and the bonus of each token.
    log_prob : float
        Natural logarithm of the probability of the labels, summed over the paths that the beam followed: a
        lower bound, exact if nothing was dropped. With a beam of 1, the best path's alone.

    Examples
    --------
    >>> CTCHypothesis((3, 1), -0.5, -0.5).tokens
    (3, 1)
    """

    tokens: Prefix
    score: float
    log_prob: float


class _Trie:
    """Numbers prefixes, so that two ways to the same prefix are known to be one."""

    def __init__(self) -> None:
        self.parent = [-1]
        self.token = [-1]
        self._children: dict[tuple[int, int], int] = {}

    def child(self, node: int, token: int) -> int:
        """Return the number of a prefix with one more token."""
        number = self._children.setdefault((node, token), len(self.parent))
        if number == len(self.parent):
            self.parent.append(node)
            self.token.append(token)
        return number

    def prefix(self, node: int) -> Prefix:
        """Return the tokens of a prefix."""
        tokens = []
        while node:
            tokens.append(self.token[node])
            node = self.parent[node]
        return tuple(reversed(tokens))


class _Beam(NamedTuple):
    """The prefixes in work, K of them, in the order in which they came in."""

    node: _Integers  # (K,) in the trie
    parent: _Integers  # (K,) in the trie, -1 of the empty prefix
    last: _Integers  # (K,) last token, -1 of the empty prefix
    blank: _Floats  # (K,) log-probability of all paths that end in a blank
    label: _Floats  # (K,) of those that end in the last token
    bias: _Floats  # (K,) language model and bonuses
    gain: _Floats  # (K, V), what each token would add to bias; (K, 1) where that is the same for all


def greedy(log_prob: _Floats, blank: int) -> CTCHypothesis:
    """Return the labels of the best path: the best label of each frame, repetitions and blanks dropped."""
    best = log_prob.argmax(axis=1)
    kept = best[np.flatnonzero(np.diff(best, prepend=-1))]
    score = float(log_prob.max(axis=1).sum())
    return CTCHypothesis(tuple(kept[kept != blank].tolist()), score, score)


def beam_search(
    log_prob: _Floats,
    blank: int,
    beam_width: int,
    language_model: LanguageModel | None = None,
    lm_weight: float = 1.0,
    token_bonus: float = 0.0,
) -> list[CTCHypothesis]:
    """Return the best prefixes of one sequence (T, V), the best first.

    After a frame, the probability of a prefix in the beam is the sum over all paths to it through prefixes
    that were in the beam: prefixes are numbered, so that one that is reached again is found again.
    """
    V = log_prob.shape[1]
    trie = _Trie()

    def gains(nodes: Sequence[int]) -> _Floats:
        """Return what each token adds to the bias of each prefix."""
        if language_model is None:
            return np.full((len(nodes), 1), token_bonus)
        rows = [_scores_of(language_model, trie.prefix(node), V) for node in nodes]
        return lm_weight * np.array(rows).reshape(len(nodes), V) + token_bonus

    nowhere = np.array([-1])
    beam = _Beam(np.array([0]), nowhere, nowhere, np.zeros(1), np.full(1, -np.inf), np.zeros(1), gains([0]))
    for frame in log_prob:
        beam = _advance(beam, frame, blank, beam_width, trie, gains)
    total = np.logaddexp(beam.blank, beam.label)
    score = total + beam.bias
    return [
        CTCHypothesis(trie.prefix(int(beam.node[k])), float(score[k]), float(total[k]))
        for k in np.argsort(-score, kind="stable")
        if score[k] > -np.inf
    ]


def _advance(
    beam: _Beam,
    frame: _Floats,
    blank: int,
    beam_width: int,
    trie: _Trie,
    gains: Callable[[Sequence[int]], _Floats],
) -> _Beam:
    """Hear one more frame (V,)."""
    total = np.logaddexp(beam.blank, beam.label)
    has_token = beam.last >= 0
    at_last = np.where(has_token, frame[beam.last], -np.inf)
    stay_blank = total + frame[blank]
    stay_label = beam.label + at_last
    # A prefix in the beam that is another one and a token is reached from there, too.
    longer, shorter = np.nonzero(beam.parent[:, None] == beam.node)
    repeated = beam.last[longer] == beam.last[shorter]
    arriving = np.where(repeated, beam.blank[shorter], total[shorter]) + at_last[longer]
    stay_label[longer] = np.logaddexp(stay_label[longer], arriving)
    stay = np.logaddexp(stay_blank, stay_label) + beam.bias

    # A token that cannot lift the best prefix above the worst of a full beam is left out.
    floor = stay.min() if len(stay) >= beam_width else -np.inf
    reach = (total + beam.bias + beam.gain.max(axis=1)).max()
    heard = frame + reach > floor
    heard[blank] = False
    tokens = np.flatnonzero(heard)
    column = np.full(len(frame), -1)
    column[tokens] = np.arange(len(tokens))
    moved = total[:, None] + frame[tokens]
    again = np.flatnonzero(has_token)
    again = again[column[beam.last[again]] >= 0]
    # A token twice in a row needs a blank between.
    moved[again, column[beam.last[again]]] = beam.blank[again] + at_last[again]
    known = column[beam.last[longer]]
    moved[shorter[known >= 0], known[known >= 0]] = -np.inf
    gain = beam.gain[:, tokens] if beam.gain.shape[1] > 1 else beam.gain
    grown = beam.bias[:, None] + gain
    ranked = np.concatenate((stay, (moved + grown).ravel()))

    chosen = _best(ranked, beam_width)
    kept = chosen[chosen < len(stay)]
    source, which = np.divmod(chosen[chosen >= len(stay)] - len(stay), max(len(tokens), 1))
    added = tokens[which]
    if not len(source):
        return _Beam(
            beam.node[kept],
            beam.parent[kept],
            beam.last[kept],
            stay_blank[kept],
            stay_label[kept],
            beam.bias[kept],
            beam.gain[kept],
        )
    nodes = [trie.child(int(beam.node[k]), int(token)) for k, token in zip(source, added, strict=True)]
    bias = np.broadcast_to(grown, moved.shape)[source, which]
    return _Beam(
        np.concatenate((beam.node[kept], nodes)),
        np.concatenate((beam.parent[kept], beam.node[source])),
        np.concatenate((beam.last[kept], added)),
        np.concatenate((stay_blank[kept], np.full(len(source), -np.inf))),
        np.concatenate((stay_label[kept], moved[source, which])),
        np.concatenate((beam.bias[kept], bias)),
        np.concatenate((beam.gain[kept], gains(nodes))),
    )


def _best(score: _Floats, count: int) -> _Integers:
    """Return the positions of the highest possible scores, ascending; of equal ones the first."""
    possible = np.flatnonzero(score > -np.inf)
    if len(possible) <= count:
        # Where nothing is possible any more, something must stay for the next frames.
        return possible if len(possible) else np.zeros(1, dtype=np.int64)
    bar = np.partition(score[possible], len(possible) - count)[len(possible) - count]
    above = possible[score[possible] > bar]
    level = possible[score[possible] == bar][: count - len(above)]
    return np.sort(np.concatenate((above, level)))


def _scores_of(language_model: LanguageModel, prefix: Prefix, V: int) -> _Floats:
    """Ask a language model, and check what it says."""
    scores = np.asarray(language_model(prefix), dtype=np.float64)
    if scores.shape != (V,) or np.isnan(scores).any() or (scores == np.inf).any():
        raise ValueError(
            f"language_model must return V = {V} log-probabilities below +inf; got shape {scores.shape} for "
            f"the prefix {prefix}"
        )
    return scores
