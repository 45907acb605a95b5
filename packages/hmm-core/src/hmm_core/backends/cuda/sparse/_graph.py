"""What the kernels must know of a graph: which arcs leave a state, and how far arcs lead."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from hmm_core.backends.cuda._launch import is_capturing, is_recording


class _Known(NamedTuple):
    """A fact about a tensor."""

    contents: tuple[object, ...]  # of the tensor, when it was so
    fact: Any
    stream: torch.cuda.Stream | None  # on which a fact that is on a device was computed, and when it is there
    ready: torch.cuda.Event | None


class Groups(NamedTuple):
    """Numbers 0..N-1 grouped by a key."""

    members: Tensor  # (B|1, N) int32, those of one key side by side and in order
    starts: Tensor  # (B|1, keys + 1) int32, where those of each key begin
    stride: int  # groups from one sequence to the next: 0 where all share them

    def largest(self, block: int) -> Tensor:
        """Size of the largest group among each ``block`` keys, (B|1, blocks) int32."""
        sizes = self.starts[:, 1:] - self.starts[:, :-1]
        missing = -sizes.shape[1] % block
        padded: Tensor = torch.nn.functional.pad(sizes, (0, missing))
        return padded.view(len(sizes), -1, block).amax(2)


_groups: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
_reach: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def outgoing(predecessors: Tensor) -> Groups:
    """Arcs of (B|1, K, R) grouped by their source; arc ``j * R + r`` is slot r of state j."""
    return _grouped(predecessors, predecessors.shape[1])


def readers(emission_index: Tensor, densities: int) -> Groups:
    """States of (B|1, K) grouped by the density that they read."""
    return _grouped(emission_index, densities)


def _grouped(key: Tensor, keys: int) -> Groups:
    """Group the entries of each row, on the device; remembered for as long as the tensor lives."""
    found: Groups | None = _recall(_groups, key, keys)
    if found is None:
        B = key.shape[0]
        row = key.reshape(B, -1)
        row = torch.where(row < 0, keys, row)  # unused slots come last
        ordered, members = row.sort(dim=1, stable=True)
        each = torch.arange(keys + 1, device=key.device).expand(B, -1).contiguous()
        starts = torch.searchsorted(ordered, each)
        found = Groups(members.to(torch.int32), starts.to(torch.int32), 1 if B > 1 else 0)
        _remember(_groups, key, keys, found)
    return found


def reach(predecessors: Tensor) -> int | None:
    """How many states the longest arc leads forwards, None where arcs lead backwards or that is not known.

    A graph's first use waits for the device, and later ones do not. While a CUDA graph is captured nothing
    may wait: a graph that was not used before is then treated like one with arcs in all directions.
    """
    found: tuple[int | None] | None = _recall(_reach, predecessors, 0)
    if found is None:
        if is_capturing(predecessors):
            return None
        K = predecessors.shape[1]
        state = torch.arange(K, device=predecessors.device)[:, None]
        used = predecessors >= 0
        ahead = torch.where(used, state - predecessors, 0)
        least, most = (int(bound) for bound in torch.stack(ahead.aminmax()).tolist())
        found = (None if least < 0 else max(most, 1),)
        _remember(_reach, predecessors, 0, found)
    return found[0]


def _recall(memory: WeakTensorKeyDictionary, tensor: Tensor, keys: int) -> Any:  # noqa: ANN401
    """Look up what is known of a tensor with these contents; None if nothing is."""
    known: _Known | None = memory.get(_owner(tensor))
    if known is None or known.contents != _contents(tensor, keys) or not _is_usable(known, tensor):
        return None
    return known.fact


def _is_usable(known: _Known, tensor: Tensor) -> bool:
    """Whether a fact can be used on the current stream, which then waits for it.

    Not in a CUDA graph, which must not wait for what is outside of it.
    """
    if known.stream is None or known.ready is None:
        return True
    current = torch.cuda.current_stream(tensor.device)
    if current == known.stream:
        return True
    if is_capturing(tensor):
        return False
    current.wait_event(known.ready)
    for part in known.fact:
        if isinstance(part, Tensor):
            part.record_stream(current)
    return True


def _remember(memory: WeakTensorKeyDictionary, tensor: Tensor, keys: int, fact: object) -> None:
    """Keep what is known for as long as the tensor lives; memory of a captured graph is not ours to keep."""
    if not (is_capturing(tensor) or is_recording() or tensor.is_inference()):
        stream = ready = None
        if tensor.device.type == "cuda" and memory is _groups:
            stream = torch.cuda.current_stream(tensor.device)
            ready = stream.record_event()
        memory[_owner(tensor)] = _Known(_contents(tensor, keys), fact, stream, ready)


def _owner(tensor: Tensor) -> Tensor:
    """Return the user's tensor behind a view of it, which is new in every call."""
    return tensor if tensor._base is None else tensor._base  # noqa: SLF001  (documented, in spite of its name)


def _contents(tensor: Tensor, keys: int) -> tuple[object, ...]:
    """Tell two views of one tensor apart, and its contents before and after a change."""
    version = None if tensor.is_inference() else tensor._version  # noqa: SLF001
    return tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), version, keys
