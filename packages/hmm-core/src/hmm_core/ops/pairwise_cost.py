"""Costs of aligning frames with frames."""

from typing import Literal, cast

import torch
from torch import Tensor

from hmm_core._dispatch import Backend, resolve
from hmm_core._tracing import values_are_readable
from hmm_core._validate import floating
from hmm_core._values import check_range
from hmm_core.backends.reference.pairwise_cost import pairwise_cost as reference_pairwise_cost
from hmm_core.ops._library import Context, needs_reference, register
from hmm_core.ops._warping import canonical_lengths

Metric = Literal["euclidean", "sqeuclidean", "cosine"]
_METRICS = ("euclidean", "sqeuclidean", "cosine")


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
    O(B N M D) time. The kernel computes one matrix product relative to the mean of y, and distances that
    cancel in it frame by frame: equal frames cost exactly 0, and the relative error is about 1e-6 in float32.
    Differentiable, twice as well; the derivative of ``euclidean`` at equal frames is 0.

    Examples
    --------
    >>> import torch
    >>> x = torch.tensor([[[0.0, 0.0], [3.0, 4.0]]])
    >>> pairwise_cost(x, x)
    tensor([[[0., 5.],
             [5., 0.]]])
    """
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
    # Padding may hold anything, and must not reach a derivative either.
    x, zero_x = _frames(x, lengths_x, metric)
    y, zero_y = _frames(y, lengths_y, metric)
    root = metric == "euclidean"
    if needs_reference():
        cost = reference_pairwise_cost(x, y, lengths_x, lengths_y, root)
    else:
        recorded = torch.is_grad_enabled() and (x.requires_grad or y.requires_grad)
        cost = cast(Tensor, _pairwise_cost_op(x, y, lengths_x, lengths_y, root, chosen, recorded=recorded))
    if metric == "cosine":
        cost = torch.where((zero_x[:, :, None] | zero_y[:, None]) & (cost < torch.inf), 1.0, 0.5 * cost)
    return cost


def _frames(frames: Tensor, lengths: Tensor, metric: str) -> tuple[Tensor, Tensor]:
    """Frames with 0 in padding, of length 1 for the cosine; and which frames are 0."""
    valid = torch.arange(frames.shape[1], device=frames.device) < lengths[:, None]
    frames = torch.where(valid[..., None], frames, 0.0)
    if metric != "cosine":
        return frames, valid
    square = frames.square().sum(2)
    zero = square == 0
    return frames / torch.where(zero, 1.0, square).sqrt()[..., None], zero


def _save(ctx: Context, inputs: tuple[object, ...], output: Tensor) -> None:
    """Keep the frames, and the costs where their root was taken."""
    x, y, _, _, root, _ = inputs
    ctx.save_for_backward(cast(Tensor, x), cast(Tensor, y), output)
    ctx.options = (root,)
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Context, gradient: Tensor | None) -> tuple[Tensor | None, ...]:
    """2 sum_j w[i, j] (x[i] - y[j]), likewise by y; in torch, and so differentiable again."""
    if gradient is None:
        return (None,) * 6
    x, y, cost = ctx.saved_tensors
    weight = gradient
    if ctx.options[0]:
        apart = (cost > 0) & (cost < torch.inf)
        weight = torch.where(apart, 0.5 * gradient / torch.where(apart, cost, 1.0), 0.0)
    else:
        weight = torch.where(cost < torch.inf, gradient, 0.0)
    weight = 2 * weight
    by_x = weight.sum(2)[..., None] * x - weight @ y if ctx.needs_input_grad[0] else None
    by_y = weight.sum(1)[..., None] * y - weight.mT @ x if ctx.needs_input_grad[1] else None
    return (by_x, by_y, None, None, None, None)


_pairwise_cost_op = register(
    "pairwise_cost",
    "(Tensor x, Tensor y, Tensor lengths_x, Tensor lengths_y, bool root, str backend) -> Tensor",
    lambda x, y, *_: x.new_empty((x.shape[0], x.shape[1], y.shape[1])),
    save=_save,
    differentiate=_differentiate,
)
