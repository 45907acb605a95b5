"""How frames of two kinds are made comparable: by a projection, or by what each side says of itself."""

from collections.abc import Callable

import torch
from torch import Tensor

from hmm_core import pairwise_cost

from ._arguments import check_alike, check_features, valid, without_padding

Projection = Callable[[Tensor], Tensor]


def comparable(
    x: Tensor,
    y: Tensor,
    lengths_x: Tensor,
    lengths_y: Tensor,
    projection: Projection | None,
    num_anchors: int,
    names: tuple[str, str],
) -> tuple[Tensor, Tensor]:
    """Return both sides with features of one kind: as they are, x projected, or both as profiles."""
    if projection is not None:
        x = check_features("projection(x)", projection(without_padding(x, lengths_x)), "(B, N, D2)")
        check_alike(names[1], y, "projection(x)", x)
        if x.shape[2] != y.shape[2]:
            raise ValueError(
                f"projection must turn {names[0]} into D2 = {y.shape[2]} features, from {names[1]} "
                f"(B, T, D2) = {tuple(y.shape)}; got {x.shape[2]}"
            )
        return x, y
    if x.shape[2] == y.shape[2]:
        return x, y
    return profile(x, lengths_x, num_anchors), profile(y, lengths_y, num_anchors)


def profile(x: Tensor, lengths: Tensor, num_anchors: int) -> Tensor:
    """Return the distances (B, N, A) of frames to anchors of their own sequence, 1 in the mean.

    Anchor a is the mean of the frames from a/A to (a+1)/A of the sequence, of one frame at least.
    """
    x = without_padding(x, lengths)
    B, _, D = x.shape
    step = torch.arange(num_anchors, device=x.device)
    first = torch.div(step * lengths[:, None], num_anchors, rounding_mode="floor")
    last = -torch.div(-(step + 1) * lengths[:, None], num_anchors, rounding_mode="floor")
    total = torch.nn.functional.pad(x.double().cumsum(1), (0, 0, 1, 0))

    def before(frame: Tensor) -> Tensor:
        """Sum of the frames before each of (B, A)."""
        return total.gather(1, frame[..., None].expand(B, num_anchors, D))

    count = (last - first).clamp(min=1)[..., None]
    anchors = ((before(last) - before(first)) / count).to(x.dtype)
    distance = pairwise_cost(x, anchors)
    used = valid(lengths, x.shape[1])[..., None]
    distance = torch.where(used, distance, 0.0)
    mean = distance.sum((1, 2)) / (lengths.clamp(min=1) * num_anchors)
    # A constant sequence is at no distance from its anchors.
    return distance / torch.where(mean > 0, mean, 1.0)[:, None, None]
