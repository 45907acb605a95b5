"""Mixtures of diagonal and of spherical Gaussians, one per density of a model."""

import copy
from typing import Self

import torch
from torch import Tensor, nn

from hmm_models._numerics import log_softmax
from hmm_models._serialization import register_model
from hmm_models.emissions._expansion import Expansion, expand
from hmm_models.emissions._mixture_emission import MixtureEmission
from hmm_models.emissions._mixture_parameters import Windows
from hmm_models.emissions._mixture_statistics import MixtureStatistics
from hmm_models.emissions._prior import MixturePrior


@register_model
class GaussianMixtures(MixtureEmission[MixtureStatistics]):
    r"""P densities over D features, each a mixture of at most M Gaussians with diagonal covariances.

    .. math:: \log p(x \mid p) = \log \sum_m w_{pm} \prod_d \mathcal N(x_d; \mu_{pmd}, \sigma^2_{pmd})

    The parameters are ``weight_logits`` (P, M), ``mean`` (P, M, D) and ``log_variance`` (P, M, D). The
    weights are the softmax of ``weight_logits``; ``-inf`` marks a component that is not in use. Trains by EM
    (``accumulate``, ``update``) and by gradient descent (``log_prob`` is differentiable), on the same
    parameters and in any order.

    Parameters
    ----------
    num_densities : int
        P, >= 1.
    num_mixtures : int
        M, >= 1.
    feature_dim : int
        D, >= 1.
    windows : sequence of sequences of float, optional
        The features are static ones and their differences by these windows, as ``mlpg`` takes them.

    Notes
    -----
    Means start at random from torch's global generator, variances at 1, weights equal; ``flat`` starts from
    the data's own mean and variance. Variances below ``variance_floor`` (D,), a buffer of 1e-6 until
    ``set_variance_floor``, count as the floor everywhere, and get zero gradients.

    Densities are one matrix product :math:`[x, x^2] \cdot [\mu/\sigma^2, -1/2\sigma^2]^T`, O(N P M D) time,
    on features centred by the average of all means: float32 loses
    :math:`10^{-7} (\mu - \bar\mu)^2 / \sigma^2` and nothing to a common offset. Missing dimensions add half
    to the product.

    Examples
    --------
    >>> import torch
    >>> x = torch.randn(500, 2, generator=torch.Generator().manual_seed(0)) * 3 + 5
    >>> densities = GaussianMixtures.flat(1, x.mean(0), x.var(0))
    >>> densities.split([2])
    >>> for _ in range(10):
    ...     statistics = densities.accumulate(x, density_index=torch.zeros(500, dtype=torch.int64))
    ...     report = densities.update(statistics)
    >>> densities.num_components, report.removed
    (tensor([2]), ())
    >>> densities.log_prob(x).shape
    torch.Size([500, 1])
    """

    def __init__(
        self, num_densities: int, num_mixtures: int, feature_dim: int, *, windows: Windows | None = None
    ) -> None:
        super().__init__(num_densities, num_mixtures, feature_dim, windows)
        self.log_variance = nn.Parameter(self._pool(torch.zeros_like(self.mean)))

    @property
    def variance(self) -> Tensor:
        """Variances with the floor applied, shape (P, M, D)."""
        return self.log_variance.exp().maximum(self._floor())

    @property
    def covariance(self) -> Tensor:
        """Variances with the floor applied, shape (P, M, D)."""
        return self.variance

    @torch.no_grad()
    def select(self, index: Tensor) -> Self:
        """Copy some of the densities.

        Parameters
        ----------
        index : Tensor of int64, shape (Q,)
            Which, 0..P-1, in any order; at least one.

        Returns
        -------
        GaussianMixtures
            Of Q densities, with the same room for components and the same floor.

        Raises
        ------
        ValueError
            If the index has another shape or dtype, is empty, or names a density that there is not.

        Examples
        --------
        >>> import torch
        >>> densities = GaussianMixtures(3, 1, 2)
        >>> x = torch.randn(5, 2)
        >>> torch.allclose(
        ...     densities.select(torch.tensor([2, 0])).log_prob(x), densities.log_prob(x)[:, [2, 0]]
        ... )
        True
        """
        if index.ndim != 1 or index.dtype != torch.int64 or not len(index):
            raise ValueError(
                f"index must be int64 of shape (Q,), Q >= 1; got {index.dtype} of shape {tuple(index.shape)}"
            )
        low, high = (int(value) for value in torch.aminmax(index))
        if not 0 <= low <= high < self.num_densities:
            raise ValueError(f"index must be in 0..P-1 = 0..{self.num_densities - 1}; got {low}..{high}")
        chosen = copy.copy(self)  # a new one would draw random means
        rows = {name: nn.Parameter(value[index]) for name, value in self.named_parameters()}
        buffers = {name: value.clone() for name, value in self.named_buffers()}
        chosen.__dict__ |= {"_parameters": rows, "_buffers": buffers}  # the copy shares these
        return chosen

    def zero_statistics(self, device: torch.device | None = None) -> MixtureStatistics:
        """Statistics of no data, to add to.

        Parameters
        ----------
        device : torch.device, optional
            Where the sums live.

        Returns
        -------
        MixtureStatistics
            Zeros in float64.
        """
        P, M, D = self.mean.shape
        return MixtureStatistics.zeros(P, M, D, device)

    def _floor(self) -> Tensor:
        """Floor of what ``log_variance`` holds."""
        return self._pool(self.variance_floor)

    def _pool(self, variance: Tensor) -> Tensor:
        """Average variances (..., D) that must be equal."""
        return variance

    def _num_covariance_parameters(self) -> int:
        """Count a variance for each entry of ``log_variance``."""
        return int(self.num_components.sum()) * self.log_variance.shape[-1]

    def _densities(self, dtype: torch.dtype, *, missing: bool = False) -> Expansion:
        """Log-densities as polynomials of the features."""
        log_variance = self.log_variance.to(dtype).maximum(self._floor().to(dtype).log())
        mean = self.mean.to(dtype)
        return expand(
            log_softmax(self.weight_logits.to(dtype)), mean, log_variance.expand_as(mean), missing=missing
        )

    def _reset_covariances(self, variance: Tensor) -> None:
        """Give all components the same variances."""
        self.log_variance.copy_(self._pool(variance).log())

    def _set_covariance(self, covariance: Tensor) -> int:
        """Replace the variances."""
        variance, floor = covariance.view_as(self.log_variance), self._floor().double()
        self.log_variance.copy_(variance.maximum(floor).log())
        return int((variance < floor).sum())

    def _update_covariances(
        self, statistics: MixtureStatistics, mean: Tensor, enough: Tensor, prior: MixturePrior | None
    ) -> int:
        """Estimate the variances around the means, and raise them to the floor."""
        enough = enough.unsqueeze(-1)
        count = torch.where(enough, statistics.occupancy.unsqueeze(-1), 1.0)
        average = statistics.first / count
        variance = self._pool(statistics.second / count - average.square())
        if prior is not None and prior.mean is not None and prior.covariance is not None:
            moved = count * (average - mean).square() + prior.mean_strength * (mean - prior.mean).square()
            believed = prior.covariance_strength * prior.covariance.view(*count.shape[:2], -1)
            variance = (count * variance + self._pool(moved) + believed) / (count + prior.covariance_strength)
        floored = (variance < self._floor()) & enough
        log_variance = variance.maximum(self._floor().double()).log()
        self.log_variance.copy_(torch.where(enough, log_variance, self.log_variance))
        return int(floored.sum())

    def _copy_covariances(self, origin: Tensor) -> None:
        """Copy the variances that count, with the floor applied."""
        variance = self.log_variance.exp().maximum(self._floor())
        self.log_variance.copy_(variance.gather(1, origin.unsqueeze(-1).expand_as(variance)).log())

    def _deviation(self, density: Tensor, component: Tensor, direction: Tensor) -> Tensor:
        """Scale each dimension."""
        return self.variance[density, component].sqrt() * direction

    def _losses(self) -> tuple[float, float]:
        """Round means and logarithms; measure squared distances of the means in deviations."""
        precision, eps = 1.0 / self.variance.double(), torch.finfo(self.mean.dtype).eps
        mean = self.mean.double()
        stored = 0.5 * ((eps * mean).square() * precision).sum(-1)
        stored += eps * (1.0 + self.log_variance.double().expand_as(mean).abs().sum(-1))
        return float(stored.max()), float(((mean - mean.mean((0, 1))).square() * precision).sum(-1).max())

    def _covariance_log_prior(self, prior: MixturePrior) -> float:
        """Penalty of means and variances of the components in use."""
        assert prior.mean is not None and prior.covariance is not None  # noqa: PT018, S101  (checked)
        variance = self.variance.double()
        means = prior.mean_strength * (self.mean.double() - prior.mean).square() / variance
        believed = prior.covariance.view(*self.mean.shape[:2], -1)
        covariances = prior.covariance_strength * (variance.log() + believed / variance)
        penalty = (means + covariances).sum(-1)
        return -0.5 * float(penalty[self.weight_logits > -torch.inf].sum())


