"""A speaker's CMLLR transform in front of a model."""

from copy import deepcopy
from typing import Any, cast

import torch
from torch import Tensor

from hmm_models.adaptation._affine import AffineTransform
from hmm_models.adaptation._cmllr import Structure, affordable_structure, check_structure, estimate_cmllr
from hmm_models.adaptation._cmllr_statistics import (
    CMLLRStatistics,
    accumulate_cmllr,
    cmllr_prior,
    gaussians,
)
from hmm_models.adaptation._em import e_step, run_adaptation
from hmm_models.adaptation._report import Adaptation, AdaptedClass
from hmm_models.adaptation._transformed import TransformedEmission, wrapped
from hmm_models.models._em_sequence_model import EMSequenceModel
from hmm_models.training._em import SequenceStatistics


class _Collector(TransformedEmission):
    """An emission whose statistics are those of the transform before it."""

    def zero_statistics(self, device: torch.device | None = None) -> CMLLRStatistics:
        """Statistics of no data."""
        return CMLLRStatistics.zeros(self.feature_dim, device)

    def accumulate(self, x: Tensor, density_posterior: Tensor) -> CMLLRStatistics:
        """Collect what ``estimate_cmllr`` needs."""
        return accumulate_cmllr(self, x, density_posterior)


@torch.no_grad()
def collect_cmllr(
    model: EMSequenceModel[Any, Any],
    x: Tensor,
    lengths: Tensor | None = None,
    weights: Tensor | None = None,
    *,
    transform: AffineTransform | None = None,
    **data: Tensor | None,
) -> SequenceStatistics:
    """Collect what ``estimate_cmllr`` needs from a model's posteriors (E-step).

    Parameters
    ----------
    model : EMSequenceModel
        A ``GaussianHMM``, say, with diagonal or spherical covariances.
    x, lengths, **data
        The data of one speaker, see ``SequenceModel``; ``allowed`` where states are known. Single dimensions
        cannot be missing.
    weights : Tensor, shape (B,), optional
        Weight of each sequence, finite and >= 0; 1 if omitted.
    transform : AffineTransform, optional
        The present one of the speaker; none if omitted.

    Returns
    -------
    SequenceStatistics
        Whose ``emission`` is a ``CMLLRStatistics``: those of several models, one for each word, say, add.

    Raises
    ------
    TypeError
        If the emission has no diagonal Gaussians, or single dimensions are missing.
    ValueError
        As ``accumulate`` of the model, or if no path can produce one of the sequences.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import GaussianHMM, estimate_cmllr
    >>> words = [GaussianHMM(3, 2), GaussianHMM(5, 2)]
    >>> spoken = [torch.randn(4, 30, 2), torch.randn(2, 40, 2)]
    >>> parts = [collect_cmllr(word, x).emission for word, x in zip(words, spoken)]
    >>> estimate = estimate_cmllr(parts[0] + parts[1])
    >>> estimate.occupancy
    200.0
    """
    before, densities = gaussians(model.emission)
    if transform is None:
        transform = AffineTransform.identity(densities.feature_dim, torch.float64).to(densities.mean.device)
    observed = data.get("observed")
    if observed is not None and observed.ndim > 2:
        raise TypeError(
            f"observed must have shape (B, T): transforms need whole frames; got {tuple(observed.shape)}"
        )
    view = model.with_emission(wrapped(before, _Collector(transform, densities)))
    return e_step(view, {"x": x, "lengths": lengths, "weights": weights, **data})


class SpeakerTransform:
    """The transform of one speaker, re-estimated iteration by iteration."""

    def __init__(
        self,
        prior: CMLLRStatistics,
        *,
        structure: Structure,
        num_blocks: int,
        min_count: float,
        max_sweeps: int,
    ) -> None:
        check_structure(structure, num_blocks, min_count)
        self.transform = AffineTransform.identity(len(prior.first), torch.float64).to(prior.first.device)
        self.structure = structure
        self.occupancy = 0.0
        self._chosen = False
        self._prior = prior
        self._num_blocks, self._min_count, self._max_sweeps = num_blocks, min_count, max_sweeps
        self._unadapted = prior.auxiliary(self.transform)

    def update(self, statistics: CMLLRStatistics) -> None:
        """Re-estimate; the number of frames decides once about the structure."""
        if not self._chosen:
            self.occupancy, self._chosen = float(statistics.occupancy), True
            self.structure = affordable_structure(
                self.structure, self.occupancy, len(statistics.first), self._num_blocks, self._min_count
            )
        self.transform = estimate_cmllr(
            statistics,
            structure=self.structure,
            num_blocks=self._num_blocks,
            min_count=0.0,
            prior=self._prior,
            initial=self.transform,
            max_sweeps=self._max_sweeps,
        ).transform

    def log_prior(self) -> float:
        """Tell what the prior says of the transform, against the identity."""
        return self._prior.auxiliary(self.transform) - self._unadapted


