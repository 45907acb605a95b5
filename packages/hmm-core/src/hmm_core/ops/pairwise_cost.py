"""Costs of aligning frames with frames."""

from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor

from hmm_core._dispatch import Backend, Chosen, resolve
from hmm_core._tracing import values_are_readable
from hmm_core._validate import check_shape, floating, integer
from hmm_core._values import check_range
from hmm_core.backends.reference.pairwise_cost import pairwise_cost as reference_pairwise_cost
from hmm_core.ops._library import Context, needs_reference, register

Metric = Literal["euclidean", "sqeuclidean", "cosine"]
_METRICS = ("euclidean", "sqeuclidean", "cosine")


class FrameCost(NamedTuple):
    r"""Costs of aligning frames with frames, for a recursion that computes them as it goes.

    ``dtw(FrameCost(x, y))`` is ``dtw(pairwise_cost(x, y))`` without the table of costs: the kernels hold some
    rows of it at a time.

    Parameters
    ----------
    x : Tensor, shape (B, N, D)
        Frames of the first sequences. Frames at or after their lengths are not read.
    y : Tensor, shape (B, M, D)
        Frames of the second sequences.
    metric : {"euclidean", "sqeuclidean", "cosine"}
        How frames are compared, see :func:`~hmm_core.pairwise_cost`.

    Examples
    --------
    >>> import torch
    >>> from hmm_core import dtw
    >>> x = torch.tensor([[[0.0, 0.0], [3.0, 4.0]]])
    >>> dtw(FrameCost(x, x + 1, "sqeuclidean")).distance
    tensor([4.])
    """

    x: Tensor
    y: Tensor
    metric: Metric = "euclidean"


def pairwise_cost(
    x: Tensor,
    y: Tensor,
    lengths_x: Tensor | None = None,
    lengths_y: Tensor | None = None,
    *,
    metric: Metric = "euclidean",
    backend: Backend = "auto",
) -> Tensor:
    r"""Cost of aligning each frame of one sequence with each frame of another.

    ===============  ======================================================
    ``euclidean``    :math:`\lVert x_i - y_j \rVert`
    ``sqeuclidean``  :math:`\lVert x_i - y_j \rVert^2`
    ``cosine``       :math:`1 - x_i \cdot y_j / (\lVert x_i \rVert \lVert y_j \rVert)`, 1 if a frame is 0
    ===============  ======================================================

    Parameters
    ----------
    x : Tensor, shape (B, N, D)
        Frames of the first sequences. Frames at or after ``lengths_x`` change nothing.
    y : Tensor, shape (B, M, D)
        Frames of the second sequences.
    lengths_x, lengths_y : Tensor of int64, shape (B,), optional
        Valid frames, 0..N and 0..M. All if omitted.
    metric : {"euclidean", "sqeuclidean", "cosine"}
        How frames are compared.
    backend : {"auto", "reference", "cpu", "cuda"}
        Where to compute: the fastest that can, the plain torch definition, C++ kernels or CUDA kernels.

    Returns
    -------
    Tensor, shape (B, N, M)
        The costs, ``+inf`` in padding: no path of :func:`~hmm_core.dtw` leads through it.

    Raises
    ------
    TypeError
        If an argument is not a tensor, or has the wrong dtype.
    ValueError
        If shapes or devices disagree, or a length is out of range.
    BackendUnavailableError
        If an explicitly named backend cannot take these arguments.

    Notes
    -----
    O(B N M D) time; :class:`~hmm_core.FrameCost` spares the table where only a recursion reads it. The kernel
    computes one matrix product relative to the mean of y, and distances that cancel in it frame by frame:
    equal frames cost exactly 0, and the relative error is about 1e-6 in float32.
    Differentiable, twice as well; the derivative of ``euclidean`` at equal frames is 0.

    Examples
    --------
    >>> import torch
    >>> x = torch.tensor([[[0.0, 0.0], [3.0, 4.0]]])
    >>> pairwise_cost(x, x)
    tensor([[[0., 5.],
             [5., 0.]]])
    """
    frames, chosen = prepare_frames(x, y, metric, lengths_x, lengths_y, backend)
    x, y, lengths_x, lengths_y, _ = frames
    # Padding may hold anything, and must not reach a derivative.
    x, y = without_padding(x, lengths_x), without_padding(y, lengths_y)
    if needs_reference():
        return reference_pairwise_cost(x, y, lengths_x, lengths_y, metric)
    recorded = torch.is_grad_enabled() and (x.requires_grad or y.requires_grad)
    return cast(Tensor, _pairwise_cost_op(x, y, lengths_x, lengths_y, metric, chosen, recorded=recorded))


