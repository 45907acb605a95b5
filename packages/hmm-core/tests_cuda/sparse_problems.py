"""Sparse problems of every structure, small enough for Triton's interpreter, and the ways to run them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from hmm_core import Graph, Sparse, ctc_graph, from_arcs, left_to_right, linear_graph, skip
from hmm_core.backends.cuda.sparse import _plan
from hmm_core.testing import Arguments, random_hmm

INF = torch.inf

# How the states are spread over programs, in sizes that make small problems use several.
FORMS = {
    "one program": {},
    "one program, several blocks": {"SINGLE": 4, "TILE": 1},
    "pipeline": {"SINGLE": 4, "TILE": 4, "CHUNK": 2},
    "pipeline, several launches": {"SINGLE": 2, "TILE": 2, "CHUNK": 2, "EDGE_BYTES": 1},
}


def use_form(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """Spread the states of all problems in one way."""
    for name, value in FORMS[form].items():
        monkeypatch.setattr(_plan, name, value)


def draw(*shape: int, seed: int = 0, whole: bool = False) -> Tensor:
    """Normal log weights in float64, or small integers that tie."""
    generator = torch.Generator().manual_seed(seed)
    if whole:
        return torch.randint(-2, 1, shape, generator=generator).double()
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _on_chain(transition: Sparse, frames: int, densities: int | None, whole: bool) -> Arguments:
    """A shared graph with random ends."""
    K = transition.num_states
    index = None
    if densities is not None:
        index = torch.randint(densities, (K,), generator=torch.Generator().manual_seed(7))
    emission = draw(2, frames, densities or K, seed=1, whole=whole)
    lengths = torch.tensor([frames, frames - 2])
    return Arguments(
        draw(K, seed=2, whole=whole), transition, emission, lengths, draw(K, seed=3, whole=whole), index
    )


def _on_graph(graph: Graph, frames: int, densities: int, whole: bool) -> Arguments:
    """A graph of its own for each sequence."""
    batch = graph.log_initial.shape[0]
    emission = draw(batch, frames, densities, seed=1, whole=whole)
    lengths = torch.tensor([frames, *[max(frames - 1 - b, 0) for b in range(1, batch)]])
    return Arguments(
        graph.log_initial, graph.log_transition, emission, lengths, graph.log_final, graph.emission_index
    )


def _loop(whole: bool) -> Arguments:
    """Words of two states that follow each other in any order: up to five arcs into a state."""
    arcs = [(j, j) for j in range(8)] + [(j - 1, j) for j in range(1, 8, 2)]
    arcs += [(i, j) for i in range(1, 8, 2) for j in range(0, 8, 2)]
    transition = from_arcs(
        8, [i for i, _ in arcs], [j for _, j in arcs], draw(len(arcs), seed=4, whole=whole)
    )
    return _on_chain(transition, 4, 3, whole)


def _at_random(frames: int, states: int, whole: bool, **options: Any) -> Arguments:
    """Up to three predecessors anywhere."""
    hmm = random_hmm(2, frames, states, sparse=True, **options)
    transition = hmm.log_transition
    assert isinstance(transition, Sparse)
    assert hmm.log_final is not None
    if not whole:
        return hmm
    return hmm._replace(
        log_initial=hmm.log_initial.round(),
        log_transition=Sparse(transition.predecessors, transition.log_weight.round()),
        log_emission=hmm.log_emission.round(),
        log_final=hmm.log_final.round(),
    )


def _leaps(whole: bool) -> Arguments:
    """A chain that can be left out but for its ends: arcs lead forwards, some of them far."""
    arcs = [(j, j) for j in range(7)] + [(j - 1, j) for j in range(1, 7)] + [(0, 5), (1, 6), (0, 6)]
    transition = from_arcs(
        7, [i for i, _ in arcs], [j for _, j in arcs], draw(len(arcs), seed=5, whole=whole)
    )
    return _on_chain(transition, 4, None, whole)


STRUCTURES: dict[str, Callable[[bool], Arguments]] = {
    "chain": lambda whole: _on_chain(left_to_right(9, dtype=torch.float64), 6, None, whole),
    "skips": lambda whole: _on_chain(skip(7, 0.3, 0.4, 0.3, dtype=torch.float64), 5, 3, whole),
    "ctc": lambda whole: _on_graph(
        ctc_graph(torch.tensor([[1, 1, 2], [2, 3, 0]]), torch.tensor([3, 2]), dtype=torch.float64),
        6,
        4,
        whole,
    ),
    "linear": lambda whole: _on_graph(
        linear_graph(torch.tensor([[2, 0, 1], [1, 1, 0]]), torch.tensor([3, 2]), dtype=torch.float64),
        5,
        3,
        whole,
    ),
    "loop of words": _loop,
    "leaps": _leaps,
    "random": lambda whole: _at_random(5, 6, whole, seed=5),
    "random, impossible": lambda whole: _at_random(5, 5, whole, impossible=0.4, seed=3, densities=2),
    "random, varying in time": lambda whole: _at_random(4, 5, whole, time_varying=True, seed=6),
    "random, all per sequence": lambda whole: _at_random(
        4, 6, whole, time_varying=True, per_sequence=True, densities=2, seed=4
    ),
}

# Structures in each form that can run them; arcs that lead backwards cannot be a pipeline.
CASES = [
    *[(structure, "one program") for structure in STRUCTURES if structure != "leaps"],
    *[
        (structure, "one program, several blocks")
        for structure in ("loop of words", "random, all per sequence")
    ],
    *[(structure, "pipeline") for structure in ("chain", "ctc")],
    *[(structure, "pipeline, several launches") for structure in ("skips", "leaps")],
]


def converted(hmm: Arguments, dtype: torch.dtype, device: torch.device) -> Arguments:
    """The same problem in another precision and place."""
    transition = hmm.log_transition
    assert isinstance(transition, Sparse)
    return Arguments(
        hmm.log_initial.to(device, dtype),
        transition.to(device, dtype),
        hmm.log_emission.to(device, dtype),
        None if hmm.lengths is None else hmm.lengths.to(device),
        None if hmm.log_final is None else hmm.log_final.to(device, dtype),
        None if hmm.emission_index is None else hmm.emission_index.to(device),
    )


def poisoned(hmm: Arguments) -> Arguments:
    """The same problem with NaN in its padding, and in the weights of unused slots."""
    emission, transition = hmm.log_emission, hmm.log_transition
    assert isinstance(transition, Sparse)
    if hmm.lengths is not None:
        padding = torch.arange(emission.shape[1], device=emission.device) >= hmm.lengths[:, None]
        emission = emission.masked_fill(padding[..., None], torch.nan)
    unused, weight = transition.predecessors < 0, transition.log_weight
    if unused.ndim == 3 and weight.ndim == 4:
        unused = unused[:, None]
    weight = weight.masked_fill(unused, torch.nan) if unused.ndim <= weight.ndim else weight
    return hmm._replace(log_emission=emission, log_transition=Sparse(transition.predecessors, weight))
