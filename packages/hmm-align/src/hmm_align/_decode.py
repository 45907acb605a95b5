"""From scores to a best path, and from it to intervals: boundaries finer than the frame, and how certain."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmm_core import posterior, stack_graphs

from ._calibration import UncertaintyMap
from ._config import AlignerConfig
from ._graph import SILENCE, Unit, UnitModel, UtteranceGraph, build_chain
from ._graph_batch import best_path, stack_own, stack_tables
from ._refine import Change, refine
from ._result import AlignedInterval, SkippedWord

# A longer utterance is taken in pieces: their posteriors fit into memory, however long it is.
_LONGEST_PIECE = 3000  # frames
# What a piece sees beyond its ends, which are those of the best path: posteriors forget what is farther.
_CONTEXT = 300  # frames


# Log emissions (T', Q) of some densities (Q,) in some of an utterance's frames.
Scores = Callable[[slice, Tensor], Tensor]


class UnitTimes(NamedTuple):
    """Where the units of a chain end, and how certain that is."""

    ends: NDArray[np.float64]  # (U,) frames expected before each unit's end; the last is all of them
    confidence: NDArray[np.float64]  # (U,) mean probability of a unit in its frames
    deviation: NDArray[np.float64]  # (U,) frames: standard deviation of each unit's end; the last has none


class _Piece(NamedTuple):
    """Units ``first`` to ``last`` of a chain, seen between two frames."""

    first: int
    last: int
    start: int
    end: int
    core: slice  # those of its units that count


def best_paths(
    log_emission: Tensor, lengths: Tensor, graphs: Sequence[UtteranceGraph]
) -> Iterator[tuple[NDArray[np.int64], float]]:
    """Yield each utterance's best states (T,) and their log score, -inf where there is no path."""
    path = best_path(stack_graphs([item.graph for item in graphs]), log_emission, lengths)
    for states, length, score in zip(path.states, lengths.tolist(), path.log_score.tolist(), strict=True):
        yield states[:length].numpy(), score


def path_units(graph: UtteranceGraph, states: NDArray[np.int64]) -> tuple[list[Unit], NDArray[np.int64]]:
    """Return the units that a path goes through, in order, and the frame in which each begins."""
    visited = graph.unit_of_state[states]
    starts = np.flatnonzero(np.diff(visited, prepend=-1))
    return [graph.units[number] for number in visited[starts]], starts


def look_up(log_emission: Tensor) -> Scores:
    """Return the scores that a table (T, P) holds."""
    return lambda frames, densities: log_emission[frames].index_select(1, densities)


def unit_times(
    chains: Sequence[Sequence[Unit]],
    starts: Sequence[NDArray[np.int64]],
    models: Mapping[str, UnitModel],
    scores: Sequence[Scores],
    lengths: Sequence[int],
    scale: float,
) -> Iterator[UnitTimes]:
    """Yield for each utterance where the units of its chain end, given only that chain.

    Densities are raised to the power ``scale``: neighbouring frames resemble each other, and counting each
    as new evidence makes posteriors too sure. ``starts`` are the frames in which a best path enters the
    units; utterances too long for one table of posteriors are cut there.
    """
    short = [number for number, length in enumerate(lengths) if length <= _LONGEST_PIECE]
    together = dict(
        zip(
            short,
            unit_posteriors(
                [chains[number] for number in short],
                models,
                [scores[number] for number in short],
                [slice(0, lengths[number]) for number in short],
                scale,
            ),
            strict=True,
        )
    )
    for number, (chain, start, length) in enumerate(zip(chains, starts, lengths, strict=True)):
        if number in together:
            yield _times(together[number])
        else:
            yield _long_times(chain, start, models, scores[number], length, scale)


