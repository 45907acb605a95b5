"""How long each state of a sequence lasts, at a rate of speaking or in a given number of frames."""

import torch
from torch import Tensor

# Halvings of the interval that holds rho; what is left is below the resolution of float64.
_HALVINGS = 200
# A state whose duration never varies counts as varying by so many squared frames: it gives way last.
_LEAST_VARIANCE = 1e-6


def state_durations(
    mean: Tensor,
    variance: Tensor,
    lengths: Tensor | None = None,
    *,
    rate: float | Tensor = 1.0,
    num_frames: int | Tensor | None = None,
    max_duration: int | None = None,
) -> Tensor:
    r"""Durations of the states of sequences, as HTS chooses them.

    .. math:: d_n = m_n + \rho \, \sigma^2_n, \qquad \sum_n d_n = T

    are the most likely durations under Gaussians that fill T frames: the states whose durations vary most
    give way most. :math:`\rho` is found for the T asked, and the durations are rounded so that they still
    sum to it.

    Parameters
    ----------
    mean, variance : Tensor, shape (B, N)
        Of the duration of each state, in frames and squared frames; means > 0, variances >= 0.
    lengths : Tensor of int64, shape (B,), optional
        States of each sequence, 0..N; all if omitted. What stands behind the end is never read.
    rate : float or Tensor, shape (B,), default 1.0
        Rate of speaking, > 0: T is the sum of the means divided by it, so that 2.0 is twice as fast.
    num_frames : int or Tensor of int64, shape (B,), optional
        T itself; ``rate`` does not matter then.
    max_duration : int, optional
        Frames that a state lasts at most, >= 1.

    Returns
    -------
    Tensor of int64, shape (B, N)
        Each at least 1 and at most ``max_duration``; 0 behind the end. Rows sum to T, which a ``rate`` moves
        into what is possible.

    Raises
    ------
    ValueError
        If shapes disagree, a value is out of range, or ``num_frames`` is less than the number of states or
        more than they can last.

    Notes
    -----
    O(B N) time. Where the bound of a state is reached, the others share what is left. What rounding leaves
    goes to the largest fractions, to the first ones among equals.

    References
    ----------
    .. [1] T. Yoshimura et al., "Duration modeling for HMM-based speech synthesis", ICSLP 1998.

    Examples
    --------
    >>> import torch
    >>> mean, variance = torch.tensor([[5.0, 10.0, 5.0]]), torch.tensor([[1.0, 8.0, 1.0]])
    >>> state_durations(mean, variance)
    tensor([[ 5, 10,  5]])
    >>> state_durations(mean, variance, rate=0.5)
    tensor([[ 7, 26,  7]])
    >>> state_durations(mean, variance, num_frames=9)
    tensor([[4, 1, 4]])
    """
    used = _check(mean, variance, lengths, max_duration)
    B, N = mean.shape
    count = used.sum(1)
    m = mean.double().masked_fill(~used, 0.0)
    v = variance.double().clamp_min(_LEAST_VARIANCE).masked_fill(~used, 1.0)
    longest = count * max_duration if max_duration is not None else torch.full_like(count, 2**31)
    if num_frames is None:
        pace = torch.as_tensor(rate, dtype=torch.float64, device=mean.device)
        if pace.shape not in {(), (B,)} or not bool(((pace > 0.0) & (pace < torch.inf)).all()):
            raise ValueError(f"rate must be finite and > 0, a number or of shape (B,) = ({B},); got {rate}")
        total = (m.sum(1) / pace).round().to(torch.int64).clamp_min(count).minimum(longest)
    else:
        total = torch.as_tensor(num_frames, dtype=torch.int64, device=mean.device)
        if total.shape not in {(), (B,)}:
            raise ValueError(
                f"num_frames must be a number or of shape (B,) = ({B},); got {tuple(total.shape)}"
            )
        total = total.expand(B)
        wrong = (total < count) | (total > longest)
        if bool(wrong.any()):
            b = int(wrong.int().argmax())
            most = "" if max_duration is None else f" and at most {int(longest[b])}"
            raise ValueError(
                f"num_frames must be at least the number of states {int(count[b])}{most} in sequence {b}; "
                f"got {int(total[b])}"
            )
    if N == 0:
        return m.to(torch.int64)
    highest = (total if max_duration is None else torch.full_like(total, max_duration)).unsqueeze(-1)
    least = used.double()

    def stretched(rho: Tensor) -> Tensor:
        return (m + rho.unsqueeze(-1) * v).clamp_min(1.0).minimum(highest) * least

    low, high = ((1.0 - m) / v).amin(1), ((highest - m) / v).amax(1)
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        short = stretched(middle).sum(1) <= total
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    exact = stretched(low)
    whole = exact.floor()
    # What can still grow comes first, by what was cut off.
    fraction = torch.where(used & (whole < highest), exact - whole, -1.0)
    order = fraction.argsort(dim=1, descending=True, stable=True)
    left = (total - whole.sum(1)).unsqueeze(-1)
    more = torch.zeros_like(whole).scatter(1, order, (torch.arange(N, device=m.device) < left).double())
    return (whole + more * least).to(torch.int64)


def repeat_states(states: Tensor, durations: Tensor) -> Tensor:
    """States (B, T) of the frames, -1 behind the end, of states (B, N) that last so many frames (B, N)."""
    ends = durations.cumsum(1)
    total = ends[:, -1] if ends.shape[1] else ends.sum(1)
    T = int(total.max()) if len(total) else 0
    frame = torch.arange(T, device=states.device).expand(len(states), T).contiguous()
    if not states.shape[1]:
        return frame.masked_fill(frame >= 0, -1)
    place = torch.searchsorted(ends, frame, right=True).clamp_max(states.shape[1] - 1)
    return states.gather(1, place).masked_fill(frame >= total.unsqueeze(-1), -1)


def _check(mean: Tensor, variance: Tensor, lengths: Tensor | None, max_duration: int | None) -> Tensor:
    """Mask (B, N) of the states that there are."""
    if mean.ndim != 2 or variance.shape != mean.shape:
        raise ValueError(
            f"mean and variance must have one shape (B, N); got {tuple(mean.shape)} and "
            f"{tuple(variance.shape)}"
        )
    if max_duration is not None and max_duration < 1:
        raise ValueError(f"max_duration must be >= 1; got {max_duration}")
    B, N = mean.shape
    used = torch.ones((B, N), dtype=torch.bool, device=mean.device)
    if lengths is not None:
        if lengths.shape != (B,) or bool(((lengths < 0) | (lengths > N)).any()):
            raise ValueError(
                f"lengths must be in 0..N = 0..{N}, of shape (B,) = ({B},); got {lengths.tolist()}"
            )
        used = torch.arange(N, device=mean.device) < lengths.to(mean.device).unsqueeze(-1)
    for name, value, right in (
        ("mean must be finite and > 0", mean, mean > 0.0),
        ("variance must be finite and >= 0", variance, variance >= 0.0),
    ):
        wrong = used & ~(right & value.isfinite())
        if bool(wrong.any()):
            where = tuple(wrong.nonzero()[0].tolist())
            raise ValueError(f"{name}; got {float(value[where])} at {where}")
    return used
