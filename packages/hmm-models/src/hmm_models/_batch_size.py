"""The largest batch that fits into memory, found by trying."""

import contextlib
import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]  # asked for below

_PROCESS = Path("/proc/self")
# What allocators say where they have no error of a class of its own.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED")
# Share of the free memory of a computer that a search may fill: other programs live there, too.
_SHARE = 0.8
# Memory that a step may reserve without using it: stacks of threads, pools of allocators.
_RESERVED = 1 << 29


class BatchSize(NamedTuple):
    """How large a batch may be."""

    batch_size: int
    """The largest that fitted."""
    peak_memory: dict[int, int | None]
    """Of each size that was tried: the most bytes that its step had in use at once beside what was there
    before, None where it did not fit. 0 on a computer that does not tell (only Linux does)."""


def find_optimal_batch_size(
    step: Callable[[int], object],
    *,
    max_batch_size: int = 4096,
    memory_limit: int | None = None,
    device: torch.device | str = "cpu",
) -> BatchSize:
    """Find the largest batch whose step fits into memory, by doubling and then halving the distance.

    Parameters
    ----------
    step : callable
        Called with a batch size, does what is to fit: makes a batch of that size, computes the loss, calls
        ``backward``. Whatever it returns is dropped.
    max_batch_size : int, default 4096
        No larger one is tried, >= 1.
    memory_limit : int, optional
        Bytes that a step may use. If omitted: what a GPU has; on the CPU four fifths of what is free, because
        the operating system would end the program where an allocator does not fail.
    device : torch.device or str, default "cpu"
        Whose memory counts.

    Returns
    -------
    BatchSize
        The size, and the memory of every size that was tried.

    Raises
    ------
    MemoryError
        If a batch of one does not fit.
    ValueError
        If ``max_batch_size`` or ``memory_limit`` is < 1.

    Notes
    -----
    O(log) steps. Errors of ``step`` other than running out of memory are raised. After every step what it
    left is collected, and the GPU's cache emptied. On the CPU under Linux allocations beyond the limit fail
    during the search, in the whole process. Leave some room: sequences differ, and memory falls to pieces.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import GaussianHMM
    >>> model = GaussianHMM(5, 13)
    >>> found = find_optimal_batch_size(
    ...     lambda n: model(torch.randn(n, 100, 13)).sum().backward(), max_batch_size=8
    ... )
    >>> found.batch_size
    8
    """
    for name, value in (("max_batch_size", max_batch_size), ("memory_limit", memory_limit)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be >= 1; got {value}")
    device = torch.device(device)
    if memory_limit is None and device.type == "cpu":
        memory_limit = _free_memory()
    tried: dict[int, int | None] = {}
    _clean(device)

    def fits(size: int) -> bool:
        tried[size] = _peak_memory(step, size, device, memory_limit)
        return tried[size] is not None

    if not fits(1):
        raise MemoryError(f"a batch of one must fit into memory; it needs more than {memory_limit} bytes")
    best, too_large = 1, max_batch_size + 1
    while best < too_large - 1:
        doubling = too_large > max_batch_size
        size = min(2 * best, max_batch_size) if doubling else (best + too_large) // 2
        if fits(size):
            best = size
        else:
            too_large = size
    return BatchSize(best, tried)


def _peak_memory(
    step: Callable[[int], object], size: int, device: torch.device, limit: int | None
) -> int | None:
    """Bytes that a step needs, or None if they are too many."""
    before = _start(device)
    try:
        with _limited(limit if device.type == "cpu" else None):
            step(size)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        # Frames of the error hold tensors.
        error.__traceback__ = None
        return None
    else:
        used = max(0, _peak(device) - before)
        return used if limit is None or used <= limit else None
    finally:
        _clean(device)


def _is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out."""
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or any(words in str(error) for words in _OUT_OF_MEMORY)


def _clean(device: torch.device) -> None:
    """Give back what nobody uses."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _start(device: torch.device) -> int:
    """Begin to watch for the most memory in use; what is in use now."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    with contextlib.suppress(OSError):
        (_PROCESS / "clear_refs").write_text(
            "5", encoding="ascii"
        )  # what the kernel calls the high water mark
    return _status("VmRSS")


def _peak(device: torch.device) -> int:
    """Tell the most memory that was in use since the start."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device)
    return _status("VmHWM")


def _status(name: str) -> int:
    """Bytes of this process as Linux tells them, 0 elsewhere."""
    return _kibibytes(_PROCESS / "status", name)


def _kibibytes(path: Path, name: str) -> int:
    """Read a line of a table of the kernel."""
    try:
        rows = (line.split() for line in path.read_text(encoding="ascii").splitlines())
    except OSError:
        return 0
    return next((1024 * int(row[1]) for row in rows if row[0] == f"{name}:"), 0)


def _free_memory() -> int | None:
    """Bytes that a step may fill, if the computer tells what is free."""
    return int(_SHARE * _kibibytes(Path("/proc/meminfo"), "MemAvailable")) or None


@contextlib.contextmanager
def _limited(limit: int | None) -> Iterator[None]:
    """Let allocations beyond a limit fail, before the operating system ends the process."""
    size = _status("VmSize")
    if limit is None or not size or resource is None:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    ceiling = size + limit + _RESERVED
    for bound in (soft, hard):
        if bound != resource.RLIM_INFINITY:
            ceiling = min(ceiling, bound)
    resource.setrlimit(resource.RLIMIT_AS, (ceiling, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
