"""Dynamic time warping on CUDA: two launches, of the strips and of the backtrace, see ``_warping``."""

from torch import Tensor

from hmm_core.backends.cuda._warping import describe, run


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
    pairs = describe(cost, lengths_x, lengths_y, begin, end)
    warped = run(pairs, step_pattern, keep_path=keep_path)
    return warped.distance, warped.path, warped.length
