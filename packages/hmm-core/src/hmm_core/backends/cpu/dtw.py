"""Dynamic time warping in C++: allocates the results and calls ``csrc/include/hmm/dtw.hpp``."""

import torch
from torch import Tensor

from hmm_core.backends.cpu import _cpu
from hmm_core.backends.cpu._warping import describe

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
    B, N, M = cost.shape
    distance = cost.new_empty(B)
    path = lengths_x.new_empty(B, max(N + M - 1, 0) if keep_path else 0, 2)
    length = lengths_x.new_zeros(B)
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
