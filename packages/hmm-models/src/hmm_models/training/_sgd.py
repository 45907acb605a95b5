"""Gradient descent: epochs over the data, the best parameters kept."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor, nn

from hmm_models.training._em import FitResult

_LOGGER = logging.getLogger("hmm_models")


def run_sgd(
    model: nn.Module,
    loss: Callable[[Tensor], Tensor],
    num_sequences: int,
    num_frames: float,
    *,
    optimizer: torch.optim.Optimizer,
    max_epochs: int,
    batch_size: int,
    tolerance: float,
    patience: int,
    generator: torch.Generator,
) -> FitResult:
    """Minimise a loss that adds up over sequences, given their numbers, to nats per frame of all of them."""

    def evaluate() -> float:
        with torch.no_grad():
            parts = torch.split(torch.arange(num_sequences), batch_size)
            return sum((float(loss(rows)) for rows in parts), 0.0)

    best = evaluate()
    history, waited = [-best * num_frames], 0
    kept = {name: value.detach().clone() for name, value in model.state_dict().items()}
    while len(history) <= max_epochs and waited < patience:
        try:
            for rows in torch.split(torch.randperm(num_sequences, generator=generator), batch_size):
                optimizer.zero_grad()
                value = loss(rows) * (num_sequences / len(rows))
                _check_finite(value)
                torch.autograd.backward(value)
                optimizer.step()
            now = evaluate()
        except (FloatingPointError, ValueError) as error:  # the data is in order: it was scored before
            raise FloatingPointError(f"epoch {len(history)}: {error}; lower the learning rate") from error
        history.append(-now * num_frames)
        waited = 0 if now < best - tolerance else waited + 1
        _LOGGER.debug("epoch %d: log-likelihood %.6f per frame", len(history) - 1, -now)
        if now < best:
            best = now
            kept = {name: value.detach().clone() for name, value in model.state_dict().items()}
    model.load_state_dict(kept)
    return FitResult(tuple(history), waited >= patience, ())


def _check_finite(loss: Tensor) -> None:
    """Refuse to go on with what is no number."""
    if not bool(torch.isfinite(loss.detach())):
        raise FloatingPointError(f"the loss must stay finite; got {float(loss.detach())}")
