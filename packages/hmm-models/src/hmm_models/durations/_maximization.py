"""Maximum likelihood of duration parameters: a small problem for each state, by safeguarded Newton."""

from collections.abc import Callable

import torch
from torch import Tensor

_ITERATIONS = 50
_TRIALS = 15
# Gain in nats per segment below which a state is done.
_ENOUGH = 1e-12


def maximize(objective: Callable[[Tensor], Tensor], start: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Maximise objectives (K,) of parameters (K, n) within bounds (n,), each state on its own.

    Never returns less than the start gives. Newton steps where the curvature allows, otherwise along the
    absolute curvature; a step is cut to a quarter until it gains.
    """
    point = start.clamp(low, high)
    value = objective(point).detach()
    for _ in range(_ITERATIONS):
        gradient, curvature = _derivatives(objective, point)
        step = _ascent(gradient, curvature)
        # What a quadratic of this slope could gain; bounds make it smaller.
        scale = ((gradient * step).sum(-1) > _ENOUGH).to(value)
        if not bool((scale > 0.0).any()):
            break
        best, best_value = point, value
        for _ in range(_TRIALS):
            trial = (point + scale.unsqueeze(-1) * step).clamp(low, high)
            trial_value = objective(trial).detach()
            better = trial_value > best_value
            best = torch.where(better.unsqueeze(-1), trial, best)
            best_value = torch.where(better, trial_value, best_value)
            scale = torch.where(best_value > value, 0.0, 0.25 * scale)
            if not bool((scale > 0.0).any()):
                break
        gain = best_value - value
        point, value = best, best_value
        if bool((gain <= _ENOUGH).all()):
            break
    return point


def _derivatives(objective: Callable[[Tensor], Tensor], point: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients (K, n) and Hessians (K, n, n)."""
    with torch.enable_grad():
        point = point.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(objective(point).sum(), point, create_graph=True)
        rows = [
            torch.autograd.grad(column.sum(), point, retain_graph=True)[0] for column in gradient.unbind(-1)
        ]
    return gradient.detach(), torch.stack(rows, -2)


def _ascent(gradient: Tensor, curvature: Tensor) -> Tensor:
    """Newton direction for a Hessian whose eigenvalues are all taken as negative."""
    values, vectors = torch.linalg.eigh(0.5 * (curvature + curvature.mT))
    values = values.abs().clamp_min(1e-8)
    along = (vectors.mT @ gradient.unsqueeze(-1)).squeeze(-1) / values
    step: Tensor = (vectors @ along.unsqueeze(-1)).squeeze(-1)
    return step
