"""What Gaussian mixtures of every covariance type have in common."""

import logging
import math
from abc import abstractmethod
from typing import Generic, TypeVar

import torch
from torch import Tensor

from hmm_models._numerics import log_softmax
from hmm_models._report import UpdateReport
from hmm_models._tracing import is_recorded
from hmm_models.emissions._accumulation import Known, Membership, membership
from hmm_models.emissions._clustering import cluster_within, kmeans
from hmm_models.emissions._densities import Densities
from hmm_models.emissions._mixture_parameters import MixtureParameters
from hmm_models.emissions._mixture_statistics import FullMixtureStatistics, MixtureStatistics
from hmm_models.emissions._moments import standardize, weighted_moments
from hmm_models.emissions._prior import MixturePrior
from hmm_models.generation._mlpg import most_likely

_LOGGER = logging.getLogger("hmm_models")
# Nats per frame that the E-step may lose by working in float32.
_NEGLIGIBLE = 1e-4
# Nats per frame that products lose in float64, per squared distance of the means.
_WORKED_DOUBLE = 1e-13

S = TypeVar("S", MixtureStatistics, FullMixtureStatistics)


class MixtureEmission(MixtureParameters, Generic[S]):
    """P densities over D features, each a mixture of at most M Gaussians, whatever their covariances.

    ``windows`` says which features are differences of others: ``generate`` is then smooth.
    """

    @abstractmethod
    def _densities(self, dtype: torch.dtype, *, missing: bool = False) -> Densities[S]:
        """Parameters made ready for products; ``missing`` says whether dimensions may be."""

    @abstractmethod
    def _update_covariances(
        self,
        statistics: S,
        mean: Tensor,
        enough: Tensor,
        prior: MixturePrior | None,
    ) -> int:
        """Replace covariances by the most likely ones around new means (P, M, D); count what was floored."""

    @abstractmethod
    def _losses(self) -> tuple[float, float]:
        """Nats per frame, of rounding the parameters, and of products per rounding of their dtype."""

    @abstractmethod
    def _covariance_log_prior(self, prior: MixturePrior) -> float:
        """Penalty of means and covariances, see ``MixturePrior``."""

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
            In the wider dtype of ``x`` and the parameters. ``-inf`` only for a density without components.

        Raises
        ------
        ValueError
            If the last axis is not D, the mask has another shape, or a feature is NaN or infinite.

        Notes
        -----
        Cost and accuracy are those of the class; memory beside the result is bounded by blocks of frames
        where no gradient is recorded, and O(N P M) of that and more where one is. Differentiable in ``x`` and
        the parameters; a component that is not in use gets zero gradients. Computes in full precision under
        autocast. The check of ``x`` is left out under ``torch.compile``.
        """
        known = self._read(x, observed)
        with torch.autocast(x.device.type, enabled=False):
            flat = known.to(torch.promote_types(x.dtype, self.mean.dtype)).reshape(-1, self.feature_dim)
            mask = None if observed is None else observed.reshape(-1, self.feature_dim)
            result = self._log_prob(flat, mask)
        # What is not finite shows in the result, which is smaller.
        if not is_recorded() and not math.isfinite(float(result.detach().sum())):
            self._check_values(known)
        return result.reshape(*x.shape[:-1], self.num_densities)

    def forward(self, x: Tensor) -> Tensor:
        """Compute ``log_prob``."""
        return self.log_prob(x)

    def _read(self, x: Tensor, observed: Tensor | None) -> Tensor:
        """Refuse features of another width; put zeros where nothing was observed."""
        if x.ndim < 1 or x.shape[-1] != self.feature_dim:
            raise ValueError(f"x must have shape (..., D) = (..., {self.feature_dim}); got {tuple(x.shape)}")
        if not x.is_floating_point():
            raise ValueError(f"x must be floating point; got {x.dtype}")
        if observed is None:
            return x
        if observed.dtype != torch.bool or observed.shape != x.shape:
            raise ValueError(
                f"observed must be bool of the shape of x, {tuple(x.shape)}; "
                f"got {observed.dtype} of shape {tuple(observed.shape)}"
            )
        return x.masked_fill(~observed, 0.0)

    def _check_values(self, x: Tensor) -> None:
        """Refuse NaN and infinity, and what is too large to be squared."""
        if not x.numel():
            return
        # The largest square that the parameters' dtype holds, times the room that a sum over D needs.
        limit = math.sqrt(torch.finfo(self.mean.dtype).max / (1e4 * self.feature_dim))
        low, high = torch.aminmax(x.detach())
        if not -limit <= float(low) <= float(high) <= limit:
            wrong = ~(x.detach().abs() <= limit)
            where = tuple(wrong.nonzero()[0].tolist())
            raise ValueError(
                f"x must be finite and at most {limit:.1e}; got {float(x[where])} at {where}, "
                f"{int(wrong.sum())} such values in all"
            )

    def _log_prob(self, x: Tensor, observed: Tensor | None) -> Tensor:
        """Log-density (N, P) of checked frames."""
        return self._densities(x.dtype, missing=observed is not None).log_prob(x, observed)

    def _collect(self, x: Tensor, observed: Tensor | None, membership: Membership, dtype: torch.dtype) -> S:
        """Statistics of checked frames, computed in this dtype."""
        densities = self._densities(dtype, missing=observed is not None)
        return densities.statistics(membership.collect(densities, x, observed))

    @torch.no_grad()
    def working_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """Tell in which dtype a model's E-step computes densities and statistics of features.

        Parameters
        ----------
        dtype : torch.dtype
            Of the features.

        Returns
        -------
        torch.dtype
            float64 if that of the features or the parameters is, or where float32 could lose more than
            1e-4 nats per frame: where means are far from each other against the deviations. Else float32.
        """
        if torch.float64 in {dtype, self.mean.dtype}:
            return torch.float64
        loss = torch.finfo(torch.float32).eps * self._losses()[1]
        return torch.float32 if loss <= _NEGLIGIBLE else torch.float64

    @torch.no_grad()
    def rounding(self) -> float:
        """Nats per frame that rounding may cost.

        Returns
        -------
        float
            By the dtype of the parameters, by how large the means are against the deviations, and by the
            dtype in which EM works on features of the same dtype.
        """
        stored, spread = self._losses()
        if self.working_dtype(self.mean.dtype) == torch.float32:
            return stored + torch.finfo(torch.float32).eps * (1.0 + spread)
        return 1e-9 + stored + _WORKED_DOUBLE * spread

    @torch.no_grad()
    def initialize(
        self,
        x: Tensor,
        weight: Tensor,
        density_index: Tensor | None,
        generator: torch.Generator,
        *,
        variance_floor: float = 1e-3,
        num_components: int | None = None,
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
        num_components : int, optional
            Components of each density that are in use, 1..M; all M if omitted. ``split`` takes more into use.
        observed : Tensor of bool, shape (N, D), optional
            False where a dimension is missing.

        Raises
        ------
        ValueError
            If shapes disagree or a value is out of range.

        Notes
        -----
        The components of a density start from clusters of its frames, in which a missing value stands at the
        mean of its dimension.
        """
        P, M = self.num_densities, self.num_mixtures
        used = M if num_components is None else num_components
        if not 1 <= used <= M:
            raise ValueError(f"num_components must be in 1..num_mixtures = 1..{M}; got {num_components}")
        x = self._read(x, observed)
        self._check_values(x)
        x, weight = x.double(), weight.double()
        mean, variance = weighted_moments(x, weight, observed)
        self.reset_flat(mean, variance, variance_floor=variance_floor)
        self.split([used] * P)
        scaled = standardize(x, mean, variance, observed)
        if density_index is None:
            density_index = kmeans(scaled, P, generator)
        component = density_index * M + cluster_within(scaled, density_index, used, generator)
        self.update(
            self._collect(x, observed, Known(component, weight), x.dtype), min_occupancy=0.0, min_weight=0.0
        )

    @abstractmethod
    def zero_statistics(self, device: torch.device | None = None) -> S:
        """Statistics of no data, to add to.

        Parameters
        ----------
        device : torch.device, optional
            Where the sums live.

        Returns
        -------
        MixtureStatistics or FullMixtureStatistics
            Zeros in float64.
        """

    @torch.no_grad()
    def accumulate(
        self,
        x: Tensor,
        density_posterior: Tensor | None = None,
        density_index: Tensor | None = None,
        weight: Tensor | None = None,
        *,
        observed: Tensor | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> S:
        """Collect what ``update`` needs from frames whose densities are known, softly or firmly.

        Parameters
        ----------
        x : Tensor, shape (N, D)
            Features, finite.
        density_posterior : Tensor, shape (N, P), optional
            Share of each density in each frame, finite and >= 0 (a state posterior). Give this or
            ``density_index``.
        density_index : Tensor of int64, shape (N,), optional
            The density of each frame, or -1 for a frame to leave out.
        weight : Tensor, shape (N,), optional
            Weight of each frame, finite and >= 0; 1 if omitted.
        observed : Tensor of bool, shape (N, D), optional
            False where a dimension is missing: what is expected there is added. The values are never read.
        dtype : torch.dtype, default torch.float64
            In which products are computed, on centred features; sums over blocks of frames are in float64.
            See ``working_dtype``.

        Returns
        -------
        MixtureStatistics or FullMixtureStatistics
            In float64, on the device of ``x``.

        Raises
        ------
        ValueError
            If shapes disagree, values are out of range, or not exactly one of the two is given.

        Notes
        -----
        Soft: every component meets every frame. Firm: a frame meets only the components of its own density.
        Memory is bounded by blocks of frames.
        """
        if x.ndim != 2:
            raise ValueError(f"x must have shape (N, D) = (N, {self.feature_dim}); got {tuple(x.shape)}")
        x = self._read(x, observed)
        member = membership(x, self.num_densities, density_posterior, density_index, weight, dtype)
        found = self._collect(x, observed, member, dtype)
        # What is not finite shows in the sums.
        if not all(math.isfinite(float(value.sum())) for value in found.tensors()):
            self._check_values(x)
        return found

    @torch.no_grad()
    def update(
        self,
        statistics: S,
        *,
        min_occupancy: float = 1e-3,
        min_weight: float = 0.0,
        revive: bool = False,
        prior: MixturePrior | None = None,
    ) -> UpdateReport:
        """Replace the parameters by the most likely ones given the statistics (M-step).

        Parameters
        ----------
        statistics : MixtureStatistics or FullMixtureStatistics
            From ``accumulate``, summed over the data.
        min_occupancy : float, default 1e-3
            Frames below which a component is removed. Kaldi uses 10.
        min_weight : float, default 0
            Weight within its density below which a component is removed. Kaldi uses 1e-5.
        revive : bool, default False
            Refill each removed component at once by splitting the heaviest one of its density.
        prior : MixturePrior, optional
            The parameters become the most likely ones given the statistics and this belief; it is
            ``log_likelihood + log_prior(prior)`` that cannot fall then.

        Returns
        -------
        UpdateReport
            What was removed, revived, kept for lack of data and floored; also logged to ``hmm_models``.

        Raises
        ------
        ValueError
            If the statistics are of another shape, or not finite.

        Notes
        -----
        Variances below the floor are set to it (full covariances: in every direction), which is the best
        choice under that constraint, so the likelihood cannot fall; it can fall by removing components or
        reviving them. A density in which no component has enough frames keeps its parameters unchanged and is
        reported.
        """
        self._check_statistics(statistics)
        statistics = statistics.to(self.mean.device)
        occupancy = statistics.occupancy
        if prior is not None:
            prior = prior.checked(self.mean, self.covariance)
        used = self.weight_logits > -torch.inf
        enough = used & (occupancy >= min_occupancy) & (occupancy > 0.0)
        enough &= occupancy >= min_weight * occupancy.sum(-1, keepdim=True)
        starved = ~enough.any(-1)
        removed = used & ~enough & ~starved.unsqueeze(-1)

        count, first = torch.where(enough, occupancy, 1.0).unsqueeze(-1), statistics.first
        if prior is not None and prior.mean is not None:
            count, first = count + prior.mean_strength, first + prior.mean_strength * prior.mean
        mean = torch.where(enough.unsqueeze(-1), first / count, self.mean.double())
        kept = torch.where(enough, occupancy + (prior.weight_strength if prior else 0.0), 0.0)
        logits = (kept / kept.sum(-1, keepdim=True)).log()

        self.weight_logits.copy_(torch.where(starved.unsqueeze(-1), self.weight_logits, logits))
        num_floored = self._update_covariances(statistics, mean, enough, prior)
        self.mean.copy_(mean)
        if revive:
            self.split(used.sum(-1))
        gone = tuple((int(p), int(m)) for p, m in removed.nonzero().tolist())
        report = UpdateReport(
            removed=gone,
            revived=gone if revive else (),
            starved=tuple(starved.nonzero().flatten().tolist()),
            num_floored=num_floored,
        )
        _log(report)
        return report

    def _check_statistics(self, statistics: S) -> None:
        """Refuse statistics of another shape, and NaN or infinity."""
        if statistics.first.shape != self.mean.shape:
            raise ValueError(
                f"statistics must have shape (P, M, D) = {tuple(self.mean.shape)}; "
                f"got {tuple(statistics.first.shape)}"
            )
        expected = self.zero_statistics().second.shape
        if statistics.second.shape != expected:
            raise ValueError(
                f"statistics.second must have shape {tuple(expected)}; got {tuple(statistics.second.shape)}"
            )
        if not all(bool(torch.isfinite(value).all()) for value in statistics.tensors()):
            raise ValueError("statistics must be finite; got NaN or infinity")

    @torch.no_grad()
    def log_prior(self, prior: MixturePrior) -> float:
        """Logarithm of a prior at the present parameters, up to a constant.

        Parameters
        ----------
        prior : MixturePrior
            As given to ``update``.

        Returns
        -------
        float
            In nats; what ``update`` with this prior adds to the log-likelihood.

        Raises
        ------
        ValueError
            If the prior does not fit the model.
        """
        prior = prior.checked(self.mean, self.covariance)
        log_weight = log_softmax(self.weight_logits.double())
        weights = prior.weight_strength * float(log_weight[log_weight > -torch.inf].sum())
        return weights + self._covariance_log_prior(prior)

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
        index = density_index.flatten()
        component = torch.multinomial(self.weight[index], 1, generator=generator).squeeze(-1)
        mean = self.mean[index, component]
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        sample = mean + self._deviation(index, component, noise)
        return sample.reshape(*density_index.shape, self.feature_dim)

    def generate(self, density_index: Tensor) -> Tensor:
        """Most likely features of known densities, smooth where there are ``windows``.

        Parameters
        ----------
        density_index : Tensor of int64, shape (B, T)
            The density of each frame, 0..P-1; -1 behind the end.

        Returns
        -------
        Tensor, shape (B, T, S)
            The means of each density's heaviest component; with N windows the S = D / N static features that
            ``mlpg`` makes of these and of their variances, S = D otherwise. 0 behind the end.

        Raises
        ------
        ValueError
            If there are windows and a parameter is not finite.
        """
        lengths = (density_index >= 0).sum(1)
        index = density_index.clamp_min(0)
        component = self.weight_logits.argmax(-1)[index]
        return most_likely(
            self.mean[index, component], self.variance[index, component], self.windows, lengths
        )


def _log(report: UpdateReport) -> None:
    """Say what an M-step did that a user should know."""
    if report.removed:
        action = "removed and revived" if report.revived else "removed"
        _LOGGER.info("%s %d components with too few frames: %s", action, len(report.removed), report.removed)
    if report.starved:
        _LOGGER.info("kept %d densities without enough frames: %s", len(report.starved), report.starved)
    if report.num_floored:
        _LOGGER.debug("raised %d variances to the floor", report.num_floored)
