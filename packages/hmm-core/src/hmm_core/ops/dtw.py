"""Dynamic time warping."""

from typing import Literal, cast

import torch
from torch import Tensor

from hmm_core._dispatch import Backend
from hmm_core._results import DTWResult
from hmm_core._windows import Window
from hmm_core.ops._library import Context, implementation, needs_reference, register
from hmm_core.ops._warping import (
    FRAME_PAIRS_SCHEMA,
    PAIRS_SCHEMA,
    FramePairs,
    Pairs,
    prepare_pairs,
    refuse_wrong_costs,
)
from hmm_core.ops.pairwise_cost import FrameCost

StepPattern = Literal["symmetric1", "symmetric2", "asymmetric"]
_PATTERNS = ("symmetric1", "symmetric2", "asymmetric")


def dtw(
    cost: Tensor | FrameCost,
    lengths_x: Tensor | None = None,
    lengths_y: Tensor | None = None,
    *,
    step_pattern: StepPattern = "symmetric1",
    window: Window | None = None,
    return_path: bool = True,
    backend: Backend = "auto",
) -> DTWResult:
    r"""Cheapest monotone alignment of each pair of sequences, and its total cost.

    .. math:: d = \min_\pi \sum_{(i, j) \in \pi} w_{ij} \, c_{ij}

    over the paths :math:`\pi` from (0, 0) to (N-1, M-1) that the step pattern admits, as in dtw-python:

    ==============  ==========================================================  =============================
    pattern         steps into (i, j), weight of the cell                       normalised distance
    ==============  ==========================================================  =============================
    ``symmetric1``  from (i-1, j-1), (i, j-1), (i-1, j), each 1                 none
    ``symmetric2``  from (i-1, j-1) 2; from (i, j-1), (i-1, j) 1                ``distance / (N + M)``
    ``asymmetric``  from (i-1, j), (i-1, j-1), (i-1, j-2), each 1               ``distance / N``
    ==============  ==========================================================  =============================

    The first cell weighs 1.

    Parameters
    ----------
    cost : Tensor, shape (B, N, M), or FrameCost
        :math:`c_{ij}`, the cost of aligning frame i of the first sequence with frame j of the second: any
        finite number, or ``+inf`` to forbid it. Entries at or after the lengths and outside the window are
        never read. A :class:`~hmm_core.FrameCost` holds the frames (B, N, D) and (B, M, D) instead, whose
        costs are computed on the way.
    lengths_x, lengths_y : Tensor of int64, shape (B,), optional
        Valid frames, 0..N and 0..M. All if omitted.
    step_pattern : {"symmetric1", "symmetric2", "asymmetric"}
        Which steps a path may take, and what they cost.
    window : SakoeChiba or Itakura, optional
        Cells that a path may visit, for each pair by its own lengths. All if omitted.
    return_path : bool
        Whether to return the path. Without it less memory is used, unless a gradient is asked for.
    backend : {"auto", "reference", "cpu", "cuda"}
        Where to compute: the fastest that can, the plain torch definition, C++ kernels or CUDA kernels.

    Returns
    -------
    DTWResult
        ``distance``, ``path`` and ``path_length``. The distance of two empty sequences is 0; it is ``+inf``,
        and the path -1, where one is empty or no path exists.

    Raises
    ------
    TypeError
        If an argument is not a tensor, or has the wrong dtype.
    ValueError
        If shapes or devices disagree, a length is out of range, or a cost that is read is NaN or ``-inf``,
        as those of frames are that are not finite.
    BackendUnavailableError
        If an explicitly named backend cannot take these arguments.

    Notes
    -----
    O(B N M) time, O(B N M D) from frames, of the window only where there is one; N M / 4 bytes for each pair
    in work. Of equally cheap ways the first in the table wins, in every backend and as in dtw-python. Sums
    are in the precision of ``cost``. The gradient of ``distance`` by ``cost`` is the weight of each cell on
    the path, 0 without one, and flows on to frames; torch.func, forward-mode differentiation,
    ``torch.compile(fullgraph=True)`` and ``torch.export`` work. The kernel gives the same bits for frames as
    for their :func:`~hmm_core.pairwise_cost`; in long pairs without a window, under a symmetric pattern, it
    leaves out cells further away than some path is long, which are many where the sequences are alike.

    References
    ----------
    .. [1] H. Sakoe and S. Chiba, "Dynamic programming algorithm optimization for spoken word recognition",
       IEEE Trans. ASSP 26(1), 1978, section II.
    .. [2] T. Giorgino, "Computing and visualizing dynamic time warping alignments in R: the dtw package",
       Journal of Statistical Software 31(7), 2009, section 3.

    Examples
    --------
    >>> import torch
    >>> x, y = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.0, 0.0, 1.0, 2.0])
    >>> result = dtw((x[:, None] - y).abs()[None])
    >>> result.distance
    tensor([0.])
    >>> result.path[0, : result.path_length[0]].tolist()
    [[0, 0], [0, 1], [1, 2], [2, 3]]
    """
    if step_pattern not in _PATTERNS:
        raise ValueError(
            f'step_pattern must be "symmetric1", "symmetric2" or "asymmetric"; got {step_pattern!r}'
        )
    pairs, chosen = prepare_pairs(cost, lengths_x, lengths_y, window, backend)
    given = pairs[:2] if isinstance(pairs, FramePairs) else pairs[:1]
    differentiated = needs_reference() or (
        torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given)
    )
    keep = return_path or differentiated
    fixed = [part.detach() if isinstance(part, Tensor) else part for part in pairs]
    if needs_reference():
        found = implementation("dtw.dtw", "reference")(*fixed, step_pattern, keep)
    elif isinstance(pairs, FramePairs):
        found = _dtw_frames_op(*fixed, step_pattern, keep)
    else:
        found = _dtw_op(*fixed, step_pattern, keep, chosen)
    distance, path, length = cast(tuple[Tensor, Tensor, Tensor], found)
    refuse_wrong_costs(pairs, chosen, distance)
    if differentiated:
        # The derivative of the distance is that of the sum along the path.
        along = _sum_along(pairs, path, step_pattern)
        distance = distance + (along - along.detach())
    return DTWResult(distance, path, length) if return_path else DTWResult(distance, None, None)


