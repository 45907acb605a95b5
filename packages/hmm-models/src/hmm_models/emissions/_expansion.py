"""Diagonal Gaussians as polynomials, so that all of them on all frames are one matrix product."""

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Expansion(NamedTuple):
    r"""Log of weight times density, :math:`c + a^T y + b^T y^2` with :math:`y = x - center`."""

    center: Tensor
    """Shape (D,). Squares of centred features are small, and so is what float32 loses in their difference."""
    coefficient: Tensor
    """[a, b], shape (P, M, 2D)."""
    constant: Tensor
    """c, shape (P, M); -inf for a component that is not in use."""

    def powers(self, x: Tensor) -> Tensor:
        """[y, y^2] of features (N, D), shape (N, 2D)."""
        centered = x - self.center
        return torch.cat([centered, centered.square()], -1)

    def log_joint(self, x: Tensor) -> Tensor:
        """Log of weight times density for every component, shape (N, P, M)."""
        coefficient = self.coefficient.flatten(0, 1)
        joint = torch.addmm(self.constant.flatten(), self.powers(x), coefficient.T)
        return joint.reshape(-1, *self.constant.shape)


def expand(log_weight: Tensor, mean: Tensor, log_variance: Tensor) -> Expansion:
    """Multiply the squares out."""
    center = mean.detach().mean((0, 1))
    precision = (-log_variance).exp()
    offset = mean - center
    linear = offset * precision
    normalizer = (offset * linear + log_variance + math.log(2.0 * math.pi)).sum(-1)
    return Expansion(center, torch.cat([linear, -0.5 * precision], -1), log_weight - 0.5 * normalizer)
