"""Dynamic time warping."""

from typing import Literal, cast

import torch
from torch import Tensor

from hmm_core._dispatch import Backend
from hmm_core._results import DTWResult
from hmm_core._windows import Window
from hmm_core.backends.reference.dtw import dtw as reference_dtw
from hmm_core.ops._library import Context, needs_reference, register
from hmm_core.ops._warping import PAIRS_SCHEMA, prepare_pairs, refuse_wrong_costs

StepPattern = Literal["symmetric1", "symmetric2", "asymmetric"]
_PATTERNS = ("symmetric1", "symmetric2", "asymmetric")


def dtw(
    cost: Tensor,
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
    cost : Tensor, shape (B, N, M)
        :math:`c_{ij}`, the cost of aligning frame i of the first sequence with frame j of the second, for
        example from :func:`~hmm_core.pairwise_cost`; any finite number, or ``+inf`` to forbid it. Entries at
        or after the lengths and outside the window are never read.
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
        If shapes or devices disagree, a length is out of range, or a cost that is read is NaN or ``-inf``.
    BackendUnavailableError
        If an explicitly named backend cannot take these arguments.

    Notes
    -----
    O(B N M) time, of the window only where there is one; N M / 4 bytes for each pair in work. Of equally
    cheap ways the first in the table wins, in every backend and as in dtw-python. Sums are in the precision
    of ``cost``. The gradient of ``distance`` by ``cost`` is the weight of each cell on the path, 0 without
    one; torch.func, forward-mode differentiation, ``torch.compile(fullgraph=True)`` and ``torch.export``
    work.

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
    cost = pairs.cost
    recorded = torch.is_grad_enabled() and cost.requires_grad
    keep = return_path or recorded
    if needs_reference():
        # The kernel's derivative is unknown here: the sum along the path has one.
        distance, path, length = reference_dtw(cost.detach(), *pairs[1:], step_pattern, keep_path=True)
        along = _sum_along(cost, path, step_pattern)
        distance = distance + (along - along.detach())
    else:
        distance, path, length = cast(
            tuple[Tensor, Tensor, Tensor],
            _dtw_op(*pairs, step_pattern, keep, chosen, recorded=recorded),
        )
    refuse_wrong_costs(pairs, chosen, distance)
    return DTWResult(distance, path, length) if return_path else DTWResult(distance, None, None)


def _cells(path: Tensor, columns: int, step_pattern: str) -> tuple[Tensor, Tensor]:
    """Flat index (B, L) of the cells of each path, 0 after its end, and their weights, 0 there."""
    used = path[..., 0] >= 0
    weight = used.long()
    if step_pattern == "symmetric2":
        moved = path - path.roll(1, dims=1)
        first = torch.arange(path.shape[1], device=path.device) == 0
        weight = torch.where(used & ~first, moved.sum(2), weight)
    return torch.where(used, path[..., 0] * columns + path[..., 1], 0), weight


def _sum_along(cost: Tensor, path: Tensor, step_pattern: str) -> Tensor:
    """Weighted cost (B,) of each path."""
    if path.shape[1] == 0 or cost.shape[1] * cost.shape[2] == 0:
        return cost.sum((1, 2))
    index, weight = _cells(path, cost.shape[2], step_pattern)
    return torch.where(weight > 0, cost.flatten(1).gather(1, index) * weight, 0.0).sum(1)


def _save(ctx: Context, inputs: tuple[object, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    """Keep the path for the derivative."""
    ctx.save_for_backward(cast(Tensor, inputs[0]), output[1])
    ctx.options = (inputs[5],)
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Context, gradient: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
    """Weights of the cells on the path, by torch operations: they can be differentiated again."""
    result = None
    if gradient is not None:
        cost, path = ctx.saved_tensors
        index, weight = _cells(path, cost.shape[2], cast(str, ctx.options[0]))
        flat = gradient.new_zeros((cost.shape[0], cost.shape[1] * cost.shape[2]))
        # A path visits a cell once; the cells after its end add 0 to the first.
        share = torch.where(weight > 0, gradient[:, None] * weight, 0.0)
        result = flat.scatter_add(1, index, share).view(cost.shape) if flat.numel() else flat.view(cost.shape)
    return (result, *[None] * 7)


def _fake(
    cost: Tensor,
    lengths_x: Tensor,
    _lengths_y: Tensor,
    _begin: Tensor | None,
    _end: Tensor | None,
    _step_pattern: str,
    keep_path: bool,
    _backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Shapes of the distances, the paths and their lengths."""
    B, N, M = cost.shape
    room = torch.sym_max(N + M - 1, 0) if keep_path else 0
    return cost.new_empty(B), lengths_x.new_empty((B, room, 2)), lengths_x.new_empty(B)


_dtw_op = register(
    "dtw",
    f"({PAIRS_SCHEMA}, str step_pattern, bool keep_path, str backend) -> (Tensor, Tensor, Tensor)",
    _fake,
    save=_save,
    differentiate=_differentiate,
)
