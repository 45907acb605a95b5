"""Many small banded systems at once: symmetric, positive definite, solved in one sweep over time and back."""

from typing import cast

import torch
from torch import Tensor


class _Solve(torch.autograd.Function):
    """Solution of A x = b, with the derivatives by the bands of A and by b."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, bands: Tensor, right: Tensor) -> Tensor:
        """Factorise and solve."""
        factor, pivot = _factorize(bands)
        solution = _substitute(factor, pivot, right)
        ctx.save_for_backward(factor, pivot, solution)
        return solution

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        """Solve once more with the same factors."""
        factor, pivot, solution = cast(tuple[Tensor, Tensor, Tensor], ctx.saved_tensors)  # type: ignore[attr-defined]
        adjoint = _substitute(factor, pivot, gradients[0])
        width = factor.shape[1]
        bands = solution.new_zeros((len(solution), width + 1, *solution.shape[1:]))
        bands[:, 0] = -adjoint * solution
        for k in range(1, width + 1):
            # An entry and its mirror image are one number.
            bands[k:, k] = -adjoint[k:] * solution[:-k] - adjoint[:-k] * solution[k:]
        return bands, adjoint


def solve_banded(bands: Tensor, right: Tensor) -> Tensor:
    """Solve N systems of T equations; ``bands[t, k]`` is the entry at row t, column t - k.

    Shapes (T, W + 1, N) and (T, N). O(T W^2 N) time; 2 T steps, whatever N. Differentiable once.
    """
    return cast(Tensor, _Solve.apply(bands, right))


def _factorize(bands: Tensor) -> tuple[Tensor, Tensor]:
    """Factors of A = L D L^T: entries (T, W, N) of L left of the diagonal of ones, and D (T, N)."""
    T, columns, N = bands.shape
    W = columns - 1
    factor, pivot = bands.new_zeros((T, W, N)), bands.new_empty((T, N))
    for t in range(T):
        rest = bands[t, 0].clone()
        for k in range(min(W, t), 0, -1):
            value = bands[t, k].clone()
            for other in range(k + 1, min(W, t) + 1):
                # Row t and row t - k meet in column t - other.
                value -= factor[t, other - 1] * factor[t - k, other - k - 1] * pivot[t - other]
            factor[t, k - 1] = value / pivot[t - k]
            rest -= factor[t, k - 1].square() * pivot[t - k]
        pivot[t] = rest
    return factor, pivot


def _substitute(factor: Tensor, pivot: Tensor, right: Tensor) -> Tensor:
    """Solve with the factors: forwards, then backwards."""
    T, W, _ = factor.shape
    x = right.clone()
    for t in range(1, T):
        for k in range(1, min(W, t) + 1):
            x[t] -= factor[t, k - 1] * x[t - k]
    x /= pivot
    for t in range(T - 2, -1, -1):
        for k in range(1, min(W, T - 1 - t) + 1):
            x[t] -= factor[t + k, k - 1] * x[t + k]
    return x
