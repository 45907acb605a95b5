"""Mixtures of Gaussians with full covariances, own or shared."""

from typing import Any

import torch
from torch import Tensor, nn

from hmm_models._numerics import log_softmax
from hmm_models._serialization import register_model
from hmm_models.emissions._accumulation import Membership
from hmm_models.emissions._mixture_emission import MixtureEmission
from hmm_models.emissions._mixture_parameters import Windows
from hmm_models.emissions._mixture_statistics import FullMixtureStatistics
from hmm_models.emissions._prior import MixturePrior
from hmm_models.emissions._whitening import Whitening, complete, whiten

_SHARED = ("none", "components", "all")


@register_model
class FullGaussianMixtures(MixtureEmission[FullMixtureStatistics]):
    r"""P densities over D features, each a mixture of at most M Gaussians with full covariances.

    .. math:: \log p(x \mid p) = \log \sum_m w_{pm} \mathcal N(x; \mu_{pm}, \Sigma_{pm}),
        \quad \Sigma_{pm} = L_{pm} L_{pm}^T + \mathrm{diag}(f)

    The parameters are ``weight_logits`` (P, M) and ``mean`` (P, M, D) as in :class:`GaussianMixtures`, and
    ``covariance_factor`` (P or 1, M or 1, D, D), whose lower triangle is *L*. The floor *f*,
    ``variance_floor`` (D,), keeps every covariance away from singular ones, by EM and by gradient descent.

    Parameters
    ----------
    num_densities : int
        P, >= 1.
    num_mixtures : int
        M, >= 1.
    feature_dim : int
        D, >= 1.
    shared : {"none", "components", "all"}, default "none"
        Which components have one covariance together: none, those of the same density (the "tied" of
        hmmlearn's GMMHMM), or those of all densities (its GaussianHMM's).
    windows : sequence of sequences of float, optional
        See :class:`GaussianMixtures`; ``generate`` reads the diagonals alone.

    Raises
    ------
    ValueError
        If a size is < 1, ``shared`` unknown, or the windows do not fit.

    Notes
    -----
    Means start at random from torch's global generator, covariances as the identity, weights equal.
    ``update`` sets to the floor whatever is below it in any direction, which is the best choice under that
    constraint.

    Densities are squared lengths after one matrix product with the inverses of all Cholesky factors on
    centred features: O(N P M D^2) time, O(N D (D + P M)) with a covariance for all; factors and inverses are
    computed in float64, O(D^3) each. With own covariances float32 loses about
    :math:`10^{-7} \sqrt\kappa` of each whitened feature, :math:`\kappa` being the condition number; with
    shared ones also :math:`10^{-7} (\mu - \bar\mu)^T \Sigma^{-1} (\mu - \bar\mu)`. Frames with missing
    dimensions are grouped by which ones: O(P M D^3) for each distinct pattern; they cannot be compiled.

    Examples
    --------
    >>> import torch
    >>> x = torch.randn(5000, 2, generator=torch.Generator().manual_seed(0))
    >>> x = x @ torch.tensor([[1.0, 0.9], [0.0, 1.0]])
    >>> densities = FullGaussianMixtures(1, 1, 2)
    >>> report = densities.update(densities.accumulate(x, torch.ones(5000, 1)))
    >>> densities.covariance[0, 0].round(decimals=1)
    tensor([[1.0000, 0.9000],
            [0.9000, 1.8000]], grad_fn=<RoundBackward1>)
    """

    def __init__(
        self,
        num_densities: int,
        num_mixtures: int,
        feature_dim: int,
        *,
        shared: str = "none",
        windows: Windows | None = None,
    ) -> None:
        super().__init__(num_densities, num_mixtures, feature_dim, windows)
        if shared not in _SHARED:
            raise ValueError(f"shared must be one of {_SHARED}; got {shared!r}")
        self.shared = shared
        identity = torch.eye(feature_dim).repeat(*self._covariance_shape()[:2], 1, 1)
        self.covariance_factor = nn.Parameter(identity)
        self._reset_covariances(torch.ones(feature_dim))

    @property
    def covariance(self) -> Tensor:
        """Covariances with the floor applied, shape (P or 1, M or 1, D, D)."""
        factor = self.covariance_factor.tril()
        return factor @ factor.mT + self.variance_floor.diag()

    @property
    def variance(self) -> Tensor:
        """Variances with the floor applied, shape (P, M, D)."""
        return self.covariance.diagonal(dim1=-2, dim2=-1).expand_as(self.mean)

    @torch.no_grad()
    def set_variance_floor(self, global_variance: Tensor, floor: float = 0.01) -> None:
        """Let no covariance fall below a share of the variance of all frames, in any direction.

        Parameters
        ----------
        global_variance : Tensor, shape (D,)
            Variance of all training frames, >= 0 and finite.
        floor : float, default 0.01
            The share, > 0.

        Raises
        ------
        ValueError
            If the shape, a variance or ``floor`` is out of range.

        Notes
        -----
        The floor of a dimension that never varies is 1e-10. Covariances above the new floor stay as they are.
        """
        covariance = self._covariance()
        super().set_variance_floor(global_variance, floor)
        self._set_covariance(covariance)

    def zero_statistics(self, device: torch.device | None = None) -> FullMixtureStatistics:
        """Statistics of no data, to add to.

        Parameters
        ----------
        device : torch.device, optional
            Where the sums live.

        Returns
        -------
        FullMixtureStatistics
            Zeros in float64.
        """
        shapes = (self.weight_logits.shape, self.mean.shape, self._covariance_shape())
        return FullMixtureStatistics(
            *(torch.zeros(shape, dtype=torch.float64, device=device) for shape in shapes)
        )

    def config(self) -> dict[str, Any]:
        """Describe the structure for ``save_model``.

        Returns
        -------
        dict
            The arguments of the class.
        """
        return {**super().config(), "shared": self.shared}

    def _covariance_shape(self) -> tuple[int, int, int, int]:
        """Shape of the covariances: 1 where they are shared."""
        P, M, D = self.mean.shape
        return 1 if self.shared == "all" else P, M if self.shared == "none" else 1, D, D

    def _shared_parameters(self) -> tuple[str, ...]:
        """Name the factor, unless each component has its own."""
        return () if self.shared == "none" else ("covariance_factor",)

    def _num_covariance_parameters(self) -> int:
        """Count a triangle for each covariance that a component in use reads."""
        D = self.feature_dim
        used = (self.num_components > 0).sum()
        number = {"none": self.num_components.sum(), "components": used, "all": used.clamp_max(1)}
        return int(number[self.shared]) * (D * (D + 1) // 2)

    def _covariance(self) -> Tensor:
        """Covariances in float64, from which everything is computed."""
        factor = self.covariance_factor.double().tril()
        return factor @ factor.mT + self.variance_floor.double().diag()

    def _center(self) -> Tensor:
        """Average of all means in float64, shape (D,)."""
        return self.mean.detach().double().mean((0, 1))

    def _densities(self, dtype: torch.dtype, *, missing: bool = False) -> Whitening:
        """Parameters of all dimensions; frames with missing ones are taken pattern by pattern."""
        del missing
        return self._marginal(dtype, torch.arange(self.feature_dim, device=self.mean.device))

    def _marginal(self, dtype: torch.dtype, dims: Tensor) -> Whitening:
        """Densities of some dimensions alone."""
        log_weight = log_softmax(self.weight_logits.double())
        covariance = self._covariance()[..., dims, :][..., dims]
        return whiten(log_weight, self.mean.double()[..., dims], covariance, self._center()[dims], dtype)

    def _log_prob(self, x: Tensor, observed: Tensor | None) -> Tensor:
        """Log-density (N, P), pattern by pattern where dimensions are missing."""
        if observed is None:
            return super()._log_prob(x, observed)
        parts, order = [x.new_empty(0, self.num_densities)], [torch.empty(0, dtype=torch.int64)]
        for frames, dims in _patterns(observed):
            parts.append(self._marginal(x.dtype, dims).log_prob(x[frames][:, dims], None))
            order.append(frames.cpu())
        return torch.cat(parts)[torch.cat(order).argsort().to(x.device)]

    def _collect(
        self, x: Tensor, observed: Tensor | None, membership: Membership, dtype: torch.dtype
    ) -> FullMixtureStatistics:
        """Statistics, pattern by pattern where dimensions are missing."""
        densities = self._densities(dtype)
        if observed is None:
            return densities.statistics(membership.collect(densities, x, None))
        total = densities.zeros()
        covariance, mean = self._covariance(), self.mean.double() - self._center()
        for frames, dims in _patterns(observed):
            part = membership.of(frames).collect(self._marginal(dtype, dims), x[frames][:, dims], None)
            for whole, more in zip(total, complete(mean, covariance, dims).lift(part), strict=True):
                whole.add_(more)
        return densities.statistics(total)

    def _reset_covariances(self, variance: Tensor) -> None:
        """Make all covariances diagonal."""
        excess = (variance.to(self.variance_floor) - self.variance_floor).clamp_min(0.0)
        with torch.no_grad():
            self.covariance_factor.copy_(excess.sqrt().diag())

    def _update_covariances(
        self, statistics: FullMixtureStatistics, mean: Tensor, enough: Tensor, prior: MixturePrior | None
    ) -> int:
        """Estimate the covariances around the means, and raise them to the floor."""
        shape = self._covariance_shape()
        occupancy = statistics.occupancy.unsqueeze(-1)
        seen = occupancy > 0.0
        average = statistics.first / torch.where(seen, occupancy, 1.0)
        moved = torch.where(seen, average - mean, 0.0)
        scatter = (
            statistics.second - _products(average, occupancy, shape) + _products(moved, occupancy, shape)
        )
        count = statistics.occupancy.sum_to_size(shape[:2])[..., None, None]
        if prior is not None and prior.mean is not None and prior.covariance is not None:
            used = (self.weight_logits > -torch.inf).unsqueeze(-1).double()
            scatter = scatter + _products(mean - prior.mean, prior.mean_strength * used, shape)
            scatter = scatter + prior.covariance_strength * prior.covariance
            count = count + prior.covariance_strength
        known = enough.double().sum_to_size(shape[:2])[..., None, None] > 0.0
        covariance = torch.where(known, scatter / torch.where(known, count, 1.0), self._covariance())
        return self._set_covariance(covariance, known)

    def _set_covariance(self, covariance: Tensor, where: Tensor | None = None) -> int:
        """Factorise what exceeds the floor; count the directions in which nothing does."""
        root = self.variance_floor.double().sqrt()
        # In units of the floor's deviations the best covariance above the floor has eigenvalues of 1 or more.
        value, vector = torch.linalg.eigh(covariance / (root.unsqueeze(-1) * root))
        half = (root.unsqueeze(-1) * vector) * (value - 1.0).clamp_min(0.0).sqrt().unsqueeze(-2)
        factor = torch.linalg.qr(half.mT, mode="r").R.mT
        if where is None:
            where = torch.ones_like(factor[..., :1, :1], dtype=torch.bool)
        self.covariance_factor.copy_(torch.where(where, factor, self.covariance_factor))
        return int(((value < 1.0) & where.squeeze(-1)).sum())

    def _copy_covariances(self, origin: Tensor) -> None:
        """Copy the factors, unless they are shared."""
        if self.shared == "none":
            index = origin[..., None, None].expand_as(self.covariance_factor)
            self.covariance_factor.copy_(self.covariance_factor.gather(1, index))

    def _deviation(self, density: Tensor, component: Tensor, direction: Tensor) -> Tensor:
        """Multiply by the Cholesky factor."""
        covariance = self._covariance().expand(*self.weight_logits.shape, -1, -1)
        factor: Tensor = torch.linalg.cholesky(covariance)[density, component].to(direction)
        return (factor @ direction.unsqueeze(-1)).squeeze(-1)

    def _losses(self) -> tuple[float, float]:
        """Round means and factors; measure distances of the means and the conditioning of the whitening."""
        eps = torch.finfo(self.mean.dtype).eps
        white = self._densities(torch.float64)
        size = white.whitener.abs()
        factor = (size @ self.covariance_factor.double().tril().abs()).square().sum((-2, -1)).sqrt()
        shift = (size @ (eps * self.mean.double().abs()).unsqueeze(-1)).square().sum((-2, -1))
        deviation = self._covariance().diagonal(dim1=-2, dim2=-1).sqrt()
        conditioning = (size @ deviation.unsqueeze(-1)).square().sum((-2, -1)).sqrt()
        spread = white.offset.square().sum(-1) + conditioning
        return float((0.5 * shift + eps * (1.0 + factor)).max()), float(spread.max())

    def _covariance_log_prior(self, prior: MixturePrior) -> float:
        """Penalty of means and covariances in use."""
        assert prior.mean is not None and prior.covariance is not None  # noqa: PT018, S101  (checked)
        white = self._densities(torch.float64)
        used = (self.weight_logits > -torch.inf).unsqueeze(-1).double()
        shift = (white.whitener @ (self.mean.double() - prior.mean).unsqueeze(-1)).squeeze(-1)
        means = prior.mean_strength * float((used * shift.square()).sum())
        log_volume = 2.0 * white.whitener.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        trace = ((white.whitener @ prior.covariance) * white.whitener).sum((-2, -1))
        known = used.squeeze(-1).sum_to_size(self._covariance_shape()[:2]) > 0.0
        return -0.5 * (means + prior.covariance_strength * float((trace - log_volume)[known].sum()))


def _products(value: Tensor, weight: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
    """Sum weighted outer products of vectors (P, M, D) over whatever shares a covariance."""
    return ((weight * value).unsqueeze(-1) * value.unsqueeze(-2)).sum_to_size(shape)


def _patterns(observed: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Frames and observed dimensions of each distinct row of a mask (N, D)."""
    patterns, number = torch.unique(observed, dim=0, return_inverse=True)
    return [
        ((number == index).nonzero().squeeze(-1), pattern.nonzero().squeeze(-1))
        for index, pattern in enumerate(patterns)
    ]
