"""The HMM of one transcript: its words in order, their pronunciations side by side, silence where it may be.

Units (phones and silences) are laid out in the order of time, so that predecessors come before successors::

    [silence] word 1, variant a | word 1, variant b [silence] word 2 ... word N [silence]
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from hmm_core import Graph, from_arcs

Pronunciation = tuple[str, ...]
SILENCE = ""  # the label of the silence unit, here and in every output


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
    word: int  # index into the transcript; -1 for silence
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

    def finish(self, starts: list[tuple[_Ports, float]], ends: list[tuple[_Ports, float]]) -> UtteranceGraph:
        """Return the graph with the pieces that may come first and last, each with a log probability."""
        log_initial, log_final = np.full(self.num_states, -np.inf), np.full(self.num_states, -np.inf)
        for ports, log_prob in starts:
            log_initial[ports.states] = np.asarray(ports.log_probs) + log_prob
        for ports, log_prob in ends:
            log_final[ports.states] = np.asarray(ports.log_probs) + log_prob
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
    words: Sequence[Sequence[Pronunciation]], models: Mapping[str, UnitModel], silence_prob: float
) -> UtteranceGraph:
    """Build the graph of a transcript given each word's pronunciations.

    Before the first word, between words and after the last, a silence is taken with ``silence_prob``.
    """
    builder = _Builder(models)
    log_silence, log_direct = float(np.log(silence_prob)), float(np.log1p(-silence_prob))
    starts: list[tuple[_Ports, float]] = []
    before: _Ports | None = None
    silence_before: _Ports | None = None
    for word, variants in enumerate([*words, None]):
        silence_enter, silence_leave = builder.unit(SILENCE, -1, 0)
        if before is None:
            starts.append((silence_enter, log_silence))
        else:
            builder.connect(before, silence_enter, log_silence)
        if variants is None:
            silence_before = silence_leave
            break
        enter, leave = builder.word(word, variants)
        builder.connect(silence_leave, enter)
        if before is None:
            starts.append((enter, log_direct))
        else:
            builder.connect(before, enter, log_direct)
        before = leave

    ends = [] if silence_before is None else [(silence_before, 0.0)]
    if before is not None:
        ends.append((before, log_direct))
    return builder.finish(starts, ends)


def build_chain(labels: Sequence[str], models: Mapping[str, UnitModel]) -> UtteranceGraph:
    """Build the graph of units that all occur, in this order: a transcript whose choices have been made."""
    builder = _Builder(models)
    before: _Ports | None = None
    enter = _Ports([], [])
    for position, label in enumerate(labels):
        unit_enter, unit_leave = builder.unit(label, position, 0)
        if before is None:
            enter = unit_enter
        else:
            builder.connect(before, unit_enter)
        before = unit_leave
    leave = before or _Ports([], [])
    return builder.finish([(enter, 0.0)], [(leave, 0.0)])
