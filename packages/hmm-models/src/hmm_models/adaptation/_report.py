"""What an adaptation did."""

from typing import Any, NamedTuple

from hmm_models.adaptation._affine import AffineTransform
from hmm_models.adaptation._cmllr import Structure
from hmm_models.models._em_sequence_model import EMSequenceModel


class AdaptedClass(NamedTuple):
    """Gaussians that are adapted alike."""

    transform: AffineTransform
    """Of the features (CMLLR) or of the means (MLLR)."""
    structure: Structure
    """What was estimated: what was asked for, or less where there were too few frames."""
    occupancy: float
    """Frames that the transform rests on."""
    components: tuple[tuple[int, int], ...]
    """(density, component) of each Gaussian."""


class Adaptation(NamedTuple):
    """An adapted model, and how it came about."""

    model: EMSequenceModel[Any, Any]
    """A copy; CMLLR shares its parts with the model given and puts a transform before the emission."""
    log_likelihood: tuple[float, ...]
    """Of all (weighted) sequences, in nats: before, then after each iteration; the last is the model's."""
    num_frames: float
    """Frames of all (weighted) sequences."""
    converged: bool
    """Whether the last iteration gained less than the tolerance."""
    classes: tuple[AdaptedClass, ...]
    """One of CMLLR, the regression classes of MLLR, none of MAP."""
