"""Gaussians with full covariances as distances after whitening, one matrix product on all frames."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from hmm_models.emissions._densities import LOG_TWO_PI, Densities
from hmm_models.emissions._mixture_statistics import FullMixtureStatistics


@dataclass(frozen=True, eq=False)
class Whitening(Densities[FullMixtureStatistics]):
    r"""Log of weight times density, :math:`c - \frac12 |W (x - center) - o|^2`.

    A covariance that several components share has an axis of length 1 in their place.
    """

    center: Tensor
    """Shape (D,)."""
    whitener: Tensor
    """W, the inverse of the covariance's Cholesky factor, shape (P or 1, M or 1, D, D)."""
    offset: Tensor
    """o, the centred means after whitening, shape (P, M, D)."""
    constant: Tensor
    """c, shape (P, M); -inf for a component that is not in use."""

    @property
    def width(self) -> int:
        """Whitened features or components, whichever are more."""
        P, M, D, _ = self.whitener.shape
        return max(P * M * D, self.constant.numel(), D)

    def read(self, x: Tensor, observed: Tensor | None) -> Tensor:
        """Centre features (R, D), of which none is missing."""
        del observed
        return x - self.center

    def log_joint(self, inputs: Tensor) -> Tensor:
        """Log of weight times density of every component, shape (P, M, R)."""
        M, D = self.whitener.shape[1:3]
        white = self.whitener.flatten(1, 2) @ inputs.mT
        white = white.view(white.shape[0], M, D, inputs.shape[-2])
        if self.whitener.shape[:2] == self.constant.shape:
            distance = (white - self.offset.unsqueeze(-1)).square().sum(-2)
        else:
            num_white = white.shape[0]
            offset = self.offset.reshape(num_white, self.constant.numel() // num_white, D)
            distance = white.square().sum(-2) - 2.0 * (offset @ white.squeeze(1))
            distance = distance.view(*self.constant.shape, inputs.shape[-2])
            distance = distance + self.offset.square().sum(-1, keepdim=True)
        return self.constant.unsqueeze(-1) - 0.5 * distance

    def moments(self, inputs: Tensor, component: Tensor) -> tuple[Tensor, ...]:
        """Sum the shares, the inputs, and over whatever shares a covariance their products."""
        P, M, D, _ = self.whitener.shape
        occupancy, first = component.sum(-1), component @ inputs
        if inputs.ndim == 3 and P == 1:  # one covariance for the frames of all
            component, inputs = component.transpose(0, 1).flatten(1).unsqueeze(0), inputs.flatten(0, 1)
        share = component.sum_to_size(P, M, component.shape[-1])
        weighted = (share.unsqueeze(-2) * inputs.mT.unsqueeze(-3)).flatten(1, 2)
        return occupancy, first, (weighted @ inputs).view(P, M, D, D)

    def zeros(self) -> tuple[Tensor, ...]:
        """Moments of no frames."""
        return tuple(
            torch.zeros_like(value, dtype=torch.float64)
            for value in (self.constant, self.offset, self.whitener)
        )

    def statistics(self, moments: tuple[Tensor, ...]) -> FullMixtureStatistics:
        """Undo the centring."""
        occupancy, first, second = moments
        center, count = self.center.double(), occupancy.unsqueeze(-1)
        cross = (first + 0.5 * count * center).sum_to_size(*second.shape[:3]).unsqueeze(-1) * center
        return FullMixtureStatistics(occupancy, first + count * center, second + cross + cross.mT)

    def select(self, index: Tensor) -> Self:
        """Take some densities."""
        whitener = self.whitener if len(self.whitener) == 1 else self.whitener.index_select(0, index)
        return replace(self, whitener=whitener, offset=self.offset[index], constant=self.constant[index])


def whiten(
    log_weight: Tensor, mean: Tensor, covariance: Tensor, center: Tensor, dtype: torch.dtype
) -> Whitening:
    """Factorise covariances (P or 1, M or 1, D, D), float64 as all arguments; the result has ``dtype``."""
    factor = torch.linalg.cholesky(covariance)
    identity = torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device)
    whitener = torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False)
    offset = (whitener @ (mean - center).unsqueeze(-1)).squeeze(-1)
    log_volume = whitener.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    constant = log_weight + log_volume - 0.5 * mean.shape[-1] * LOG_TWO_PI
    return Whitening(center.to(dtype), whitener.to(dtype), offset.to(dtype), constant.to(dtype))


@dataclass(frozen=True, eq=False)
class Completion:
    """What is expected of all dimensions, given those that a pattern of missing ones leaves."""

    gain: Tensor
    """Expected centred features by observed ones, shape (P or 1, M or 1, D, O)."""
    shift: Tensor
    """What is added, shape (P, M, D)."""
    remainder: Tensor
    """Covariance that is left, shape (P or 1, M or 1, D, D); 0 where something is observed."""

    def lift(self, moments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Turn moments of the observed dimensions into expected moments of all."""
        occupancy, first, second = moments
        gain, shift = self.gain, self.shift
        mapped = (gain @ first.unsqueeze(-1)).squeeze(-1)
        count = occupancy.unsqueeze(-1)
        size = self.remainder.shape
        # (B s + n h / 2) h^T and its transpose hold the mixed terms and n h h^T.
        cross = ((mapped + 0.5 * count * shift).unsqueeze(-1) * shift.unsqueeze(-2)).sum_to_size(size)
        spare = occupancy.sum_to_size(*size[:2])[..., None, None] * self.remainder
        return occupancy, mapped + count * shift, gain @ second @ gain.mT + cross + cross.mT + spare


def complete(mean: Tensor, covariance: Tensor, dims: Tensor) -> Completion:
    """Regress all dimensions of centred Gaussians (float64) on the observed ones, ``dims``."""
    rows = covariance[..., dims]
    inner = rows[..., dims, :]
    gain = torch.linalg.solve(inner, rows, left=False)
    # Exactly: what is observed is expected to be itself.
    gain[..., dims, :] = torch.eye(len(dims), dtype=gain.dtype, device=gain.device)
    shift = mean - (gain @ mean[..., dims].unsqueeze(-1)).squeeze(-1)
    remainder = covariance - gain @ rows.mT
    remainder[..., dims, :] = 0.0
    remainder[..., :, dims] = 0.0
    shift[..., dims] = 0.0
    return Completion(gain, shift, 0.5 * (remainder + remainder.mT))
