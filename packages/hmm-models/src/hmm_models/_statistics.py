"""Sums over data that an M-step needs; they add up."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any, Self, cast

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Statistics:
    """Sums over data: a frozen dataclass whose fields are tensors, other statistics, or tuples of these.

    Statistics of disjoint data add: mini-batches, files and machines give what one pass over everything
    gives. An emission of your own derives its statistics from this class and only names the fields.

    Examples
    --------
    >>> import torch
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True, eq=False)
    ... class Counts(Statistics):
    ...     symbol: torch.Tensor
    >>> total = Counts(torch.tensor([1.0, 2.0])) + Counts(torch.tensor([0.5, 0.0]))
    >>> total.symbol, (total * 2.0).symbol
    (tensor([1.5000, 2.0000]), tensor([3., 4.]))
    """

    def tensors(self) -> Iterator[Tensor]:
        """Yield every tensor, always in the same order: to sum them over machines, in place.

        Yields
        ------
        Tensor
            The sums themselves, not copies.
        """
        for _, value in _leaves(self):
            yield value

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Apply a function to every tensor.

        Parameters
        ----------
        function : callable
            From a tensor to a tensor.

        Returns
        -------
        Statistics
            Of the same class.
        """
        return cast(Self, _map(function, self))

    def zeros_like(self) -> Self:
        """Statistics of no data.

        Returns
        -------
        Statistics
            Zeros of the same class, shapes, dtypes and device.
        """
        return self.map(torch.zeros_like)

    def to(self, device: torch.device | str) -> Self:
        """Move the sums.

        Parameters
        ----------
        device : torch.device or str
            Where to.

        Returns
        -------
        Statistics
            The same sums there.
        """
        return self.map(lambda tensor: tensor.to(device))

    def __mul__(self, factor: float) -> Self:
        return self.map(lambda tensor: tensor * factor)

    def __add__(self, other: "Statistics") -> Self:
        if type(other) is not type(self):
            return NotImplemented
        self._check_same_shape(other)
        return cast(Self, _map(torch.add, self, other))

    def __iadd__(self, other: "Statistics") -> Self:
        if type(other) is not type(self):
            return NotImplemented
        self._check_same_shape(other)
        for mine, more in zip(self.tensors(), other.tensors(), strict=True):
            mine.add_(more)
        return self

    def _check_same_shape(self, other: "Statistics") -> None:
        """Refuse to add statistics of differently shaped models."""
        mine, others = list(_leaves(self)), list(_leaves(other))
        if len(mine) != len(others):
            raise ValueError(
                f"statistics add only for models of one shape; got {len(mine)} and {len(others)} sums"
            )
        for (name, tensor), (_, more) in zip(mine, others, strict=True):
            if tensor.shape != more.shape:
                raise ValueError(
                    f"statistics add only for models of one shape; {name} has {tuple(tensor.shape)} "
                    f"and {tuple(more.shape)}"
                )


def _leaves(part: object, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors with their names."""
    if isinstance(part, Tensor):
        yield name, part
    elif isinstance(part, tuple):
        for index, value in enumerate(part):
            yield from _leaves(value, f"{name}[{index}]")
    elif isinstance(part, Statistics):
        for field in fields(part):
            yield from _leaves(getattr(part, field.name), f"{name}.{field.name}" if name else field.name)


def _map(function: Callable[..., Tensor], *parts: Any) -> Any:  # noqa: ANN401  (of the kind of the parts)
    """Apply a function to the tensors that stand in the same place of each part."""
    first = parts[0]
    if isinstance(first, tuple):
        return tuple(_map(function, *values) for values in zip(*parts, strict=True))
    if isinstance(first, Statistics):
        names = [field.name for field in fields(first)]
        return type(first)(*(_map(function, *(getattr(part, name) for part in parts)) for name in names))
    return function(*parts)