def _times(probability: NDArray[np.float64], start: int = 0) -> UnitTimes:
    """Sum posteriors (T, U) of units from frame ``start`` on."""
    ends = start + probability.sum(axis=0).cumsum()
    ends[-1] = start + len(probability)
    cuts = [0, *(np.rint(ends[:-1]).astype(int) - start).tolist(), len(probability)]
    confidence = np.empty(len(ends))
    for number, (first, last) in enumerate(itertools.pairwise(cuts)):
        begin = min(first, len(probability) - 1)
        confidence[number] = probability[begin : max(begin + 1, last), number].mean().clip(0.0, 1.0)
    return UnitTimes(ends, confidence, _deviations(probability))


def _deviations(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the standard deviation, in frames, of where each unit ends, from posteriors (T, U)."""
    # That more than t frames lie before an end is as likely as that frame t lies in the unit or before it.
    more = probability.cumsum(axis=1)
    frames = np.arange(len(probability))[:, None]
    middle = np.rint(more.sum(axis=0))  # about which squares stay small
    later = frames >= middle
    weights = 2.0 * np.where(later, frames - middle, middle - 1 - frames) + 1.0
    squares = (weights * np.where(later, more, 1.0 - more)).sum(axis=0)
    variance = squares - (more.sum(axis=0) - middle) ** 2
    variance[-1] = 0.0
    deviations: NDArray[np.float64] = np.sqrt(np.maximum(variance, 0.0))
    return deviations


def _long_times(
    chain: Sequence[Unit],
    starts: NDArray[np.int64],
    models: Mapping[str, UnitModel],
    scores: Scores,
    length: int,
    scale: float,
) -> UnitTimes:
    """Find the times of one utterance piece by piece."""
    found = []
    for piece in _pieces(starts, length):
        frames = slice(piece.start, piece.end)
        (probability,) = unit_posteriors([chain[piece.first : piece.last]], models, [scores], [frames], scale)
        times = _times(probability, piece.start)
        found.append(UnitTimes(*(values[piece.core] for values in times)))
    # Neighbouring pieces see the units where they meet a little differently: keep half a frame between ends.
    room = 0.5 * np.arange(len(chain))
    ends = np.maximum.accumulate(np.concatenate([times.ends for times in found]) - room) + room
    return UnitTimes(
        ends,
        np.concatenate([times.confidence for times in found]),
        np.concatenate([times.deviation for times in found]),
    )


def _pieces(starts: NDArray[np.int64], num_frames: int) -> Iterator[_Piece]:
    """Cut a path where units begin, in pieces of as many units as fit, one at least."""
    edges = np.append(starts, num_frames)
    first = 0
    while first < len(starts):
        last = int(np.searchsorted(edges, edges[first] + _LONGEST_PIECE, side="right")) - 1
        last = min(max(last, first + 1), len(starts))
        before = max(0, int(np.searchsorted(edges, edges[first] - _CONTEXT, side="right")) - 1)
        after = min(len(starts), int(np.searchsorted(edges, edges[last] + _CONTEXT)))
        yield _Piece(
            before, after, int(edges[before]), int(edges[after]), slice(first - before, last - before)
        )
        first = last


def unit_posteriors(
    chains: Sequence[Sequence[Unit]],
    models: Mapping[str, UnitModel],
    scores: Sequence[Scores],
    frames: Sequence[slice],
    scale: float,
) -> list[NDArray[np.float64]]:
    """Return for each utterance the probability (T, U) that a frame lies in each unit of its chain."""
    if not chains:
        return []
    graphs = [build_chain([unit.name for unit in chain], models) for chain in chains]
    graph, densities = stack_own(graphs)
    log_emission, lengths = stack_tables(
        [score(some, own) * scale for score, some, own in zip(scores, frames, densities, strict=True)]
    )
    states = posterior(
        graph.log_initial,
        graph.log_transition,
        log_emission,
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


def unit_ratios(
    log_emission: Tensor, densities: Tensor, starts: NDArray[np.int64], num_background: int | None = None
) -> NDArray[np.float64]:
    """Return for each unit of a path how much better than the average density its own explain its frames.

    ``log_emission`` (T, P); ``densities`` (T,) are those of the path, ``starts`` the frames in which its
    units begin. The average is that of the first ``num_background`` densities, or of all. Means per frame, in
    nats.
    """
    background = log_emission[:, :num_background]
    blocks = torch.split(background, _LONGEST_PIECE)
    average = torch.cat([block.logsumexp(dim=1) for block in blocks]) - math.log(background.shape[1])
    ratio = (log_emission.gather(1, densities.unsqueeze(1)).squeeze(1) - average).double().numpy()
    lengths = np.diff(np.append(starts, len(ratio)))
    means: NDArray[np.float64] = np.add.reduceat(ratio, starts) / lengths
    return means


def intervals(
    chain: Sequence[Unit],
    times: UnitTimes,
    ratios: NDArray[np.float64],
    duration: float,
    config: AlignerConfig,
    uncertainty_of: UncertaintyMap,
    change: Change | None = None,
) -> list[AlignedInterval]:
    """Turn the times of units into intervals that cover 0 to ``duration``.

    Frame t is centred at ``t * frame_period``, so that n whole frames end at ``(n - 1/2) * frame_period``.
    A boundary stands after as many frames as are expected before it, moved by ``boundary_shift``, and then to
    the ``change`` of the spectrum near it.
    """
    period = config.frame_period
    # No two boundaries come closer than half a frame, and none leaves the recording.
    room = 0.5 * period * np.arange(1, len(chain))
    edges = (times.ends[:-1] - 0.5) * period + config.boundary_shift
    edges = np.minimum(np.maximum(edges, room), duration - room[::-1])
    uncertainty = uncertainty_of(times.deviation * period)
    uncertainty[-1] = 0.0
    if change is not None:
        starts_sound = np.array([unit.label == SILENCE for unit in chain[:-1]], dtype=bool)
        edges = refine(edges, uncertainty[:-1], starts_sound, change, duration, config.change_weight)
    bounds = [0.0, *(round(float(edge), 6) for edge in edges), duration]
    return [
        AlignedInterval(start, end, unit.label, float(confidence), float(ratio), round(float(within), 6))
        for unit, start, end, confidence, ratio, within in zip(
            chain, bounds, bounds[1:], times.confidence, ratios, uncertainty, strict=False
        )
    ]


def word_intervals(
    chain: Sequence[Unit], phones: Sequence[AlignedInterval], words: Sequence[str]
) -> list[AlignedInterval]:
    """Join the phones of each word; its confidence and ratio are their means, weighted by their length."""
    found: list[AlignedInterval] = []
    first = 0
    for last in range(1, len(chain) + 1):
        if last < len(chain) and _same_word(chain[last], chain[first]):
            continue
        inside = phones[first:last]
        length = sum(phone.end - phone.start for phone in inside)
        confidence = sum(phone.confidence * (phone.end - phone.start) for phone in inside) / length
        ratio = sum(phone.log_ratio * (phone.end - phone.start) for phone in inside) / length
        label = words[chain[first].word] if chain[first].word >= 0 else chain[first].label
        last_phone = inside[-1]
        found.append(
            AlignedInterval(
                inside[0].start,
                last_phone.end,
                label,
                min(confidence, 1.0),
                ratio,
                last_phone.end_uncertainty,
            )
        )
        first = last
    return found


def _same_word(one: Unit, two: Unit) -> bool:
    """Tell whether two units are of one word, or of one pause."""
    return one.word == two.word and (one.word >= 0 or one.label == two.label)


def skipped_words(
    chain: Sequence[Unit], phones: Sequence[AlignedInterval], words: Sequence[str]
) -> Iterator[SkippedWord]:
    """Yield the words that a chain leaves out, each where the last one before it ends."""
    time, place = 0.0, 0
    for unit, phone in zip(chain, phones, strict=True):
        for missing in range(place, unit.word):
            yield SkippedWord(time, words[missing], missing)
        if unit.word >= 0:
            time, place = phone.end, unit.word + 1
    for missing in range(place, len(words)):
        yield SkippedWord(time, words[missing], missing)
