"""What the estimates of transforms refuse."""

import torch
from torch import Tensor

from hmm_models._statistics import Statistics


def check_frames(x: Tensor, feature_dim: int | None = None) -> Tensor:
    """Refuse what are not finite frames (N, D); return them in float64."""
    letters = "(N, D)" if feature_dim is None else f"(N, D) = (N, {feature_dim})"
    if x.ndim != 2 or x.shape[1] != (feature_dim or x.shape[1]) or not x.is_floating_point():
        raise ValueError(f"x must be floating point of shape {letters}; got {x.dtype} of {tuple(x.shape)}")
    wrong = ~torch.isfinite(x)
    if bool(wrong.any()):
        where = tuple(wrong.nonzero()[0].tolist())
        raise ValueError(f"x must be finite; got {float(x[where])} at {where}")
    return x.double()


def check_finite(name: str, statistics: Statistics) -> None:
    """Refuse NaN and infinity."""
    if not all(bool(torch.isfinite(value).all()) for value in statistics.tensors()):
        raise ValueError(f"{name} must be finite; got NaN or infinity")


def check_strength(name: str, value: float) -> None:
    """Refuse numbers of frames that cannot be."""
    if not 0.0 <= value < float("inf"):
        raise ValueError(f"{name} must be >= 0 and finite; got {value}")
