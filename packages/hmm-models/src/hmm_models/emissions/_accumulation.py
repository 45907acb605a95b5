"""The E-step of Gaussian mixtures: from frames and their densities to statistics."""

import torch
from torch import Tensor

from hmm_models._numerics import log_softmax
from hmm_models.emissions._expansion import Expansion
from hmm_models.emissions._mixture_statistics import MixtureStatistics

# Numbers in one block of component posteriors: 32 MiB of float64.
_BLOCK = 1 << 22


def accumulate_soft(expansion: Expansion, x: Tensor, share: Tensor) -> MixtureStatistics:
    """Statistics of frames (N, D) that belong to density p with share (N, P), in blocks of frames."""
    result = _zeros(expansion, x)
    rows = max(1, _BLOCK // expansion.constant.numel())
    for some_x, some_share in zip(torch.split(x, rows), torch.split(share, rows), strict=True):
        component = log_softmax(expansion.log_joint(some_x)).exp() * some_share.unsqueeze(-1)
        component = component.flatten(1)
        result.occupancy.add_(component.sum(0).view_as(result.occupancy))
        result.first.add_((component.T @ some_x).view_as(result.first))
        result.second.add_((component.T @ some_x.square()).view_as(result.second))
    return result


def accumulate_firm(expansion: Expansion, x: Tensor, index: Tensor, weight: Tensor) -> MixtureStatistics:
    """Statistics of frames (N, D) of density ``index`` (N,), one density after the other; -1 is left out."""
    result = _zeros(expansion, x)
    order = index.argsort(stable=True)[int((index < 0).sum()) :]
    counts = index[order].bincount(minlength=len(result.occupancy)).tolist()
    powers = expansion.powers(x)
    for density, frames in enumerate(torch.split(order, counts)):
        if not len(frames):
            continue
        own = x[frames]
        joint = torch.addmm(expansion.constant[density], powers[frames], expansion.coefficient[density].T)
        component = log_softmax(joint).exp() * weight[frames].unsqueeze(-1)
        result.occupancy[density] = component.sum(0)
        result.first[density] = component.T @ own
        result.second[density] = component.T @ own.square()
    return result


def _zeros(expansion: Expansion, x: Tensor) -> MixtureStatistics:
    """Statistics of no data, in the model's shape."""
    P, M = expansion.constant.shape
    return MixtureStatistics.zeros(P, M, x.shape[-1], x.device)


def check_shares(name: str, value: Tensor, letters: str, expected: tuple[int, ...]) -> None:
    """Refuse weights of another shape, negative, NaN or infinite."""
    if value.shape != expected:
        raise ValueError(f"{name} must have shape {letters} = {expected}; got {tuple(value.shape)}")
    wrong = ~(torch.isfinite(value) & (value >= 0.0))
    if bool(wrong.any()):
        where = tuple(wrong.nonzero()[0].tolist())
        raise ValueError(f"{name} must be finite and >= 0; got {float(value[where])} at {where}")
