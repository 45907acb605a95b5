"""The HMM of one transcript: its words in order, their pronunciations side by side, silence where it may be.

Units (phones and silences) are laid out in the order of time, so that predecessors come before successors::

    [silence] word 1, variant a | word 1, variant b [silence] word 2 ... word N [silence]

In a loose graph each [silence] is [silence] [other speech [silence]], and words may be left out.

Where phones are modelled in context, the first and the last of a word have a copy for every unit that the
words beside it, or a silence, may make of them; arcs join the copies that agree.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from hmm_core import Graph, from_arcs

from ._result import UNEXPLAINED

Pronunciation = tuple[str, ...]
SILENCE = ""  # the label of the silence unit, here and in every output
# Words that a path may leave out without a pause between them; a pause takes only a few frames.
_MOST_SKIPPED = 3

# Names the unit of a phone, given the phones before and after it and its position: "b"egin or "e"nd of a
# word, "i"nternal, or a word of its "s"ingle phone.
InContext = Callable[[str, str, str, str], str]

_Name = TypeVar("_Name")


@dataclass(frozen=True, eq=False)
class UnitModel:
    """A phone's or the silence's states: which densities they read, and how they follow each other."""

    densities: NDArray[np.int64]  # (S,)
    log_initial: NDArray[np.float64]  # (S,)
    log_transition: NDArray[np.float64]  # (S, S)
    log_final: NDArray[np.float64]  # (S,)

    @cached_property
    def entries(self) -> "_Ports":
        """Where paths enter, counted from its first state."""
        return _ports(self.log_initial)

    @cached_property
    def exits(self) -> "_Ports":
        """Where paths leave, counted from its first state."""
        return _ports(self.log_final)

    @cached_property
    def arcs(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Possible steps between its states: from, to, with which log probability."""
        source, target = np.isfinite(self.log_transition).nonzero()
        return source, target, self.log_transition[source, target]

    @cached_property
    def min_frames(self) -> int:
        """Frames on the shortest way through."""
        reached = np.isfinite(self.log_initial)
        for frames in range(1, len(self.densities) + 1):
            if (reached & np.isfinite(self.log_final)).any():
                return frames
            reached = np.any(reached[:, None] & np.isfinite(self.log_transition), axis=0)
        raise ValueError("the states of a unit must lead from log_initial to log_final")


class Extended(dict[str, UnitModel]):
    """Some units, and beside them all that others hold or make when they are asked for."""

    def __init__(self, units: Mapping[str, UnitModel], others: Mapping[str, UnitModel]) -> None:
        super().__init__(units)
        self._others = others

    def __missing__(self, name: str) -> UnitModel:
        return self._others[name]


class Unit(NamedTuple):
    """One phone of one pronunciation of one word, or a silence, in an utterance's graph."""

    label: str
    word: int  # index into the transcript; -1 for silence and other speech
    variant: int  # which pronunciation of the word
    first_state: int
    context: str | None = None  # the name of its model, if that is not the label

    @property
    def name(self) -> str:
        """Under which its model is found."""
        return self.label if self.context is None else self.context


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

    def moved(self, first: int) -> "_Ports":
        """Return those of a piece whose states come after so many others."""
        return _Ports([first + state for state in self.states], self.log_probs)


class _Door(NamedTuple):
    """Ports at one end of a word or of a pause, and what may lie beyond them."""

    phone: str  # on this side; that of a pause is the silence
    beyond: frozenset[str] | None  # phones of which the next may be one; None is any
    ports: _Ports

    def opens_to(self, phone: str) -> bool:
        """Tell whether a phone may lie beyond."""
        return self.beyond is None or phone in self.beyond


