"""Maximum likelihood parameter generation."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hmm_models.generation._banded import solve_banded

# The static feature, and its first and second differences as HTS has them.
WINDOWS = ((1.0,), (-0.5, 0.0, 0.5), (1.0, -2.0, 1.0))


def mlpg(
    mean: Tensor,
    variance: Tensor,
    windows: Sequence[Sequence[float]] = WINDOWS,
    lengths: Tensor | None = None,
) -> Tensor:
    r"""Most likely static features, given the distributions of these and of their dynamics (MLPG).

    .. math:: \hat c = \operatorname*{argmax}_c \mathcal N(W c; \mu, \Sigma)
        = (W^T \Sigma^{-1} W)^{-1} W^T \Sigma^{-1} \mu

    Instead of jumping from state to state, the features move as their differences say they should.

    Parameters
    ----------
    mean : Tensor, shape (B, T, N S)
        Means of N windows of S static features in each frame: all static ones, then all first differences,
        and so on, as ``hmm_speech.deltas`` lays them out.
    variance : Tensor, shape (B, T, N S) or (N S,)
        Variances, > 0.
    windows : sequence of sequences of float
        The windows, of odd length, each centred on its frame; the first is the static feature ``(1.0,)``.
        Static features and HTS's first and second differences if omitted.
    lengths : Tensor of int64, shape (B,), optional
        Valid frames, 0..T; all if omitted.

    Returns
    -------
    Tensor, shape (B, T, S)
        Static features; 0 behind the end. Differentiable in ``mean`` and ``variance``, once.

    Raises
    ------
    ValueError
        If shapes disagree, a window is of even length, the first one is not static, a length is out of
        range, or a valid mean is not finite or variance not finite and > 0.

    Notes
    -----
    O(B T S W\ :sup:`2`) time and O(B T S W) memory for windows of at most W frames, in 2 T steps on all
    features of all sequences at once. A difference that would reach beyond an end of its sequence is left
    out, as in HTS. Works in float64 and returns the dtype of ``mean``.

    References
    ----------
    .. [1] K. Tokuda et al., "Speech parameter generation algorithms for HMM-based speech synthesis", ICASSP
       2000.

    Examples
    --------
    Two states whose differences are 0: the step between them becomes a slope.

    >>> import torch
    >>> mean = torch.zeros(1, 6, 3)
    >>> mean[0, 3:, 0] = 1.0
    >>> c = mlpg(mean, torch.tensor([1.0, 0.5, 0.1]))
    >>> [round(value, 2) for value in c.flatten().tolist()]
    [0.06, 0.23, 0.4, 0.6, 0.77, 0.94]
    """
    valid, halves = _check(mean, variance, windows, lengths)
    B, T, _ = mean.shape
    N = len(windows)
    S = mean.shape[2] // N
    # Time first, then windows, then all sequences and features side by side.
    center = mean.double().masked_fill(~valid.unsqueeze(-1), 0.0)
    center = center.view(B, T, N, S).permute(1, 2, 0, 3).reshape(T, N, B * S)
    spread = variance.double().expand(B, T, N * S).masked_fill(~valid.unsqueeze(-1), 1.0)
    precision = spread.reciprocal().view(B, T, N, S).permute(1, 2, 0, 3).reshape(T, N, B * S)
    frames = valid.T.unsqueeze(-1).expand(T, B, S).reshape(T, B * S)

    bands = [center.new_zeros((T, B * S)) for _ in range(2 * max(halves) + 1)]
    right = center.new_zeros((T, B * S))
    for n, (window, half) in enumerate(zip(windows, halves, strict=True)):
        weight = precision[:, n] * _inside(frames, half)
        force = weight * center[:, n]
        for i, first in enumerate(window):
            # Frame t is number i of the window around frame t + half - i.
            right = right + first * _shift(force, half - i)
            around = _shift(weight, half - i)
            for j in range(i + 1):
                bands[i - j] = bands[i - j] + first * window[j] * around
    # Padding is a system of its own: its features are 0.
    bands[0] = torch.where(frames, bands[0], 1.0)
    solution = solve_banded(torch.stack(bands, 1), right)
    return solution.view(T, B, S).permute(1, 0, 2).to(mean.dtype)


def most_likely(
    mean: Tensor, variance: Tensor, windows: Sequence[Sequence[float]] | None, lengths: Tensor
) -> Tensor:
    """Means (B, T, D), 0 behind the end; with windows the static features that ``mlpg`` makes of them."""
    if windows is not None:
        return mlpg(mean, variance, windows, lengths)
    valid = torch.arange(mean.shape[1], device=mean.device) < lengths.unsqueeze(-1)
    return mean.masked_fill(~valid.unsqueeze(-1), 0.0)


def check_windows(windows: Sequence[Sequence[float]], feature_dim: int) -> tuple[tuple[float, ...], ...]:
    """Refuse windows that do not describe features of this width."""
    found = tuple(tuple(float(value) for value in window) for window in windows)
    if not found or found[0] != (1.0,) or any(len(window) % 2 == 0 for window in found):
        raise ValueError(
            "windows must have odd lengths, and the first be the static feature (1.0,); "
            f"got {[list(window) for window in windows]}"
        )
    if feature_dim % len(found):
        raise ValueError(f"feature_dim must be a multiple of the {len(found)} windows; got {feature_dim}")
    return found


def _inside(frames: Tensor, half: int) -> Tensor:
    """Frames (T, N) whose neighbours up to ``half`` frames away are all valid, as numbers."""
    inside = frames
    for distance in range(1, half + 1):
        inside = inside & _shift(frames, distance) & _shift(frames, -distance)
    return inside.double()


def _shift(x: Tensor, distance: int) -> Tensor:
    """Bring what is ``distance`` frames later to each frame; 0 beyond the ends."""
    if distance == 0:
        return x
    gap = x.new_zeros((min(abs(distance), len(x)), *x.shape[1:]))
    return torch.cat([x[distance:], gap]) if distance > 0 else torch.cat([gap, x[:distance]])


def _check(
    mean: Tensor, variance: Tensor, windows: Sequence[Sequence[float]], lengths: Tensor | None
) -> tuple[Tensor, list[int]]:
    """Mask (B, T) of the valid frames, and how far each window reaches."""
    windows = check_windows(windows, 0)
    if mean.ndim != 3 or mean.shape[2] == 0 or mean.shape[2] % len(windows):
        raise ValueError(
            f"mean must have shape (B, T, N S) with N = {len(windows)} windows; got {tuple(mean.shape)}"
        )
    B, T, D = mean.shape
    if variance.shape not in {mean.shape, (D,)}:
        raise ValueError(
            f"variance must have shape (B, T, N S) = {(B, T, D)} or (N S,) = ({D},); "
            f"got {tuple(variance.shape)}"
        )
    valid = torch.ones((B, T), dtype=torch.bool, device=mean.device)
    if lengths is not None:
        if lengths.shape != (B,) or bool(((lengths < 0) | (lengths > T)).any()):
            raise ValueError(
                f"lengths must be in 0..T = 0..{T}, of shape (B,) = ({B},); got {lengths.tolist()}"
            )
        valid = torch.arange(T, device=mean.device) < lengths.to(mean.device).unsqueeze(-1)
    read, spread = mean.detach()[valid], variance.detach().expand(B, T, D)[valid]
    if not bool(torch.isfinite(read).all()):
        raise ValueError("mean must be finite; got NaN or infinity")
    if not bool(((spread > 0.0) & (spread < torch.inf)).all()):
        low, high = (float(bound) for bound in spread.aminmax())
        raise ValueError(f"variance must be finite and > 0; got {low}..{high}")
    return valid, [len(window) // 2 for window in windows]
