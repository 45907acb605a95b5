"""Models between what they were and what a speaker's data say (MAP)."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, Literal, cast, get_args

import torch
from torch import Tensor

from hmm_models._numerics import log_softmax
from hmm_models.adaptation._checks import check_strength
from hmm_models.adaptation._em import e_step, run_adaptation
from hmm_models.adaptation._report import Adaptation
from hmm_models.adaptation._transformed import unwrapped
from hmm_models.emissions._mixture_emission import MixtureEmission
from hmm_models.emissions._mixture_statistics import FullMixtureStatistics, MixtureStatistics
from hmm_models.emissions._mixtures import GaussianMixtures
from hmm_models.models._em_sequence_model import EMSequenceModel
from hmm_models.training._em import SequenceStatistics
from hmm_models.transitions._table import ProbabilityTable

Part = Literal["mean", "covariance", "weight", "transition"]
_TABLES = ("initial", "transition")


@torch.no_grad()
def map_prior(densities: GaussianMixtures, strength: float) -> MixtureStatistics:
    r"""Statistics of frames that the densities expect: added to those of data, they make the M-step MAP.

    Parameters
    ----------
    densities : GaussianMixtures
        The prior.
    strength : float
        Frames of each density that count as if they had been seen, >= 0.

    Returns
    -------
    MixtureStatistics
        In float64. Without others, ``update`` makes of them the densities themselves.

    Raises
    ------
    ValueError
        If ``strength`` is negative or not finite.

    Notes
    -----
    For densities that are trained along known paths; `adapt_map` adapts a whole model.

    References
    ----------
    .. [1] J.-L. Gauvain and C.-H. Lee, "Maximum a posteriori estimation for multivariate Gaussian mixture
       observations of Markov chains", IEEE Trans. Speech and Audio Processing 2(2), 1994.

    Examples
    --------
    >>> import torch
    >>> densities = GaussianMixtures(1, 1, 1)
    >>> _ = densities.mean.data.zero_()
    >>> heard = densities.accumulate(
    ...     torch.full((30, 1), 4.0), density_index=torch.zeros(30, dtype=torch.int64)
    ... )
    >>> report = densities.update(heard + map_prior(densities, 10.0))
    >>> densities.mean.item()
    3.0
    """
    check_strength("strength", strength)
    mean, occupancy = densities.mean.double(), strength * densities.weight.double()
    count = occupancy.unsqueeze(-1)
    return MixtureStatistics(occupancy, count * mean, count * (densities.variance.double() + mean.square()))


@torch.no_grad()
def adapt_map(
    model: EMSequenceModel[Any, Any],
    x: Tensor,
    lengths: Tensor | None = None,
    weights: Tensor | None = None,
    *,
    strength: float = 10.0,
    parts: Sequence[Part] = ("mean",),
    max_iterations: int = 5,
    tolerance: float = 1e-3,
    **data: Tensor | None,
) -> Adaptation:
    r"""Estimate a speaker's model with the given one as the prior (MAP adaptation).

    With *n* frames of a Gaussian, whose average is :math:`\bar x`, and :math:`\tau` frames of the prior, its
    mean becomes

    .. math:: \hat \mu = \frac{n \bar x + \tau \mu}{n + \tau}

    and the other parts follow in the same way, as if the model given had produced :math:`\tau` frames of each
    Gaussian for means and covariances, of each state for weights, and :math:`\tau` steps out of each state.

    Parameters
    ----------
    model : EMSequenceModel
        With ``GaussianMixtures`` or their sisters. Stays as it is.
    x, lengths, **data
        The data of one speaker, see ``SequenceModel``; ``allowed`` where states are known.
    weights : Tensor, shape (B,), optional
        Weight of each sequence, finite and >= 0; 1 if omitted.
    strength : float, default 10.0
        :math:`\tau`, > 0.
    parts : sequence of {"mean", "covariance", "weight", "transition"}, default ("mean",)
        What is adapted; ``"transition"`` are the tables of starts and steps, and ``"covariance"`` needs
        ``"mean"``. The rest stays.
    max_iterations : int, default 5
        E- and M-steps, at most.
    tolerance : float, default 1e-3
        Stop when an iteration gains less, in nats per frame.

    Returns
    -------
    Adaptation
        ``model`` is a copy with other parameters. What no frame fell to is as it was.

    Raises
    ------
    TypeError
        If the emission is of another kind.
    ValueError
        If shapes disagree, a value is out of range, or no path can produce one of the sequences.
    LikelihoodDecreaseError
        If an iteration lowers the likelihood, which it cannot but for rounding.

    Notes
    -----
    The likelihood plus the logarithm of the prior never falls. Gaussians of which the data have nothing do
    not move: where there are only seconds, MLLR and CMLLR reach more of them.

    References
    ----------
    .. [1] J.-L. Gauvain and C.-H. Lee, "Maximum a posteriori estimation for multivariate Gaussian mixture
       observations of Markov chains", IEEE Trans. Speech and Audio Processing 2(2), 1994.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import GaussianHMM
    >>> model = GaussianHMM(1, 1)
    >>> _ = model.emission.mean.data.zero_()
    >>> adaptation = adapt_map(model, torch.full((1, 30, 1), 4.0), strength=10.0)
    >>> adaptation.model.emission.mean.item()
    3.0
    """
    if not 0.0 < strength < float("inf"):
        raise ValueError(f"strength must be > 0 and finite; got {strength}")
    unknown = sorted(set(parts) - set(get_args(Part)))
    if unknown or ("covariance" in parts and "mean" not in parts):
        raise ValueError(
            f'parts must be of {get_args(Part)}, "covariance" only with "mean"; got {tuple(parts)}'
        )
    adapted = deepcopy(model)
    prior = Prior(model, strength, frozenset(parts))

    def update(statistics: SequenceStatistics) -> None:
        prior.update(adapted, statistics)

    fit, frames = run_adaptation(
        lambda: e_step(adapted, {"x": x, "lengths": lengths, "weights": weights, **data}),
        update,
        _mixtures(adapted).rounding,
        lambda: prior.log_density(adapted),
        max_iterations,
        tolerance,
    )
    return Adaptation(adapted, fit.log_likelihood, frames, fit.converged, ())


def _mixtures(model: EMSequenceModel[Any, Any]) -> MixtureEmission[Any]:
    """Gaussians of a model, as they are or behind a transform."""
    emission = unwrapped(model.emission)[1]
    if not isinstance(emission, MixtureEmission):
        raise TypeError(
            "emission must be GaussianMixtures or one of its sisters, as they are or in a "
            f"TransformedEmission; got {type(emission).__name__}"
        )
    return emission


class Prior:
    """What a model would have seen, had it produced so many frames of each Gaussian."""

    def __init__(self, model: EMSequenceModel[Any, Any], strength: float, parts: frozenset[str]) -> None:
        emission = _mixtures(model)
        self._parts, self._strength = parts, strength
        self._mean, self._covariance = emission.mean.double(), _covariance(emission)
        self._used = emission.weight_logits > -torch.inf
        self._rows = {"weight": emission.weight.double()}
        self._rows |= {name: _table(model, name).log_prob().double().exp() for name in _TABLES}
        self._frames = _expected(emission, strength * self._used.double())

    def update(self, model: EMSequenceModel[Any, Any], statistics: SequenceStatistics) -> None:
        """Estimate the parts from these frames and those of the data; leave the others."""
        emission = _mixtures(model)
        counts: Any = statistics.emission
        before = {name: value.clone() for name, value in emission.state_dict().items()}
        emission.update(counts + self._frames, min_occupancy=0.0)
        share = counts.occupancy + self._strength * self._rows["weight"]
        own = {"weight": {"weight_logits"}, "mean": {"mean"}}
        own["covariance"] = before.keys() - {"weight_logits", "mean"}
        for part, names in own.items():
            if part not in self._parts:
                emission.load_state_dict({name: before[name] for name in names}, strict=False)
        if "weight" in self._parts:
            emission.weight_logits.copy_(log_softmax(torch.where(self._used, share.log(), -torch.inf)))
        if "transition" in self._parts:
            for name in _TABLES:
                table, steps = _table(model, name), getattr(statistics, name)
                table.update(steps + self._strength * self._rows[name])

    def log_density(self, model: EMSequenceModel[Any, Any]) -> float:
        """Logarithm of the prior at a model's parameters, up to a constant."""
        emission = _mixtures(model)
        change = emission.mean.double() - self._mean
        covariance = _covariance(emission)
        if covariance.ndim == 3:
            spread = covariance.log() + (self._covariance + change.square()) / covariance
        else:
            factor = torch.linalg.cholesky(covariance)
            inverse = torch.cholesky_inverse(factor)
            products = self._covariance + change.unsqueeze(-1) * change.unsqueeze(-2)
            spread = 2.0 * factor.diagonal(dim1=-2, dim2=-1).log() + (inverse * products).sum(-1)
        total = -0.5 * float(spread.sum(-1)[self._used].sum())
        rows = {"weight": log_softmax(emission.weight_logits.double())}
        rows |= {name: _table(model, name).log_prob().double() for name in _TABLES}
        for name, log_prob in rows.items():
            believed = self._rows[name]
            total += float((believed * torch.where(believed > 0.0, log_prob, 0.0)).sum())
        return self._strength * total


def _covariance(emission: MixtureEmission[Any]) -> Tensor:
    """Variances (P, M, D), or covariances (P, M, D, D), in float64."""
    covariance = emission.covariance.double()
    if covariance.ndim == 4:
        return covariance.expand(*emission.weight_logits.shape, -1, -1)
    return emission.variance.double()


def _expected(emission: MixtureEmission[Any], occupancy: Tensor) -> MixtureStatistics | FullMixtureStatistics:
    """Statistics of so many frames (P, M) of each Gaussian."""
    count, mean, covariance = occupancy.unsqueeze(-1), emission.mean.double(), _covariance(emission)
    if covariance.ndim == 3:
        return MixtureStatistics(occupancy, count * mean, count * (mean.square() + covariance))
    products = count.unsqueeze(-1) * (mean.unsqueeze(-1) * mean.unsqueeze(-2) + covariance)
    return FullMixtureStatistics(occupancy, count * mean, products.sum_to_size(emission.covariance.shape))


def _table(model: EMSequenceModel[Any, Any], name: str) -> ProbabilityTable:
    """Return starts or steps of a model."""
    return cast(ProbabilityTable, model.get_submodule(name))
