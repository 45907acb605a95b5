"""Soft dynamic time warping: the soft minimum over all alignments, and the expected alignment.

D[i, j] = c[i, j] - gamma log(exp(-D[i-1, j-1] / gamma) + exp(-D[i, j-1] / gamma) + exp(-D[i-1, j] / gamma))
E[i, j] = sum of E[k, l] exp((D[k, l] - c[k, l] - D[i, j]) / gamma) over the cells (k, l) that (i, j) leads to
"""

import torch
from torch import Tensor

from hmm_core.backends.reference._recursion import logsumexp
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
        table = unskew(_soft_distances(skew(cost, torch.inf), gamma), cost.shape[2])
    return at_the_end(table, lengths_x, lengths_y, wrong), cost.new_empty((cost.shape[0], 0))


def _soft_distances(costs: Tensor, gamma: float) -> Tensor:
    """D by anti-diagonals (B, N+M-1, N)."""
    current = costs[:, 0]
    before = torch.full_like(current, torch.inf)
    tables = [current]
    for d in range(1, costs.shape[1]):
        ways = torch.stack((moved(before, 1, torch.inf), current, moved(current, 1, torch.inf)), 1)
        before, current = current, costs[:, d] - gamma * logsumexp(ways / -gamma, 1)
        tables.append(current)
    return torch.stack(tables, 1)


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
    costs = skew(cost, torch.inf)
    tables = _soft_distances(costs, gamma)
    row = torch.arange(N, device=cost.device)
    # -D of a cell, and what its predecessors had; nothing flows into a cell that cannot be reached, nor out of it.
    reached = tables < torch.inf
    score = torch.where(reached, -tables / gamma, -torch.inf)
    total = torch.where(reached, (tables - costs) / gamma, -torch.inf)

    def flow(expected: Tensor, d: int, rows: int, source: Tensor) -> Tensor:
        """What E of diagonal ``d``, ``rows`` rows below, owes to the cells with these scores."""
        share = (moved(total[:, d], -rows, -torch.inf) + source).exp()
        return moved(expected, -rows, 0.0) * share

    diagonals = N + M - 1
    nothing = torch.zeros_like(tables[:, 0])
    after, later = nothing, nothing
    found = []
    for d in reversed(range(diagonals)):
        last = (d == lengths_x + lengths_y - 2)[:, None] & (row == (lengths_x - 1)[:, None])
        expected = (last & reached[:, d]).to(cost.dtype)
        if d + 1 < diagonals:
            expected = expected + flow(after, d + 1, 0, score[:, d]) + flow(after, d + 1, 1, score[:, d])
        if d + 2 < diagonals:
            expected = expected + flow(later, d + 2, 1, score[:, d])
        after, later = expected, after
        found.append(expected)
    return unskew(torch.stack(found[::-1], 1), M) * gradient[:, None, None]
