"""Graphs of many transcripts, built once: training changes their probabilities, never their shape."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hmm_core import Graph, Sparse, ViterbiPath, stack_graphs, viterbi

from ._graph import UnitModel, UtteranceGraph


class BestPaths(NamedTuple):
    """The most probable paths of a batch."""

    densities: Tensor  # (B, T) int64, what each frame reads; anything in padding
    log_score: Tensor  # (B,) -inf where there is no path
    steps: Tensor  # (P, S + 1) counts of steps from a density's state to a state of its unit, last out of it


def stack_own(graphs: Sequence[UtteranceGraph]) -> tuple[Graph, list[Tensor]]:
    """Stack graphs that each read a table of no more densities than they have; return which these are."""
    own, densities = [], []
    for item in graphs:
        used, place = torch.unique(item.density_of_state, return_inverse=True)
        own.append(item.graph._replace(emission_index=place))
        densities.append(used)
    return stack_graphs(own), densities


def stack_tables(tables: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Stack log emissions (T, Q) to (B, T, Q), with zeros in padding; return lengths (B,), too."""
    lengths = torch.tensor([len(table) for table in tables])
    if len(tables) == 1:  # without a copy: it may be long
        return tables[0].unsqueeze(0), lengths
    width = max(table.shape[1] for table in tables)
    stacked = tables[0].new_zeros(len(tables), int(lengths.max()), width)
    for row, table in zip(stacked, tables, strict=True):
        row[: len(table), : table.shape[1]] = table
    return stacked, lengths


def best_path(graph: Graph, log_emission: Tensor, lengths: Tensor) -> ViterbiPath:
    """Find the best path of each sequence through stacked graphs."""
    return viterbi(
        graph.log_initial,
        graph.log_transition,
        log_emission,
        lengths,
        log_final=graph.log_final,
        emission_index=graph.emission_index,
    )


class GraphBatch:
    """The graphs of several transcripts, into which a model's probabilities of steps are filled.

    An arc's weight is that of a choice (a silence, a pronunciation), which stays, times the probability of a
    step, which is the same wherever a density stands: that of a state of its unit, or of leaving it.
    """

    def __init__(self, graphs: Sequence[UtteranceGraph], num_steps: int) -> None:
        """Take graphs whose units were built ``without_steps``."""
        self._graph, self.densities = stack_own(graphs)
        density = [item.density_of_state for item in graphs]
        self._density = torch.nn.utils.rnn.pad_sequence(density, batch_first=True)
        unit = [torch.from_numpy(item.unit_of_state) for item in graphs]
        first = [torch.tensor([part.first_state for part in item.units]) for item in graphs]
        within = [
            torch.arange(len(number)) - begin[number] for number, begin in zip(unit, first, strict=True)
        ]
        self._unit = torch.nn.utils.rnn.pad_sequence(unit, batch_first=True, padding_value=-1)
        self._state = torch.nn.utils.rnn.pad_sequence(within, batch_first=True)
        self._num_steps = num_steps
        source = self._arcs.predecessors.clamp_min(0).flatten(1)
        stays = self._unit.gather(1, source).view_as(self._arcs.predecessors) == self._unit[..., None]
        self._step = self._step_number(
            self._density.gather(1, source).view_as(stays), stays, self._state[..., None]
        ).int()

    @property
    def num_slots(self) -> int:
        """Arcs that it holds, padding included: what its memory grows with."""
        return self._step.numel()

    @property
    def _arcs(self) -> Sparse:
        """The arcs, whose weights are those of choices alone."""
        arcs = self._graph.log_transition
        assert isinstance(arcs, Sparse)  # noqa: S101  (so stack_graphs makes them)
        return arcs

    def _step_number(self, density: Tensor, stays: Tensor, state: Tensor) -> Tensor:
        """Return which entry of a table (P, S + 1) a step from a density to a state of its unit or out is."""
        return density * self._num_steps + torch.where(stays, state, self._num_steps - 1)

    def graph(self, log_steps: Tensor) -> Graph:
        """Return the graphs with the log probabilities of steps (P, S + 1)."""
        flat, graph = log_steps.flatten(), self._graph
        weight = self._arcs.log_weight + flat.index_select(0, self._step.flatten()).view_as(self._step)
        log_final = graph.log_final
        assert log_final is not None  # noqa: S101  (so stack_graphs makes it)
        return graph._replace(
            log_transition=Sparse(self._arcs.predecessors, weight),
            log_final=log_final + log_steps[:, -1][self._density],
        )

    def best_paths(
        self, log_steps: Tensor, log_emission: Tensor, lengths: Tensor, *, even: bool = False
    ) -> BestPaths:
        """Find each utterance's best path, given log emissions (B, T, Q) of the ``densities`` of each.

        With ``even``, the frames of each unit of a path are dealt out to its states.
        """
        path = best_path(self.graph(log_steps), log_emission, lengths)
        states = path.states.clamp_min(0)
        if even:
            for number, length in enumerate(lengths.tolist()):
                states[number, :length] = even_states(self._unit[number], states[number, :length])
        density, unit, state = (table.gather(1, states) for table in (self._density, self._unit, self._state))
        time = torch.arange(states.shape[1])
        stays = (unit == unit.roll(-1, 1)) & (time < lengths[:, None] - 1)
        taken = self._step_number(density, stays, state.roll(-1, 1))
        real = (time < lengths[:, None]) & torch.isfinite(path.log_score)[:, None]
        steps = torch.bincount(taken[real], minlength=log_steps.numel()).view_as(log_steps)
        return BestPaths(density, path.log_score, steps)


def even_states(unit_of_state: Tensor, states: Tensor) -> Tensor:
    """Deal the frames of each unit of a path (T,) out evenly to the states of that unit (K,), in their order.

    Where states of a unit sound the same, a search settles ties for the lowest predecessor, and nearly all
    frames go to one end of the unit. Trained from there, boundaries come out early on speech and on the same
    speech backwards.
    """
    unit, visit, length = torch.unique_consecutive(
        unit_of_state[states], return_inverse=True, return_counts=True
    )
    inside = torch.arange(len(states)) - (length.cumsum(0) - length)[visit]
    belongs = unit_of_state == unit[:, None]
    # The middle of a frame says to which state it goes.
    rank = (2 * inside + 1) * belongs.sum(1)[visit] // (2 * length[visit])
    dealt: Tensor = belongs.int().argmax(1)[visit] + rank
    return dealt


def without_steps(unit: UnitModel) -> UnitModel:
    """Return a unit whose possible steps all have weight one, to be filled in later."""
    return replace(
        unit,
        log_transition=np.where(np.isfinite(unit.log_transition), 0.0, -np.inf),
        log_final=np.where(np.isfinite(unit.log_final), 0.0, -np.inf),
    )
