"""A classifier of frames as emission: posteriors divided by priors."""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from hmm_models._numerics import log_softmax
from hmm_models._serialization import build_model, describe_model, register_model


@register_model
class ScaledPosterior(nn.Module):
    r"""Scaled likelihoods of a classifier (hybrid HMM).

    .. math:: \log p(x \mid p) = \log p(p \mid x) - \log p(p) + \text{const}

    by Bayes' rule; the constant :math:`\log p(x)` is the same for all densities and is left out, so this is a
    score and no normalised density. Trains by gradient descent.

    Parameters
    ----------
    classifier : nn.Module
        From features (..., D) to logits (..., P).
    num_densities : int
        P, >= 1.
    scale : float, default 1.0
        Weight of the logarithm of the priors, >= 0.

    Notes
    -----
    The priors are a buffer, equal until ``set_prior``.

    References
    ----------
    .. [1] H. Bourlard and N. Morgan, "Connectionist speech recognition", Kluwer, 1994.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import HiddenMarkovModel
    >>> emission = ScaledPosterior(torch.nn.Linear(13, 3), 3)
    >>> emission.set_prior(torch.tensor([700.0, 200.0, 100.0]))
    >>> model = HiddenMarkovModel(emission, topology="left_to_right")
    >>> model.viterbi(torch.randn(2, 30, 13)).states.shape
    torch.Size([2, 30])
    """

    log_prior: Tensor

    def __init__(self, classifier: nn.Module, num_densities: int, scale: float = 1.0) -> None:
        super().__init__()
        if num_densities < 1:
            raise ValueError(f"num_densities must be >= 1; got {num_densities}")
        if not 0.0 <= scale < float("inf"):
            raise ValueError(f"scale must be finite and >= 0; got {scale}")
        self.classifier = classifier
        self.scale = float(scale)
        self.register_buffer("log_prior", log_softmax(torch.zeros(num_densities)))

    @property
    def num_densities(self) -> int:
        """P."""
        return self.log_prior.shape[0]

    @property
    def num_parameters(self) -> int:
        """Parameters of the classifier that are trained."""
        return sum(p.numel() for p in self.classifier.parameters() if p.requires_grad)

    def set_prior(self, counts: Tensor) -> None:
        """Set the priors.

        Parameters
        ----------
        counts : Tensor, shape (P,)
            Frames of each density in the training data, finite and > 0; or probabilities.

        Raises
        ------
        ValueError
            If the shape disagrees, or a count is not > 0.
        """
        if counts.shape != self.log_prior.shape or not bool((counts > 0.0).all() & counts.isfinite().all()):
            raise ValueError(f"counts must be finite and > 0, of shape (P,) = ({self.num_densities},)")
        self.log_prior.copy_(log_softmax(counts.double().log()))

    def log_prob(self, x: Tensor) -> Tensor:
        """Scaled log-likelihoods.

        Parameters
        ----------
        x : Tensor, shape (..., D)
            Features.

        Returns
        -------
        Tensor, shape (..., P)
            Differentiable.

        Raises
        ------
        ValueError
            If the classifier gives another number of logits.
        """
        logits: Tensor = self.classifier(x)
        if logits.shape[-1] != self.num_densities:
            raise ValueError(
                f"classifier must give (..., P) = (..., {self.num_densities}) logits; "
                f"got {tuple(logits.shape)}"
            )
        return log_softmax(logits) - self.scale * self.log_prior.to(logits)

    def forward(self, x: Tensor) -> Tensor:
        """Compute ``log_prob``."""
        return self.log_prob(x)

    def config(self) -> dict[str, Any]:
        """Describe the structure for ``save_model``.

        Returns
        -------
        dict
            The classifier, which must be registered, and the sizes.
        """
        return {
            "classifier": describe_model(self.classifier),
            "num_densities": self.num_densities,
            "scale": self.scale,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the structure that ``config`` described.

        Parameters
        ----------
        config : mapping
            What ``config`` returned.

        Returns
        -------
        ScaledPosterior
            With fresh parameters.
        """
        return cls(build_model(config["classifier"]), config["num_densities"], config["scale"])

    def extra_repr(self) -> str:
        """Sizes, for ``repr``."""
        return f"num_densities={self.num_densities}, scale={self.scale}"
