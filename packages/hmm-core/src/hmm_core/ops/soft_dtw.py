"""Soft dynamic time warping, and the divergence made of it."""

import math
from typing import cast

import torch
from torch import Tensor

from hmm_core._dispatch import Backend
from hmm_core._windows import Window
from hmm_core.backends.reference.pairwise_cost import pairwise_cost as reference_pairwise_cost
from hmm_core.ops._library import Context, differentiate_twice, implementation, needs_reference, register
from hmm_core.ops._warping import (
    FRAME_PAIRS_SCHEMA,
    PAIRS_SCHEMA,
    FramePairs,
    prepare_pairs,
    refuse_wrong_costs,
)
from hmm_core.ops.pairwise_cost import FrameCost, Metric, without_padding


def soft_dtw(
    cost: Tensor | FrameCost,
    lengths_x: Tensor | None = None,
    lengths_y: Tensor | None = None,
    *,
    gamma: float = 1.0,
    window: Window | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Soft minimum of the cost over all monotone alignments of each pair of sequences.

    .. math:: -\gamma \log \sum_\pi \exp \Bigl(-\tfrac{1}{\gamma} \sum_{(i, j) \in \pi} c_{ij} \Bigr)

    over the paths :math:`\pi` from (0, 0) to (N-1, M-1) in steps (1, 1), (0, 1), (1, 0). As :math:`\gamma \to
    0` it becomes the distance of :func:`~hmm_core.dtw` with ``symmetric1``.

    Parameters
    ----------
    cost : Tensor, shape (B, N, M), or FrameCost
        :math:`c_{ij}`, the cost of aligning frame i of the first sequence with frame j of the second: any
        finite number, or ``+inf`` to forbid it. Entries at or after the lengths and outside the window are
        never read. A :class:`~hmm_core.FrameCost` holds the frames (B, N, D) and (B, M, D) instead, whose
        costs are computed on the way.
    lengths_x, lengths_y : Tensor of int64, shape (B,), optional
        Valid frames, 0..N and 0..M. All if omitted.
    gamma : float
        Temperature, above 0, in units of ``cost``.
    window : SakoeChiba or Itakura, optional
        Cells that a path may visit, for each pair by its own lengths. All if omitted.
    backend : {"auto", "reference", "cpu", "cuda"}
        Where to compute: the fastest that can, the plain torch definition, C++ kernels or CUDA kernels.

    Returns
    -------
    Tensor, shape (B,)
        The soft minimum, which may be negative; 0 for two empty sequences, ``+inf`` where one is empty or no
        path exists.

    Raises
    ------
    TypeError
        If an argument is not a tensor, or has the wrong dtype.
    ValueError
        If shapes or devices disagree, a length is out of range, ``gamma`` is not above 0, or a cost that is
        read is NaN, ``-inf``, or finite but so large that its exponent is lost (1e14 ``gamma`` for paths of
        300 steps); frames must be finite.
    BackendUnavailableError
        If an explicitly named backend cannot take these arguments.

    Notes
    -----
    O(B N M) time. The gradient by ``cost`` is the expected alignment, the probability that a path drawn with
    weight :math:`\exp(-\text{cost} / \gamma)` visits a cell: one pass back, which computes the cells again
    from every 32nd row, so that N M / 16 numbers are kept. It is 0 without a path, and can be differentiated
    again, through the reference. From frames the time is O(B N M D), and their gradient is computed along
    with the value, where it may be asked for, from some rows of costs at a time: up to 16 MB of costs are
    held for each pair in work, more are computed twice. The kernel sums numbers with exponents of their own:
    nothing underflows, however small ``gamma`` is. torch.func transforms, forward-mode differentiation,
    ``torch.compile(fullgraph=True)`` and ``torch.export`` work.

    References
    ----------
    .. [1] M. Cuturi and M. Blondel, "Soft-DTW: a differentiable loss function for time-series", ICML 2017,
       algorithms 1 and 2.

    Examples
    --------
    >>> import torch
    >>> x, y = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.0, 0.0, 1.0, 2.0])
    >>> cost = (x[:, None] - y).square()[None].requires_grad_()
    >>> value = soft_dtw(cost, gamma=0.1)
    >>> value.item() < 0  # below the distance of dtw, which is 0
    True
    >>> torch.autograd.grad(value.sum(), cost)[0][0].round(decimals=2)
    tensor([[1., 1., 0., 0.],
            [0., 0., 1., 0.],
            [0., 0., 0., 1.]])
    """
    gamma = _check_gamma(gamma)
    pairs, chosen = prepare_pairs(cost, lengths_x, lengths_y, window, backend)
    if isinstance(pairs, FramePairs):
        wanted = [torch.is_grad_enabled() and frames.requires_grad for frames in (pairs.x, pairs.y)]
        found = _soft_dtw_frames_op(*pairs, gamma, *wanted, recorded=any(wanted))
        value = cast(tuple[Tensor, Tensor, Tensor], found)[0]
        refuse_wrong_costs(pairs, chosen, value, gamma)
        return value
    keep = torch.is_grad_enabled() and pairs.cost.requires_grad
    if needs_reference():
        value = _reference(*pairs, gamma)
    else:
        value = cast(tuple[Tensor, Tensor], _soft_dtw_op(*pairs, gamma, keep, chosen, recorded=keep))[0]
    refuse_wrong_costs(pairs, chosen, value, gamma)
    return value


def soft_dtw_divergence(
    x: Tensor,
    y: Tensor,
    lengths_x: Tensor | None = None,
    lengths_y: Tensor | None = None,
    *,
    gamma: float = 1.0,
    metric: Metric = "sqeuclidean",
    window: Window | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Soft-DTW divergence of each pair of sequences: 0, its least value, for equal ones.

    .. math:: \mathrm{sdtw}(x, y) - \tfrac12 \mathrm{sdtw}(x, x) - \tfrac12 \mathrm{sdtw}(y, y)

    Parameters
    ----------
    x : Tensor, shape (B, N, D)
        Frames of the first sequences.
    y : Tensor, shape (B, M, D)
        Frames of the second sequences.
    lengths_x, lengths_y : Tensor of int64, shape (B,), optional
        Valid frames, 0..N and 0..M. All if omitted.
    gamma : float
        Temperature, above 0, in units of the metric.
    metric : {"sqeuclidean", "euclidean", "cosine"}
        Cost of aligning two frames, see :func:`~hmm_core.pairwise_cost`.
    window : SakoeChiba or Itakura, optional
        Cells that a path may visit, for each pair by its own lengths. All if omitted.
    backend : {"auto", "reference", "cpu", "cuda"}
        Where to compute: the fastest that can, the plain torch definition, C++ kernels or CUDA kernels.

    Returns
    -------
    Tensor, shape (B,)
        The divergence; 0 for two empty sequences, ``+inf`` where one is empty or no path exists.

    Raises
    ------
    TypeError, ValueError, BackendUnavailableError
        As :func:`~hmm_core.soft_dtw` and :func:`~hmm_core.pairwise_cost` do.

    Notes
    -----
    Three times the work of :func:`~hmm_core.soft_dtw` of a :class:`~hmm_core.FrameCost`. Differentiable by
    ``x`` and ``y``.

    References
    ----------
    .. [1] M. Blondel, A. Mensch and J.-P. Vert, "Differentiable divergences between time series", AISTATS
       2021, section 3.

    Examples
    --------
    >>> import torch
    >>> x = torch.tensor([[[0.0], [1.0], [2.0]]])
    >>> soft_dtw_divergence(x, x)
    tensor([0.])
    >>> soft_dtw_divergence(x, x + 1) > 0
    tensor([True])
    """

    def value(a: Tensor, b: Tensor, lengths_a: Tensor | None, lengths_b: Tensor | None) -> Tensor:
        """Soft-DTW of two batches."""
        return soft_dtw(
            FrameCost(a, b, metric), lengths_a, lengths_b, gamma=gamma, window=window, backend=backend
        )

    own = 0.5 * (value(x, x, lengths_x, lengths_x) + value(y, y, lengths_y, lengths_y))
    mutual = value(x, y, lengths_x, lengths_y)
    # A sequence has a path with itself in every window that has the corners; +inf - +inf is +inf here.
    possible = (mutual < torch.inf) & (own < torch.inf)
    return torch.where(possible, torch.where(possible, mutual - own, 0.0), torch.inf)


