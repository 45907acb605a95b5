"""How a problem is spread over programs: one for each sequence, a pipeline of tiles of states, or equals.

Up to SINGLE states one program goes through the frames of a sequence, and its threads exchange messages
through memory, with a barrier a frame.

In a larger graph with arcs in all directions several programs do, each with some blocks of states: as many
as run at once. They meet after every frame.

In a larger graph whose arcs lead forwards one program computes a tile of states. It goes through the frames
in chunks, and waits before each one only for the tile on its left to have done as many, and so all tiles on
the left of that, for no arc leads from the right. (Backwards in time it is the tile on the right.) Programs
take their tiles from a counter in that order, so the one that a program waits for is always running or done:
programs that wait cannot keep it from starting, however few can run at once. All chunks together take the
time of about ``frames + tiles * CHUNK`` steps. What tiles read from each other stays in memory for as many
frames as a launch has: messages of the last states of each tile, or where arcs are longer than a tile, of
all.

Messages and scores are float64 whatever the problem's dtype, so they need no scaling, and no maximum over
tiles; exponentials and logarithms are taken of differences, in the problem's dtype.

One hour of speech, T = 360,000 frames of 10 ms, aligned to K = 100,000 states of a CTC graph, as planned for
an H200 from its data sheet and the compiled kernel (a plan, not a measurement): 391 tiles of 256 states are
three on each of 132 processors, and a step is some 300 instructions of each of 12 warps on 4 schedulers, 900
cycles, 0.5 us at 1.75 GHz; 0.5 us * (360,000 + 391 * 32) is 0.19 s. The way back waits for two words a frame,
one after the other, mostly from a cache: 0.5 us, 0.18 s in all. Back-pointers of 2 bits are 9.0 GB, emissions
of 150 densities 216 MB, scores at the borders of tiles at most 256 MB. With ``memory="linear"``, in about
twice the time, scores between 107 spans and the pointers of one are 85 MB each.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from hmm_core.backends.cuda._model import Model
from hmm_core.backends.cuda._together import processors
from hmm_core.backends.cuda.sparse import _graph

# States up to which one program keeps a sequence to itself, and states of a tile in a pipeline.
SINGLE = 1024
TILE = 256
# States of a program that has all, and its warps.
BLOCKS = ((32, 1), (128, 4), (256, 8), (1024, 16))
# Frames after which a program tells its neighbour that they are done.
CHUNK = 32
# Most memory for what the tiles of a pipeline tell each other in one launch.
EDGE_BYTES = 2**28


class Plan(NamedTuple):
    """How the programs divide the work."""

    block: int  # states that a program computes at a time
    tiles: int  # programs of a sequence
    reach: int  # states of a tile that its neighbour reads, 0 without a pipeline
    warps: int
    unroll: int  # slots that are computed together
    held: int  # slots whose predecessors and weights stay in registers: all, or 0
    far: bool = False  # whether the tiles of a pipeline read states of any other
    meet: bool = False  # whether the programs of a sequence meet after every frame

    @property
    def together(self) -> bool:
        """Whether the programs wait for each other, so that all of them must run at once."""
        return self.meet and self.tiles > 1

    @property
    def constants(self) -> dict[str, Any]:
        """Compile-time constants and options that all kernels take."""
        return {
            "MEET": self.meet,
            "REACH": self.reach,
            "UNROLL": self.unroll,
            "BLOCK": self.block,
            "CHUNK": CHUNK,
            "num_warps": self.warps,
            # So that three tiles of a pipeline fit on a processor, and 16 warps.
            "max_registers": 168 if self.warps <= 4 else 128,
        }


def plan(model: Model) -> Plan:
    """Choose by the number of states, and for many by whether all arcs lead forwards."""
    assert model.predecessors is not None  # noqa: S101  (the graph is sparse)
    K, R = model.predecessors.shape[1:]
    unroll = 3 if R > 4 or R == 3 else 2
    held = R if R in {2, 3} and model.step_stride == 0 else 0
    if K <= SINGLE:
        block, warps = next(shape for shape in BLOCKS if shape[0] >= K)
        return Plan(block, 1, 0, warps, unroll, held)
    reach = _graph.reach(model.predecessors)
    if reach is None:
        block, available = min(1024, SINGLE), processors(model.log_emission.device)
        programs = max(1, min(available // max(model.sizes[0], 1), -(-K // block)))
        return Plan(block, programs, 0, 16, unroll, 0, meet=True)
    tiles = -(-K // TILE)
    if reach > TILE:
        return Plan(TILE, tiles, 1, 4, unroll, held, far=True)
    return Plan(TILE, tiles, 1 << (reach - 1).bit_length(), 4, unroll, held)


class Span(NamedTuple):
    """Frames that one launch computes."""

    begin: int
    end: int

    @property
    def frames(self) -> int:
        """How many."""
        return self.end - self.begin


def spans(frames: int, most: int) -> list[Span]:
    """Cut the frames of a problem into spans of at most ``most``."""
    most = max(min(most, frames), 1)
    return [Span(begin, min(begin + most, frames)) for begin in range(0, frames, most)]


def edge_frames(chosen: Plan, batch: int, entry_bytes: int) -> int:
    """Frames of a launch in which the tiles tell each other ``entry_bytes`` for each state that is read."""
    each = batch * chosen.tiles * (chosen.block if chosen.far else chosen.reach) * entry_bytes
    return max(EDGE_BYTES // each, CHUNK) if chosen.reach and each else 2**62


def plenty(device: torch.device) -> int:
    """Bytes of a device that a call may take for itself without being asked: a quarter."""
    if device.type != "cuda":
        return 2**30
    return int(torch.cuda.get_device_properties(device).total_memory // 4)


def signals(chosen: Plan, batch: int, launches: int, device: torch.device) -> Tensor:
    """Zeros (launches, 1 + B * tiles): a counter, and how many frames each program has done.

    For programs that meet (launches, 1 + B): how often those of each sequence have.
    """
    count = 1 + batch * (chosen.tiles if chosen.reach else 1)
    return torch.zeros((launches, count), dtype=torch.int32, device=device)
