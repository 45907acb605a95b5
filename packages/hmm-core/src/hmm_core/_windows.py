"""Global constraints of warping paths: which cells (i, j) a path may visit."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SakoeChiba:
    r"""Sakoe-Chiba band: cells within ``radius`` of the two diagonals through the corners.

    .. math:: \min(0, M - N) - r \le j - i \le \max(0, M - N) + r

    For equal lengths this is :math:`|i - j| \le r`; for unequal ones the band is wide enough for a path, as
    in tslearn.

    Parameters
    ----------
    radius : int
        r, in frames; 0 or more.

    References
    ----------
    .. [1] H. Sakoe and S. Chiba, "Dynamic programming algorithm optimization for spoken word recognition",
       IEEE Trans. ASSP 26(1), 1978, section II.

    Examples
    --------
    >>> SakoeChiba(10)
    SakoeChiba(radius=10)
    """

    radius: int

    def __post_init__(self) -> None:
        if type(self.radius) is not int or self.radius < 0:
            raise ValueError(f"radius must be an integer of 0 or more; got {self.radius!r}")

    def columns(self, lengths_x: Tensor, lengths_y: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """First and last column (B, N) of each row, not yet cut to 0..M-1."""
        surplus = (lengths_y - lengths_x)[:, None]
        return rows + surplus.clamp(max=0) - self.radius, rows + surplus.clamp(min=0) + self.radius


@dataclass(frozen=True)
class Itakura:
    r"""Itakura parallelogram: cells that lines from both corners reach with slopes between 1/s and s.

    .. math::
       \max\bigl(\tfrac{i}{s}, \, M - 1 - s (N - 1 - i) \bigr) \le j \le
       \min\bigl(s i, \, M - 1 - \tfrac{N - 1 - i}{s} \bigr)

    for equal lengths; for unequal ones s and 1/s are multiplied by M / N, as in tslearn. Where N and M are
    very different no path may be left: the distance is ``+inf``.

    Parameters
    ----------
    max_slope : float
        s, 1 or more.

    References
    ----------
    .. [1] F. Itakura, "Minimum prediction residual principle applied to speech recognition", IEEE Trans. ASSP
       23(1), 1975, section IV.

    Examples
    --------
    >>> Itakura()
    Itakura(max_slope=2.0)
    """

    max_slope: float = 2.0

    def __post_init__(self) -> None:
        if type(self.max_slope) not in {int, float} or not 1 <= self.max_slope < math.inf:
            raise ValueError(f"max_slope must be a finite number of 1 or more; got {self.max_slope!r}")

    def columns(self, lengths_x: Tensor, lengths_y: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """First and last column (B, N) of each row, not yet cut to 0..M-1."""
        N, M = lengths_x[:, None].double(), lengths_y[:, None].double()
        steep = self.max_slope * M / N.clamp(min=1)
        flat = M / (self.max_slope * N.clamp(min=1))
        i, rest = rows.double(), N - 1 - rows
        # So that corners that lie on the lines are not lost to rounding.
        slack = 1e-9 * (N + M)
        first = torch.maximum(i * flat, M - 1 - rest * steep) - slack
        last = torch.minimum(i * steep, M - 1 - rest * flat) + slack
        return first.ceil().long(), last.floor().long()


Window = SakoeChiba | Itakura


def band(window: Window, lengths_x: Tensor, lengths_y: Tensor, N: int) -> tuple[Tensor, Tensor]:
    """First column and one past the last (B, N) of each row; both never decrease, and lie in 0..length."""
    rows = torch.arange(N, device=lengths_x.device)[None]
    first, last = window.columns(lengths_x, lengths_y, rows)
    length = lengths_y[:, None]
    begin = torch.minimum(first.clamp(min=0), length)
    end = torch.minimum(torch.maximum(last + 1, begin), length)
    return begin.contiguous(), end.contiguous()
