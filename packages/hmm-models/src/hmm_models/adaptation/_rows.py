"""The row-by-row maximisation that affine transforms of features with diagonal Gaussians share."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_Array = NDArray[np.float64]


class SingularStatisticsError(ValueError):
    """Too few or too similar frames to determine a transform."""


class RowMaximizer:
    r"""Maximises an objective over each row of a matrix in turn.

    .. math:: \beta \log |\det A| - \frac12 \sum_i w_i G_i w_i^T + \sum_i w_i k_i^T

    The rows of ``weight`` (D, E) are :math:`w_i`, of which the first D entries are :math:`A`; ``second``
    (D, E, E) and ``first`` (D, E) are *G* and *k*. Only entries marked ``free`` (D, E) change. All float64.

    With *p* the cofactors of row *i* over the determinant, the best row is
    :math:`G^{-1} (k + \alpha p)`, where :math:`\alpha` solves a quadratic equation (Gales 1998, appendix).
    """

    def __init__(self, weight: Tensor, occupancy: float, second: Tensor, first: Tensor, free: Tensor) -> None:
        self.weight: _Array = weight.cpu().numpy().copy()
        self._occupancy = occupancy
        self._second: _Array = second.cpu().numpy()
        self._first: _Array = first.cpu().numpy()
        fixed = weight.masked_fill(free, 0.0)
        linear = first - (second @ fixed.unsqueeze(-1)).squeeze(-1)
        self._fixed: _Array = fixed.cpu().numpy()
        # The best row without the determinant, and the curvature; neither changes on the way.
        self._rows: list[tuple[NDArray[np.int64], _Array, _Array]] = []
        for row in range(len(weight)):
            chosen = free[row].nonzero().squeeze(-1)
            inverse = invert(second[row][chosen][:, chosen], row)
            target = inverse @ linear[row][chosen]
            self._rows.append((chosen.cpu().numpy(), inverse.cpu().numpy(), target.cpu().numpy()))

    def sweep(self) -> float:
        """Maximise each row once; return what was gained."""
        D, gain = len(self.weight), 0.0
        adjugate = np.linalg.inv(self.weight[:, :D])
        for row, (chosen, inverse, target) in enumerate(self._rows):
            cofactor = np.zeros(self.weight.shape[1])
            cofactor[:D] = adjugate[:, row]
            old, new = self.weight[row], self._fixed[row].copy()
            direction = inverse @ cofactor[chosen]
            spread = float(cofactor[chosen] @ direction)
            level = float(cofactor[chosen] @ target + cofactor @ new)
            step = _step(self._occupancy, spread, level) if spread > 0.0 else 0.0
            new[chosen] = target + step * direction
            change = new - old
            # The determinant's factor, by which the inverse changes, too.
            ratio = 1.0 + float(change @ cofactor)
            gained = float(change @ (self._first[row] - 0.5 * (self._second[row] @ (new + old))))
            gained += self._occupancy * math.log(abs(ratio)) if ratio else -math.inf
            # Where the curvature is almost singular, rounding can make the best row worse than the old one.
            if not gained > 0.0:
                continue
            gain += gained
            adjugate -= np.outer(cofactor[:D], change[:D] @ adjugate) / ratio
            self.weight[row] = new
        return gain


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


def invert(matrix: Tensor, row: int) -> Tensor:
    """Invert the curvature of a row after scaling it to a unit diagonal; refuse a singular one."""
    scale = matrix.diagonal().sqrt()
    factor, info = torch.linalg.cholesky_ex(matrix / (scale.unsqueeze(-1) * scale))
    if bool(info) or not bool(torch.isfinite(factor).all()):
        raise SingularStatisticsError(
            f"statistics must determine every row of the transform; those of row {row} are singular: "
            "give a prior, a simpler structure or more data"
        )
    return torch.cholesky_inverse(factor) / (scale.unsqueeze(-1) * scale)
