"""The HMM of one transcript: its words in order, their pronunciations side by side, silence where it may be.

Units (phones and silences) are laid out in the order of time, so that predecessors come before successors::

    [silence] word 1, variant a | word 1, variant b [silence] word 2 ... word N [silence]

In a loose graph each [silence] is [silence] [other speech [silence]], and words may be left out.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from hmm_core import Graph, from_arcs

from ._result import UNEXPLAINED

Pronunciation = tuple[str, ...]
SILENCE = ""  # the label of the silence unit, here and in every output
# Words that a path may leave out without a pause between them; a pause takes only a few frames.
_MOST_SKIPPED = 3


class UnitModel(NamedTuple):
    """A phone's or the silence's states: which densities they read, and how they follow each other."""

    densities: NDArray[np.int64]  # (S,)
    log_initial: NDArray[np.float64]  # (S,)
    log_transition: NDArray[np.float64]  # (S, S)
    log_final: NDArray[np.float64]  # (S,)

    @property
    def min_frames(self) -> int:
        """Frames on the shortest way through."""
        reached = np.isfinite(self.log_initial)
        for frames in range(1, len(self.densities) + 1):
            if (reached & np.isfinite(self.log_final)).any():
                return frames
            reached = np.any(reached[:, None] & np.isfinite(self.log_transition), axis=0)
        raise ValueError("the states of a unit must lead from log_initial to log_final")


class Unit(NamedTuple):
    """One phone of one pronunciation of one word, or a silence, in an utterance's graph."""

    label: str
    word: int  # index into the transcript; -1 for silence and other speech
    variant: int  # which pronunciation of the word
    first_state: int


class UtteranceGraph(NamedTuple):
    """What the recursions run on, and what its states mean."""

    graph: Graph
    units: list[Unit]
    unit_of_state: NDArray[np.int64]  # (K,)
    density_of_state: torch.Tensor  # (K,) int64


class _Ports(NamedTuple):
    """States of a piece through which paths enter or leave, with their log probabilities."""

    states: list[int]
    log_probs: list[float]


class _Standing(NamedTuple):
    """Paths that have come to a place between two words."""

    ports: _Ports | None  # where they come from; None is the beginning
    log_prob: float  # what they took to come
    skipped: int  # words they have just left out


class Loose(NamedTuple):
    """What a transcript may lack or have too much, and at what price."""

    filler: UnitModel  # of other speech
    log_filler: float  # for each stretch of it
    log_skip: float  # for each word that is left out

    def skip(self, here: Sequence[_Standing]) -> list[_Standing]:
        """Return the paths that leave the next word out; those that have left out many cannot."""
        return [
            _Standing(item.ports, item.log_prob + self.log_skip, item.skipped + 1)
            for item in here
            if item.skipped < _MOST_SKIPPED
        ]


class _Builder:
    """Collects the states and arcs of one graph."""

    def __init__(self, models: Mapping[str, UnitModel]) -> None:
        self.models = models
        self.units: list[Unit] = []
        self.num_states = 0
        self.densities: list[NDArray[np.int64]] = []
        self.sources: list[NDArray[np.int64]] = []
        self.targets: list[NDArray[np.int64]] = []
        self.log_probs: list[NDArray[np.float64]] = []
        self.starts: list[tuple[_Ports, float]] = []

    def unit(self, label: str, word: int, variant: int) -> tuple[_Ports, _Ports]:
        """Append a unit's states and inner arcs; return where it is entered and left."""
        model, first = self.models[label], self.num_states
        self.units.append(Unit(label, word, variant, first))
        self.num_states += len(model.densities)
        self.densities.append(model.densities)
        source, target = np.isfinite(model.log_transition).nonzero()
        self.sources.append(source + first)
        self.targets.append(target + first)
        self.log_probs.append(model.log_transition[source, target])
        return _ports(model.log_initial, first), _ports(model.log_final, first)

    def connect(self, leave: _Ports, enter: _Ports, log_prob: float = 0.0) -> None:
        """Add the arcs from every exit of one piece to every entry of another."""
        count = len(enter.states)
        self.sources.append(np.repeat(np.asarray(leave.states, dtype=np.int64), count))
        self.targets.append(np.tile(np.asarray(enter.states, dtype=np.int64), len(leave.states)))
        weights = np.asarray(leave.log_probs)[:, None] + np.asarray(enter.log_probs)[None, :]
        self.log_probs.append((weights + log_prob).ravel())

    def arrive(self, paths: Sequence[_Standing], enter: _Ports, log_prob: float = 0.0) -> None:
        """Let paths go on to the entries of a piece."""
        for item in paths:
            if item.ports is None:
                self.starts.append((enter, item.log_prob + log_prob))
            else:
                self.connect(item.ports, enter, item.log_prob + log_prob)

    def pause(
        self, here: Sequence[_Standing], log_silence: float, log_direct: float, loose: Loose | None
    ) -> list[_Standing]:
        """Append what may stand between two words; return the paths that have been through it."""
        enter, leave = self.unit(SILENCE, -1, 0)
        self.arrive(here, enter, log_silence)
        silence = _Standing(leave, 0.0, 0)
        if loose is None:
            return [silence]
        enter, leave = self.unit(UNEXPLAINED, -1, 0)
        self.arrive(here, enter, log_direct + loose.log_filler)
        self.arrive([silence], enter, loose.log_filler)
        after, leave_after = self.unit(SILENCE, -1, 0)
        self.connect(leave, after, log_silence)
        return [silence, _Standing(leave, log_direct, 0), _Standing(leave_after, 0.0, 0)]

    def word(self, word: int, variants: Sequence[Pronunciation]) -> tuple[_Ports, _Ports]:
        """Append a word's pronunciations side by side, all equally likely."""
        enter, leave = _Ports([], []), _Ports([], [])
        for variant, phones in enumerate(variants):
            before: _Ports | None = None
            for phone in phones:
                unit_enter, unit_leave = self.unit(phone, word, variant)
                if before is None:
                    enter.states.extend(unit_enter.states)
                    enter.log_probs.extend(p - np.log(len(variants)) for p in unit_enter.log_probs)
                else:
                    self.connect(before, unit_enter)
                before = unit_leave
            if before is not None:
                leave.states.extend(before.states)
                leave.log_probs.extend(before.log_probs)
        return enter, leave

    def finish(self, ends: Sequence[_Standing]) -> UtteranceGraph:
        """Return the graph with the paths that may end; they begin where the beginning has arrived."""
        log_initial, log_final = np.full(self.num_states, -np.inf), np.full(self.num_states, -np.inf)
        for ports, log_prob in self.starts:
            log_initial[ports.states] = np.asarray(ports.log_probs) + log_prob
        for item in ends:
            if item.ports is not None:
                log_final[item.ports.states] = np.asarray(item.ports.log_probs) + item.log_prob
        arcs = from_arcs(
            self.num_states,
            torch.from_numpy(np.concatenate(self.sources)),
            torch.from_numpy(np.concatenate(self.targets)),
            torch.from_numpy(np.concatenate(self.log_probs)).float(),
        )
        densities = torch.from_numpy(np.concatenate(self.densities))
        return UtteranceGraph(
            Graph(
                torch.from_numpy(log_initial).float(), arcs, torch.from_numpy(log_final).float(), densities
            ),
            self.units,
            np.repeat(np.arange(len(self.units)), [len(item) for item in self.densities]),
            densities,
        )