class _Standing(NamedTuple):
    """Paths that have come to a place between two words."""

    door: _Door | None  # where they come from; None is the beginning
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
            _Standing(item.door, item.log_prob + self.log_skip, item.skipped + 1)
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
        self.inner: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = []
        self.outer: list[tuple[int, int, float]] = []
        self.starts: list[tuple[_Ports, float]] = []

    def unit(self, label: str, word: int, variant: int, context: str | None = None) -> tuple[_Ports, _Ports]:
        """Append a unit's states and inner arcs; return where it is entered and left."""
        unit = Unit(label, word, variant, self.num_states, context)
        model, first = self.models[unit.name], self.num_states
        self.units.append(unit)
        self.num_states += len(model.densities)
        self.densities.append(model.densities)
        source, target, log_prob = model.arcs
        self.inner.append((source + first, target + first, log_prob))
        return model.entries.moved(first), model.exits.moved(first)

    def connect(self, leave: _Ports, enter: _Ports, log_prob: float = 0.0) -> None:
        """Add the arcs from every exit of one piece to every entry of another."""
        for source, log_leave in zip(leave.states, leave.log_probs, strict=True):
            for target, log_enter in zip(enter.states, enter.log_probs, strict=True):
                self.outer.append((source, target, log_leave + log_enter + log_prob))

    def arrive(self, paths: Sequence[_Standing], enter: Sequence[_Door], log_prob: float = 0.0) -> None:
        """Let paths go on to the entries of a piece that agree with them on what lies on both sides."""
        for item, entry in product(paths, enter):
            if item.door is None:
                if entry.opens_to(SILENCE):
                    self.starts.append((entry.ports, item.log_prob + log_prob))
            elif item.door.opens_to(entry.phone) and entry.opens_to(item.door.phone):
                self.connect(item.door.ports, entry.ports, item.log_prob + log_prob)

    def piece(self, label: str, word: int) -> tuple[_Door, _Door]:
        """Append a unit before and after which anything may lie."""
        enter, leave = self.unit(label, word, 0)
        return _Door(SILENCE, None, enter), _Door(SILENCE, None, leave)

    def pause(
        self, here: Sequence[_Standing], log_silence: float, log_direct: float, loose: Loose | None
    ) -> list[_Standing]:
        """Append what may stand between two words; return the paths that have been through it."""
        enter, leave = self.piece(SILENCE, -1)
        self.arrive(here, [enter], log_silence)
        silence = _Standing(leave, 0.0, 0)
        if loose is None:
            return [silence]
        enter, leave = self.piece(UNEXPLAINED, -1)
        self.arrive(here, [enter], log_direct + loose.log_filler)
        self.arrive([silence], [enter], loose.log_filler)
        after, leave_after = self.piece(SILENCE, -1)
        self.arrive([_Standing(leave, 0.0, 0)], [after], log_silence)
        return [silence, _Standing(leave, log_direct, 0), _Standing(leave_after, 0.0, 0)]

    def word(
        self,
        word: int,
        variants: Sequence[Pronunciation],
        before: frozenset[str],
        after: frozenset[str],
        in_context: InContext | None,
    ) -> tuple[list[_Door], list[_Door]]:
        """Append a word's pronunciations side by side, all equally likely; return its entries and exits.

        ``before`` and ``after`` are the phones that may lie on its sides.
        """
        enter: list[_Door] = []
        leave: list[_Door] = []
        log_share = float(np.log(len(variants)))
        for variant, phones in enumerate(variants):
            if len(phones) == 1:
                copies = _single_copies(phones[0], before, after, in_context)
                for context, lefts, rights in copies:
                    entry, exit_ = self.unit(phones[0], word, variant, context)
                    enter.append(_Door(phones[0], lefts, _divided(entry, log_share)))
                    leave.append(_Door(phones[0], rights, exit_))
                continue
            last: list[_Ports] = []
            for context, lefts in _begin_copies(phones, before, in_context):
                entry, exit_ = self.unit(phones[0], word, variant, context)
                enter.append(_Door(phones[0], lefts, _divided(entry, log_share)))
                last.append(exit_)
            for left, phone, right in zip(phones, phones[1:], phones[2:], strict=False):
                context = None if in_context is None else in_context(phone, left, right, "i")
                entry, exit_ = self.unit(phone, word, variant, context)
                for ports in last:
                    self.connect(ports, entry)
                last = [exit_]
            for context, rights in _end_copies(phones, after, in_context):
                entry, exit_ = self.unit(phones[-1], word, variant, context)
                for ports in last:
                    self.connect(ports, entry)
                leave.append(_Door(phones[-1], rights, exit_))
        return enter, leave

    def finish(self, ends: Sequence[_Standing]) -> UtteranceGraph:
        """Return the graph with the paths that may end; they begin where the beginning has arrived."""
        log_initial, log_final = np.full(self.num_states, -np.inf), np.full(self.num_states, -np.inf)
        for ports, log_prob in self.starts:
            log_initial[ports.states] = np.asarray(ports.log_probs) + log_prob
        for item in ends:
            if item.door is not None and item.door.opens_to(SILENCE):
                ports = item.door.ports
                log_final[ports.states] = np.asarray(ports.log_probs) + item.log_prob
        # A graph of one unit has no others.
        outer = zip(*self.outer, strict=True) if self.outer else ((), (), ())
        sources, targets, weights = (
            np.concatenate([*inside, np.asarray(between, dtype=inside[0].dtype)])
            for inside, between in zip(zip(*self.inner, strict=True), outer, strict=True)
        )
        arcs = from_arcs(
            self.num_states,
            torch.from_numpy(sources),
            torch.from_numpy(targets),
            torch.from_numpy(weights).float(),
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


def _ports(log_probs: NDArray[np.float64]) -> _Ports:
    (states,) = np.isfinite(log_probs).nonzero()
    return _Ports(states.tolist(), log_probs[states].tolist())


def _divided(ports: _Ports, log_share: float) -> _Ports:
    """Return ports that as many others share."""
    return _Ports(ports.states, [log_prob - log_share for log_prob in ports.log_probs])


def _begin_copies(
    phones: Pronunciation, before: frozenset[str], in_context: InContext | None
) -> list[tuple[str | None, frozenset[str]]]:
    """Return the names that the first phone of a word may have, each with the phones before that make it."""
    if in_context is None:
        return [(None, before)]
    return _grouped({left: in_context(phones[0], left, phones[1], "b") for left in sorted(before)})


def _end_copies(
    phones: Pronunciation, after: frozenset[str], in_context: InContext | None
) -> list[tuple[str | None, frozenset[str]]]:
    """Return the names that the last phone of a word may have, each with the phones after that make it."""
    if in_context is None:
        return [(None, after)]
    return _grouped({right: in_context(phones[-1], phones[-2], right, "e") for right in sorted(after)})


def _single_copies(
    phone: str, before: frozenset[str], after: frozenset[str], in_context: InContext | None
) -> list[tuple[str | None, frozenset[str], frozenset[str]]]:
    """Return the names that a word of one phone may have, each with the phones around that make it."""
    if in_context is None:
        return [(None, before, after)]
    rows = {
        left: tuple(in_context(phone, left, right, "s") for right in sorted(after)) for left in sorted(before)
    }
    return [
        (name, lefts, rights)
        for row, lefts in _grouped(rows)
        for name, rights in _grouped(dict(zip(sorted(after), row, strict=True)))
    ]


def _grouped(names: Mapping[str, _Name]) -> list[tuple[_Name, frozenset[str]]]:
    """Return each name with all that have it, in the order of the first."""
    found: dict[_Name, list[str]] = {}
    for phone, name in names.items():
        found.setdefault(name, []).append(phone)
    return [(name, frozenset(phones)) for name, phones in found.items()]


def build_graph(
    words: Sequence[Sequence[Pronunciation]],
    models: Mapping[str, UnitModel],
    silence_prob: float,
    in_context: InContext | None = None,
    loose: Loose | None = None,
) -> UtteranceGraph:
    """Build the graph of a transcript given each word's pronunciations.

    Before the first word, between words and after the last, a silence is taken with ``silence_prob``. Without
    ``in_context`` a phone's model has its label as its name, whatever is around it. A ``loose`` graph also
    has paths on which there is other speech, with silence before and after it if need be, and paths on which
    words are left out, some in a row; each takes a penalty.
    """
    builder = _Builder(models if loose is None else Extended({UNEXPLAINED: loose.filler}, models))
    log_silence, log_direct = float(np.log(silence_prob)), float(np.log1p(-silence_prob))
    first = [{phones[0] for phones in variants} for variants in words]
    last = [{phones[-1] for phones in variants} for variants in words]
    reach = 1 if loose is None else 1 + _MOST_SKIPPED  # words among which a word's neighbour is
    here = [_Standing(None, 0.0, 0)]
    for word, variants in enumerate([*words, ()]):
        paused = builder.pause(here, log_silence, log_direct, loose)
        ready = [*paused, *(item._replace(log_prob=item.log_prob + log_direct) for item in here)]
        if word == len(words):
            break
        before = frozenset({SILENCE}.union(*last[max(0, word - reach) : word]))
        after = frozenset({SILENCE}.union(*first[word + 1 : word + 1 + reach]))
        enter, leave = builder.word(word, variants, before, after, in_context)
        builder.arrive(ready, enter)
        skipping = [] if loose is None else loose.skip([*paused, *here])
        here = [*(_Standing(door, 0.0, 0) for door in leave), *skipping]
    return builder.finish(ready)


def build_chain(names: Sequence[str], models: Mapping[str, UnitModel]) -> UtteranceGraph:
    """Build the graph of units that all occur, in this order: a transcript whose choices have been made."""
    builder = _Builder(models)
    leave = _Ports([], [])
    for position, name in enumerate(names):
        enter, after = builder.unit(name, position, 0)
        builder.connect(leave, enter)
        leave = after
        if position == 0:
            builder.starts.append((enter, 0.0))
    return builder.finish([_Standing(_Door(SILENCE, None, leave), 0.0, 0)])


def build_loop(models: Mapping[str, UnitModel]) -> UtteranceGraph:
    """Build the graph of any units in any order, each as likely after each other."""
    builder = _Builder(models)
    pieces = [builder.piece(label, -1) for label in models]
    log_any, log_other = -float(np.log(len(pieces))), -float(np.log(max(1, len(pieces) - 1)))
    for number, (enter, _) in enumerate(pieces):
        builder.arrive([_Standing(None, log_any, 0)], [enter])
        # A unit that follows itself is a longer one; of one state, it would have its step twice.
        others = [leave for other, (_, leave) in enumerate(pieces) if other != number]
        builder.arrive([_Standing(leave, log_other, 0) for leave in others], [enter])
    return builder.finish([_Standing(leave, 0.0, 0) for _, leave in pieces])
