"""The E-step of mixtures: which component of which density a frame belongs to, and sums over it."""

from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from hmm_models.emissions._densities import Densities, cut

# Frames of one density that are taken together.
_SMALLEST_GROUP, _LARGEST_GROUP = 16, 512

Moments = tuple[Tensor, ...]


class Membership(Protocol):
    """Which densities frames belong to."""

    def of(self, frames: Tensor) -> Self:
        """Membership of some of the frames."""
        ...

    def collect(self, densities: Densities[Any], x: Tensor, observed: Tensor | None) -> Moments:
        """Moments of frames (N, D) in float64, computed in the densities' dtype."""
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
            inputs = _read(densities, x, observed, rows)
            _add(total, densities.moments(inputs, densities.shares(inputs, self.share[rows].T.to(inputs))))
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
        """Moments of all frames, in blocks of groups, each of one density's frames."""
        total = densities.zeros()
        owner, frames, real = _groups(self.index, len(densities.constant))
        share = self.weight.to(densities.constant)[frames] * real
        block_size = densities.select(owner.new_zeros(1)).block_size
        for some in cut(len(owner), max(1, block_size // frames.shape[1])):
            own = densities.select(owner[some])
            read = _read(own, x, observed, frames[some].flatten())
            inputs = read.view(*frames[some].shape, read.shape[-1])
            part = own.moments(inputs, own.shares(inputs, share[some]))
            for whole, more in zip(total, part, strict=True):
                # What all densities share has one row for all of them.
                row = owner[some] if len(whole) > 1 else owner.new_zeros(len(more))
                whole.index_add_(0, row, more.to(whole))
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
            inputs = _read(densities, x, observed, rows)
            share = inputs.new_zeros(P * M, len(inputs))
            share.scatter_(0, self.component[rows].unsqueeze(0), self.weight[rows].to(share).unsqueeze(0))
            _add(total, densities.moments(inputs, share.view(P, M, -1)))
        return total


def _groups(index: Tensor, num_densities: int) -> tuple[Tensor, Tensor, Tensor]:
    """Group frames by their density (N,), -1 for none: the density of each group (G,), its frames (G, R).

    Not all groups are full; those that are not repeat their first frame. Which frames count: (G, R).
    """
    order = index.argsort(stable=True)[int((index < 0).sum()) :]
    density, count = torch.unique_consecutive(index[order], return_counts=True)
    size = min(max(len(order) // (2 * num_densities), _SMALLEST_GROUP), _LARGEST_GROUP)
    num_groups = (count + size - 1) // size
    owner, end, before = (
        value.repeat_interleave(num_groups)
        for value in (density, count.cumsum(0), num_groups.cumsum(0) - num_groups)
    )
    rank = torch.arange(len(owner), device=index.device) - before
    first = (end - count.repeat_interleave(num_groups) + size * rank).unsqueeze(1)
    place = first + torch.arange(size, device=index.device)
    real = place < end.unsqueeze(1)
    return owner, order[torch.where(real, place, first)], real


def _read(densities: Densities[Any], x: Tensor, observed: Tensor | None, rows: slice | Tensor) -> Tensor:
    """Read some frames in the densities' dtype."""
    # Of rows in any order, this takes a fraction of the time that x[rows] does.
    known = x.index_select(0, rows) if isinstance(rows, Tensor) else x[rows]
    return densities.read(known.to(densities.constant), None if observed is None else observed[rows])


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