def _compute_frames(*arguments: object) -> object:
    """Run the kernel that computes the costs of frames itself."""
    return implementation("dtw.dtw_frames", "cpu")(*arguments)


def _sum_along(pairs: Pairs | FramePairs, path: Tensor, step_pattern: str) -> Tensor:
    """Weighted cost (B,) of each path, but for terms without a derivative."""
    used = path[..., 0] >= 0
    weight = used.long()
    if step_pattern == "symmetric2":
        moved = path - path.roll(1, dims=1)
        first = torch.arange(path.shape[1], device=path.device) == 0
        weight = torch.where(used & ~first, moved.sum(2), weight)
    i, j = torch.where(used[..., None], path, 0).unbind(2)
    if isinstance(pairs, Pairs):
        cost = pairs.cost
        if path.shape[1] == 0 or cost.shape[1] * cost.shape[2] == 0:
            return cost.sum((1, 2))
        cells = cost.flatten(1).gather(1, i * cost.shape[2] + j)
    else:
        x, y = pairs.x, pairs.y
        if path.shape[1] == 0 or x.shape[1] * y.shape[1] == 0:
            return x.sum((1, 2)) + y.sum((1, 2))
        D = x.shape[2]
        # What padding holds must not reach a derivative.
        a, b = (
            torch.where(used[..., None], frames.gather(1, index[..., None].expand(-1, -1, D)), 0.0)
            for frames, index in ((x, i), (y, j))
        )
        cells = (a - b).square().sum(2)
        if pairs.metric == "euclidean":
            apart = cells > 0
            cells = torch.where(apart, torch.where(apart, cells, 1.0).sqrt(), 0.0)
        elif pairs.metric == "cosine":
            directed = (a != 0).any(2) & (b != 0).any(2)
            cells = torch.where(directed, 0.5 * cells, 0.0)
    return torch.where(weight > 0, cells * weight, 0.0).sum(1)


def _empty(like: Tensor, lengths: Tensor, frames: int, keep_path: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Shapes of the distances, the paths and their lengths, for pairs of N + M ``frames``."""
    B = like.shape[0]
    room = torch.sym_max(frames - 1, 0) if keep_path else 0
    return like.new_empty(B), lengths.new_empty((B, room, 2)), lengths.new_empty(B)


def _save(ctx: Context, inputs: tuple[object, ...], output: tuple[Tensor, ...]) -> None:
    """Declare that the operations have no derivative: ``dtw`` records one along the path."""
    del inputs
    ctx.mark_non_differentiable(*output)


def _differentiate(_ctx: Context, *_: None) -> tuple[None, ...]:
    """Nothing to differentiate."""
    return ()


_dtw_op = register(
    "dtw",
    f"({PAIRS_SCHEMA}, str step_pattern, bool keep_path, str backend) -> (Tensor, Tensor, Tensor)",
    lambda cost, lengths_x, *rest: _empty(cost, lengths_x, cost.shape[1] + cost.shape[2], rest[-2]),
    save=_save,
    differentiate=_differentiate,
)
_dtw_frames_op = register(
    "dtw_frames",
    f"({FRAME_PAIRS_SCHEMA}, str step_pattern, bool keep_path) -> (Tensor, Tensor, Tensor)",
    lambda x, y, lengths_x, *rest: _empty(x, lengths_x, x.shape[1] + y.shape[1], rest[-1]),
    compute=_compute_frames,
    save=_save,
    differentiate=_differentiate,
)
