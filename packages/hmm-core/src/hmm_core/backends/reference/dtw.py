"""Dynamic time warping: the cheapest monotone alignment of two sequences, from D[0, 0] = c[0, 0].

    symmetric1   D[i, j] = min(D[i-1, j-1], D[i, j-1], D[i-1, j]) + c[i, j]
    symmetric2   D[i, j] = min(D[i-1, j-1] + 2 c[i, j], min(D[i, j-1], D[i-1, j]) + c[i, j])
    asymmetric   D[i, j] = min(D[i-1, j], D[i-1, j-1], D[i-1, j-2]) + c[i, j]

The first of equals wins. The C++ kernel adds in the same order, so that its distances and paths are the same
to the bit.
"""

import torch
from torch import Tensor

from hmm_core.backends.reference._warping import admissible, at_the_end, moved, skew, unskew, usable_cells

# Rows and columns that each choice goes back.
MOVES = {
    "symmetric1": ((1, 1), (0, 1), (1, 0)),
    "symmetric2": ((1, 1), (0, 1), (1, 0)),
    "asymmetric": ((1, 0), (1, 1), (1, 2)),
}


def dtw(
    cost: Tensor,
    lengths_x: Tensor,
    lengths_y: Tensor,
    begin: Tensor | None,
    end: Tensor | None,
    step_pattern: str,
    keep_path: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Distances (B,), paths (B, N+M-1, 2) padded with -1, and path lengths (B,).

    The distance is NaN where a usable cost is NaN or ``-inf``. Without ``keep_path`` there is room for no
    step.
    """
    B, N, M = cost.shape
    usable = usable_cells(cost, lengths_x, lengths_y, begin, end)
    cost, wrong = admissible(cost, usable)
    if N == 0 or M == 0:
        table, choice = cost, cost.new_zeros((B, N, M), dtype=torch.int64)
    elif step_pattern == "asymmetric":
        table, choice = _by_rows(cost)
    else:
        table, choice = _by_diagonals(cost, 2.0 if step_pattern == "symmetric2" else 1.0)
    distance = at_the_end(table, lengths_x, lengths_y, wrong)
    if not keep_path:
        nothing = torch.zeros_like(lengths_x)
        return distance, lengths_x.new_empty((B, 0, 2)), nothing
    path, length = _trace(choice, distance < torch.inf, lengths_x, lengths_y, MOVES[step_pattern])
    return distance, path, length


def _by_diagonals(cost: Tensor, weight: float) -> tuple[Tensor, Tensor]:
    """Distances and choices (B, N, M); a diagonal step costs ``weight`` times the cell."""
    M = cost.shape[2]
    costs = skew(cost, torch.inf)
    current = costs[:, 0]
    tables, choices = [current], [torch.zeros_like(current, dtype=torch.int64)]
    before = torch.full_like(current, torch.inf)
    for d in range(1, costs.shape[1]):
        c = costs[:, d]
        left, up, diagonal = current, moved(current, 1, torch.inf), moved(before, 1, torch.inf)
        if weight == 1.0:
            first, way = torch.where(left < diagonal, left, diagonal), (left < diagonal).long()
            best, way = torch.where(up < first, up, first) + c, torch.where(up < first, 2, way)
        else:
            straight, way = torch.where(up < left, up, left) + c, torch.where(up < left, 2, 1)
            along = diagonal + weight * c
            best, way = torch.where(straight < along, straight, along), torch.where(straight < along, way, 0)
        before, current = current, best
        tables.append(best)
        choices.append(way)
    return unskew(torch.stack(tables, 1), M), unskew(torch.stack(choices, 1), M)


def _by_rows(cost: Tensor) -> tuple[Tensor, Tensor]:
    """Distances and choices (B, N, M) of the asymmetric pattern."""
    start = torch.arange(cost.shape[2], device=cost.device) == 0
    current = torch.where(start, cost[:, 0], torch.inf)
    tables, choices = [current], [torch.zeros_like(current, dtype=torch.int64)]
    for i in range(1, cost.shape[1]):
        stay, one, two = current, moved(current, 1, torch.inf), moved(current, 2, torch.inf)
        first, way = torch.where(one < stay, one, stay), (one < stay).long()
        current = torch.where(two < first, two, first) + cost[:, i]
        tables.append(current)
        choices.append(torch.where(two < first, 2, way))
    return torch.stack(tables, 1), torch.stack(choices, 1)


def _trace(
    choice: Tensor,
    possible: Tensor,
    lengths_x: Tensor,
    lengths_y: Tensor,
    moves: tuple[tuple[int, int], ...],
) -> tuple[Tensor, Tensor]:
    """Paths (B, N+M-1, 2) and their lengths."""
    B, N, M = choice.shape
    room = max(N + M - 1, 0)
    if N == 0 or M == 0:
        return lengths_x.new_full((B, room, 2), -1), torch.zeros_like(lengths_x)
    step = torch.tensor(moves, device=choice.device)
    active = possible & (lengths_x > 0) & (lengths_y > 0)
    i, j = (lengths_x - 1).clamp(min=0), (lengths_y - 1).clamp(min=0)
    visited, length = [], torch.zeros_like(lengths_x)
    for _ in range(room):
        visited.append(torch.stack((i, j), 1))
        length = length + active.long()
        way = choice.flatten(1).gather(1, (i * M + j)[:, None]).squeeze(1)
        active = active & ((i > 0) | (j > 0))
        i = torch.where(active, i - step[way, 0], i)
        j = torch.where(active, j - step[way, 1], j)
    place = torch.arange(room, device=choice.device)
    order = (length[:, None] - 1 - place).clamp(min=0)[..., None].expand(-1, -1, 2)
    path = torch.stack(visited, 1).gather(1, order)
    return torch.where((place < length[:, None])[..., None], path, -1), length
