"""Student's t: Gaussians with heavy tails, for features with outliers."""

import math
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
from hmm_models.emissions._moments import UNRESOLVED

# Tails lighter than this are a Gaussian's for all that data can tell; heavier ones have no mean.
_DEGREES = (1.0, 200.0)
_BISECTIONS = 60


@dataclass(frozen=True, eq=False)
class StudentTStatistics(Statistics):
    r"""What the M-step of Student-t emissions needs to know of the data.

    With :math:`\gamma_{np}` the share of density *p* in frame *n* and :math:`u_{np}` the expected precision
    of the frame relative to the density's:

    Parameters
    ----------
    occupancy : Tensor of float64, shape (P,)
        :math:`\sum_n \gamma_{np}`.
    precision : Tensor of float64, shape (P,)
        :math:`\sum_n \gamma_{np} u_{np}`.
    log_precision : Tensor of float64, shape (P,)
        :math:`\sum_n \gamma_{np} E[\log u]_{np}`.
    first : Tensor of float64, shape (P, D)
        :math:`\sum_n \gamma_{np} u_{np} x_n`.
    second : Tensor of float64, shape (P, D)
        :math:`\sum_n \gamma_{np} u_{np} x_n^2`.
    """

    occupancy: Tensor
    precision: Tensor
    log_precision: Tensor
    first: Tensor
    second: Tensor


