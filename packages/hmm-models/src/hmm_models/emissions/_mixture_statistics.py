"""Sufficient statistics of Gaussian mixtures, which add up."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from hmm_models._statistics import Statistics


@dataclass(frozen=True, eq=False)
class MixtureStatistics(Statistics):
    r"""What an M-step needs to know of the data, for every component of every density.

    With :math:`\gamma_{npm}` the share of component *m* of density *p* in frame *n*:

    .. math:: \sum_n \gamma_{npm}, \quad \sum_n \gamma_{npm} x_n, \quad \sum_n \gamma_{npm} x_n^2

    Statistics of disjoint data add: mini-batches, files, and ranks (``torch.distributed.all_reduce`` on
    the three tensors) give what one pass over everything gives.

    Parameters
    ----------
    occupancy : Tensor of float64, shape (P, M)
        Frames that fell to each component.
    first : Tensor of float64, shape (P, M, D)
        Sum of their features.
    second : Tensor of float64, shape (P, M, D)
        Sum of their squared features.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import GaussianMixtures
    >>> densities, x = GaussianMixtures(2, 1, 3), torch.randn(10, 3)
    >>> index = torch.arange(10) % 2
    >>> total = densities.accumulate(x[:4], density_index=index[:4])
    >>> total += densities.accumulate(x[4:], density_index=index[4:])
    >>> total.occupancy
    tensor([[5.],
            [5.]], dtype=torch.float64)
    """

    occupancy: Tensor
    first: Tensor
    second: Tensor

    def __post_init__(self) -> None:
        P, M = self.occupancy.shape
        D = self.first.shape[-1]
        for name, letters, expected in (
            ("first", "(P, M, D)", (P, M, D)),
            ("second", "(P, M, D)", (P, M, D)),
        ):
            found = tuple(getattr(self, name).shape)
            if found != expected:
                raise ValueError(f"{name} must have shape {letters} = {expected}; got {found}")

    @classmethod
    def zeros(
        cls, num_densities: int, num_mixtures: int, feature_dim: int, device: torch.device | None = None
    ) -> Self:
        """Statistics of no data.

        Parameters
        ----------
        num_densities, num_mixtures, feature_dim : int
            P, M and D.
        device : torch.device, optional
            Where the sums live.

        Returns
        -------
        MixtureStatistics
            Zeros in float64.
        """
        shape = (num_densities, num_mixtures, feature_dim)
        return cls(
            torch.zeros(shape[:2], dtype=torch.float64, device=device),
            torch.zeros(shape, dtype=torch.float64, device=device),
            torch.zeros(shape, dtype=torch.float64, device=device),
        )


@dataclass(frozen=True, eq=False)
class FullMixtureStatistics(Statistics):
    r"""What an M-step of full covariances needs to know of the data.

    As :class:`MixtureStatistics`, with :math:`\sum_n \gamma_{npm} x_n x_n^T`, summed over all components that
    share a covariance.

    Parameters
    ----------
    occupancy : Tensor of float64, shape (P, M)
        Frames that fell to each component.
    first : Tensor of float64, shape (P, M, D)
        Sum of their features.
    second : Tensor of float64, shape (P or 1, M or 1, D, D)
        Sum of the products of their features.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import FullGaussianMixtures
    >>> densities, x = FullGaussianMixtures(2, 1, 3, shared="all"), torch.randn(10, 3)
    >>> total = densities.accumulate(x, density_index=torch.arange(10) % 2)
    >>> total.first.shape, total.second.shape
    (torch.Size([2, 1, 3]), torch.Size([1, 1, 3, 3]))
    """

    occupancy: Tensor
    first: Tensor
    second: Tensor

    def __post_init__(self) -> None:
        P, M, D = self.first.shape
        if self.occupancy.shape != (P, M):
            raise ValueError(
                f"occupancy must have shape (P, M) = {(P, M)}; got {tuple(self.occupancy.shape)}"
            )
        shape = tuple(self.second.shape)
        if len(shape) != 4 or shape[0] not in {1, P} or shape[1] not in {1, M} or shape[2:] != (D, D):
            raise ValueError(f"second must have shape (P or 1, M or 1, D, D) for {(P, M, D)}; got {shape}")
