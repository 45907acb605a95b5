"""Graphs of words: which states follow each other, and what each arc's weight is made of."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hmm_core import Graph, Sparse, from_arcs

# Columns of the table of a state's probabilities.
STAY, LEAVE = 0, 1


class WordGraph(NamedTuple):
    """The states of words and silences; weights are looked up when the parameters are known.

    An index 2 p + STAY or 2 p + LEAVE points into the table (P, 2) of densities, an index into the language
    model points into its rows (from the start, then from the words) of W + 1 columns (to the words, then to
    the end). One beyond the last entry stands for probability 1.
    """

    density: Tensor  # (K,)
    word: Tensor  # (K,) the word that begins with this state, or -1
    predecessors: Tensor  # (K, R)
    table: Tensor  # (K, R)
    language: Tensor  # (K, R)
    constant: Tensor  # (K, R) float64
    language_initial: Tensor  # (K,)
    initial: Tensor  # (K,) float64, -inf where nothing starts
    language_final: Tensor  # (K,)
    final: Tensor  # (K,) float64, -inf where nothing ends

    def weigh(self, table: Tensor, language: Tensor) -> Graph:
        """Give the arcs their weights, from log-probabilities (P, 2) and (W + 1, W + 1)."""
        nothing, device = table.new_zeros(1), table.device
        states, words = torch.cat([table.flatten(), nothing]), torch.cat([language.flatten(), nothing])
        weight = states[self.table] + words[self.language] + self.constant.to(table)
        leave = states[2 * self.density + LEAVE]
        return Graph(
            words[self.language_initial] + self.initial.to(table),
            Sparse(self.predecessors.to(device), weight),
            leave + words[self.language_final] + self.final.to(table),
            self.density.to(device),
        )


class _Ports(NamedTuple):
    """First and last state of some pieces side by side."""

    first: Tensor
    last: Tensor


class WordGraphBuilder:
    """Puts words, and silences where they may be, one after the other.

    ``words`` holds the densities of each word's states, ``silence`` those of the silence, taken with
    ``silence_prob`` between any two words and at both ends.
    """

    def __init__(self, words: Sequence[Tensor], silence: Tensor, silence_prob: float) -> None:
        self.words = words
        self.silence = silence
        # Without a silence to go through there is only the direct way.
        share = silence_prob if len(silence) else 0.0
        self.log_silence = math.log(share) if share else -math.inf
        self.log_direct = math.log1p(-share)

    def chain(self, words: Sequence[int]) -> WordGraph:
        """Graph of these words, in this order."""
        graph = _Arcs(len(self.words))
        before, row = None, 0
        gap = self._silences(graph, 1)
        if gap is not None:
            graph.start(gap.first, graph.sure_language, self.log_silence)
        for word in words:
            unit = graph.pieces([self.words[word]], [word])
            language = row * (len(self.words) + 1) + word
            if before is None:
                graph.start(unit.first, language, self.log_direct)
            else:
                graph.connect(before.last, unit.first, language, self.log_direct)
            if gap is not None:
                graph.connect(gap.last, unit.first, language, 0.0)
            before, row = unit, word + 1
            gap = self._silences(graph, 1)
            if gap is not None:
                graph.connect(unit.last, gap.first, graph.sure_language, self.log_silence)
        end = row * (len(self.words) + 1) + len(self.words)
        if before is not None:
            graph.end(before.last, end, self.log_direct)
        if gap is not None:
            graph.end(gap.last, end, 0.0)
        return graph.finish()

    def loop(self, *, words_differ: bool) -> WordGraph:
        """Graph of all sequences of words.

        Where what follows a word depends on it (``words_differ``), each has a silence of its own, so that it
        is not forgotten during the silence.
        """
        W = len(self.words)
        graph = _Arcs(W)
        word = torch.arange(W)
        units = graph.pieces(self.words, list(range(W)))
        gaps = self._silences(graph, W + 1 if words_differ else 1)
        columns = torch.arange(W)

        def connect(last: Tensor, rows: Tensor, constant: float) -> None:
            language = rows.unsqueeze(-1) * (W + 1) + columns
            graph.connect(
                last.unsqueeze(-1).expand_as(language), units.first.expand_as(language), language, constant
            )

        graph.start(units.first, columns, self.log_direct)
        connect(units.last, word + 1, self.log_direct)
        graph.end(units.last, (word + 1) * (W + 1) + W, self.log_direct)
        if gaps is not None:
            own = word + 1 if words_differ else torch.zeros_like(word)
            rows = torch.arange(len(gaps.first))
            graph.start(gaps.first[:1], graph.sure_language, self.log_silence)
            graph.connect(units.last, gaps.first[own], graph.sure_language, self.log_silence)
            connect(gaps.last, rows, 0.0)
            graph.end(gaps.last, rows * (W + 1) + W, 0.0)
        return graph.finish()

    def _silences(self, graph: "_Arcs", number: int) -> _Ports | None:
        """Append silences, if there are any."""
        return graph.pieces([self.silence] * number, [-1] * number) if len(self.silence) else None


class _Arcs:
    """States, arcs and ends of a graph that grows."""

    def __init__(self, num_words: int) -> None:
        self.sure_language = (num_words + 1) ** 2
        self.density: list[Tensor] = []
        self.word: list[Tensor] = []
        self.num_states = 0
        # (source, target, index into the table, index into the language model, constant)
        self.arcs: list[tuple[Tensor, Tensor, Tensor, Tensor, float]] = []
        self.starts: list[tuple[Tensor, Tensor, float]] = []
        self.ends: list[tuple[Tensor, Tensor, float]] = []

    def pieces(self, densities: Sequence[Tensor], words: Sequence[int]) -> _Ports:
        """Append chains of states side by side, the first of each the beginning of a word."""
        sizes = torch.tensor([len(piece) for piece in densities])
        last = sizes.cumsum(0) - 1 + self.num_states
        first = last - sizes + 1
        density = torch.cat(list(densities))
        state = torch.arange(len(density)) + self.num_states
        self.num_states += len(density)
        self.density.append(density)
        beginning = torch.full_like(density, -1)
        beginning[first - state[0]] = torch.tensor(words)
        self.word.append(beginning)
        sure = torch.tensor(self.sure_language)
        self.arcs.append((state, state, 2 * density + STAY, sure, 0.0))
        inner = torch.ones_like(state, dtype=torch.bool)
        inner[last - state[0]] = False
        self.arcs.append((state[inner], state[inner] + 1, 2 * density[inner] + LEAVE, sure, 0.0))
        return _Ports(first, last)

    def connect(self, last: Tensor, first: Tensor, language: Tensor | int, constant: float) -> None:
        """Add arcs that leave the last states of pieces."""
        leave = 2 * torch.cat(self.density)[last] + LEAVE
        self.arcs.append((last, first, leave, torch.as_tensor(language), constant))

    def start(self, first: Tensor, language: Tensor | int, constant: float) -> None:
        """Let sequences start in these states."""
        self.starts.append((first, torch.as_tensor(language), constant))

    def end(self, last: Tensor, language: Tensor | int, constant: float) -> None:
        """Let sequences end after these states."""
        self.ends.append((last, torch.as_tensor(language), constant))

    def finish(self) -> WordGraph:
        """Lay the arcs out by their targets."""
        K = self.num_states
        source, target, table, language = (
            torch.cat(
                [
                    torch.broadcast_to(part, of[0].shape).flatten()
                    for part, of in zip(parts, self.arcs, strict=True)
                ]
            )
            for parts in zip(*(arc[:4] for arc in self.arcs), strict=True)
        )
        constant = torch.cat(
            [torch.full((part[0].numel(),), part[4], dtype=torch.float64) for part in self.arcs]
        )
        number = from_arcs(K, source, target, torch.arange(len(source), dtype=torch.float64))
        unused = number.predecessors < 0
        slot = number.log_weight.masked_fill(unused, 0.0).to(torch.int64)
        ports = []
        for places in (self.starts, self.ends):
            index = torch.full((K,), self.sure_language)
            weight = torch.full((K,), -torch.inf, dtype=torch.float64)
            for state, where, value in places:
                index[state] = where
                weight[state] = value
            ports += [index, weight]
        return WordGraph(
            torch.cat(self.density),
            torch.cat(self.word),
            number.predecessors,
            table[slot],
            language[slot],
            constant[slot].masked_fill(unused, -torch.inf),
            *ports,
        )
