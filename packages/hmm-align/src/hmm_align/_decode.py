"""From a best path to intervals: boundaries finer than the frame, and how certain each interval is."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmm_core import posterior, stack_graphs

from ._config import AlignerConfig
from ._graph import SILENCE, Unit, UnitModel, UtteranceGraph, build_chain
from ._result import AlignedInterval


def path_units(graph: UtteranceGraph, states: NDArray[np.int64]) -> list[Unit]:
    """Return the units that a path goes through, in order."""
    visited = graph.unit_of_state[states]
    return [graph.units[number] for number in visited[np.flatnonzero(np.diff(visited, prepend=-1))]]


def unit_posteriors(
    chains: Sequence[Sequence[Unit]],
    models: Mapping[str, UnitModel],
    log_emission: Tensor,
    lengths: Tensor,
    scale: float,
) -> list[NDArray[np.float64]]:
    """Return for each utterance the probability (T, U) that a frame lies in each unit of its chain.

    Densities are raised to the power ``scale``: neighbouring frames resemble each other, and counting each
    as new evidence makes posteriors too sure.
    """
    graphs = [build_chain([unit.label for unit in chain], models) for chain in chains]
    graph = stack_graphs([item.graph for item in graphs])
    states = posterior(
        graph.log_initial,
        graph.log_transition,
        log_emission * scale,
        lengths,
        log_final=graph.log_final,
        emission_index=graph.emission_index,
    ).state
    found = []
    for item, state, length in zip(graphs, states, lengths.tolist(), strict=True):
        unit_of_state = torch.from_numpy(item.unit_of_state)
        units = torch.zeros(length, len(item.units), dtype=torch.float64)
        units.index_add_(1, unit_of_state, state[:length, : len(unit_of_state)].double())
        found.append(units.numpy())
    return found


def intervals(
    chain: Sequence[Unit], probability: NDArray[np.float64], duration: float, config: AlignerConfig
) -> list[AlignedInterval]:
    """Turn unit posteriors (T, U) into intervals that cover 0 to ``duration``.

    Frame t is centred at ``t * frame_period``, so that n whole frames end at ``(n - 1/2) * frame_period``.
    A boundary stands after as many frames as are expected before it, moved by ``boundary_shift``.
    """
    period = config.frame_period
    expected = probability.sum(axis=0).cumsum()[:-1]
    # No two boundaries come closer than half a frame, and none leaves the recording.
    room = 0.5 * period * np.arange(1, len(chain))
    edges = (expected - 0.5) * period + config.boundary_shift
    edges = np.minimum(np.maximum(edges, room), duration - room[::-1])
    times = [0.0, *(round(float(edge), 6) for edge in edges), duration]
    found = []
    cuts = [0, *np.rint(expected).astype(int).tolist(), len(probability)]
    for number, (unit, start, end) in enumerate(zip(chain, times, times[1:], strict=False)):
        first = min(cuts[number], len(probability) - 1)
        last = max(first + 1, cuts[number + 1])
        confidence = float(probability[first:last, number].mean().clip(0.0, 1.0))
        found.append(AlignedInterval(start, end, unit.label, confidence))
    return found


def word_intervals(
    chain: Sequence[Unit], phones: Sequence[AlignedInterval], words: Sequence[str]
) -> list[AlignedInterval]:
    """Join the phones of each word; its confidence is their mean, weighted by their length."""
    found: list[AlignedInterval] = []
    first = 0
    for last in range(1, len(chain) + 1):
        if last < len(chain) and chain[last].word == chain[first].word:
            continue
        inside = phones[first:last]
        length = sum(phone.end - phone.start for phone in inside)
        confidence = sum(phone.confidence * (phone.end - phone.start) for phone in inside) / length
        label = SILENCE if chain[first].label == SILENCE else words[chain[first].word]
        found.append(AlignedInterval(inside[0].start, inside[-1].end, label, min(confidence, 1.0)))
        first = last
    return found
