"""Checks of values: ranges of integers, NaN and ``+inf``. Slow and exact; the kernels scan first."""

import torch
from torch import Tensor


def check_range(name: str, tensor: Tensor, letters: str, high: int) -> None:
    """Refuse integers outside 0..high, naming the first one."""
    if not tensor.numel():
        return
    smallest, largest = (int(bound) for bound in tensor.aminmax())
    if smallest < 0 or largest > high:
        where = tuple(((tensor < 0) | (tensor > high)).nonzero()[0].tolist())
        raise ValueError(
            f"{name} must lie in 0..{letters} = 0..{high}; got {int(tensor[where])} at {list(where)}"
        )


def _check_finite_above(name: str, tensor: Tensor, ignored: Tensor | None = None) -> None:
    """Refuse NaN and +inf, except where the values are never read."""
    # One reduction without temporaries tells both: amax propagates NaN.
    if not tensor.numel() or bool(tensor.detach().amax() < torch.inf):
        return
    wrong = tensor.isnan() | (tensor == torch.inf)
    if ignored is not None:
        wrong = wrong & ~ignored
    if wrong.any():
        where = tuple(wrong.nonzero()[0].tolist())
        raise ValueError(f"{name} must not hold NaN or +inf; got {float(tensor[where])} at {list(where)}")


def _drop_shared(tensor: Tensor, axes: int) -> Tensor:
    """Without those of the first axes that have size 1, which the caller most likely did not give."""
    for axis in reversed(range(axes)):
        tensor = tensor.squeeze(axis)
    return tensor


def check_values(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
) -> None:
    """Refuse values that break a rule, naming the argument, the first such value and its place."""
    _, T, P = log_emission.shape
    K = log_initial.shape[1]
    check_range("lengths", lengths, "T", T)
    if emission_index is not None:
        check_range("emission_index", _drop_shared(emission_index, 1), "P-1", P - 1)
    if predecessors is not None:
        check_range("log_transition.predecessors", _drop_shared(predecessors, 1).clamp(min=0), "K-1", K - 1)
    padding = (torch.arange(T, device=lengths.device) >= lengths[:, None])[..., None]
    _check_finite_above("log_initial", _drop_shared(log_initial, 1))
    if predecessors is None:
        _check_finite_above("log_transition", _drop_shared(log_weight, 2))
    else:
        unused = (predecessors < 0)[:, None].expand(-1, log_weight.shape[1], -1, -1)
        shared = log_weight.shape[0] == 1  # then a slot is unused where no sequence uses it
        unused = unused.all(dim=0, keepdim=True) if shared else unused.expand_as(log_weight)
        _check_finite_above("log_transition.log_weight", _drop_shared(log_weight, 2), _drop_shared(unused, 2))
    _check_finite_above("log_emission", log_emission, padding)
    _check_finite_above("log_final", _drop_shared(log_final, 1))


def check_duration_values(log_duration: Tensor) -> None:
    """Refuse log weights of durations (B|1, K, L) that are NaN or ``+inf``."""
    _check_finite_above("log_duration", _drop_shared(log_duration, 1))
