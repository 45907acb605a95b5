"""Densities of transformed features."""

from collections.abc import Mapping, Sequence
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from hmm_models._report import UpdateReport
from hmm_models._serialization import build_model, describe_model, register_model
from hmm_models._statistics import Statistics
from hmm_models.adaptation._affine import AffineTransform
from hmm_models.emissions._emission import Emission, SamplingEmission, TrainableEmission


@register_model
class TransformedEmission(nn.Module):
    r"""An emission that reads features through an affine transform: a model adapted to a speaker.

    .. math:: \log p(x \mid p) = \log q(A x + b \mid p) + \log |\det A|

    Parameters
    ----------
    transform : AffineTransform
        To the features that the emission knows. One that changes their number, such as LDA, has no
        determinant: what comes out are then scores of features, not densities.
    emission : nn.Module
        Any ``Emission`` of the transformed features.

    Raises
    ------
    ValueError
        If the emission reads another number of features than the transform gives.

    Notes
    -----
    Training leaves the transform as it is; gradient descent trains it after ``transform.requires_grad_()``.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import GaussianMixtures, HiddenMarkovModel
    >>> transform = AffineTransform(torch.diag(torch.tensor([2.0, 0.5])))
    >>> adapted = HiddenMarkovModel(TransformedEmission(transform, GaussianMixtures(3, 1, 2)))
    >>> adapted.viterbi(torch.randn(4, 20, 2)).states.shape
    torch.Size([4, 20])
    """

    def __init__(self, transform: AffineTransform, emission: nn.Module) -> None:
        super().__init__()
        size = getattr(emission, "feature_dim", transform.output_dim)
        if size != transform.output_dim:
            raise ValueError(
                f"transform must have as many outputs as the emission reads features = {size}; "
                f"got {transform.output_dim}"
            )
        self.transform = transform
        self.emission = emission

    @property
    def num_densities(self) -> int:
        """P."""
        return int(cast(Any, self.emission).num_densities)

    @property
    def feature_dim(self) -> int:
        """D, before the transform."""
        return self.transform.feature_dim

    @property
    def num_parameters(self) -> int:
        """Free parameters of the emission; the transform belongs to the speaker."""
        return int(cast(Any, self.emission).num_parameters)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density of each frame under each density.

        Parameters
        ----------
        x : Tensor, shape (..., D)
            Features.

        Returns
        -------
        Tensor, shape (..., P)
            Of the features as they came. Differentiable.

        Raises
        ------
        ValueError
            If the last axis is not D, or the emission refuses a feature.
        """
        log_prob = cast(Emission, self.emission).log_prob(self.transform(x))
        if self.transform.output_dim != self.transform.feature_dim:
            return log_prob
        return log_prob + self.transform.log_det.to(log_prob)

    def forward(self, x: Tensor) -> Tensor:
        """Compute ``log_prob``."""
        return self.log_prob(x)

    def _trainable(self) -> TrainableEmission:
        """Return the emission, if EM can train it."""
        if not isinstance(self.emission, TrainableEmission):
            raise TypeError(f"EM cannot train a {type(self.emission).__name__}")
        return self.emission

    def zero_statistics(self, device: torch.device | None = None) -> Statistics:
        """Statistics of no data, to add to.

        Parameters
        ----------
        device : torch.device, optional
            Where the sums live.

        Returns
        -------
        Statistics
            Of the emission.
        """
        return self._trainable().zero_statistics(device)

    @torch.no_grad()
    def accumulate(self, x: Tensor, density_posterior: Tensor) -> Statistics:
        """Collect what ``update`` needs.

        Parameters
        ----------
        x : Tensor, shape (N, D)
            Features, finite.
        density_posterior : Tensor, shape (N, P)
            Share of each density in each frame, finite and >= 0.

        Returns
        -------
        Statistics
            Of the emission, over transformed features: those of several speakers add.

        Raises
        ------
        TypeError
            If EM cannot train the emission.
        ValueError
            If shapes disagree or values are out of range.
        """
        return self._trainable().accumulate(self.transform(x), density_posterior)

    def update(self, statistics: Statistics) -> UpdateReport:
        """Replace the parameters of the emission by the most likely ones given the statistics (M-step).

        Parameters
        ----------
        statistics : Statistics
            From ``accumulate``, summed over the data.

        Returns
        -------
        UpdateReport
            Of the emission.
        """
        return self._trainable().update(statistics)

    def initialize(
        self, x: Tensor, weight: Tensor, density_index: Tensor | None, generator: torch.Generator
    ) -> None:
        """Start the emission from transformed frames, see ``TrainableEmission``.

        Parameters
        ----------
        x : Tensor, shape (N, D)
            Features, finite.
        weight : Tensor, shape (N,)
            Weight of each frame, finite and > 0.
        density_index : Tensor of int64, shape (N,), or None
            The density of each frame, if known.
        generator : torch.Generator
            Source of randomness.
        """
        with torch.no_grad():
            self._trainable().initialize(self.transform(x), weight, density_index, generator)

    def rounding(self) -> float:
        """Nats per frame that rounding may cost.

        Returns
        -------
        float
            As the emission says.
        """
        return self._trainable().rounding()

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
            Features as they are before the transform.

        Raises
        ------
        TypeError
            If the emission has no ``sample``.
        ValueError
            If the transform changes the number of features.
        """
        if not isinstance(self.emission, SamplingEmission):
            raise TypeError(f"emission must have sample; {type(self.emission).__name__} does not")
        drawn = self.transform.inverse()(self.emission.sample(density_index, generator))
        return cast(Tensor, drawn)

    def config(self) -> dict[str, Any]:
        """Describe the structure for ``save_model``.

        Returns
        -------
        dict
            Both parts.

        Raises
        ------
        TypeError
            If the class of the emission is not registered.
        """
        return {"transform": describe_model(self.transform), "emission": describe_model(self.emission)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the structure that ``config`` described.

        Parameters
        ----------
        config : mapping
            What ``config`` returned.

        Returns
        -------
        TransformedEmission
            With fresh parameters.
        """
        return cls(cast(AffineTransform, build_model(config["transform"])), build_model(config["emission"]))


def unwrapped(emission: nn.Module) -> tuple[tuple[AffineTransform, ...], nn.Module]:
    """Return the transforms that features go through, in this order, and the emission behind them."""
    transforms = []
    while isinstance(emission, TransformedEmission):
        transforms.append(emission.transform)
        emission = emission.emission
    return tuple(transforms), emission


def wrapped(transforms: Sequence[AffineTransform], emission: nn.Module) -> nn.Module:
    """Put transforms before an emission, as ``unwrapped`` returns them."""
    for transform in reversed(transforms):
        emission = TransformedEmission(transform, emission)
    return emission