def _check_gamma(gamma: float) -> float:
    """Refuse what is not a positive number."""
    if type(gamma) not in {int, float} or not 0 < gamma < math.inf:
        raise ValueError(f"gamma must be a finite number above 0; got {gamma!r}")
    return float(gamma)


def _reference(*arguments: object) -> Tensor:
    """Values by the definition."""
    function = implementation("soft_dtw.soft_dtw", "reference")
    return cast(tuple[Tensor, Tensor], function(*arguments, keep=False))[0]


def _compute_frames(*arguments: object) -> object:
    """Run the kernel that computes the costs of frames, and the derivatives by the frames, itself."""
    return implementation("soft_dtw.soft_dtw_frames", "cpu")(*arguments)


def _save(ctx: Context, inputs: tuple[object, ...], output: tuple[Tensor, Tensor]) -> None:
    """Keep the arguments and the rows for the derivative."""
    ctx.save_for_backward(output[1], *cast(tuple[Tensor | None, ...], inputs[:5]))
    ctx.options = (inputs[5], inputs[7])
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Context, gradient: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
    """Differentiate by the cost."""
    result = None
    if gradient is not None:
        recorded = torch.is_grad_enabled()
        result = cast(Tensor, _derivative_op(gradient, *ctx.saved_tensors, *ctx.options, recorded=recorded))
    return (result, *[None] * 7)


