"""Euclidean distances of frames, or their squares: the sum over d of (x[i, d] - y[j, d]) squared."""

import torch
from torch import Tensor

from hmm_core.backends.reference._warping import usable_cells


def pairwise_cost(x: Tensor, y: Tensor, lengths_x: Tensor, lengths_y: Tensor, root: bool) -> Tensor:
    """Costs (B, N, M), ``+inf`` in padding; the derivative of a distance of 0 is 0."""
    B, N, D = x.shape
    M = y.shape[1]
    square = x.new_zeros((B, N, M))
    for d in range(D):
        square = square + (x[:, :, None, d] - y[:, None, :, d]).square()
    usable = usable_cells(square, lengths_x, lengths_y, None, None)
    if root:
        apart = square > 0
        square = torch.where(apart, torch.where(apart, square, 1.0).sqrt(), square)
    return torch.where(usable, square, torch.inf)
