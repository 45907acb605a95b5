"""Costs of frames on CUDA: differences squared and added up, tile by tile.

A matrix product would be faster for many dimensions, but equal frames must cost exactly 0.
"""

import triton
import triton.language as tl
from torch import Tensor

from hmm_core.backends.cuda._launch import launch

TILE = 32
# The second and third axis of a grid hold no more programs.
_AXIS = 65535


@triton.jit(do_not_specialize=["N", "M", "row", "column"])
def frame_cost(
    x, y, lengths_x, lengths_y, cost, N, M, D, row, column, METRIC: tl.constexpr, TILE: tl.constexpr
):
    """One tile of one pair's costs, from a row and a column on; ``+inf`` in padding."""
    b = tl.program_id(0).to(tl.int64)
    i = row + tl.program_id(1) * TILE + tl.arange(0, TILE)
    j = column + tl.program_id(2) * TILE + tl.arange(0, TILE)
    in_x, in_y = i < tl.load(lengths_x + b), j < tl.load(lengths_y + b)
    in_x, in_y = in_x & (i < N), in_y & (j < M)
    x += (b * N + i) * D
    y += (b * M + j) * D
    square = tl.zeros((TILE, TILE), cost.dtype.element_ty)
    directed_x, directed_y = tl.zeros((TILE,), tl.int32), tl.zeros((TILE,), tl.int32)
    for d in range(D):
        value_x, value_y = tl.load(x + d, mask=in_x, other=0.0), tl.load(y + d, mask=in_y, other=0.0)
        difference = value_x[:, None] - value_y[None, :]
        square += difference * difference
        if METRIC == "cosine":
            directed_x |= (value_x != 0).to(tl.int32)
            directed_y |= (value_y != 0).to(tl.int32)
    if METRIC == "euclidean":
        square = tl.sqrt(square)
    elif METRIC == "cosine":
        square = tl.where((directed_x > 0)[:, None] & (directed_y > 0)[None, :], 0.5 * square, 1.0)
    square = tl.where(in_x[:, None] & in_y[None, :], square, float("inf"))
    inside = (i < N)[:, None] & (j < M)[None, :]
    tl.store(cost + (b * N + i)[:, None] * M + j[None, :], square, mask=inside)


def pairwise_cost(x: Tensor, y: Tensor, lengths_x: Tensor, lengths_y: Tensor, metric: str) -> Tensor:
    """Costs (B, N, M), ``+inf`` in padding; the derivative of a distance of 0 is 0."""
    B, N, D = x.shape
    M = y.shape[1]
    cost = x.new_empty((B, N, M))
    tensors = [tensor.contiguous() for tensor in (x, y, lengths_x, lengths_y)]
    for row in range(0, N, _AXIS * TILE):
        for column in range(0, M, _AXIS * TILE):
            tiles = (min(triton.cdiv(size, TILE), _AXIS) for size in (N - row, M - column))
            launch(
                frame_cost,
                (B, *tiles),
                *tensors,
                *(cost, N, M, D, row, column),
                METRIC=metric,
                TILE=TILE,
            )
    return cost
