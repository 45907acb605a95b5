"""A corpus dealt out to processes on several machines, by torch.distributed."""

import os
from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from hmm_models import FullMixtureStatistics, MixtureStatistics, all_reduce_statistics

_Item = TypeVar("_Item")
_Statistics = TypeVar("_Statistics", MixtureStatistics, FullMixtureStatistics)


class Shards:
    """The processes that work on one corpus, each on its share of it; or this one alone."""

    def __init__(self, distributed: bool = False) -> None:
        if distributed and not (dist.is_available() and dist.is_initialized()):
            raise RuntimeError(
                "torch.distributed must be initialised: call torch.distributed.init_process_group first"
            )
        self.number = dist.get_world_size() if distributed else 1
        self.rank = dist.get_rank() if distributed else 0

    def share(self, items: Sequence[_Item]) -> Sequence[_Item]:
        """Return those that are this process's: every so many-th."""
        return items[self.rank :: self.number]

    def gather(self, value: _Item) -> list[_Item]:
        """Give all processes the values of all, in the order of their ranks."""
        if self.number == 1:
            return [value]
        values: list[_Item | None] = [None] * self.number
        dist.all_gather_object(values, value)
        return [item for item in values if item is not None]

    def joined(self, values: Sequence[_Item]) -> list[_Item]:
        """Give all processes the items of all, each in its order."""
        return [item for part in self.gather(list(values)) for item in part]

    def wait(self) -> None:
        """Go on when all processes have come here."""
        self.gather(0)

    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Give all processes the sums over all."""
        if self.number == 1:
            return values
        total = torch.from_numpy(values.copy())
        dist.all_reduce(total)
        return total.numpy()

    def sum_statistics(self, statistics: _Statistics) -> _Statistics:
        """Give all processes the statistics of all, the same to the bit."""
        if self.number > 1:
            all_reduce_statistics(statistics)
        return statistics

    def sum_tensor(self, x: Tensor) -> Tensor:
        """Give all processes the sum of a tensor over all, the same to the bit; it can be differentiated."""
        if self.number == 1:
            return x
        total: Tensor = _Sum.apply(x)
        return total

    def sum_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Give all processes the sums of the gradients over all, the same to the bit, in one message."""
        if self.number == 1:
            return
        gradients = [item.grad for item in parameters if item.grad is not None]
        vector_to_parameters(self.sum_tensor(parameters_to_vector(gradients)), gradients)


class _Sum(torch.autograd.Function):
    """The sum of a tensor over the processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(_ctx: FunctionCtx, x: Tensor) -> Tensor:
        """Add up the values."""
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        """Add up the gradients: each process's loss is a part of one sum."""
        return _Sum.forward(ctx, gradient)


def join_shards() -> bool:
    """Join the processes that torchrun has started, if it has; tell whether."""
    distributed = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if distributed and not dist.is_initialized():
        dist.init_process_group("gloo")
    return distributed


def leave_shards() -> None:
    """Leave the processes that were joined."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
