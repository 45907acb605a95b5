"""The canonical arguments as the kernels take them, and the sizes of their blocks."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from hmm_core.backends.cuda._model import Model, describe

# The open segments, durations by states, are worked on in tiles of at most so many; one stays in registers.
LARGEST_STATES = 64
LARGEST_TILE = 4096
LARGEST_SOURCES = 16


class Segments(NamedTuple):
    """A model, the log weights of its durations, and the blocks in which they are worked on."""

    model: Model
    log_duration: Tensor  # (B|1, 1|4, L, K)
    duration_stride: int
    state_block: int
    duration_block: int
    source_block: int

    @property
    def sizes(self) -> tuple[int, int, int, int, int, int]:
        """Sequences, frames, states, densities, durations, and slots of a state (0 where dense)."""
        slots = 0 if self.model.predecessors is None else self.model.predecessors.shape[2]
        return (*self.model.sizes, self.log_duration.shape[2], slots)

    @property
    def blocks(self) -> dict[str, Any]:
        """The constants that tell a kernel its blocks."""
        return {"BK": self.state_block, "BL": self.duration_block, "BS": self.source_block}

    @property
    def resident(self) -> bool:
        """Whether the open segments are one tile, which stays in registers."""
        _, _, K, _, L, _ = self.sizes
        return self.state_block >= K and self.duration_block >= L

    @property
    def num_warps(self) -> int:
        """Warps of a program: 8 numbers of the tile for each thread."""
        return self.state_block * self.duration_block // 256


def describe_segments(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_duration: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
) -> Segments:
    """Bring the arguments into the layout of the kernels; nothing is read on the host."""
    model = describe(log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index)
    tables, kinds, K, L = log_duration.shape
    sources = K if predecessors is None else predecessors.shape[2]
    state_block = _block(K, LARGEST_STATES)
    return Segments(
        model,
        log_duration.mT.contiguous(),
        kinds * K * L if tables > 1 else 0,
        state_block,
        _block(L, LARGEST_TILE // state_block),
        _block(sources, LARGEST_SOURCES),
    )


def arguments(segments: Segments) -> tuple[Tensor | int | None, ...]:
    """Return the first arguments of every kernel: tensors, sizes and strides."""
    model = segments.model
    _, T, K, P, L, R = segments.sizes
    return (
        *(model.log_initial, model.predecessors, model.log_weight, segments.log_duration),
        *(model.log_emission, model.lengths, model.log_final, model.emission_index),
        *(T, K, P, L, R),
        *(model.initial_stride, model.predecessor_stride, model.weight_stride, segments.duration_stride),
        *(model.final_stride, model.index_stride),
    )


def ring_of(segments: Segments) -> Tensor | None:
    """Memory for the open segments (B, L, K), where they do not stay in registers."""
    B, _, K, _, L, _ = segments.sizes
    if segments.resident:
        return None
    return segments.model.log_emission.new_empty((B, L, K), dtype=torch.float64)


def _block(size: int, largest: int) -> int:
    """Give the power of two that a size is worked on in."""
    smallest = 16
    while smallest < min(size, largest):
        smallest *= 2
    return smallest
