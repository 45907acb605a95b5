"""Mixtures of diagonal Gaussians, one per density of a model."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from hmm_models._numerics import log_softmax, logsumexp
from hmm_models._report import UpdateReport
from hmm_models._serialization import register_model
from hmm_models.emissions._accumulation import accumulate_firm, accumulate_soft, check_shares
from hmm_models.emissions._clustering import cluster_within, firm_statistics, kmeans
from hmm_models.emissions._expansion import Expansion, expand
from hmm_models.emissions._mixture_statistics import MixtureStatistics
from hmm_models.emissions._splitting import split_heaviest, split_targets

_LOGGER = logging.getLogger("hmm_models")
# The floor of a dimension that never varies: small enough for any unit, large enough for float32.
_SMALLEST_FLOOR = 1e-10
# Variances below this share of the squared mean are rounding, of sums of squares and of float32 features.
_UNRESOLVED = 1e-13


@register_model
class GaussianMixtures(nn.Module):
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

    Notes
    -----
    Means start at random from torch's global generator, variances at 1, weights equal; ``flat`` starts from
    the data's own mean and variance. Variances below ``variance_floor`` (D,), a buffer of 1e-6 until
    ``set_variance_floor``, count as the floor everywhere.

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

    variance_floor: Tensor

    def __init__(self, num_densities: int, num_mixtures: int, feature_dim: int) -> None:
        super().__init__()
        sizes = {"num_densities": num_densities, "num_mixtures": num_mixtures, "feature_dim": feature_dim}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} must be >= 1; got {size}")
        self.weight_logits = nn.Parameter(torch.zeros(num_densities, num_mixtures))
        self.mean = nn.Parameter(torch.randn(num_densities, num_mixtures, feature_dim))
        self.log_variance = nn.Parameter(torch.zeros(num_densities, num_mixtures, feature_dim))
        self.register_buffer("variance_floor", torch.full((feature_dim,), 1e-6))

    @classmethod
    def flat(
        cls,
        num_densities: int,
        global_mean: Tensor,
        global_variance: Tensor,
        *,
        num_mixtures: int = 1,
        variance_floor: float = 0.01,
    ) -> Self:
        """Start all densities alike, from the mean and variance of all frames (a flat start).

        Parameters
        ----------
        num_densities : int
            P.
        global_mean, global_variance : Tensor, shape (D,)
            Of all training frames; variances >= 0. Their dtype and device become the model's.
        num_mixtures : int, default 1
            Room for components; one is in use until ``split``.
        variance_floor : float, default 0.01
            Share of the global variance below which no variance may fall; see ``set_variance_floor``.

        Returns
        -------
        GaussianMixtures
            With equal densities.

        Raises
        ------
        ValueError
            If shapes disagree, or a value is not finite or a variance negative.
        """
        model = cls(num_densities, num_mixtures, global_mean.shape[-1]).to(global_mean)
        model.reset_flat(global_mean, global_variance, variance_floor=variance_floor)
        return model

    @torch.no_grad()
    def reset_flat(
        self, global_mean: Tensor, global_variance: Tensor, *, variance_floor: float = 0.01
    ) -> None:
        """Make all densities alike again, as ``flat`` does.

        Parameters
        ----------
        global_mean, global_variance : Tensor, shape (D,)
            Of all training frames.
        variance_floor : float, default 0.01
            Share of the global variance below which no variance may fall.

        Raises
        ------
        ValueError
            If shapes disagree, or a value is not finite or a variance negative.
        """
        if global_mean.shape != (self.feature_dim,) or not bool(torch.isfinite(global_mean).all()):
            raise ValueError(
                f"global_mean must have shape (D,) = ({self.feature_dim},) and be finite; got {global_mean}"
            )
        self.set_variance_floor(global_variance, variance_floor)
        unresolved = _UNRESOLVED * global_mean.square().to(self.variance_floor)
        self.variance_floor.copy_(self.variance_floor.maximum(unresolved))
        self.weight_logits[:, 0] = 0.0
        self.weight_logits[:, 1:] = -torch.inf
        self.mean.copy_(global_mean)
        self.log_variance.copy_(global_variance.to(self.variance_floor).maximum(self.variance_floor).log())

    @property
    def num_densities(self) -> int:
        """P."""
        return self.mean.shape[0]

    @property
    def num_mixtures(self) -> int:
        """M, the room for components in each density."""
        return self.mean.shape[1]

    @property
    def feature_dim(self) -> int:
        """D."""
        return self.mean.shape[2]

    @property
    def num_components(self) -> Tensor:
        """Components in use, shape (P,), int64."""
        return (self.weight_logits.detach() > -torch.inf).sum(-1)

    @property
    def weight(self) -> Tensor:
        """Mixture weights, shape (P, M); 0 for a component that is not in use."""
        return log_softmax(self.weight_logits).exp()

    @property
    def variance(self) -> Tensor:
        """Variances with the floor applied, shape (P, M, D)."""
        return self.log_variance.exp().maximum(self.variance_floor)

    def set_variance_floor(self, global_variance: Tensor, floor: float = 0.01) -> None:
        """Let no variance fall below a share of the variance of all frames.

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
        The floor of a dimension that never varies is 1e-10, so that it stays harmless.
        """
        if global_variance.shape != (self.feature_dim,):
            raise ValueError(
                f"global_variance must have shape (D,) = ({self.feature_dim},); "
                f"got {tuple(global_variance.shape)}"
            )
        if not bool((torch.isfinite(global_variance) & (global_variance >= 0.0)).all()):
            raise ValueError(f"global_variance must be finite and >= 0; got {global_variance.tolist()}")
        if not floor > 0.0:
            raise ValueError(f"floor must be > 0; got {floor}")
        self.variance_floor.copy_((floor * global_variance).clamp_min(_SMALLEST_FLOOR))

    def log_prob(self, x: Tensor) -> Tensor:
        r"""Log-density of each frame under each density.

        Parameters
        ----------
        x : Tensor, shape (..., D)
            Features; finite, and small enough that their squares are.

        Returns
        -------
        Tensor, shape (..., P)
            In the wider dtype of ``x`` and the parameters. ``-inf`` only for a density without components.

        Raises
        ------
        ValueError
            If the last axis is not D, or a feature is NaN or infinite.

        Notes
        -----
        One matrix product :math:`[x, x^2] \cdot [\mu/\sigma^2, -1/2\sigma^2]^T`, O(N P M D) time and
        O(N P M) memory, on features centred by the average of all means: float32 loses
        :math:`10^{-7} (\mu - \bar\mu)^2 / \sigma^2` and nothing to a common offset. Differentiable in
        ``x`` and the parameters; a component that is not in use gets zero gradients, and so does a variance
        below its floor.
        Computes in full precision under autocast. The check of ``x`` is left out under ``torch.compile``.
        """
        self._check_features(x)
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(torch.promote_types(x.dtype, self.mean.dtype))
            joint = self._expansion(x.dtype).log_joint(x.reshape(-1, self.feature_dim))
            return logsumexp(joint).reshape(*x.shape[:-1], self.num_densities)

    def forward(self, x: Tensor) -> Tensor:
        """Compute ``log_prob``."""
        return self.log_prob(x)

    def _check_features(self, x: Tensor) -> None:
        """Refuse features of another width, and NaN or infinity before it spreads to all frames."""
        if x.ndim < 1 or x.shape[-1] != self.feature_dim:
            raise ValueError(f"x must have shape (..., D) = (..., {self.feature_dim}); got {tuple(x.shape)}")
        if not x.is_floating_point():
            raise ValueError(f"x must be floating point; got {x.dtype}")
        if torch.compiler.is_compiling():
            return
        # The largest square that the parameters' dtype holds, times the room that a sum over D needs.
        limit = math.sqrt(torch.finfo(self.mean.dtype).max / (1e4 * self.feature_dim))
        wrong = ~(x.detach().abs() <= limit)
        if bool(wrong.any()):
            where = tuple(wrong.nonzero()[0].tolist())
            raise ValueError(
                f"x must be finite and at most {limit:.1e}; got {float(x[where])} at {where}, "
                f"{int(wrong.sum())} such values in all"
            )

    def _expansion(self, dtype: torch.dtype) -> Expansion:
        """Log-densities as a polynomial of the features."""
        log_variance = self.log_variance.to(dtype).maximum(self.variance_floor.to(dtype).log())
        return expand(log_softmax(self.weight_logits.to(dtype)), self.mean.to(dtype), log_variance)

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
            Share of the variance of all frames below which no variance may fall.

        Raises
        ------
        ValueError
            If shapes disagree or a value is out of range.

        Notes
        -----
        The components of a density start from clusters of its frames.
        """
        self._check_features(x)
        x, weight = x.double(), weight.double()
        mean = (weight.unsqueeze(-1) * x).sum(0) / weight.sum()
        variance = (weight.unsqueeze(-1) * (x - mean).square()).sum(0) / weight.sum()
        self.reset_flat(mean, variance, variance_floor=variance_floor)
        P, M = self.num_densities, self.num_mixtures
        self.split([M] * P)
        scaled = (x - mean) / torch.where(variance > 0.0, variance, 1.0).sqrt()
        if density_index is None:
            density_index = kmeans(scaled, P, generator)
        component = cluster_within(scaled, density_index, M, generator)
        self.update(
            firm_statistics(x, weight, density_index, component, (P, M)), min_occupancy=0.0, min_weight=0.0
        )

    @torch.no_grad()
    def rounding(self) -> float:
        """Nats per frame that rounding the parameters may cost.

        Returns
        -------
        float
            By the dtype of the parameters, and by how large the means are against the deviations.
        """
        precision, eps = 1.0 / self.variance.double(), torch.finfo(self.mean.dtype).eps
        mean = self.mean.double()
        stored = 0.5 * ((eps * mean).square() * precision).sum(-1)
        stored += eps * (1.0 + self.log_variance.double().abs().sum(-1))
        worked = 1e-13 * ((mean - mean.mean((0, 1))).square() * precision).sum(-1)
        return 1e-9 + float((stored + worked).max())

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

    @torch.no_grad()
    def accumulate(
        self,
        x: Tensor,
        density_posterior: Tensor | None = None,
        density_index: Tensor | None = None,
        weight: Tensor | None = None,
    ) -> MixtureStatistics:
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

        Returns
        -------
        MixtureStatistics
            In float64, on the device of ``x``.

        Raises
        ------
        ValueError
            If shapes disagree, values are out of range, or not exactly one of the two is given.

        Notes
        -----
        Computes in float64 whatever the dtype of ``x``. Soft: O(N P M D) time, memory bounded by blocks of
        frames. Firm: O(N M D) time, since a frame meets only the components of its own density.
        """
        if x.ndim != 2:
            raise ValueError(f"x must have shape (N, D) = (N, {self.feature_dim}); got {tuple(x.shape)}")
        self._check_features(x)
        N, P = x.shape[0], self.num_densities
        if weight is not None:
            check_shares("weight", weight, "(N,)", (N,))
        if density_posterior is not None and density_index is None:
            check_shares("density_posterior", density_posterior, "(N, P)", (N, P))
            share = density_posterior.double()
            share = share if weight is None else share * weight.double().unsqueeze(-1)
            return accumulate_soft(self._expansion(torch.float64), x.double(), share)
        if density_index is None or density_posterior is not None:
            raise ValueError("give exactly one of density_posterior and density_index")
        if density_index.shape != (N,) or density_index.dtype != torch.int64:
            raise ValueError(
                f"density_index must be int64 of shape (N,) = ({N},); "
                f"got {density_index.dtype} of shape {tuple(density_index.shape)}"
            )
        if N and not -1 <= int(density_index.min()) <= int(density_index.max()) < P:
            raise ValueError(
                f"density_index must be in -1..P-1 = -1..{P - 1}; "
                f"got {int(density_index.min())}..{int(density_index.max())}"
            )
        share = x.new_ones(N, dtype=torch.float64) if weight is None else weight.double()
        return accumulate_firm(self._expansion(torch.float64), x.double(), density_index, share)

    @torch.no_grad()
    def update(
        self,
        statistics: MixtureStatistics,
        *,
        min_occupancy: float = 1e-3,
        min_weight: float = 0.0,
        revive: bool = False,
    ) -> UpdateReport:
        """Replace the parameters by the most likely ones given the statistics (M-step).

        Parameters
        ----------
        statistics : MixtureStatistics
            From ``accumulate``, summed over the data.
        min_occupancy : float, default 1e-3
            Frames below which a component is removed. Kaldi uses 10.
        min_weight : float, default 0
            Weight within its density below which a component is removed. Kaldi uses 1e-5.
        revive : bool, default False
            Refill each removed component at once by splitting the heaviest one of its density.

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
        Variances below the floor are set to it, which is the best choice under that constraint, so the
        likelihood cannot fall; it can fall by removing components or reviving them. A density in which no
        component has enough frames keeps its parameters unchanged and is reported.
        """
        if statistics.first.shape != self.mean.shape:
            raise ValueError(
                f"statistics must have shape (P, M, D) = {tuple(self.mean.shape)}; "
                f"got {tuple(statistics.first.shape)}"
            )
        statistics = statistics.to(self.mean.device)
        occupancy = statistics.occupancy
        if not all(bool(torch.isfinite(s).all()) for s in (occupancy, statistics.first, statistics.second)):
            raise ValueError("statistics must be finite; got NaN or infinity")
        used = self.weight_logits > -torch.inf
        enough = used & (occupancy >= min_occupancy) & (occupancy > 0.0)
        enough &= occupancy >= min_weight * occupancy.sum(-1, keepdim=True)
        starved = ~enough.any(-1)
        removed = used & ~enough & ~starved.unsqueeze(-1)

        count = torch.where(enough, occupancy, 1.0).unsqueeze(-1)
        mean = statistics.first / count
        variance = statistics.second / count - mean.square()
        floored = (variance < self.variance_floor) & enough.unsqueeze(-1)
        log_variance = variance.maximum(self.variance_floor.double()).log()
        kept = torch.where(enough, occupancy, 0.0)
        logits = (kept / kept.sum(-1, keepdim=True)).log()

        self.mean.copy_(torch.where(enough.unsqueeze(-1), mean, self.mean))
        self.log_variance.copy_(torch.where(enough.unsqueeze(-1), log_variance, self.log_variance))
        self.weight_logits.copy_(torch.where(starved.unsqueeze(-1), self.weight_logits, logits))
        if revive:
            self.split(used.sum(-1))
        gone = tuple((int(p), int(m)) for p, m in removed.nonzero().tolist())
        report = UpdateReport(
            removed=gone,
            revived=gone if revive else (),
            starved=tuple(starved.nonzero().flatten().tolist()),
            num_floored=int(floored.sum()),
        )
        _log(report)
        return report

    @torch.no_grad()
    def split(
        self,
        num_components: int | Sequence[int] | Tensor,
        occupancy: Tensor | None = None,
        *,
        power: float = 0.25,
        min_occupancy: float = 20.0,
        perturbation: float = 0.2,
    ) -> None:
        """Add components by splitting the heaviest ones.

        Parameters
        ----------
        num_components : int, or sequence of int or Tensor of shape (P,)
            Components that each density shall have; or one number, the budget of all densities together,
            which ``split_targets`` hands out by occupancy. Densities never lose components.
        occupancy : Tensor, shape (P,) or (P, M), optional
            Frames of each density, for handing out a budget; all alike if omitted.
        power, min_occupancy : float
            See ``split_targets``; only for a budget with ``occupancy``.
        perturbation : float, default 0.2
            Distance of the two halves from the component they come from, in standard deviations per
            dimension (root mean square), > 0. It halves with each further split of a half.

        Raises
        ------
        ValueError
            If shapes disagree or a target is < 1.

        Notes
        -----
        Deterministic: the heaviest component is split (the first one of equals), along a fixed
        direction. M grows when a target needs it: the parameters are then new tensors, which an
        existing optimizer does not know. The likelihood can fall a little until the next EM iteration.
        """
        target = self._split_target(num_components, occupancy, power, min_occupancy)
        self._grow(int(target.max()))
        weight, mean, log_variance = split_heaviest(
            self.weight.double(), self.mean.double(), self.variance.log().double(), target, perturbation
        )
        self.weight_logits.copy_(weight.log())
        self.mean.copy_(mean)
        self.log_variance.copy_(log_variance)

    def _split_target(
        self,
        num_components: int | Sequence[int] | Tensor,
        occupancy: Tensor | None,
        power: float,
        min_occupancy: float,
    ) -> Tensor:
        """Components that each density shall have, shape (P,)."""
        P = self.num_densities
        if isinstance(num_components, int):
            if occupancy is None:
                return split_targets(torch.ones(P), num_components, power=power, min_occupancy=0.0)
            frames = occupancy.sum(-1) if occupancy.ndim == 2 else occupancy
            if frames.shape != (P,):
                raise ValueError(
                    f"occupancy must have shape (P,) = ({P},) or (P, M); got {tuple(occupancy.shape)}"
                )
            return split_targets(frames, num_components, power=power, min_occupancy=min_occupancy).to(
                self.mean.device
            )
        target = torch.as_tensor(num_components, device=self.mean.device)
        if target.shape != (P,) or target.is_floating_point() or bool((target < 1).any()):
            raise ValueError(
                f"num_components must be integers >= 1 of shape (P,) = ({P},), or one budget; "
                f"got {num_components}"
            )
        return target

    def _grow(self, num_mixtures: int) -> None:
        """Make room for more components, none of them in use."""
        extra = num_mixtures - self.num_mixtures
        if extra <= 0:
            return
        P, D = self.num_densities, self.feature_dim
        unused = self.weight_logits.new_full((P, extra), -torch.inf)
        for name, filler in (
            ("weight_logits", unused),
            ("mean", self.mean[:, :1].expand(P, extra, D)),
            ("log_variance", self.log_variance[:, :1].expand(P, extra, D)),
        ):
            old: Tensor = getattr(self, name)
            setattr(self, name, nn.Parameter(torch.cat([old, filler], 1), requires_grad=old.requires_grad))

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
        mean, deviation = self.mean[index, component], self.variance[index, component].sqrt()
        noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
        return (mean + deviation * noise).reshape(*density_index.shape, self.feature_dim)

    def config(self) -> dict[str, Any]:
        """Describe the structure for ``save_model``.

        Returns
        -------
        dict
            The arguments of the class.
        """
        return {
            "num_densities": self.num_densities,
            "num_mixtures": self.num_mixtures,
            "feature_dim": self.feature_dim,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the structure that ``config`` described.

        Parameters
        ----------
        config : mapping
            The arguments of the class.

        Returns
        -------
        GaussianMixtures
            With fresh parameters.
        """
        return cls(**config)

    def extra_repr(self) -> str:
        """Sizes, for ``repr``."""
        return ", ".join(f"{name}={size}" for name, size in self.config().items())


def _log(report: UpdateReport) -> None:
    """Say what an M-step did that a user should know."""
    if report.removed:
        action = "removed and revived" if report.revived else "removed"
        _LOGGER.info("%s %d components with too few frames: %s", action, len(report.removed), report.removed)
    if report.starved:
        _LOGGER.info("kept %d densities without enough frames: %s", len(report.starved), report.starved)
    if report.num_floored:
        _LOGGER.debug("raised %d variances to the floor", report.num_floored)
