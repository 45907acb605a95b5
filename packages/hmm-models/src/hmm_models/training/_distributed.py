"""Sums and parameters over the processes of torch.distributed."""

from collections.abc import Callable
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hmm_models._statistics import Statistics

_Checked = TypeVar("_Checked")


def all_reduce_statistics(statistics: Statistics, group: dist.ProcessGroup | None = None) -> None:
    """Add up the statistics of all processes, in place, so that each of them has the whole.

    Parameters
    ----------
    statistics : Statistics
        Of the data of this process; of the same shape in all of them.
    group : torch.distributed.ProcessGroup, optional
        The processes; all of them if omitted.

    Raises
    ------
    RuntimeError
        If torch.distributed has not been initialised.

    Notes
    -----
    One message. All processes get the same bits, and with them the same M-step.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import MixtureStatistics
    >>> try:
    ...     all_reduce_statistics(MixtureStatistics.zeros(2, 1, 3))
    ... except RuntimeError as error:
    ...     print(error)
    torch.distributed must be initialised: call torch.distributed.init_process_group first
    """
    _check_initialized()
    tensors = list(statistics.tensors())
    message = torch.cat([tensor.reshape(-1) for tensor in tensors])
    dist.all_reduce(message, group=group)
    for tensor, part in zip(
        tensors, torch.split(message, [tensor.numel() for tensor in tensors]), strict=True
    ):
        tensor.copy_(part.view_as(tensor))


def broadcast_model(model: nn.Module, group: dist.ProcessGroup | None = None) -> None:
    """Give all processes the parameters and buffers of the first one.

    Parameters
    ----------
    model : nn.Module
        Of the same structure in all processes.
    group : torch.distributed.ProcessGroup, optional
        The processes; all of them if omitted.

    Raises
    ------
    RuntimeError
        If torch.distributed has not been initialised.

    Examples
    --------
    Alone, or by ``torchrun`` in several processes:

    >>> import torch
    >>> from hmm_models import GaussianHMM
    >>> store = torch.distributed.HashStore()
    >>> torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    >>> broadcast_model(GaussianHMM(2, 3))
    >>> torch.distributed.destroy_process_group()
    """
    _check_initialized()
    source = 0 if group is None else dist.get_global_rank(group, 0)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            dist.broadcast(tensor, src=source, group=group)


class Processes:
    """Those that train one model together, or this one alone."""

    def __init__(self, distributed: bool = False, group: dist.ProcessGroup | None = None) -> None:
        if distributed:
            _check_initialized()
        self.distributed, self.group = distributed, group

    def sum(self, value: Tensor) -> float:
        """Add up a number over the processes."""
        return float(self.reduce(value.detach().double(), dist.ReduceOp.SUM))

    def reduce(self, value: Tensor, operation: dist.ReduceOp.RedOpType) -> Tensor:
        """Give all processes the sum or the maximum of their values, in place."""
        if self.distributed:
            dist.all_reduce(value, op=operation, group=self.group)
        return value

    def share(self, model: nn.Module) -> None:
        """Start all of them from the parameters of the first."""
        if self.distributed:
            broadcast_model(model, self.group)

    def check(self, check: Callable[[], _Checked], device: torch.device) -> _Checked:
        """Fail in all of them where one of them does: the others would wait for it."""
        failed = torch.zeros((), device=device)
        try:
            checked = check()
        except ValueError:
            self.sum(failed + 1.0)
            raise
        if self.sum(failed):
            raise ValueError("the data of another process were refused; see there")
        return checked

    def average_gradients(self, module: nn.Module) -> nn.Module:
        """Wrap a module whose parameters are the same in all of them."""
        if not self.distributed:
            return module
        return nn.parallel.DistributedDataParallel(module, process_group=self.group)

    @property
    def number(self) -> int:
        """How many they are."""
        return dist.get_world_size(self.group) if self.distributed else 1


def _check_initialized() -> None:
    """Refuse to wait for processes that are not there."""
    if not (dist.is_available() and dist.is_initialized()):
        raise RuntimeError(
            "torch.distributed must be initialised: call torch.distributed.init_process_group first"
        )
