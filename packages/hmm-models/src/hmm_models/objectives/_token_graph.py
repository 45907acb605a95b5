"""State graphs of token sequences: a model of few states for each token, put together by arcs."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hmm_core import Graph, from_arcs, stack_graphs
from hmm_models.transitions._topology import Topology


class TokenArcs(NamedTuple):
    """Which token copies follow each other, in natural logarithms."""

    tokens: Sequence[int]
    """Token of each copy."""
    start: Mapping[int, float]
    """Log weight of starting with a copy."""
    step: Mapping[tuple[int, int], float]
    """Log weight of going on from a copy to another."""
    end: Mapping[int, float]
    """Log weight of ending after a copy."""


def transcript_graph(
    tokens: Tensor,
    lengths: Tensor | None = None,
    *,
    topologies: Topology | Sequence[Topology],
    dtype: torch.dtype | None = None,
) -> Graph:
    """Graphs that pass through the tokens of each sequence, a model of few states for each token.

    Parameters
    ----------
    tokens : Tensor of int64, shape (B, N)
        Tokens, 0..V-1.
    lengths : Tensor of int64, shape (B,), optional
        Tokens of each sequence, 1..N; N if omitted. The rest is never read.
    topologies : Topology or sequence of V Topology
        Of all tokens, or of each, with ``log_final``. The states of token v have densities of their own,
        numbered token after token: with S states each, those of v are v S .. v S + S - 1.
    dtype : torch.dtype, optional
        Of the weights; torch's default dtype if omitted.

    Returns
    -------
    hmm_core.Graph
        With a batch axis, on the CPU.

    Raises
    ------
    ValueError
        If shapes disagree, a value is out of range, or a topology has no ``log_final``.

    Notes
    -----
    Built arc by arc; weights are constants.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import phone_topology
    >>> graph = transcript_graph(torch.tensor([[2, 0]]), topologies=phone_topology(2))
    >>> graph.emission_index
    tensor([[4, 5, 0, 1]])
    """
    rows = _rows(tokens, lengths)
    plain = [_chain(row, [0.0] * (len(row) + 1)) for row in rows]
    return stack_graphs([build_graph(arcs, topologies, dtype) for arcs in plain])


def _rows(tokens: Tensor, lengths: Tensor | None) -> list[list[int]]:
    """Tokens of each sequence, without padding."""
    if tokens.ndim != 2 or tokens.is_floating_point():
        raise ValueError(f"tokens must be integers of shape (B, N); got {tokens.dtype} {tuple(tokens.shape)}")
    B, N = tokens.shape
    sizes = [N] * B if lengths is None else lengths.tolist()
    if len(sizes) != B or any(not 1 <= size <= N for size in sizes):
        raise ValueError(f"lengths must be B = {B} numbers in 1..N = 1..{N}; got {sizes}")
    rows = [row[:size] for row, size in zip(tokens.tolist(), sizes, strict=True)]
    lowest = min((min(row) for row in rows), default=0)
    if lowest < 0:
        raise ValueError(f"tokens must be >= 0; got {lowest}")
    return rows


def _chain(row: Sequence[int], log_weight: Sequence[float]) -> TokenArcs:
    """Arcs through a row of tokens, with the weight of each token and of the end."""
    return TokenArcs(
        row,
        {0: log_weight[0]},
        {(i - 1, i): log_weight[i] for i in range(1, len(row))},
        {len(row) - 1: log_weight[-1]},
    )


def build_graph(
    arcs: TokenArcs, topologies: Topology | Sequence[Topology], dtype: torch.dtype | None = None
) -> Graph:
    """Put the topology of its token in the place of each copy."""
    known = _units(set(arcs.tokens), topologies)
    units = [known[token] for token in arcs.tokens]
    first = list(itertools.accumulate((unit.size for unit in units), initial=0))
    weight = {
        (first[copy] + i, first[copy] + j): value
        for copy, unit in enumerate(units)
        for (i, j), value in unit.step.items()
    }
    for (here, there), value in arcs.step.items():
        for (i, leave), (j, enter) in itertools.product(units[here].leave, units[there].enter):
            arc = first[here] + i, first[there] + j
            weight[arc] = _add(weight.get(arc, -math.inf), leave + value + enter)
    log_initial, log_final = [-math.inf] * first[-1], [-math.inf] * first[-1]
    for copy, value in arcs.start.items():
        for j, enter in units[copy].enter:
            log_initial[first[copy] + j] = value + enter
    for copy, value in arcs.end.items():
        for i, leave in units[copy].leave:
            log_final[first[copy] + i] = leave + value
    dtype = dtype or torch.get_default_dtype()
    sources, targets = zip(*weight, strict=True) if weight else ((), ())
    return Graph(
        torch.tensor(log_initial, dtype=dtype),
        from_arcs(first[-1], sources, targets, torch.tensor(list(weight.values()), dtype=dtype)),
        torch.tensor(log_final, dtype=dtype),
        torch.tensor([unit.density + k for unit in units for k in range(unit.size)]),
    )


class _Unit(NamedTuple):
    """The states of a token, as lists of what is possible."""

    density: int
    """Number of the first state's density."""
    size: int
    enter: list[tuple[int, float]]
    leave: list[tuple[int, float]]
    step: dict[tuple[int, int], float]


def _units(tokens: set[int], topologies: Topology | Sequence[Topology]) -> dict[int, _Unit]:
    """Read the topologies of some tokens."""
    if isinstance(topologies, Topology):
        size = topologies.log_initial.numel()
        return {token: _unit(topologies, token * size) for token in tokens}
    if min(tokens) < 0 or max(tokens) >= len(topologies):
        raise ValueError(f"tokens must be in 0..V-1 = 0..{len(topologies) - 1}; got {sorted(tokens)}")
    sizes = [topology.log_initial.numel() for topology in topologies]
    return {token: _unit(topologies[token], sum(sizes[:token])) for token in tokens}


def _unit(topology: Topology, density: int) -> _Unit:
    """Read the finite entries of a topology."""
    if topology.log_final is None:
        raise ValueError("topologies must have log_final, which tells where a token may end; got None")
    rows = topology.log_transition.detach().double().tolist()
    return _Unit(
        density,
        len(rows),
        _finite(topology.log_initial),
        _finite(topology.log_final),
        {(i, j): v for i, row in enumerate(rows) for j, v in enumerate(row) if v > -math.inf},
    )


def _finite(value: Tensor) -> list[tuple[int, float]]:
    """Places and values above -inf."""
    return [(i, v) for i, v in enumerate(value.detach().double().tolist()) if v > -math.inf]


def _add(a: float, b: float) -> float:
    """Log of the sum of what has these logarithms."""
    high, low = max(a, b), min(a, b)
    return high if low == -math.inf else high + math.log1p(math.exp(low - high))
