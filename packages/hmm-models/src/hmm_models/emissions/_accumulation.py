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
            _add(total, densities.moments(inputs, densities.shares(inputs, self.share[rows].T.to(x))))
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
        """Moments of all frames, in blocks, one density after the other."""
        total = densities.zeros()
        order = self.index.argsort(stable=True)[int((self.index < 0).sum()) :]
        weight = self.weight.to(x)
        for rows in densities.density(0).blocks(len(order)):
            some = order[rows]
            numbers, counts = torch.unique_consecutive(self.index[some], return_counts=True)
            inputs = densities.read(x[some], None if observed is None else observed[some])
            parts = zip(
                numbers.tolist(),
                torch.split(inputs, counts.tolist()),
                torch.split(weight[some].unsqueeze(0), counts.tolist(), dim=1),
                strict=True,
            )
            for number, read, share in parts:
                own = densities.density(number)
                # A covariance that all densities share has one row for all of them.
                part = tuple(value if len(value) == 1 else value[number : number + 1] for value in total)
                _add(part, own.moments(read, own.shares(read, share)))
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
    if not value.numel():
        return
    low, high = torch.aminmax(value)
    if 0.0 <= float(low) <= float(high) < torch.inf:
        return
    where = tuple((~(torch.isfinite(value) & (value >= 0.0))).nonzero()[0].tolist())
    raise ValueError(f"{name} must be finite and >= 0; got {float(value[where])} at {where}")


def membership(
    x: Tensor,
    num_densities: int,
    density_posterior: Tensor | None,
    density_index: Tensor | None,
    weight: Tensor | None,
    dtype: torch.dtype = torch.float64,
) -> Soft | Firm:
    """Check which densities frames (N, D) belong to, softly (N, P) or firmly (N,); shares have ``dtype``."""
    N, P = x.shape[0], num_densities
    if weight is not None:
        check_shares("weight", weight, "(N,)", (N,))
    if density_posterior is not None and density_index is None:
        check_shares("density_posterior", density_posterior, "(N, P)", (N, P))
        share = density_posterior.to(dtype)
        return Soft(share if weight is None else share * weight.to(dtype).unsqueeze(-1))
    if density_index is None or density_posterior is not None:
        raise ValueError("give exactly one of density_posterior and density_index")
    if density_index.shape != (N,) or density_index.dtype != torch.int64:
        raise ValueError(
            f"density_index must be int64 of shape (N,) = ({N},); "
            f"got {density_index.dtype} of shape {tuple(density_index.shape)}"
        )
    if N and not -1 <= int(density_index.min()) <= int(density_index.max()) < P:
        raise ValueError(
            f"density_index must be in -1..P-1 = -1..{P - 1}; "
            f"got {int(density_index.min())}..{int(density_index.max())}"
        )
    return Firm(density_index, x.new_ones(N) if weight is None else weight)
