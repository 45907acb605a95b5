"""What the recursions over pairs of sequences share: cells that may be used, and tables by anti-diagonals."""

import torch
from torch import Tensor


def usable_cells(
    cost: Tensor, lengths_x: Tensor, lengths_y: Tensor, begin: Tensor | None, end: Tensor | None
) -> Tensor:
    """Cells (B, N, M) inside the lengths and the band."""
    _, N, M = cost.shape
    row = torch.arange(N, device=cost.device)[:, None]
    column = torch.arange(M, device=cost.device)
    usable = (row < lengths_x[:, None, None]) & (column < lengths_y[:, None, None])
    if begin is not None and end is not None:
        usable = usable & (column >= begin[..., None]) & (column < end[..., None])
    return usable


def admissible(cost: Tensor, usable: Tensor) -> tuple[Tensor, Tensor]:
    """Cost with ``+inf`` where it cannot be used; and which pairs (B,) hold NaN or ``-inf`` elsewhere."""
    wrong = ((cost.isnan() | (cost == -torch.inf)) & usable).any(2).any(1)
    return torch.where(usable, cost, torch.inf), wrong


def skew(table: Tensor, outside: float) -> Tensor:
    """From [i, j] of (B, N, M) to [i + j, i] of (B, N+M-1, N)."""
    B, N, M = table.shape
    row = torch.arange(N, device=table.device)
    column = torch.arange(N + M - 1, device=table.device)[:, None] - row
    inside = (column >= 0) & (column < M)
    index = (row * M + column.clamp(0, M - 1)).flatten().expand(B, -1)
    return torch.where(inside, table.flatten(1).gather(1, index).view(B, N + M - 1, N), outside)


def unskew(diagonals: Tensor, M: int) -> Tensor:
    """From [i + j, i] of (B, N+M-1, N) to [i, j] of (B, N, M)."""
    B, _, N = diagonals.shape
    row = torch.arange(N, device=diagonals.device)[:, None]
    index = ((row + torch.arange(M, device=diagonals.device)) * N + row).flatten().expand(B, -1)
    return diagonals.flatten(1).gather(1, index).view(B, N, M)


def moved(row: Tensor, distance: int, fill: float) -> Tensor:
    """Entry k of the last axis goes to k + distance."""
    if distance == 0:
        return row
    count = row.shape[-1]
    padding = row.new_full((*row.shape[:-1], abs(distance)), fill)
    if distance > 0:
        return torch.cat((padding, row), -1)[..., :count]
    return torch.cat((row, padding), -1)[..., -distance:]


def at_the_end(table: Tensor, lengths_x: Tensor, lengths_y: Tensor, wrong: Tensor) -> Tensor:
    """Entry (n-1, m-1) of each table (B, N, M).

    0 for two empty sequences, ``+inf`` for one, NaN where the costs are wrong.
    """
    B, N, M = table.shape
    empty = torch.where((lengths_x == 0) & (lengths_y == 0), 0.0, torch.inf).to(table.dtype)
    if N == 0 or M == 0:
        return empty
    index = (lengths_x - 1).clamp(min=0) * M + (lengths_y - 1).clamp(min=0)
    value = table.reshape(B, N * M).gather(1, index[:, None]).squeeze(1)
    # Without a path the value is a constant, without a gradient.
    value = torch.where((lengths_x > 0) & (lengths_y > 0) & (value < torch.inf), value, empty)
    return torch.where(wrong, torch.nan, value)
