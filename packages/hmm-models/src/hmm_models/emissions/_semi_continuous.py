"""Densities that share one codebook of Gaussians."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from hmm_models._numerics import log_softmax, logsumexp
from hmm_models._report import UpdateReport
from hmm_models._serialization import build_model, describe_model, register_model
from hmm_models._statistics import Statistics
from hmm_models._tracing import is_recorded
from hmm_models.emissions._accumulation import check_shares
from hmm_models.emissions._clustering import kmeans
from hmm_models.emissions._mixture_emission import MixtureEmission
from hmm_models.emissions._moments import standardize, weighted_moments
from hmm_models.emissions._prior import MixturePrior

# Numbers in one block: frames times codewords and densities.
_BLOCK = 1 << 20
# A sum below this may have lost terms to underflow, and is taken in the log domain instead.
_SMALLEST_SUM = 1e-25
# Shares below this change no sum in float64.
_SMALLEST_SHARE = 1e-20


@dataclass(frozen=True, eq=False)
class SemiContinuousStatistics(Statistics):
    """What an M-step of a shared codebook needs to know of the data.

    Parameters
    ----------
    occupancy : Tensor of float64, shape (P, M)
        Frames of each density that fell to each codeword.
    codebook : Statistics
        Of the codebook.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import GaussianMixtures, SemiContinuousMixtures
    >>> densities = SemiContinuousMixtures(5, GaussianMixtures(8, 1, 3))
    >>> densities.accumulate(torch.randn(10, 3), torch.ones(10, 5)).occupancy.shape
    torch.Size([5, 8])
    """

    occupancy: Tensor
    codebook: Any


@register_model
class SemiContinuousMixtures(nn.Module):
    r"""P densities that mix the M densities of one codebook, each with weights of its own.

    .. math:: \log p(x \mid p) = \log \sum_m w_{pm} \, p(x \mid m)

    Tied mixtures, or semi-continuous densities [1]_: the M Gaussians are evaluated once per frame whatever P
    is. The parameters are ``weight_logits`` (P, M) and those of ``codebook``.

    Parameters
    ----------
    num_densities : int
        P, >= 1.
    codebook : nn.Module
        M densities of one component each, such as ``GaussianMixtures(M, 1, D)`` or one of its sisters.

    Raises
    ------
    ValueError
        If ``num_densities`` is < 1, or the codebook's densities are mixtures themselves.

    Notes
    -----
    Weights start equal. O(N M D) time for the codebook and O(N P M) for the weights, as matrix products
    relative to each frame's best codeword; where a sum could have underflowed it is taken in the log domain.

    References
    ----------
    .. [1] X. D. Huang and M. A. Jack, "Semi-continuous hidden Markov models for speech signals", Computer
       Speech and Language 3(3), 1989.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import GaussianMixtures, HiddenMarkovModel
    >>> densities = SemiContinuousMixtures(4, GaussianMixtures(16, 1, 13))
    >>> densities.log_prob(torch.randn(10, 13)).shape
    torch.Size([10, 4])
    >>> result = HiddenMarkovModel(densities).fit(torch.randn(2, 50, 13), max_iterations=2)
    >>> result.log_likelihood[-1] > result.log_likelihood[0]
    True
    """

    codebook: MixtureEmission[Any]

    def __init__(self, num_densities: int, codebook: MixtureEmission[Any]) -> None:
        super().__init__()
        if num_densities < 1:
            raise ValueError(f"num_densities must be >= 1; got {num_densities}")
        if codebook.num_mixtures != 1:
            raise ValueError(f"codebook must have num_mixtures = 1; got {codebook.num_mixtures}")
        self.codebook = codebook
        self.weight_logits = nn.Parameter(codebook.mean.new_zeros(num_densities, codebook.num_densities))

    @property
    def num_densities(self) -> int:
        """P."""
        return self.weight_logits.shape[0]

    @property
    def num_mixtures(self) -> int:
        """M, the densities of the codebook."""
        return self.weight_logits.shape[1]

    @property
    def feature_dim(self) -> int:
        """D."""
        return self.codebook.feature_dim

    @property
    def weight(self) -> Tensor:
        """Mixture weights, shape (P, M)."""
        return log_softmax(self.weight_logits).exp()

    @property
    def num_parameters(self) -> int:
        """Free parameters in use, as information criteria count them."""
        used = (self.weight_logits > -torch.inf).sum(-1)
        return int((used - 1).clamp_min(0).sum()) + self.codebook.num_parameters

    def log_prob(self, x: Tensor, *, observed: Tensor | None = None) -> Tensor:
        """Log-density of each frame under each density.

        Parameters
        ----------
        x : Tensor, shape (..., D)
            Features; finite, and small enough that their squares are.
        observed : Tensor of bool, shape (..., D), optional
            False where a dimension is missing: it is integrated out, and what stands there is never read.

        Returns
        -------
        Tensor, shape (..., P)
            In the wider dtype of ``x`` and the parameters. Differentiable.

        Raises
        ------
        ValueError
            If the last axis is not D, the mask has another shape, or a feature is NaN or infinite.
        """
        codeword = self.codebook.log_prob(x, observed=observed)
        with torch.autocast(x.device.type, enabled=False):
            log_weight = log_softmax(self.weight_logits.to(codeword))
            flat = codeword.reshape(-1, self.num_mixtures)
            parts = [self._mix(some, log_weight) for some in torch.split(flat, self._rows(flat))]
            return torch.cat(parts).reshape(*x.shape[:-1], self.num_densities)

    def forward(self, x: Tensor) -> Tensor:
        """Compute ``log_prob``."""
        return self.log_prob(x)

    def _rows(self, codeword: Tensor) -> int:
        """Frames in a block; all where a gradient is recorded."""
        if torch.is_grad_enabled() or is_recorded():
            return max(1, len(codeword))
        return max(1, _BLOCK // max(self.num_densities, self.num_mixtures))

    def _mix(self, codeword: Tensor, log_weight: Tensor) -> Tensor:
        """Log of the weighted sums (N, P) of densities (N, M) given as logarithms."""
        if is_recorded():
            return logsumexp(codeword.unsqueeze(1) + log_weight)
        peak = codeword.detach().amax(-1, keepdim=True)
        total = (codeword - peak).exp() @ log_weight.exp().T
        lost = total < _SMALLEST_SUM
        mixed = torch.where(lost, 1.0, total).log() + peak
        if not bool(lost.any()):
            return mixed
        frame, density = lost.nonzero(as_tuple=True)
        rows = self._rows(frame)
        exact = [
            logsumexp(codeword[n] + log_weight[p])
            for n, p in zip(torch.split(frame, rows), torch.split(density, rows), strict=True)
        ]
        return mixed.index_put((frame, density), torch.cat(exact))

    def zero_statistics(self, device: torch.device | None = None) -> SemiContinuousStatistics:
        """Statistics of no data, to add to.

        Parameters
        ----------
        device : torch.device, optional
            Where the sums live.

        Returns
        -------
        SemiContinuousStatistics
            Zeros in float64.
        """
        occupancy = torch.zeros(self.weight_logits.shape, dtype=torch.float64, device=device)
        return SemiContinuousStatistics(occupancy, self.codebook.zero_statistics(device))

    @torch.no_grad()
    def accumulate(
        self,
        x: Tensor,
        density_posterior: Tensor,
        *,
        observed: Tensor | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> SemiContinuousStatistics:
        """Collect what ``update`` needs from frames that belong to each density with a share.

        Parameters
        ----------
        x : Tensor, shape (N, D)
            Features, finite.
        density_posterior : Tensor, shape (N, P)
            Share of each density in each frame, finite and >= 0.
        observed : Tensor of bool, shape (N, D), optional
            False where a dimension is missing.
        dtype : torch.dtype, default torch.float64
            In which products are computed; sums over blocks of frames are in float64.

        Returns
        -------
        SemiContinuousStatistics
            In float64.

        Raises
        ------
        ValueError
            If shapes disagree or values are out of range.
        """
        if x.ndim != 2:
            raise ValueError(f"x must have shape (N, D) = (N, {self.feature_dim}); got {tuple(x.shape)}")
        check_shares("density_posterior", density_posterior, "(N, P)", (len(x), self.num_densities))
        x = x.to(dtype)
        codeword = self.codebook.log_prob(x, observed=observed)
        log_weight = log_softmax(self.weight_logits.to(codeword))
        occupancy = torch.zeros_like(log_weight, dtype=torch.float64)
        responsibility = [codeword.new_empty(0, self.num_mixtures)]
        rows = self._rows(codeword)
        for some, share in zip(
            torch.split(codeword, rows), torch.split(density_posterior.to(codeword), rows), strict=True
        ):
            counts, own = self._divide(some, share, log_weight)
            occupancy += counts
            responsibility.append(own)
        return SemiContinuousStatistics(
            occupancy, self.codebook.accumulate(x, torch.cat(responsibility), observed=observed, dtype=dtype)
        )

    def _divide(self, codeword: Tensor, share: Tensor, log_weight: Tensor) -> tuple[Tensor, Tensor]:
        """Divide shares (N, P) among the codewords: summed over frames (P, M), over densities (N, M)."""
        mixed = self._mix(codeword, log_weight)
        peak = codeword.amax(-1, keepdim=True)
        possible = (mixed > -torch.inf) & (share > _SMALLEST_SHARE)
        lost = mixed - peak < math.log(_SMALLEST_SUM)
        ratio = torch.where(possible & ~lost, share * (peak - mixed).exp(), 0.0)
        relative, weight = (codeword - peak).exp(), log_weight.exp()
        counts = (weight * (ratio.T @ relative)).double()
        own = relative * (ratio @ weight)
        frame, density = (possible & lost).nonzero(as_tuple=True)
        rows = self._rows(frame)
        for n, p in zip(torch.split(frame, rows), torch.split(density, rows), strict=True):
            part = log_softmax(codeword[n] + log_weight[p]).exp() * share[n, p].unsqueeze(-1)
            counts.index_add_(0, p, part.double())
            own.index_add_(0, n, part)
        return counts, own

    @torch.no_grad()
    def update(
        self,
        statistics: SemiContinuousStatistics,
        *,
        min_occupancy: float = 1e-3,
        prior: MixturePrior | None = None,
    ) -> UpdateReport:
        """Replace the parameters by the most likely ones given the statistics (M-step).

        Parameters
        ----------
        statistics : SemiContinuousStatistics
            From ``accumulate``, summed over the data.
        min_occupancy : float, default 1e-3
            Frames below which a codeword, or a density's weights, stay as they are.
        prior : MixturePrior, optional
            Its ``weight_strength`` is about the densities' weights, the rest about the codebook.

        Returns
        -------
        UpdateReport
            Densities that had too few frames are ``starved``; floored variances are the codebook's.

        Raises
        ------
        ValueError
            If the statistics are of another shape, or not finite.
        """
        occupancy = statistics.occupancy.to(self.weight_logits.device)
        if occupancy.shape != self.weight_logits.shape:
            raise ValueError(
                f"statistics must have shape (P, M) = {tuple(self.weight_logits.shape)}; "
                f"got {tuple(occupancy.shape)}"
            )
        if not bool(torch.isfinite(occupancy).all()):
            raise ValueError("statistics must be finite; got NaN or infinity")
        used = self.weight_logits > -torch.inf
        starved = occupancy.sum(-1) < min_occupancy
        strength = 0.0 if prior is None else prior.weight_strength
        count = torch.where(used, occupancy + strength, 0.0)
        logits = (count / torch.where(starved, 1.0, count.sum(-1)).unsqueeze(-1)).log()
        self.weight_logits.copy_(torch.where(starved.unsqueeze(-1), self.weight_logits, logits))
        report = self.codebook.update(statistics.codebook, min_occupancy=min_occupancy, prior=prior)
        return UpdateReport(
            starved=tuple(starved.nonzero().flatten().tolist()), num_floored=report.num_floored
        )

    def log_prior(self, prior: MixturePrior) -> float:
        """Logarithm of a prior at the present parameters, up to a constant.

        Parameters
        ----------
        prior : MixturePrior
            As given to ``update``.

        Returns
        -------
        float
            In nats.
        """
        log_weight = log_softmax(self.weight_logits.detach().double())
        weights = prior.weight_strength * float(log_weight[log_weight > -torch.inf].sum())
        # A codeword's own weight is 1, whose logarithm is 0.
        return weights + self.codebook.log_prior(prior)

    @torch.no_grad()
    def initialize(
        self,
        x: Tensor,
        weight: Tensor,
        density_index: Tensor | None,
        generator: torch.Generator,
        *,
        variance_floor: float = 1e-3,
        observed: Tensor | None = None,
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
            Share of the variance of all frames below which no variance may fall.
        observed : Tensor of bool, shape (N, D), optional
            False where a dimension is missing.

        Raises
        ------
        ValueError
            If shapes disagree or a value is out of range.

        Notes
        -----
        The codewords start from clusters of all frames; the weights from how much of each codeword fell to
        the frames of a density.
        """
        self.codebook.initialize(x, weight, None, generator, variance_floor=variance_floor, observed=observed)
        if density_index is None:
            moments = weighted_moments(x.double(), weight.double(), observed)
            scaled = standardize(x.double(), *moments, observed)
            density_index = kmeans(scaled, self.num_densities, generator)
        share = torch.nn.functional.one_hot(density_index, self.num_densities) * weight.unsqueeze(-1)
        # With equal weights the shares of the codewords do not depend on the densities.
        self.weight_logits.zero_()
        occupancy = self.accumulate(x, share, observed=observed).occupancy
        # A tenth of a frame for each codeword: what a few frames do not show is not impossible.
        self.weight_logits.copy_((occupancy + 0.1).log())

    @torch.no_grad()
    def working_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """Tell in which dtype a model's E-step computes: the codebook's.

        Parameters
        ----------
        dtype : torch.dtype
            Of the features.

        Returns
        -------
        torch.dtype
            float32 or float64.
        """
        return self.codebook.working_dtype(dtype)

    def rounding(self) -> float:
        """Nats per frame that rounding may cost.

        Returns
        -------
        float
            The codebook's.
        """
        return self.codebook.rounding()

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
            Features in the dtype of the parameters.
        """
        weight = self.weight[density_index.flatten()]
        codeword = torch.multinomial(weight, 1, generator=generator).view(density_index.shape)
        return self.codebook.sample(codeword, generator)

    def generate(self, density_index: Tensor) -> Tensor:
        """Most likely features of known densities: those of each one's heaviest codeword.

        Parameters
        ----------
        density_index : Tensor of int64, shape (B, T)
            The density of each frame, 0..P-1; -1 behind the end.

        Returns
        -------
        Tensor, shape (B, T, S)
            As the codebook gives them.
        """
        codeword = self.weight.argmax(-1)[density_index.clamp_min(0)]
        return self.codebook.generate(codeword.masked_fill(density_index < 0, -1))

    def config(self) -> dict[str, Any]:
        """Describe the structure for ``save_model``.

        Returns
        -------
        dict
            P, and the codebook.
        """
        return {"num_densities": self.num_densities, "codebook": describe_model(self.codebook)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the structure that ``config`` described.

        Parameters
        ----------
        config : mapping
            What ``config`` returned.

        Returns
        -------
        SemiContinuousMixtures
            With fresh parameters.
        """
        return cls(config["num_densities"], cast(MixtureEmission[Any], build_model(config["codebook"])))

    def extra_repr(self) -> str:
        """Sizes, for ``repr``."""
        return f"num_densities={self.num_densities}"
