"""What a model asks of its emissions."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from hmm_models._report import UpdateReport
from hmm_models._statistics import Statistics


@runtime_checkable
class Emission(Protocol):
    """Densities of the observations: all that scoring and decoding need.

    Any ``nn.Module`` with these two serves as the emission of a model, and trains by gradient descent. An
    attribute ``feature_dim`` beside them lets models check the last axis of (B, T, D) features.
    ``TrainableEmission`` adds what EM needs, ``SamplingEmission`` what drawing observations needs,
    ``GeneratingEmission`` what generating the most likely ones needs.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> class Classifier(nn.Module):
    ...     num_densities = 3
    ...
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.net = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 3))
    ...
    ...     def log_prob(self, x):
    ...         return self.net(x).log_softmax(-1)
    >>> from hmm_models import HiddenMarkovModel
    >>> model = HiddenMarkovModel(Classifier())
    >>> model.viterbi(torch.randn(2, 20, 13)).states.shape
    torch.Size([2, 20])
    """

    @property
    def num_densities(self) -> int:
        """P."""
        ...

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-density (B, T, P) of observations (B, T, ...) under each density."""
        ...


@runtime_checkable
class TrainableEmission(Emission, Protocol):
    """An emission that EM can train.

    The keyword options of ``initialize`` and ``update`` can be given to a model's ``fit``. An emission that
    can marginalise single dimensions takes ``observed`` (N, D) in ``log_prob`` and ``accumulate``, too. One
    whose ``update`` takes a ``prior`` tells its value by ``log_prior(prior)``; one whose products may be in
    float32 says so by ``working_dtype(dtype)`` and takes ``dtype`` in ``accumulate``. An attribute
    ``num_parameters`` counts the free parameters in use.
    """

    def zero_statistics(self, device: torch.device | None = None) -> Statistics:
        """Statistics of no data, to add to."""
        ...

    def accumulate(self, x: Tensor, density_posterior: Tensor) -> Statistics:
        """Collect the statistics of frames (N, ...) that belong to each density with share (N, P)."""
        ...

    def update(self, statistics: Statistics) -> UpdateReport:
        """Replace the parameters by the most likely ones given the statistics (M-step)."""
        ...

    def initialize(
        self, x: Tensor, weight: Tensor, density_index: Tensor | None, generator: torch.Generator
    ) -> None:
        """Start from frames (N, ...) of weight (N,), whose densities (N,) are known or are to be found."""
        ...

    def rounding(self) -> float:
        """Nats per frame that rounding the parameters may cost: what EM may lose without an error."""
        ...


@runtime_checkable
class SamplingEmission(Emission, Protocol):
    """An emission that can generate."""

    def sample(self, density_index: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw one observation of each density (...)."""
        ...


@runtime_checkable
class GeneratingEmission(Emission, Protocol):
    """An emission that knows its most likely observations."""

    def generate(self, density_index: Tensor) -> Tensor:
        """Most likely observations (B, T, ...) of known densities (B, T), -1 behind the end."""
        ...
