"""Checks of arguments that the aligners share."""

from typing import Literal

import torch
from torch import Tensor

Reduction = Literal["none", "mean", "sum"]


def check_features(name: str, features: object, shape: str, axes: int = 3) -> Tensor:
    """Return a floating tensor of some axes, whose letters ``shape`` names."""
    if not isinstance(features, Tensor):
        raise TypeError(f"{name} must be a Tensor; got {type(features).__name__}")
    if not features.is_floating_point():
        raise TypeError(f"{name} must have a floating dtype; got {features.dtype}")
    if features.ndim != axes:
        raise ValueError(f"{name} must have shape {shape}; got {tuple(features.shape)}")
    return features


def check_alike(first: str, a: Tensor, second: str, b: Tensor) -> None:
    """Refuse two tensors of different batch sizes, dtypes or devices."""
    if len(a) != len(b):
        raise ValueError(f"{second} must have B = {len(a)} sequences like {first}; got {len(b)}")
    if a.dtype != b.dtype:
        raise TypeError(f"{second} must have dtype {a.dtype} like {first}; got {b.dtype}")
    if a.device != b.device:
        raise ValueError(f"{second} must be on {a.device} like {first}; got {b.device}")


def check_lengths(name: str, lengths: object, like: Tensor, room: int, letter: str) -> Tensor:
    """Return lengths (B,) as int64 beside ``like``, each in 0..room; ``room`` for all if None."""
    B = len(like)
    if lengths is None:
        return torch.full((B,), room, device=like.device)
    lengths = torch.as_tensor(lengths, device=like.device)
    if lengths.is_floating_point() or lengths.is_complex() or lengths.dtype == torch.bool:
        raise TypeError(f"{name} must have an integer dtype; got {lengths.dtype}")
    if lengths.shape != (B,):
        raise ValueError(f"{name} must have shape (B,) = ({B},); got {tuple(lengths.shape)}")
    outside = lengths[(lengths < 0) | (lengths > room)]
    if outside.numel():
        raise ValueError(f"{name} must lie in 0..{letter} = 0..{room}; got {int(outside[0])}")
    return lengths.to(torch.int64)


def valid(lengths: Tensor, room: int) -> Tensor:
    """Return a mask (B, room) that is True before each length."""
    return torch.arange(room, device=lengths.device) < lengths[:, None]


def without_padding(features: Tensor, lengths: Tensor) -> Tensor:
    """Return features (B, N, D) with zeros at and after the lengths."""
    return torch.where(valid(lengths, features.shape[1])[..., None], features, 0.0)


def refuse(name: str, wrong: Tensor, values: Tensor, rule: str) -> None:
    """Raise if any entry is ``wrong``, and name the first."""
    if bool(wrong.any()):
        at = tuple(wrong.nonzero()[0].tolist())
        raise ValueError(f"{name} {rule}; got {float(values[at])} at {list(at)}")


def check_reduction(reduction: str) -> None:
    """Refuse what is no reduction."""
    if reduction not in {"none", "mean", "sum"}:
        raise ValueError(f'reduction must be "none", "mean" or "sum"; got {reduction!r}')


def check_positive(name: str, value: object) -> float:
    """Return a finite number above 0."""
    if type(value) not in {int, float} or not 0 < float(value) < float("inf"):  # type: ignore[arg-type]
        raise ValueError(f"{name} must be a finite number above 0; got {value!r}")
    return float(value)  # type: ignore[arg-type]


def check_count(name: str, value: object) -> int:
    """Return an integer of at least 1."""
    if type(value) is not int or value < 1:
        raise ValueError(f"{name} must be an integer of at least 1; got {value!r}")
    return value
