"""Speaker-adaptive training: a model of what speakers have in common, and a transform for each."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from hmm_models._report import UpdateReport
from hmm_models.adaptation._adapt_cmllr import SpeakerTransform, collect_cmllr
from hmm_models.adaptation._affine import AffineTransform
from hmm_models.adaptation._cmllr import Structure
from hmm_models.adaptation._cmllr_statistics import CMLLRStatistics, cmllr_prior, gaussians
from hmm_models.adaptation._em import e_step
from hmm_models.adaptation._transformed import wrapped
from hmm_models.models._em_sequence_model import EMSequenceModel
from hmm_models.training._em import SequenceStatistics, run_em


class SpeakerAdaptiveFit(NamedTuple):
    """How speaker-adaptive training went."""

    transforms: tuple[AffineTransform, ...]
    """Of each speaker's features, in float64: the model's emission explains what comes out."""
    structures: tuple[Structure, ...]
    """Of each transform: what was asked for, or less where there were too few frames."""
    log_likelihood: tuple[float, ...]
    """Of all speakers' sequences as they came, in nats: at the start, then after each iteration."""
    converged: bool
    """Whether the last iteration gained less than the tolerance."""
    reports: tuple[UpdateReport, ...]
    """One for each update of the model."""


@torch.no_grad()
def fit_speakers(
    model: EMSequenceModel[Any, Any],
    speakers: Sequence[Mapping[str, Tensor]],
    *,
    structure: Structure = "full",
    num_blocks: int = 3,
    min_count: float = 10.0,
    strength: float = 100.0,
    max_iterations: int = 10,
    tolerance: float = 1e-3,
    **options: Any,  # noqa: ANN401  (of the emission's update)
) -> SpeakerAdaptiveFit:
    """Train a model and a transform for each speaker in turn (speaker-adaptive training, SAT).

    Parameters
    ----------
    model : EMSequenceModel
        With diagonal or spherical Gaussians, trained on all speakers before (``fit``). Is changed in place.
    speakers : sequence of mappings
        For each speaker the arguments of ``accumulate``: ``x``, and where needed ``lengths``, ``weights``,
        ``observed`` (B, T), ``allowed``, ``frame_weights``.
    structure, num_blocks, min_count, strength
        Of the transforms, see ``adapt_cmllr``. The prior is that of the model as it comes.
    max_iterations : int, default 10
        Updates of the model and of all transforms, at most.
    tolerance : float, default 1e-3
        Stop when an iteration gains less, in nats per frame.
    **options
        Of the emission's ``update``, such as ``min_occupancy``.

    Returns
    -------
    SpeakerAdaptiveFit
        With a transform for each speaker.

    Raises
    ------
    TypeError
        If the emission has no diagonal Gaussians, or an option is unknown.
    ValueError
        If ``speakers`` is empty, shapes disagree, a value is out of range, or no path can produce one of the
        sequences.
    LikelihoodDecreaseError
        If an iteration lowers the likelihood by more than rounding, and no component was removed.

    Notes
    -----
    The likelihood of the features as they came plus the logarithm of the transforms' priors never falls.
    Two E-steps an iteration. Decode a new speaker after ``adapt_cmllr``, not with the model alone.

    References
    ----------
    .. [1] T. Anastasakos et al., "A compact model for speaker-adaptive training", ICSLP 1996.
    .. [2] M. J. F. Gales, "Maximum likelihood linear transformations for HMM-based speech recognition",
       Computer Speech and Language 12(2), 1998.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import GaussianHMM
    >>> truth = GaussianHMM(4, 2)
    >>> _ = torch.nn.init.normal_(truth.emission.mean, std=5.0)
    >>> voices = [truth.sample(100, 4).features * size for size in (0.7, 1.0, 1.5)]
    >>> model = GaussianHMM(4, 2)
    >>> unadapted = model.fit(torch.cat(voices), max_iterations=10)
    >>> fit = fit_speakers(model, [{"x": x} for x in voices])
    >>> fit.log_likelihood[-1] > unadapted.log_likelihood[-1]
    True
    """
    if not speakers:
        raise ValueError("speakers must hold at least one speaker; got none")
    before, densities = gaussians(model.emission)
    prior = cmllr_prior(densities, strength)
    everyone = [
        SpeakerTransform(
            prior, structure=structure, num_blocks=num_blocks, min_count=min_count, max_sweeps=20
        )
        for _ in speakers
    ]

    def accumulate() -> SequenceStatistics:
        total: SequenceStatistics | None = None
        for speaker, data in zip(everyone, speakers, strict=True):
            emission = wrapped([*before, speaker.transform], densities)
            found = e_step(model.with_emission(emission), data)
            total = found if total is None else total + found
        return cast(SequenceStatistics, total)

    def update(statistics: SequenceStatistics) -> UpdateReport:
        report = model.with_emission(densities).update(statistics, **options)
        for speaker, data in zip(everyone, speakers, strict=True):
            found = collect_cmllr(model, **data, transform=speaker.transform)
            speaker.update(cast(CMLLRStatistics, found.emission))
        return report

    fit = run_em(
        accumulate,
        update,
        densities.rounding,
        max_iterations,
        tolerance,
        lambda: sum(speaker.log_prior() for speaker in everyone),
    )
    return SpeakerAdaptiveFit(
        tuple(speaker.transform for speaker in everyone),
        tuple(speaker.structure for speaker in everyone),
        fit.log_likelihood,
        fit.converged,
        fit.reports,
    )
