"""The E-step of mixtures: which component of which density a frame belongs to, and sums over it."""

from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from hmm_models.emissions._densities import Densities

Moments = tuple[Tensor, ...]


class Membership(Protocol):
    """Which densities frames belong to."""

    def of(self, frames: Tensor) -> Self:
        """Membership of some of the frames."""
        ...

    def collect(self, densities: Densities[Any], x: Tensor, observed: Tensor | None) -> Moments:
        """Moments of frames (N, D) in float64."""
        ...


@dataclass(frozen=True, eq=False)
class Soft:
    """Frames that belong to each density with a share (N, P)."""

    share: Tensor

    def of(self, frames: Tensor) -> "Soft":
        """Membership of some of the frames."""
        return Soft(self.share[frames])

    def collect(self, densities: Densities[Any], x: Tensor, observed: Tensor | None) -> Moments:
        """Moments of all frames, in blocks."""
        total = densities.zeros()
        for rows in densities.blocks(len(x)):
            inputs = densities.read(x[rows], None if observed is None else observed[rows])
            _add(
                total,
                densities.moments(inputs, densities.shares(inputs, self.share[rows].T.to(x).contiguous())),
            )
        return total


@dataclass(frozen=True, eq=False)
class Firm:
    """Frames of weight (N,) that belong to one density (N,) each; -1 is left out."""

    index: Tensor
    weight: Tensor

    def of(self, frames: Tensor) -> "Firm":
        """Membership of some of the frames."""
        return Firm(self.index[frames], self.weight[frames])

    def collect(self, densities: Densities[Any], x: Tensor, observed: Tensor | None) -> Moments:
        """Moments of all frames, one density after the other."""
        total = densities.zeros()
        order = self.index.argsort(stable=True)[int((self.index < 0).sum()) :]
        counts = self.index[order].bincount(minlength=len(densities.constant)).tolist()
        weight = self.weight.to(x)
        for number, frames in enumerate(torch.split(order, counts)):
            if not len(frames):
                continue
            own = densities.density(number)
            # A covariance that all densities share has one row for all of them.
            part = tuple(value if len(value) == 1 else value[number : number + 1] for value in total)
            for rows in own.blocks(len(frames)):
                some = frames[rows]
                inputs = own.read(x[some], None if observed is None else observed[some])
                _add(part, own.moments(inputs, own.shares(inputs, weight[some].unsqueeze(0))))
        return total


@dataclass(frozen=True, eq=False)
class Known:
    """Frames of weight (N,) whose component (N,) is known, too, counted through the densities: p M + m."""

    component: Tensor
    weight: Tensor

    def of(self, frames: Tensor) -> "Known":
        """Membership of some of the frames."""
        return Known(self.component[frames], self.weight[frames])

    def collect(self, densities: Densities[Any], x: Tensor, observed: Tensor | None) -> Moments:
        """Moments of all frames, in blocks."""
        total = densities.zeros()
        P, M = densities.constant.shape
        for rows in densities.blocks(len(x)):
            inputs = densities.read(x[rows], None if observed is None else observed[rows])
            share = inputs.new_zeros(P * M, len(inputs))
            share.scatter_(0, self.component[rows].unsqueeze(0), self.weight[rows].to(share).unsqueeze(0))
            _add(total, densities.moments(inputs, share.view(P, M, -1)))
        return total


def _add(total: Moments, part: Moments) -> None:
    """Add in place, in float64."""
    for whole, more in zip(total, part, strict=True):
        whole.add_(more)


def check_shares(name: str, value: Tensor, letters: str, expected: tuple[int, ...]) -> None:
    """Refuse weights of another shape, negative, NaN or infinite."""
    if value.shape != expected:
        raise ValueError(f"{name} must have shape {letters} = {expected}; got {tuple(value.shape)}")
    if not value.numel() or 0.0 <= float(value.min()) <= float(value.max()) < torch.inf:
        return
    where = tuple((~(torch.isfinite(value) & (value >= 0.0))).nonzero()[0].tolist())
    raise ValueError(f"{name} must be finite and >= 0; got {float(value[where])} at {where}")
