"""How every kernel is launched: on the device of its tensors, or only written down."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Launch(NamedTuple):
    """One launch: what the compiler would be given."""

    kernel: Any
    grid: tuple[int, ...]
    arguments: dict[str, object]
    constants: dict[str, object]
    options: dict[str, object]


_recorders: list[Callable[[Launch], None]] = []


@contextlib.contextmanager
def recording() -> Iterator[list[Launch]]:
    """Collect the launches of a block instead of running them; results are then undefined."""
    launches: list[Launch] = []
    _recorders.append(launches.append)
    try:
        yield launches
    finally:
        _recorders.pop()


def is_recording() -> bool:
    """Whether launches are only written down."""
    return bool(_recorders)


def is_capturing(tensor: Tensor) -> bool:
    """Whether launches on the device of a tensor go into a CUDA graph, and run when that is replayed."""
    if tensor.device.type != "cuda":
        return False
    with torch.cuda.device(tensor.device):
        return torch.cuda.is_current_stream_capturing()


def launch(
    kernel: Any,  # noqa: ANN401  (Triton publishes no types)
    grid: tuple[int, ...],
    *arguments: Tensor | float | None,
    num_warps: int = 4,
    num_stages: int = 1,
    cooperative: bool = False,
    max_registers: int | None = None,
    **constants: object,
) -> None:
    """Launch a kernel with its arguments in order and its compile-time constants by name.

    ``cooperative``: the programs wait for each other, so all of them must run at once. ``max_registers``: as
    many as a thread may take; told nothing, the assembler may rather spill a few than take more.
    """
    options: dict[str, object] = {"num_warps": num_warps, "num_stages": num_stages}
    if cooperative:
        options["launch_cooperative_grid"] = True
    if max_registers is not None:
        options["maxnreg"] = max_registers
    if _recorders:
        names = [name for name in kernel.arg_names if name not in constants]
        _recorders[-1](Launch(kernel, grid, dict(zip(names, arguments, strict=True)), constants, options))
        return
    if 0 in grid:
        return
    device = next(argument.device for argument in arguments if isinstance(argument, Tensor))
    with torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext():
        kernel[grid](*arguments, **constants, **options)
