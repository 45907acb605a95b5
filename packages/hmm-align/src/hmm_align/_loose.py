"""Transcripts that are not quite what is said: speech without a word, and words without speech.

Other speech is explained by whatever phones, in any order, explain it best. A frame of it costs a margin, a
stretch of it a penalty, so that words which fit keep their frames (Bourlard, D'hoore and Boite, "Optimizing
recognition and rejection performance in wordspotting systems", ICASSP 1994, with the best path through a loop
of phones instead of the best densities of each frame).
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ._config import AlignerConfig
from ._decode import best_paths
from ._graph import Loose, UnitModel, build_loop

# Seconds that other speech lasts at least.
_SHORTEST = 0.05


def make_loose(density: int, config: AlignerConfig) -> Loose:
    """Return what loose graphs are built with, given the number of the density that other speech reads."""
    size = max(1, round(_SHORTEST / config.frame_period))
    transition = np.full((size, size), -np.inf)
    transition[np.arange(size - 1), np.arange(1, size)] = 0.0
    transition[-1, -1] = 0.0
    edge = np.full(size, -np.inf)
    edge[0] = 0.0
    filler = UnitModel(np.full(size, density), edge, transition, edge[::-1].copy())
    return Loose(filler, -config.filler_penalty, -config.skip_penalty)


def free_densities(units: Mapping[str, UnitModel], log_emission: Tensor, lengths: Tensor) -> Tensor:
    """Return the densities (B, T) of each utterance's best path through any units; 0 in padding."""
    loop = build_loop(units)
    densities = torch.zeros(log_emission.shape[:2], dtype=torch.int64)
    paths = best_paths(log_emission, lengths, [loop] * len(lengths))
    for row, (states, _) in zip(densities, paths, strict=True):
        row[: len(states)] = loop.density_of_state[states]
    return densities


def with_filler(log_emission: Tensor, free: Tensor, density: int, margin: float) -> Tensor:
    """Put log emissions of other speech at their place, given the densities of a free path (...).

    ``log_emission`` (..., P) has nothing at the place, or ends before it.
    """
    other = log_emission.gather(-1, free.unsqueeze(-1)) - margin
    return torch.cat([log_emission[..., :density], other, log_emission[..., density + 1 :]], dim=-1)