@register_model
class SphericalGaussianMixtures(GaussianMixtures):
    r"""P densities over D features, each a mixture of at most M Gaussians with one variance each.

    .. math:: \log p(x \mid p) = \log \sum_m w_{pm} \prod_d \mathcal N(x_d; \mu_{pmd}, \sigma^2_{pm})

    As :class:`GaussianMixtures`, with ``log_variance`` of shape (P, M, 1).

    Parameters
    ----------
    num_densities : int
        P, >= 1.
    num_mixtures : int
        M, >= 1.
    feature_dim : int
        D, >= 1.
    windows : sequence of sequences of float, optional
        The features are static ones and their differences by these windows, as ``mlpg`` takes them.

    Notes
    -----
    The floor is the average of ``variance_floor`` over the dimensions.

    Examples
    --------
    >>> import torch
    >>> densities = SphericalGaussianMixtures(3, 2, 5)
    >>> densities.covariance.shape, densities.num_parameters
    (torch.Size([3, 2]), 39)
    """

    @property
    def variance(self) -> Tensor:
        """Variances with the floor applied, shape (P, M, D)."""
        return super().variance.expand_as(self.mean)

    @property
    def covariance(self) -> Tensor:
        """Variances with the floor applied, shape (P, M)."""
        return super().variance.squeeze(-1)

    def _pool(self, variance: Tensor) -> Tensor:
        """Average over the dimensions."""
        return variance.mean(-1, keepdim=True)
