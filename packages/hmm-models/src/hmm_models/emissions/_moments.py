"""Mean and variance of weighted frames, of which dimensions may be missing."""

import torch
from torch import Tensor

# Variances below this share of the squared mean are rounding, of sums of squares and of float32 features.
UNRESOLVED = 1e-13


def weighted_moments(x: Tensor, weight: Tensor, observed: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean and variance (D,) of frames; both are 0 in a dimension that is always missing."""
    share = weight.unsqueeze(-1) if observed is None else weight.unsqueeze(-1) * observed
    total = share.sum(0)
    total = torch.where(total > 0.0, total, 1.0)
    mean = (share * x).sum(0) / total
    return mean, (share * (x - mean).square()).sum(0) / total


def standardize(x: Tensor, mean: Tensor, variance: Tensor, observed: Tensor | None) -> Tensor:
    """Subtract the mean and divide by the deviation, where there is one; 0 for what is missing."""
    scaled = (x - mean) / torch.where(variance > 0.0, variance, 1.0).sqrt()
    return scaled if observed is None else scaled.masked_fill(~observed, 0.0)