def min_frames(words: Sequence[Sequence[Pronunciation]], models: Mapping[str, UnitModel]) -> int:
    """Return the frames that the shortest path through a transcript takes."""
    return sum(
        min(sum(models[phone].min_frames for phone in phones) for phones in variants) for variants in words
    )


def _ports(log_probs: NDArray[np.float64], first: int) -> _Ports:
    (states,) = np.isfinite(log_probs).nonzero()
    return _Ports((states + first).tolist(), log_probs[states].tolist())


def build_graph(
    words: Sequence[Sequence[Pronunciation]],
    models: Mapping[str, UnitModel],
    silence_prob: float,
    loose: Loose | None = None,
) -> UtteranceGraph:
    """Build the graph of a transcript given each word's pronunciations.

    Before the first word, between words and after the last, a silence is taken with ``silence_prob``. A
    ``loose`` graph also has paths on which there is other speech, with silence before and after it if need
    be, and paths on which words are left out, some in a row; each takes a penalty.
    """
    builder = _Builder(models if loose is None else {**models, UNEXPLAINED: loose.filler})
    log_silence, log_direct = float(np.log(silence_prob)), float(np.log1p(-silence_prob))
    here = [_Standing(None, 0.0, 0)]
    for word, variants in enumerate([*words, ()]):
        paused = builder.pause(here, log_silence, log_direct, loose)
        ready = [*paused, *(item._replace(log_prob=item.log_prob + log_direct) for item in here)]
        if word == len(words):
            break
        enter, leave = builder.word(word, variants)
        builder.arrive(ready, enter)
        skipping = [] if loose is None else loose.skip([*paused, *here])
        here = [_Standing(leave, 0.0, 0), *skipping]
    return builder.finish(ready)


def build_chain(labels: Sequence[str], models: Mapping[str, UnitModel]) -> UtteranceGraph:
    """Build the graph of units that all occur, in this order: a transcript whose choices have been made."""
    builder = _Builder(models)
    here = [_Standing(None, 0.0, 0)]
    for position, label in enumerate(labels):
        enter, leave = builder.unit(label, position, 0)
        builder.arrive(here, enter)
        here = [_Standing(leave, 0.0, 0)]
    return builder.finish(here)


def build_loop(models: Mapping[str, UnitModel]) -> UtteranceGraph:
    """Build the graph of any units in any order, each as likely after each other."""
    builder = _Builder(models)
    pieces = [builder.unit(label, -1, 0) for label in models]
    log_any, log_other = -float(np.log(len(pieces))), -float(np.log(max(1, len(pieces) - 1)))
    for number, (enter, _) in enumerate(pieces):
        builder.arrive([_Standing(None, 0.0, 0)], enter, log_any)
        # A unit that follows itself is a longer one; of one state, it would have its step twice.
        for other, (_, before) in enumerate(pieces):
            if other != number:
                builder.connect(before, enter, log_other)
    return builder.finish([_Standing(leave, 0.0, 0) for _, leave in pieces])
