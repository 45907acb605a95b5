"""The HMM of one transcript: its words in order, their pronunciations side by side, silence where it may be.

Units (phones and silences) are laid out in the order of time, so that predecessors come before successors::

    [silence] word 1, variant a | word 1, variant b [silence] word 2 ... word N [silence]

Where phones are modelled in context, the first and the last of a word have a copy for every unit that the
words beside it, or a silence, may make of them; arcs join the copies that agree.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from hmm_core import Graph, from_arcs

Pronunciation = tuple[str, ...]
SILENCE = ""  # the label of the silence unit, here and in every output

# Names the unit of a phone, given the phones before and after it and its position: "b"egin or "e"nd of a
# word, "i"nternal, or a word of its "s"ingle phone.
InContext = Callable[[str, str, str, str], str]

_Name = TypeVar("_Name")


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


class _Door(NamedTuple):
    """Ports at one end of a word or a silence, and what may lie beyond them."""

    phone: str  # on this side
    beyond: frozenset[str]  # phones of which the next may be one
    ports: _Ports


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

    def unit(self, label: str, word: int, variant: int, context: str | None = None) -> tuple[_Ports, _Ports]:
        """Append a unit's states and inner arcs; return where it is entered and left."""
        unit = Unit(label, word, variant, self.num_states, context)
        model, first = self.models[unit.name], self.num_states
        self.units.append(unit)
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

    def join(self, leave: Sequence[_Door], enter: Sequence[_Door], log_prob: float = 0.0) -> None:
        """Connect the doors that agree on what lies on both sides."""
        for exit_ in leave:
            for entry in enter:
                if entry.phone in exit_.beyond and exit_.phone in entry.beyond:
                    self.connect(exit_.ports, entry.ports, log_prob)

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
) -> UtteranceGraph:
    """Build the graph of a transcript given each word's pronunciations.

    Before the first word, between words and after the last, a silence is taken with ``silence_prob``. Without
    ``in_context`` a phone's model has its label as its name, whatever is around it.
    """
    builder = _Builder(models)
    log_silence, log_direct = float(np.log(silence_prob)), float(np.log1p(-silence_prob))
    first = [frozenset(phones[0] for phones in variants) for variants in words]
    last = [frozenset(phones[-1] for phones in variants) for variants in words]
    outside = frozenset({SILENCE})
    starts: list[tuple[_Ports, float]] = []
    before: list[_Door] = []
    silence_before: _Ports | None = None
    for word, variants in enumerate([*words, None]):
        left = last[word - 1] if word else frozenset()
        right = first[word] if word < len(words) else frozenset()
        silence_enter, silence_leave = builder.unit(SILENCE, -1, 0)
        if word == 0:
            starts.append((silence_enter, log_silence))
        builder.join(before, [_Door(SILENCE, left, silence_enter)], log_silence)
        if variants is None:
            silence_before = silence_leave
            break
        after = first[word + 1] if word + 1 < len(words) else frozenset()
        enter, leave = builder.word(word, variants, left | outside, after | outside, in_context)
        builder.join([_Door(SILENCE, right, silence_leave)], enter)
        if word == 0:
            starts += [(door.ports, log_direct) for door in enter if SILENCE in door.beyond]
        builder.join(before, enter, log_direct)
        before = leave

    ends = [] if silence_before is None else [(silence_before, 0.0)]
    ends += [(door.ports, log_direct) for door in before if SILENCE in door.beyond]
    return builder.finish(starts, ends)


def build_chain(names: Sequence[str], models: Mapping[str, UnitModel]) -> UtteranceGraph:
    """Build the graph of units that all occur, in this order: a transcript whose choices have been made."""
    builder = _Builder(models)
    before: _Ports | None = None
    enter = _Ports([], [])
    for position, name in enumerate(names):
        unit_enter, unit_leave = builder.unit(name, position, 0)
        if before is None:
            enter = unit_enter
        else:
            builder.connect(before, unit_enter)
        before = unit_leave
    leave = before or _Ports([], [])
    return builder.finish([(enter, 0.0)], [(leave, 0.0)])
