"""Costs of aligning frames with frames."""

from typing import Literal

from torch import Tensor

Metric = Literal["sqeuclidean", "euclidean", "cityblock", "cosine"]


def pairwise_cost(
    x: Tensor,
    y: Tensor,
    lengths_x: Tensor | None = None,
    lengths_y: Tensor | None = None,
    *,
    metric: Metric = "euclidean",
) -> Tensor:
    raise NotImplementedError