def _save_backward(ctx: Context, inputs: tuple[object, ...], output: Tensor) -> None:
    """Keep everything but the rows, which the second derivative computes again."""
    del output
    gradient, _, *pairs = cast(tuple[Tensor | None, ...], inputs[:7])
    ctx.save_for_backward(gradient, *pairs)
    ctx.options = (inputs[7],)
    ctx.set_materialize_grads(False)


def _differentiate_backward(ctx: Context, outer: Tensor | None) -> tuple[Tensor | None, ...]:
    """Second derivatives, through the recorded reference."""
    gradient, *pairs = ctx.saved_tensors
    (gamma,) = ctx.options
    by_gradient, results = differentiate_twice(
        lambda arguments: _reference(*arguments, gamma), gradient, pairs, (0,), (outer,)
    )
    return by_gradient, None, *results, None, None


def _fake(
    cost: Tensor,
    _lengths_x: Tensor,
    _lengths_y: Tensor,
    _begin: Tensor | None,
    _end: Tensor | None,
    _gamma: float,
    keep: bool,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """Shapes of the values and of what is kept: as soft_dtw_message_size in csrc/include/hmm/soft_dtw.hpp."""
    B, N, M = cost.shape
    size = 2 * ((N + 31) // 32 + 1) * (M + 128) if keep and backend == "cpu" else 0
    return cost.new_empty(B), cost.new_empty((B, size))


def _save_frames(ctx: Context, inputs: tuple[object, ...], output: tuple[Tensor, ...]) -> None:
    """Keep the derivatives, and the arguments for the second ones."""
    ctx.save_for_backward(*output[1:], *cast(tuple[Tensor | None, ...], inputs[:6]))
    ctx.options = inputs[6:]
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)


def _differentiate_frames(ctx: Context, gradient: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
    """Scale the derivatives by the frames; where they are differentiated again, through the reference."""
    results: list[Tensor | None] = [None] * 10
    if gradient is None:
        return tuple(results)
    *derivatives, x, y, lengths_x, lengths_y, begin, end = ctx.saved_tensors
    metric, gamma, *wanted = cast(tuple[str, float, bool, bool], ctx.options)
    places = [place for place in (0, 1) if wanted[place]]
    for place in places:
        results[place] = gradient[:, None, None] * derivatives[place]
    if torch.is_grad_enabled():
        cost = reference_pairwise_cost(
            without_padding(x, lengths_x), without_padding(y, lengths_y), lengths_x, lengths_y, metric
        )
        value = _reference(cost, lengths_x, lengths_y, begin, end, gamma)
        if value.requires_grad:
            leaves = [(x, y)[place] for place in places]
            recorded = torch.autograd.grad(value, leaves, gradient, create_graph=True, allow_unused=True)
            for place, found in zip(places, recorded, strict=True):
                if found is not None:
                    results[place] = cast(Tensor, results[place]).detach() + (found - found.detach())
    return tuple(results)


def _fake_frames(x: Tensor, y: Tensor, *rest: object) -> tuple[Tensor, Tensor, Tensor]:
    """Shapes of the values and of the derivatives by the frames."""
    B, N, D = x.shape
    by_x, by_y = rest[-2:]
    return (
        x.new_empty(B),
        x.new_empty((B, N if by_x else 0, D)),
        x.new_empty((B, y.shape[1] if by_y else 0, D)),
    )


_soft_dtw_frames_op = register(
    "soft_dtw_frames",
    f"({FRAME_PAIRS_SCHEMA}, float gamma, bool by_x, bool by_y) -> (Tensor, Tensor, Tensor)",
    _fake_frames,
    compute=_compute_frames,
    save=_save_frames,
    differentiate=_differentiate_frames,
)
_derivative_op = register(
    "soft_dtw_backward",
    f"(Tensor gradient, Tensor message, {PAIRS_SCHEMA}, float gamma, str backend) -> Tensor",
    lambda _gradient, _message, cost, *_: cost.new_empty(cost.shape),
    source="soft_dtw.soft_dtw_backward",
    save=_save_backward,
    differentiate=_differentiate_backward,
)
_soft_dtw_op = register(
    "soft_dtw",
    f"({PAIRS_SCHEMA}, float gamma, bool keep, str backend) -> (Tensor, Tensor)",
    _fake,
    save=_save,
    differentiate=_differentiate,
)
