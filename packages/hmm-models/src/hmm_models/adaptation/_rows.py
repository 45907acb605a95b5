"""The row-by-row maximisation that affine transforms of features with diagonal Gaussians share."""

import math

import torch
from torch import Tensor


class SingularStatisticsError(ValueError):
    """Too few or too similar frames to determine a transform."""


def maximize_rows(
    weight: Tensor, occupancy: float, second: Tensor, first: Tensor, free: Tensor
) -> tuple[Tensor, float]:
    r"""Maximise the objective over each row in turn, once; return the new matrix and what was gained.

    .. math:: \beta \log |\det A| - \frac12 \sum_i w_i G_i w_i^T + \sum_i w_i k_i^T

    The rows of ``weight`` (D, E) are :math:`w_i`, of which the first D entries are :math:`A`; ``second``
    (D, E, E) and ``first`` (D, E) are *G* and *k*. Only entries marked ``free`` (D, E) change. All float64.

    With *p* the cofactors of row *i* over the determinant, the best row is
    :math:`G^{-1} (k + \alpha p)`, where :math:`\alpha` solves a quadratic equation (Gales 1998, appendix).
    """
    D = len(weight)
    weight, gain = weight.clone(), 0.0
    inverse = torch.linalg.inv(weight[:, :D])
    for row in range(D):
        mine = free[row].nonzero().squeeze(-1)
        fixed = weight[row].masked_fill(free[row], 0.0)
        cofactor = weight.new_zeros(weight.shape[1])
        cofactor[:D] = inverse[:, row]
        inner = second[row][mine][:, mine]
        linear = (first[row] - second[row] @ fixed)[mine]
        outer = cofactor[mine]
        factor = _factorize(inner, row)
        target, direction = _solve(factor, linear), _solve(factor, outer)
        spread = float(outer @ direction)
        level = float(outer @ target + cofactor @ fixed)
        best = target
        if spread > 0.0:
            best = target + _step(occupancy, spread, level) * direction
        new = fixed.index_add(0, mine, best)
        change = new - weight[row]
        # The determinant's factor, by which the inverse changes, too.
        ratio = 1.0 + float(change[:D] @ inverse[:, row])
        gain += occupancy * math.log(abs(ratio)) + float(
            change @ first[row] - 0.5 * (change @ (second[row] @ (new + weight[row])))
        )
        inverse -= torch.outer(inverse[:, row], change[:D] @ inverse) / ratio
        weight[row] = new
    return weight, gain


def _step(occupancy: float, spread: float, level: float) -> float:
    """How far a row goes along the cofactors: the better of two stationary points."""
    root = math.sqrt(level * level + 4.0 * spread * occupancy)
    # The two solutions of spread s^2 + level s = occupancy, without cancellation.
    middle = -0.5 * (level + math.copysign(root, level))
    steps = (middle / spread, -occupancy / middle)

    def value(step: float) -> float:
        ratio = abs(step * spread + level)
        return occupancy * math.log(ratio) - 0.5 * step * step * spread if ratio > 0.0 else -math.inf

    return max(steps, key=value)


def _factorize(inner: Tensor, row: int) -> tuple[Tensor, Tensor]:
    """Cholesky factor after scaling to a unit diagonal, and the scale."""
    scale = inner.diagonal().sqrt()
    factor, info = torch.linalg.cholesky_ex(inner / (scale.unsqueeze(-1) * scale))
    if bool(info) or not bool(torch.isfinite(factor).all()):
        raise SingularStatisticsError(
            f"statistics must determine every row of the transform; those of row {row} are singular: "
            "give a prior, a simpler structure or more data"
        )
    return factor, scale


def _solve(factor: tuple[Tensor, Tensor], value: Tensor) -> Tensor:
    """Solve the scaled system."""
    lower, scale = factor
    return torch.cholesky_solve((value / scale).unsqueeze(-1), lower).squeeze(-1) / scale
