"""Counts: independent Poisson distributions of each dimension."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from hmm_models._report import UpdateReport
from hmm_models._serialization import register_model
from hmm_models._statistics import Statistics
from hmm_models._tracing import is_recorded
from hmm_models.emissions._accumulation import check_shares
from hmm_models.emissions._clustering import kmeans

# A rate below this gives a count with less than 1e-10 of the probability: none, for all that data can tell.
_LOWEST_RATE = 1e-10


@dataclass(frozen=True, eq=False)
class PoissonStatistics(Statistics):
    """What the M-step of Poisson emissions needs to know of the data.

    Parameters
    ----------
    occupancy : Tensor of float64, shape (P, D)
        Frames that fell to each density and whose count was not missing.
    first : Tensor of float64, shape (P, D)
        Sum of their counts.
    """

    occupancy: Tensor
    first: Tensor


@register_model
class PoissonEmission(nn.Module):
    r"""P densities over D counts, each count Poisson distributed on its own.

    .. math:: \log p(x \mid p) = \sum_d x_d \log \lambda_{pd} - \lambda_{pd} - \log x_d!

    Parameters
    ----------
    num_densities : int
        P, >= 1.
    feature_dim : int
        D, >= 1.

    Notes
    -----
    Observations are (B, T, D) floating-point tensors of integers >= 0. The parameter is ``log_rate`` (P, D).

    Examples
    --------
    >>> import torch
    >>> from hmm_models import HiddenMarkovModel
    >>> x = torch.tensor([[[0.0], [1.0], [0.0], [9.0], [11.0], [10.0]]])
    >>> model = HiddenMarkovModel(PoissonEmission(2, 1), topology="left_to_right")
    >>> result = model.fit(x)
    >>> [round(rate, 2) for rate in model.emission.log_rate.exp().flatten().tolist()]
    [0.33, 10.0]
    """

    def __init__(self, num_densities: int, feature_dim: int) -> None:
        super().__init__()
        for name, size in (("num_densities", num_densities), ("feature_dim", feature_dim)):
            if size < 1:
                raise ValueError(f"{name} must be >= 1; got {size}")
        self.log_rate = nn.Parameter(0.1 * torch.randn(num_densities, feature_dim))

    @property
    def num_densities(self) -> int:
        """P."""
        return self.log_rate.shape[0]

    @property
    def feature_dim(self) -> int:
        """D."""
        return self.log_rate.shape[1]

    @property
    def num_parameters(self) -> int:
        """Free parameters."""
        return self.log_rate.numel()

    def log_prob(self, x: Tensor, *, observed: Tensor | None = None) -> Tensor:
        """Log-probability of each frame under each density.

        Parameters
        ----------
        x : Tensor, shape (..., D)
            Counts: integers >= 0 in floating point.
        observed : Tensor of bool, shape (..., D), optional
            False where a count is missing; it is marginalised.

        Returns
        -------
        Tensor, shape (..., P)
            In the wider dtype of ``x`` and the parameters. Differentiable in the parameters.

        Raises
        ------
        ValueError
            If the last axis is not D, or a count is not an integer >= 0.

        Notes
        -----
        Two matrix products.
        """
        self._check_counts(x)
        dtype = torch.promote_types(x.dtype, self.log_rate.dtype)
        x, log_rate = x.to(dtype), self.log_rate.to(dtype)
        rate = log_rate.exp()
        if observed is None:
            return x @ log_rate.T - rate.sum(-1) - torch.lgamma(x + 1.0).sum(-1, keepdim=True)
        seen = observed.to(x)
        constant = torch.lgamma(x * seen + 1.0).sum(-1, keepdim=True)
        return (x * seen) @ log_rate.T - seen @ rate.T - constant

    def forward(self, x: Tensor) -> Tensor:
        """Compute ``log_prob``."""
        return self.log_prob(x)

    def _check_counts(self, x: Tensor) -> None:
        """Refuse what is no count."""
        if x.ndim < 1 or x.shape[-1] != self.feature_dim:
            raise ValueError(f"x must have shape (..., D) = (..., {self.feature_dim}); got {tuple(x.shape)}")
        if not x.is_floating_point():
            raise ValueError(f"x must be floating point; got {x.dtype}")
        if is_recorded():
            return
        wrong = ~((x >= 0.0) & (x < torch.inf) & (x == x.floor()))
        if bool(wrong.any()):
            where = tuple(wrong.nonzero()[0].tolist())
            raise ValueError(f"x must hold integers >= 0; got {float(x[where])} at {where}")

    def zero_statistics(self, device: torch.device | None = None) -> PoissonStatistics:
        """Statistics of no data, to add to.

        Parameters
        ----------
        device : torch.device, optional
            Where the sums live.

        Returns
        -------
        PoissonStatistics
            Zeros in float64.
        """
        zeros = torch.zeros(self.log_rate.shape, dtype=torch.float64, device=device)
        return PoissonStatistics(zeros, zeros.clone())

    @torch.no_grad()
    def accumulate(
        self, x: Tensor, density_posterior: Tensor, *, observed: Tensor | None = None
    ) -> PoissonStatistics:
        """Collect what ``update`` needs.

        Parameters
        ----------
        x : Tensor, shape (N, D)
            Counts.
        density_posterior : Tensor, shape (N, P)
            Share of each density in each frame, finite and >= 0.
        observed : Tensor of bool, shape (N, D), optional
            False where a count is missing.

        Returns
        -------
        PoissonStatistics
            In float64.

        Raises
        ------
        ValueError
            If shapes disagree or values are out of range.
        """
        self._check_counts(x)
        check_shares("density_posterior", density_posterior, "(N, P)", (len(x), self.num_densities))
        share = density_posterior.double().T
        seen = torch.ones_like(x, dtype=torch.float64) if observed is None else observed.double()
        return PoissonStatistics(share @ seen, share @ (x.double() * seen))

    @torch.no_grad()
    def update(self, statistics: PoissonStatistics) -> UpdateReport:
        """Replace the rates by mean counts (M-step).

        Parameters
        ----------
        statistics : PoissonStatistics
            From ``accumulate``, summed over the data.

        Returns
        -------
        UpdateReport
            Densities without frames, which keep their rates, and rates that were raised to the floor of
            1e-10.

        Raises
        ------
        ValueError
            If the statistics are of another shape, negative or not finite.
        """
        shape = tuple(self.log_rate.shape)
        occupancy, first = (value.to(self.log_rate.device) for value in statistics.tensors())
        check_shares("statistics.occupancy", occupancy, "(P, D)", shape)
        check_shares("statistics.first", first, "(P, D)", shape)
        seen = occupancy > 0.0
        rate = first / torch.where(seen, occupancy, 1.0)
        log_rate = rate.clamp_min(_LOWEST_RATE).log()
        self.log_rate.copy_(torch.where(seen, log_rate, self.log_rate))
        return UpdateReport(
            starved=tuple((~seen.any(-1)).nonzero().flatten().tolist()),
            num_floored=int((seen & (rate < _LOWEST_RATE)).sum()),
        )

    @torch.no_grad()
    def initialize(
        self,
        x: Tensor,
        weight: Tensor,
        density_index: Tensor | None,
        generator: torch.Generator,
        *,
        observed: Tensor | None = None,
    ) -> None:
        """Start from frames whose densities are known or are to be found.

        Parameters
        ----------
        x : Tensor, shape (N, D)
            Counts.
        weight : Tensor, shape (N,)
            Weight of each frame, finite and > 0.
        density_index : Tensor of int64, shape (N,), or None
            The density of each frame; None groups the frames by k-means on square roots of the counts, whose
            variance is nearly the same everywhere.
        generator : torch.Generator
            Source of randomness.
        observed : Tensor of bool, shape (N, D), optional
            False where a count is missing.

        Raises
        ------
        ValueError
            If shapes disagree or a value is out of range.

        References
        ----------
        .. [1] F. J. Anscombe, "The transformation of Poisson, binomial and negative-binomial data",
           Biometrika 35, 1948.
        """
        self._check_counts(x)
        if density_index is None:
            density_index = kmeans((x.double() + 0.375).sqrt(), self.num_densities, generator)
        share = nn.functional.one_hot(density_index, self.num_densities) * weight.double().unsqueeze(-1)
        # A hundredth of a frame of everything: what a density has not seen yet is rare, not impossible.
        total = self.accumulate(x, share + 0.01 / max(1, len(x)), observed=observed)
        self.update(total)

    def rounding(self) -> float:
        """Nats per frame that rounding the parameters may cost.

        Returns
        -------
        float
            By the dtype of the parameters and the size of the rates.
        """
        log_rate = self.log_rate.detach().double()
        eps = torch.finfo(self.log_rate.dtype).eps
        return 1e-9 + eps * float((log_rate.abs() * log_rate.exp()).sum(-1).max())

    @torch.no_grad()
    def sample(self, density_index: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw counts.

        Parameters
        ----------
        density_index : Tensor of int64, shape (...)
            The density of each frame, 0..P-1.
        generator : torch.Generator, optional
            Source of randomness; torch's global one if omitted.

        Returns
        -------
        Tensor, shape (..., D)
            In the dtype of the parameters.
        """
        return torch.poisson(self.log_rate.exp()[density_index], generator=generator)

    def config(self) -> dict[str, Any]:
        """Describe the structure for ``save_model``.

        Returns
        -------
        dict
            The arguments of the class.
        """
        return {"num_densities": self.num_densities, "feature_dim": self.feature_dim}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the structure that ``config`` described.

        Parameters
        ----------
        config : mapping
            The arguments of the class.

        Returns
        -------
        PoissonEmission
            With fresh parameters.
        """
        return cls(**config)

    def extra_repr(self) -> str:
        """Sizes, for ``repr``."""
        return f"num_densities={self.num_densities}, feature_dim={self.feature_dim}"
