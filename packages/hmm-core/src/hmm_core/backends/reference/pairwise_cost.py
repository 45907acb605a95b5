"""Costs of aligning frames with frames, from the sum over d of (x[i, d] - y[j, d]) squared.

That is the cost ``sqeuclidean``, its root ``euclidean``, half of it the ``cosine`` of frames of length 1.
"""

import torch
from torch import Tensor

from hmm_core.backends.reference._warping import usable_cells


def pairwise_cost(x: Tensor, y: Tensor, lengths_x: Tensor, lengths_y: Tensor, metric: str) -> Tensor:
    """Costs (B, N, M), ``+inf`` in padding; the derivative of a distance of 0 is 0."""
    B, N, D = x.shape
    M = y.shape[1]
    cost = x.new_zeros((B, N, M))
    for d in range(D):
        cost = cost + (x[:, :, None, d] - y[:, None, :, d]).square()
    usable = usable_cells(cost, lengths_x, lengths_y, None, None)
    if metric == "euclidean":
        apart = cost > 0
        cost = torch.where(apart, torch.where(apart, cost, 1.0).sqrt(), cost)
    elif metric == "cosine":
        # A frame of zeros is at a right angle to all.
        zero = (x == 0).all(2)[:, :, None] | (y == 0).all(2)[:, None]
        cost = torch.where(zero, 1.0, 0.5 * cost)
    return torch.where(usable, cost, torch.inf)
