"""Global variance: trajectories as lively as natural speech."""

import torch
from torch import Tensor

from hmm_models.generation._mlpg import WINDOWS, mlpg


def global_variance(x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Variance of each feature over the frames of each sequence.

    Parameters
    ----------
    x : Tensor, shape (B, T, S)
        Features.
    lengths : Tensor of int64, shape (B,), optional
        Valid frames, 0..T; all if omitted.

    Returns
    -------
    Tensor, shape (B, S)
        0 for a sequence without frames. Differentiable.

    Raises
    ------
    ValueError
        If shapes disagree.

    Examples
    --------
    >>> import torch
    >>> global_variance(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([2]))
    tensor([[1.]])
    """
    if x.ndim != 3:
        raise ValueError(f"x must have shape (B, T, S); got {tuple(x.shape)}")
    valid = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    if lengths is not None:
        if lengths.shape != x.shape[:1]:
            raise ValueError(f"lengths must have shape (B,) = ({len(x)},); got {tuple(lengths.shape)}")
        valid = torch.arange(x.shape[1], device=x.device) < lengths.to(x.device).unsqueeze(-1)
    share = valid.to(x) / valid.sum(1, keepdim=True).clamp_min(1)
    x = x.masked_fill(~valid.unsqueeze(-1), 0.0)
    mean = (share.unsqueeze(-1) * x).sum(1, keepdim=True)
    return (share.unsqueeze(-1) * (x - mean).square()).sum(1)


def mlpg_global_variance(
    mean: Tensor,
    variance: Tensor,
    natural_mean: Tensor,
    natural_variance: Tensor,
    windows: tuple[tuple[float, ...], ...] = WINDOWS,
    lengths: Tensor | None = None,
    *,
    weight: float = 1.0,
    max_iterations: int = 50,
) -> Tensor:
    r"""Find static features that are likely, and vary as much as natural ones do.

    .. math::
        \hat c = \operatorname*{argmax}_c \frac{1}{N T} \log \mathcal N(W c; \mu, \Sigma)
        + w \log \mathcal N(v(c); \mu_v, \Sigma_v)

    ``mlpg`` alone gives trajectories that vary too little, which sounds muffled.

    Parameters
    ----------
    mean, variance, windows, lengths
        See ``mlpg``.
    natural_mean, natural_variance : Tensor, shape (S,)
        Mean and variance, over natural utterances, of ``global_variance`` of each feature; variances > 0.
    weight : float, default 1.0
        w, >= 0; with 0 this is ``mlpg``.
    max_iterations : int, default 50
        Of L-BFGS, which starts from ``mlpg`` scaled to the natural variance.

    Returns
    -------
    Tensor, shape (B, T, S)
        0 behind the end. Not differentiable.

    Raises
    ------
    ValueError
        As ``mlpg``, or if the natural statistics are of another shape, or not positive.

    References
    ----------
    .. [1] T. Toda and K. Tokuda, "A speech parameter generation algorithm considering global variance for
       HMM-based speech synthesis", IEICE Transactions E90-D(5), 2007.

    Examples
    --------
    >>> import torch
    >>> mean = torch.zeros(1, 40, 2)
    >>> mean[0, :, 0] = torch.sin(torch.arange(40) / 3.0)
    >>> windows = ((1.0,), (-0.5, 0.0, 0.5))
    >>> variance = torch.tensor([1.0, 0.05])
    >>> flat = global_variance(mlpg(mean, variance, windows))
    >>> lively = mlpg_global_variance(mean, variance, torch.tensor([0.5]), torch.tensor([0.001]), windows)
    >>> bool(flat < 0.3), bool(global_variance(lively) > 0.4)
    (True, True)
    """
    start = mlpg(mean.detach(), variance.detach(), windows, lengths).double()
    B, T, S = start.shape
    for name, value in (("natural_mean", natural_mean), ("natural_variance", natural_variance)):
        if value.shape != (S,) or not bool((value > 0.0).all()):
            raise ValueError(f"{name} must be > 0, of shape (S,) = ({S},); got {value.tolist()}")
    if not weight >= 0.0:
        raise ValueError(f"weight must be >= 0; got {weight}")
    if not weight or not start.numel():
        return start.to(mean.dtype)
    frames = torch.full((B,), T, device=mean.device) if lengths is None else lengths.to(mean.device)
    valid = torch.arange(T, device=mean.device) < frames.unsqueeze(-1)
    count = frames.clamp_min(1).double()
    center, spread = natural_mean.double(), natural_variance.double()
    level = (start * valid.unsqueeze(-1)).sum(1, keepdim=True) / count[:, None, None]
    found = global_variance(start, frames)
    scale = torch.where(found > 0.0, center / torch.where(found > 0.0, found, 1.0), 1.0).sqrt()
    target = mean.detach().double().masked_fill(~valid.unsqueeze(-1), 0.0)
    precision = variance.detach().double().expand_as(mean).masked_fill(~valid.unsqueeze(-1), 1.0).reciprocal()
    trajectory = (level + scale.unsqueeze(1) * (start - level)).masked_fill(~valid.unsqueeze(-1), 0.0)

    def cost(value: Tensor) -> Tensor:
        value = value.masked_fill(~valid.unsqueeze(-1), 0.0)
        total = value.new_zeros(())
        for n, window in enumerate(windows):
            half = len(window) // 2
            padded = torch.nn.functional.pad(value, (0, 0, half, half))
            moved = sum(w * padded[:, i : i + T] for i, w in enumerate(window))
            inside = (torch.arange(T, device=value.device) >= half) & (
                torch.arange(T, device=value.device) < (frames - half).unsqueeze(-1)
            )
            part = slice(n * S, (n + 1) * S)
            error = (moved - target[..., part]).square() * precision[..., part]
            total = total + (error * (inside / count.unsqueeze(-1)).unsqueeze(-1)).sum() / len(windows)
        away = (global_variance(value, frames) - center).square() / spread
        return 0.5 * (total + weight * away[frames > 0].sum())

    trajectory = trajectory.detach().requires_grad_()
    optimizer = torch.optim.LBFGS([trajectory], max_iter=max_iterations, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = cost(trajectory)
        torch.autograd.backward(value)
        return value

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]  # torch's
    return trajectory.detach().masked_fill(~valid.unsqueeze(-1), 0.0).to(mean.dtype)
