"""Diagonal Gaussians as polynomials, so that all of them on all frames are one matrix product."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, Self

import torch
from torch import Tensor

from hmm_models._numerics import exp_
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
        """Inputs or components in use, whichever are more."""
        return max(self.coefficient.shape[-1], int((self.constant > -torch.inf).sum()))

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
        if inputs.ndim == 3:
            return torch.baddbmm(self.constant.unsqueeze(-1), self.coefficient, inputs.mT)
        joint = torch.addmm(self.constant.reshape(-1, 1), self.coefficient.flatten(0, 1), inputs.T)
        return joint.view(*self.constant.shape, inputs.shape[0])

    def moments(self, inputs: Tensor, component: Tensor) -> tuple[Tensor, ...]:
        """Sum the shares, and the inputs weighted with them."""
        return component.sum(-1), component @ inputs

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

    def select(self, index: Tensor) -> Self:
        """Take some densities."""
        coefficient = self.coefficient.index_select(0, index)
        return replace(self, coefficient=coefficient, constant=self.constant[index])

    @cached_property
    def _layers(self) -> "_Layers":
        """The components in use."""
        return _layers(self.coefficient, self.constant)

    def _log_prob(self, x: Tensor, observed: Tensor | None) -> Tensor:
        """Log-density (P, N) of all frames at once; where nothing is recorded, of the components in use."""
        if self.constant.shape[1] == 1 or torch.is_grad_enabled() or is_recorded():
            return super()._log_prob(x, observed)
        return self._layers.log_prob(self.read(x, observed))


class _Layers(NamedTuple):
    """The first components of all densities, the second of those that have two, and so on.

    Densities are in the order of how many they have, so that each layer is of the first few.
    """

    coefficient: Tensor
    """Shape (C, W), for C components."""
    constant: Tensor
    """Shape (C, 1)."""
    sizes: list[int]
    """Components of each layer."""
    place: Tensor
    """Where in that order each density is, shape (P,)."""

    def log_prob(self, inputs: Tensor) -> Tensor:
        """Log-density (P, R) of what was read."""
        joint = torch.addmm(self.constant, self.coefficient, inputs.T)
        first, *others = layers = torch.split(joint, self.sizes)
        # A density without components has no finite maximum; its exponential is 0.
        peak = first.clamp(min=torch.finfo(joint.dtype).min)
        for layer in others:
            top = peak[: len(layer)]
            torch.maximum(top, layer, out=top)
        for layer in layers:
            layer.sub_(peak[: len(layer)])
        exp_(joint)
        for layer in others:
            first[: len(layer)].add_(layer)
        return first.log_().add_(peak).index_select(0, self.place)


def _layers(coefficient: Tensor, constant: Tensor) -> _Layers:
    """Gather the components in use; of a density without any, one."""
    M = constant.shape[1]
    used = constant > -torch.inf
    count = used.sum(1).clamp_min(1)
    order = count.argsort(descending=True, stable=True)
    component = used.int().argsort(dim=1, descending=True, stable=True)[order] + M * order.unsqueeze(1)
    present = torch.arange(M, device=used.device).unsqueeze(1) < count[order]
    rows = component.T[present]
    sizes = [size for size in present.sum(1).tolist() if size]
    return _Layers(
        coefficient.flatten(0, 1)[rows], constant.flatten()[rows].unsqueeze(1), sizes, order.argsort()
    )


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