@register_model
class StudentTEmission(nn.Module):
    r"""P multivariate Student-t densities over D features, with diagonal scales.

    .. math::
        p(x) = \frac{\Gamma(\frac{\nu + D}{2})}{\Gamma(\frac{\nu}{2}) (\nu\pi)^{D/2} \prod_d \sigma_d}
        \Big(1 + \frac{1}{\nu} \sum_d \frac{(x_d - \mu_d)^2}{\sigma_d^2}\Big)^{-\frac{\nu + D}{2}}

    A Gaussian whose precision varies from frame to frame: outliers cost less and move the mean less.

    Parameters
    ----------
    num_densities : int
        P, >= 1.
    feature_dim : int
        D, >= 1.
    degrees_of_freedom : float, default 8.0
        :math:`\nu` to start from, 1 to 200; the lower, the heavier the tails.

    Notes
    -----
    The parameters are ``mean`` (P, D), ``log_variance`` (P, D), the logarithm of :math:`\sigma^2`, and
    ``log_degrees`` (P,). Scales below ``variance_floor``, 1e-3 of the variance of all frames after
    ``initialize``, count as the floor.

    References
    ----------
    .. [1] D. Peel and G. J. McLachlan, "Robust mixture modelling using the t distribution", Statistics and
       Computing 10, 2000.

    Examples
    --------
    >>> import torch
    >>> x = torch.randn(1, 300, 2, generator=torch.Generator().manual_seed(0))
    >>> x[0, ::30] *= 50.0  # clicks
    >>> from hmm_models import HiddenMarkovModel
    >>> model = HiddenMarkovModel(StudentTEmission(1, 2))
    >>> result = model.fit(x)
    >>> bool((model.emission.log_variance.exp() < 2.0).all())
    True
    """

    variance_floor: Tensor

    def __init__(self, num_densities: int, feature_dim: int, degrees_of_freedom: float = 8.0) -> None:
        super().__init__()
        for name, size in (("num_densities", num_densities), ("feature_dim", feature_dim)):
            if size < 1:
                raise ValueError(f"{name} must be >= 1; got {size}")
        if not _DEGREES[0] <= degrees_of_freedom <= _DEGREES[1]:
            raise ValueError(f"degrees_of_freedom must be in 1..200; got {degrees_of_freedom}")
        self.mean = nn.Parameter(torch.randn(num_densities, feature_dim))
        self.log_variance = nn.Parameter(torch.zeros(num_densities, feature_dim))
        self.log_degrees = nn.Parameter(torch.full((num_densities,), math.log(degrees_of_freedom)))
        self.register_buffer("variance_floor", torch.full((feature_dim,), 1e-6))

    @property
    def num_densities(self) -> int:
        """P."""
        return self.mean.shape[0]

    @property
    def feature_dim(self) -> int:
        """D."""
        return self.mean.shape[1]

    @property
    def num_parameters(self) -> int:
        """Free parameters."""
        return sum(parameter.numel() for parameter in self.parameters())

    @property
    def degrees_of_freedom(self) -> Tensor:
        """Degrees of freedom of each density, shape (P,)."""
        return self.log_degrees.exp().clamp(*_DEGREES)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density of each frame under each density.

        Parameters
        ----------
        x : Tensor, shape (..., D)
            Features, finite.

        Returns
        -------
        Tensor, shape (..., P)
            In the wider dtype of ``x`` and the parameters. Differentiable.

        Raises
        ------
        ValueError
            If the last axis is not D, or a feature is NaN or infinite.

        Notes
        -----
        Distances by one matrix product on features centred by the average of the means, and never below 0.
        """
        self._check_features(x)
        dtype = torch.promote_types(x.dtype, self.mean.dtype)
        return self._log_density(self._distance(x.to(dtype)))

    def forward(self, x: Tensor) -> Tensor:
        """Compute ``log_prob``."""
        return self.log_prob(x)

    def _check_features(self, x: Tensor) -> None:
        """Refuse features of another width, and NaN or infinity."""
        if x.ndim < 1 or x.shape[-1] != self.feature_dim:
            raise ValueError(f"x must have shape (..., D) = (..., {self.feature_dim}); got {tuple(x.shape)}")
        if not x.is_floating_point():
            raise ValueError(f"x must be floating point; got {x.dtype}")
        if not is_recorded() and not bool(torch.isfinite(x).all()):
            where = tuple((~torch.isfinite(x)).nonzero()[0].tolist())
            raise ValueError(f"x must be finite; got {float(x[where])} at {where}")

    def _distance(self, x: Tensor) -> Tensor:
        """Squared distances (..., P) in units of the scales."""
        center = self.mean.detach().mean(0).to(x)
        y, mean = x - center, self.mean.to(x) - center
        precision = (-self._log_scale(x)).exp()
        square = y.square() @ precision.T - 2.0 * (y @ (mean * precision).T)
        return (square + (mean.square() * precision).sum(-1)).clamp_min(0.0)

    def _log_scale(self, like: Tensor) -> Tensor:
        """Logarithms of the squared scales (P, D), floor applied."""
        return self.log_variance.to(like).maximum(self.variance_floor.to(like).log())

    def _log_density(self, distance: Tensor) -> Tensor:
        """Log-densities of frames at these distances."""
        D, degrees = self.feature_dim, self.degrees_of_freedom.to(distance)
        half = 0.5 * (degrees + D)
        constant = torch.lgamma(half) - torch.lgamma(0.5 * degrees)
        constant = constant - 0.5 * (D * (degrees * math.pi).log() + self._log_scale(distance).sum(-1))
        return constant - half * torch.log1p(distance / degrees)

    def zero_statistics(self, device: torch.device | None = None) -> StudentTStatistics:
        """Statistics of no data, to add to.

        Parameters
        ----------
        device : torch.device, optional
            Where the sums live.

        Returns
        -------
        StudentTStatistics
            Zeros in float64.
        """
        P, D = self.mean.shape
        shapes = ((P,), (P,), (P,), (P, D), (P, D))
        return StudentTStatistics(*(torch.zeros(s, dtype=torch.float64, device=device) for s in shapes))

    @torch.no_grad()
    def accumulate(self, x: Tensor, density_posterior: Tensor) -> StudentTStatistics:
        """Collect what ``update`` needs.

        Parameters
        ----------
        x : Tensor, shape (N, D)
            Features, finite.
        density_posterior : Tensor, shape (N, P)
            Share of each density in each frame, finite and >= 0.

        Returns
        -------
        StudentTStatistics
            In float64.

        Raises
        ------
        ValueError
            If shapes disagree or values are out of range.
        """
        self._check_features(x)
        check_shares("density_posterior", density_posterior, "(N, P)", (len(x), self.num_densities))
        x, share = x.double(), density_posterior.double()
        degrees = self.degrees_of_freedom.double()
        half = 0.5 * (degrees + self.feature_dim)
        rate = 0.5 * (degrees + self._distance(x))
        precision = share * half / rate
        return StudentTStatistics(
            share.sum(0),
            precision.sum(0),
            (share * (torch.digamma(half) - rate.log())).sum(0),
            precision.T @ x,
            precision.T @ x.square(),
        )

    @torch.no_grad()
    def update(self, statistics: StudentTStatistics, *, min_occupancy: float = 1e-3) -> UpdateReport:
        """Replace the parameters by the most likely ones given the statistics (M-step).

        Parameters
        ----------
        statistics : StudentTStatistics
            From ``accumulate``, summed over the data.
        min_occupancy : float, default 1e-3
            Frames below which a density keeps its parameters.

        Returns
        -------
        UpdateReport
            Densities without enough frames, and scales that were raised to the floor.

        Raises
        ------
        ValueError
            If the statistics are of another shape, or not finite.
        """
        for name, value in vars(statistics).items():
            expected = tuple(self.mean.shape) if name in {"first", "second"} else (self.num_densities,)
            if value.shape != expected or not bool(torch.isfinite(value).all()):
                raise ValueError(
                    f"statistics.{name} must be finite, of shape {expected}; got {tuple(value.shape)}"
                )
        statistics = statistics.to(self.mean.device)
        enough = statistics.occupancy > min_occupancy
        weight = torch.where(enough, statistics.precision, 1.0).unsqueeze(-1)
        count = torch.where(enough, statistics.occupancy, 1.0)
        mean = statistics.first / weight
        scale = (statistics.second - weight * mean.square()) / count.unsqueeze(-1)
        floored = (scale < self.variance_floor) & enough.unsqueeze(-1)
        log_scale = scale.maximum(self.variance_floor.double()).log()
        degrees = _degrees((statistics.log_precision - statistics.precision) / count)
        keep = enough.unsqueeze(-1)
        self.mean.copy_(torch.where(keep, mean, self.mean))
        self.log_variance.copy_(torch.where(keep, log_scale, self.log_variance))
        self.log_degrees.copy_(torch.where(enough, degrees.log(), self.log_degrees))
        return UpdateReport(
            starved=tuple((~enough).nonzero().flatten().tolist()), num_floored=int(floored.sum())
        )

    @torch.no_grad()
    def initialize(
        self,
        x: Tensor,
        weight: Tensor,
        density_index: Tensor | None,
        generator: torch.Generator,
        *,
        variance_floor: float = 1e-3,
    ) -> None:
        """Start from frames whose densities are known or are to be found.

        Parameters
        ----------
        x : Tensor, shape (N, D)
            Features, finite.
        weight : Tensor, shape (N,)
            Weight of each frame, finite and > 0.
        density_index : Tensor of int64, shape (N,), or None
            The density of each frame; None groups them by k-means on standardised features.
        generator : torch.Generator
            Source of randomness.
        variance_floor : float, default 1e-3
            Share of the variance of all frames below which no squared scale may fall.

        Raises
        ------
        ValueError
            If shapes disagree or a value is out of range.
        """
        self._check_features(x)
        x, weight = x.double(), weight.double()
        mean = (weight.unsqueeze(-1) * x).sum(0) / weight.sum()
        variance = (weight.unsqueeze(-1) * (x - mean).square()).sum(0) / weight.sum()
        smallest = (UNRESOLVED * mean.square()).clamp_min(1e-10)
        self.variance_floor.copy_((variance_floor * variance).maximum(smallest))
        self.mean.copy_(mean)
        self.log_variance.copy_(variance.maximum(smallest).log())
        if density_index is None:
            scaled = (x - mean) / torch.where(variance > 0.0, variance, 1.0).sqrt()
            density_index = kmeans(scaled, self.num_densities, generator)
        share = nn.functional.one_hot(density_index, self.num_densities) * weight.unsqueeze(-1)
        degrees = self.log_degrees.clone()
        self.update(self.accumulate(x, share))
        self.log_degrees.copy_(degrees)

    @torch.no_grad()
    def rounding(self) -> float:
        """Nats per frame that rounding the parameters may cost.

        Returns
        -------
        float
            By the dtype of the parameters, and by how large the means are against the scales.
        """
        precision, eps = (-self._log_scale(self.mean.double())).exp(), torch.finfo(self.mean.dtype).eps
        mean = self.mean.double()
        stored = ((eps * mean).square() * precision).sum(-1)
        stored += eps * (10.0 + self.log_variance.double().abs().sum(-1) + self.degrees_of_freedom)
        worked = 1e-13 * ((mean - mean.mean(0)).square() * precision).sum(-1)
        return 1e-9 + float((stored + worked).max())

    @torch.no_grad()
    def sample(self, density_index: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw features.

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
        mean, scale = self.mean[density_index], (0.5 * self._log_scale(self.mean)).exp()[density_index]
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        half = 0.5 * self.degrees_of_freedom[density_index].double()
        # torch draws gamma variates from a generator in this private function only.
        chi = torch._standard_gamma(half, generator=generator)  # noqa: SLF001
        return mean + scale * noise * (half / chi).sqrt().to(mean).unsqueeze(-1)

    def generate(self, density_index: Tensor) -> Tensor:
        """Most likely features of known densities.

        Parameters
        ----------
        density_index : Tensor of int64, shape (B, T)
            The density of each frame, 0..P-1; -1 behind the end.

        Returns
        -------
        Tensor, shape (B, T, D)
            Their means; 0 behind the end.
        """
        mean = self.mean[density_index.clamp_min(0)]
        return mean.masked_fill((density_index < 0).unsqueeze(-1), 0.0)

    def config(self) -> dict[str, Any]:
        """Describe the structure for ``save_model``.

        Returns
        -------
        dict
            The sizes.
        """
        return {"num_densities": self.num_densities, "feature_dim": self.feature_dim}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the structure that ``config`` described.

        Parameters
        ----------
        config : mapping
            The sizes.

        Returns
        -------
        StudentTEmission
            With fresh parameters.
        """
        return cls(**config)

    def extra_repr(self) -> str:
        """Sizes, for ``repr``."""
        return f"num_densities={self.num_densities}, feature_dim={self.feature_dim}"


def _degrees(balance: Tensor) -> Tensor:
    r"""Degrees of freedom for the mean of E[log u] - E[u], by bisection of a decreasing function.

    The root of :math:`\log(\nu/2) - \psi(\nu/2) + 1 + \overline{E[\log u] - E[u]}`.
    """
    low, high = (torch.full_like(balance, math.log(bound)) for bound in _DEGREES)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        half = 0.5 * middle.exp()
        above = half.log() - torch.digamma(half) + 1.0 + balance > 0.0
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    return (0.5 * (low + high)).exp()
