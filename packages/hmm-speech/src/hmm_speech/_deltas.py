"""Regression deltas of features."""

import torch
from torch import Tensor


def deltas(x: Tensor, order: int = 2, window: int = 2) -> Tensor:
    r"""Append regression slopes over time: velocity, and acceleration as the velocity of the velocity.

    .. math:: d_t = \frac{\sum_{k=1}^{W} k \, (x_{t+k} - x_{t-k})}{2 \sum_{k=1}^{W} k^2}

    Parameters
    ----------
    x : Tensor, shape (..., T, D)
        Features.
    order : int
        How many times to differentiate, >= 0.
    window : int
        W, frames to each side, >= 1.

    Returns
    -------
    Tensor, shape (..., T, D * (order + 1))
        ``x``, then its slopes of order 1, 2, ...

    Raises
    ------
    ValueError
        If ``order`` or ``window`` is out of range, or ``x`` has fewer than two axes.

    Notes
    -----
    At the edges the first and the last frame are repeated, as in HTK. Differentiable.

    References
    ----------
    .. [1] S. Young et al., "The HTK Book", section "Delta, Acceleration and Third Differential Coefficients".

    Examples
    --------
    >>> deltas(torch.arange(6.0)[:, None], order=1).T
    tensor([[0.0000, 1.0000, 2.0000, 3.0000, 4.0000, 5.0000],
            [0.5000, 0.8000, 1.0000, 1.0000, 0.8000, 0.5000]])
    """
    if x.ndim < 2:
        raise ValueError(f"x must have shape (..., T, D); got {tuple(x.shape)}")
    if order < 0 or window < 1:
        raise ValueError(f"order must be >= 0 and window >= 1; got {order} and {window}")
    T = x.shape[-2]
    frames = torch.arange(T, device=x.device)
    scale = 2 * sum(k * k for k in range(1, window + 1))
    parts = [x]
    for _ in range(order):
        last = parts[-1]
        slope = torch.zeros_like(last)
        for k in range(1, window + 1):
            after = last.index_select(-2, (frames + k).clamp(max=T - 1))
            before = last.index_select(-2, (frames - k).clamp(min=0))
            slope = slope + k * (after - before)
        parts.append(slope / scale)
    return torch.cat(parts, dim=-1)
