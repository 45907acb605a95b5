"""Dynamic time warping in C++: allocates the results and calls ``csrc/include/hmm/dtw.hpp``."""

import torch
from torch import Tensor

from hmm_core.backends.cpu import _cpu
from hmm_core.backends.cpu._warping import describe, describe_frames

_PATTERNS = ("symmetric1", "symmetric2", "asymmetric")


def dtw(
    cost: Tensor,
    lengths_x: Tensor,
    lengths_y: Tensor,
    begin: Tensor | None,
    end: Tensor | None,
    step_pattern: str,
    keep_path: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Distances (B,), paths (B, N+M-1, 2) padded with -1, and path lengths (B,).

    The distance is NaN where a usable cost is NaN or ``-inf``. Without ``keep_path`` there is room for no
    step.
    """
    pairs, _keep = describe(cost, lengths_x, lengths_y, begin, end)
    return _align(pairs, cost, sum(cost.shape[1:]), step_pattern, keep_path)


def dtw_frames(
    x: Tensor,
    y: Tensor,
    lengths_x: Tensor,
    lengths_y: Tensor,
    begin: Tensor | None,
    end: Tensor | None,
    metric: str,
    step_pattern: str,
    keep_path: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the same as ``dtw`` of the costs of frames, which are computed as they are used."""
    pairs, _keep = describe_frames(x, y, lengths_x, lengths_y, begin, end, metric)
    return _align(pairs, x, x.shape[1] + y.shape[1], step_pattern, keep_path)


def _align(
    pairs: _cpu.Warping, like: Tensor, frames: int, step_pattern: str, keep_path: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Allocate and run, for pairs of N + M ``frames``."""
    B = like.shape[0]
    distance = like.new_empty(B)
    path = like.new_empty((B, max(frames - 1, 0) if keep_path else 0, 2), dtype=torch.int64)
    length = like.new_zeros(B, dtype=torch.int64)
    # Without room for a step there is none to write; the address must not be null all the same.
    address = path.data_ptr() or length.data_ptr()
    _cpu.dtw(
        pairs,
        _PATTERNS.index(step_pattern),
        torch.get_num_threads(),
        distance.data_ptr(),
        address if keep_path else 0,
        length.data_ptr(),
    )
    return distance, path, length
