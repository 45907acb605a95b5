"""Soft dynamic time warping: the soft minimum over all alignments, and the expected alignment.

    D[i, j] = c[i, j] - gamma log(exp(-D[i-1, j-1] / gamma) + exp(-D[i, j-1] / gamma)
                                  + exp(-D[i-1, j] / gamma))
    E[i, j] = E[i+1, j+1] p_diagonal[i+1, j+1] + E[i, j+1] p_left[i, j+1] + E[i+1, j] p_up[i+1, j]

p is the share of a predecessor in the sum, 0 where the sum is.
"""

import torch
from torch import Tensor

from hmm_core.backends.reference._recursion import logsumexp, normalized_exp
from hmm_core.backends.reference._warping import admissible, at_the_end, moved, skew, unskew, usable_cells


def soft_dtw(
    cost: Tensor,
    lengths_x: Tensor,
    lengths_y: Tensor,
    begin: Tensor | None,
    end: Tensor | None,
    gamma: float,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    """Values (B,), NaN where a usable cost is NaN or ``-inf``; and nothing kept for the derivative."""
    del keep
    usable = usable_cells(cost, lengths_x, lengths_y, begin, end)
    cost, wrong = admissible(cost, usable)
    table = cost
    if cost.shape[1] > 0 and cost.shape[2] > 0:
        table = unskew(_soft_distances(skew(cost, torch.inf), gamma)[0], cost.shape[2])
    return at_the_end(table, lengths_x, lengths_y, wrong), cost.new_empty((cost.shape[0], 0))


def _soft_distances(costs: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """D by anti-diagonals (B, N+M-1, N), and the shares of its predecessors (B, N+M-1, 3, N)."""
    current = costs[:, 0]
    before = torch.full_like(current, torch.inf)
    tables, shares = [current], [torch.zeros_like(current)[:, None].expand(-1, 3, -1)]
    for d in range(1, costs.shape[1]):
        ways = torch.stack((moved(before, 1, torch.inf), current, moved(current, 1, torch.inf)), 1) / -gamma
        before, current = current, costs[:, d] - gamma * logsumexp(ways, 1)
        tables.append(current)
        shares.append(normalized_exp(ways, 1))
    return torch.stack(tables, 1), torch.stack(shares, 1)


def soft_dtw_backward(
    gradient: Tensor,
    message: Tensor,
    cost: Tensor,
    lengths_x: Tensor,
    lengths_y: Tensor,
    begin: Tensor | None,
    end: Tensor | None,
    gamma: float,
) -> Tensor:
    """Differentiate ``gradient @ soft_dtw`` by the cost."""
    del message
    _, N, M = cost.shape
    if N == 0 or M == 0:
        return torch.zeros_like(cost)
    usable = usable_cells(cost, lengths_x, lengths_y, begin, end)
    cost, _ = admissible(cost, usable)
    tables, shares = _soft_distances(skew(cost, torch.inf), gamma)
    row = torch.arange(N, device=cost.device)
    diagonals = N + M - 1
    after = later = torch.zeros_like(tables[:, 0])
    found = []
    for d in reversed(range(diagonals)):
        last = torch.eq(lengths_x + lengths_y - 2, d)[:, None] & (row == (lengths_x - 1)[:, None])
        expected = (last & (tables[:, d] < torch.inf)).to(cost.dtype)
        if d + 1 < diagonals:
            _, left, up = shares[:, d + 1].unbind(1)
            expected = expected + after * left + moved(after * up, -1, 0.0)
        if d + 2 < diagonals:
            expected = expected + moved(later * shares[:, d + 2, 0], -1, 0.0)
        after, later = expected, after
        found.append(expected)
    return unskew(torch.stack(found[::-1], 1), M) * gradient[:, None, None]