def prepare_frames(
    x: Tensor,
    y: Tensor,
    metric: str,
    lengths_x: Tensor | None,
    lengths_y: Tensor | None,
    backend: Backend,
) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor, str], Chosen]:
    """Check frames, bring them to length 1 for the cosine, and choose where to compute."""
    if metric not in _METRICS:
        raise ValueError(f'metric must be "euclidean", "sqeuclidean" or "cosine"; got {metric!r}')
    x = floating("x", x, None)
    y = floating("y", y, x, "x")
    for name, frames, letters in (("x", x, "(B, N, D)"), ("y", y, "(B, M, D)")):
        if frames.ndim != 3:
            raise ValueError(f"{name} must have shape {letters}; got {tuple(frames.shape)}")
    if y.shape[0] != x.shape[0] or y.shape[2] != x.shape[2]:
        raise ValueError(
            f"y must have shape (B, M, D) = ({x.shape[0]}, any, {x.shape[2]}), "
            f"with B and D from x (B, N, D) = {tuple(x.shape)}; got {tuple(y.shape)}"
        )
    lengths_x = canonical_lengths("lengths_x", lengths_x, x, x.shape[1], "x (B, N, D)")
    lengths_y = canonical_lengths("lengths_y", lengths_y, y, y.shape[1], "y (B, M, D)")
    chosen = resolve(backend, x.device, transformed=needs_reference())
    if chosen == "reference" and values_are_readable():
        check_range("lengths_x", lengths_x, "N", x.shape[1])
        check_range("lengths_y", lengths_y, "M", y.shape[1])
    if metric == "cosine":
        x, y = _directions(x, lengths_x), _directions(y, lengths_y)
    return (x, y, lengths_x, lengths_y, metric), chosen


def canonical_lengths(name: str, lengths: Tensor | None, like: Tensor, full: int, source: str) -> Tensor:
    """Lengths (B,), all full if omitted."""
    B = like.shape[0]
    if lengths is None:
        return torch.full((B,), full, dtype=torch.int64, device=like.device)
    lengths = integer(name, lengths, like, source.split(" ", maxsplit=1)[0])
    check_shape(name, lengths, {"(B,)": (B,)}, f"with B from {source} = {tuple(like.shape)}")
    return lengths


def without_padding(frames: Tensor, lengths: Tensor) -> Tensor:
    """Frames with 0 in padding."""
    valid = torch.arange(frames.shape[1], device=frames.device) < lengths[:, None]
    return torch.where(valid[..., None], frames, 0.0)


def _directions(frames: Tensor, lengths: Tensor) -> Tensor:
    """Frames of length 1, 0 in padding and where they are 0."""
    frames = without_padding(frames, lengths)
    square = frames.square().sum(2)
    return frames / torch.where(square == 0, 1.0, square).sqrt()[..., None]


def _save(ctx: Context, inputs: tuple[object, ...], output: Tensor) -> None:
    """Keep the frames, and the costs where their root was taken."""
    x, y, _, _, metric, _ = inputs
    ctx.save_for_backward(cast(Tensor, x), cast(Tensor, y), output)
    ctx.options = (metric,)
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Context, gradient: Tensor | None) -> tuple[Tensor | None, ...]:
    """Sum over j of w[i, j] (x[i] - y[j]), likewise by y; in torch, and so differentiable again."""
    if gradient is None:
        return (None,) * 6
    x, y, cost = ctx.saved_tensors
    (metric,) = ctx.options
    if metric == "euclidean":
        apart = (cost > 0) & (cost < torch.inf)
        weight = torch.where(apart, gradient / torch.where(apart, cost, 1.0), 0.0)
    elif metric == "cosine":
        directed = (x != 0).any(2)[:, :, None] & (y != 0).any(2)[:, None]
        weight = torch.where(directed & (cost < torch.inf), gradient, 0.0)
    else:
        weight = torch.where(cost < torch.inf, 2 * gradient, 0.0)
    by_x = weight.sum(2)[..., None] * x - weight @ y if ctx.needs_input_grad[0] else None
    by_y = weight.sum(1)[..., None] * y - weight.mT @ x if ctx.needs_input_grad[1] else None
    return (by_x, by_y, None, None, None, None)


_pairwise_cost_op = register(
    "pairwise_cost",
    "(Tensor x, Tensor y, Tensor lengths_x, Tensor lengths_y, str metric, str backend) -> Tensor",
    lambda x, y, *_: x.new_empty((x.shape[0], x.shape[1], y.shape[1])),
    save=_save,
    differentiate=_differentiate,
)