@torch.no_grad()
def adapt_cmllr(
    model: EMSequenceModel[Any, Any],
    x: Tensor,
    lengths: Tensor | None = None,
    weights: Tensor | None = None,
    *,
    structure: Structure = "full",
    num_blocks: int = 3,
    min_count: float = 10.0,
    strength: float = 100.0,
    max_iterations: int = 10,
    tolerance: float = 1e-3,
    **data: Tensor | None,
) -> Adaptation:
    """Transform a speaker's features so that a model explains them best (CMLLR, fMLLR).

    Parameters
    ----------
    model : EMSequenceModel
        A ``GaussianHMM``, say, with diagonal or spherical covariances. Stays as it is.
    x, lengths, **data
        The data of one speaker, see ``SequenceModel``; ``allowed`` where states are known. Single dimensions
        cannot be missing.
    weights : Tensor, shape (B,), optional
        Weight of each sequence, finite and >= 0; 1 if omitted.
    structure : {"full", "block", "diagonal", "bias", "identity"}, default "full"
        See ``estimate_cmllr``.
    num_blocks : int, default 3
        See ``estimate_cmllr``.
    min_count : float, default 10.0
        Frames that each free entry of a row must have; with fewer, a simpler structure is taken.
    strength : float, default 100.0
        Frames of the prior that holds the transform near the identity, >= 0, see ``cmllr_prior``.
    max_iterations : int, default 10
        E-steps and estimates, at most.
    tolerance : float, default 1e-3
        Stop when an iteration gains less, in nats per frame.

    Returns
    -------
    Adaptation
        ``model`` reads features as they came: its emission is a ``TransformedEmission``, and it shares all
        other parts with the model given.

    Raises
    ------
    SingularStatisticsError
        If ``strength`` is 0 and the data do not determine the transform.
    TypeError
        If the emission has no diagonal Gaussians, or single dimensions are missing.
    ValueError
        If shapes disagree, a value is out of range, or no path can produce one of the sequences.
    LikelihoodDecreaseError
        If an iteration lowers the likelihood, which it cannot but for rounding.

    Notes
    -----
    The likelihood, of the features as they came, plus the logarithm of the prior never falls. A model
    that reads features through a transform already (LDA, say) gets another one after it.

    References
    ----------
    .. [1] M. J. F. Gales, "Maximum likelihood linear transformations for HMM-based speech recognition",
       Computer Speech and Language 12(2), 1998.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import GaussianHMM
    >>> model = GaussianHMM(4, 2)
    >>> _ = torch.nn.init.normal_(model.emission.mean, std=5.0)
    >>> x = 0.5 * model.sample(100, 8).features + 1.0
    >>> adaptation = adapt_cmllr(model, x)
    >>> adaptation.log_likelihood[-1] > adaptation.log_likelihood[0]
    True
    >>> adaptation.classes[0].structure
    'full'
    """
    before, densities = gaussians(model.emission)
    speaker = SpeakerTransform(
        cmllr_prior(densities, strength),
        structure=structure,
        num_blocks=num_blocks,
        min_count=min_count,
        max_sweeps=100,
    )

    def accumulate() -> SequenceStatistics:
        return collect_cmllr(model, x, lengths, weights, transform=speaker.transform, **data)

    def update(statistics: SequenceStatistics) -> None:
        speaker.update(cast(CMLLRStatistics, statistics.emission))

    fit, frames = run_adaptation(
        accumulate, update, densities.rounding, speaker.log_prior, max_iterations, tolerance
    )
    transform = deepcopy(speaker.transform).to(densities.mean.dtype)
    adapted = model.with_emission(wrapped([*before, transform], densities))
    used = densities.weight_logits > -torch.inf
    every = AdaptedClass(
        speaker.transform,
        speaker.structure,
        speaker.occupancy,
        tuple((int(p), int(m)) for p, m in used.nonzero().tolist()),
    )
    return Adaptation(adapted, fit.log_likelihood, frames, fit.converged, (every,))
