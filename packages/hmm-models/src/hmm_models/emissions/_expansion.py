"""Diagonal Gaussians as polynomials, so that all of them on all frames are one matrix product."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from hmm_models._tracing import is_recorded
from hmm_models.emissions._densities import LOG_TWO_PI, Densities
from hmm_models.emissions._mixture_statistics import MixtureStatistics


@dataclass(frozen=True, eq=False)
class Expansion(Densities[MixtureStatistics]):
    r"""Log of weight times density, :math:`c + a^T y + b^T y^2` with :math:`y = x - center`.

    Where dimensions may be missing, *y* and its square are 0 there, and what a dimension adds to the
    constant is a third coefficient, of an input that is 1 where it is observed.
    """

    center: Tensor
    """Shape (D,). Squares of centred features are small, and so is what float32 loses in their difference."""
    coefficient: Tensor
    """[a, b], shape (P, M, 2D); with a third part, shape (P, M, 3D)."""
    constant: Tensor
    """c, shape (P, M); -inf for a component that is not in use."""

    @property
    def width(self) -> int:
        """Inputs or components, whichever are more."""
        return max(self.coefficient.shape[-1], self.constant.numel())

    def read(self, x: Tensor, observed: Tensor | None) -> Tensor:
        """[y, y^2] of features (R, D), or [y, y^2, 1] where they are observed."""
        if observed is not None:
            centered = torch.where(observed, x - self.center, 0.0)
            return torch.cat([centered, centered.square(), observed.to(centered)], -1)
        if torch.is_grad_enabled() or is_recorded():
            centered = x - self.center
            return torch.cat([centered, centered.square()], -1)
        inputs = x.new_empty(len(x), self.coefficient.shape[-1])
        centered, square = torch.split(inputs, x.shape[-1], -1)
        torch.sub(x, self.center, out=centered)
        torch.mul(centered, centered, out=square)
        return inputs

    def log_joint(self, inputs: Tensor) -> Tensor:
        """Log of weight times density of every component, shape (P, M, R)."""
        joint = torch.addmm(self.constant.reshape(-1, 1), self.coefficient.flatten(0, 1), inputs.T)
        return joint.view(*self.constant.shape, inputs.shape[0])

    def moments(self, inputs: Tensor, component: Tensor) -> tuple[Tensor, ...]:
        """Sum the shares, and the inputs weighted with them."""
        sums = component.flatten(0, 1) @ inputs
        return component.sum(-1), sums.view(self.coefficient.shape)

    def zeros(self) -> tuple[Tensor, ...]:
        """Moments of no frames."""
        return tuple(
            torch.zeros_like(value, dtype=torch.float64) for value in (self.constant, self.coefficient)
        )

    def statistics(self, moments: tuple[Tensor, ...]) -> MixtureStatistics:
        """Undo the centring; a missing value adds what is expected of it."""
        occupancy, sums = moments
        count, center = occupancy.unsqueeze(-1), self.center.double()
        first, second, *seen = torch.split(sums, len(center), -1)
        if seen:
            linear, square, _ = torch.split(self.coefficient.double(), len(center), -1)
            variance = -0.5 / square
            mean, missing = linear * variance, count - seen[0]
            first = first + missing * mean
            second = second + missing * (mean.square() + variance)
        return MixtureStatistics(
            occupancy, first + count * center, second + center * (2.0 * first + count * center)
        )

    def density(self, index: int) -> Self:
        """One density alone."""
        rows = slice(index, index + 1)
        return replace(self, coefficient=self.coefficient[rows], constant=self.constant[rows])


def expand(log_weight: Tensor, mean: Tensor, log_variance: Tensor, *, missing: bool) -> Expansion:
    """Multiply the squares out; ``missing`` says whether dimensions may be."""
    center = mean.detach().mean((0, 1))
    precision = (-log_variance).exp()
    offset = mean - center
    linear = offset * precision
    level = -0.5 * (offset * linear + log_variance + LOG_TWO_PI)
    parts = [linear, -0.5 * precision]
    if missing:
        return Expansion(center, torch.cat([*parts, level], -1), log_weight)
    return Expansion(center, torch.cat(parts, -1), log_weight + level.sum(-1))
