"""Gradient descent: epochs over the data, the best parameters kept."""

import logging
import math
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hmm_models.training._distributed import Processes
from hmm_models.training._em import FitResult

_LOGGER = logging.getLogger("hmm_models")


class _Loss(nn.Module):
    """A loss as the output of a module, which is what DistributedDataParallel takes."""

    def __init__(self, model: nn.Module, loss: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model = model
        self._loss = loss

    def forward(self, rows: Tensor) -> Tensor:
        """Compute the loss of some sequences."""
        return self._loss(rows)


def run_sgd(
    model: nn.Module,
    loss: Callable[[Tensor], Tensor],
    log_prior: Callable[[], Tensor],
    num_sequences: int,
    num_frames: float,
    *,
    optimizer: torch.optim.Optimizer,
    max_epochs: int,
    batch_size: int,
    tolerance: float,
    patience: int,
    generator: torch.Generator,
    processes: Processes,
) -> FitResult:
    """Minimise a loss that adds up over sequences, given their numbers, to nats per frame of all of them.

    It holds ``log_prior``, which the history of log-likelihoods leaves out.
    ``num_sequences`` are those of this process, ``num_frames`` those of all. In a step every process takes a
    batch, an empty one where its sequences are used up.
    """
    device = next(model.parameters()).device
    part_of = _Loss(model, loss)
    averaged = processes.average_gradients(part_of)
    own_steps = torch.tensor(-(-num_sequences // batch_size), device=device)
    steps = int(processes.reduce(own_steps, dist.ReduceOp.MAX))
    sizes = [len(rows) for rows in _batches(torch.arange(num_sequences), batch_size, steps)]
    taken = processes.reduce(torch.tensor(sizes, dtype=torch.float64, device=device), dist.ReduceOp.SUM)
    # DistributedDataParallel takes the mean of the processes, where the loss is a sum.
    scale = (processes.number * taken.sum() / taken).tolist()

    def evaluate() -> float:
        with torch.no_grad():
            parts = _batches(torch.arange(num_sequences), batch_size, steps)
            return processes.sum(
                sum((part_of(rows).double() for rows in parts), torch.zeros((), device=device))
            )

    def log_likelihood(value: float) -> float:
        with torch.no_grad():
            return -value * num_frames - float(log_prior())

    best = evaluate()
    history, waited = [log_likelihood(best)], 0
    kept = {name: value.detach().clone() for name, value in model.state_dict().items()}
    while len(history) <= max_epochs and waited < patience:
        try:
            order = _batches(torch.randperm(num_sequences, generator=generator), batch_size, steps)
            for rows, factor in zip(order, scale, strict=True):
                optimizer.zero_grad()
                value = averaged(rows) * factor
                _check_finite(processes.sum(value))
                torch.autograd.backward(value)
                optimizer.step()
            now = evaluate()
        except (FloatingPointError, ValueError) as error:  # the data is in order: it was scored before
            raise FloatingPointError(f"epoch {len(history)}: {error}; lower the learning rate") from error
        history.append(log_likelihood(now))
        waited = 0 if now < best - tolerance else waited + 1
        _LOGGER.debug("epoch %d: log-likelihood %.6f per frame", len(history) - 1, -now)
        if now < best:
            best = now
            kept = {name: value.detach().clone() for name, value in model.state_dict().items()}
    model.load_state_dict(kept)
    return FitResult(tuple(history), waited >= patience, ())


def _batches(order: Tensor, batch_size: int, steps: int) -> list[Tensor]:
    """Cut sequences into batches, with empty ones at the end where other processes have more."""
    parts = list(torch.split(order, batch_size)) if len(order) else []
    return parts + [order[:0]] * (steps - len(parts))


def _check_finite(loss: float) -> None:
    """Refuse to go on with what is no number."""
    if not math.isfinite(loss):
        raise FloatingPointError(f"the loss must stay finite; got {loss}")
