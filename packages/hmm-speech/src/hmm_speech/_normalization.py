"""Mean and variance normalisation of features, per speaker."""

import math

import torch
from torch import Tensor


class MeanVariance:
    """Mean and variance of features, gathered over any number of tensors, for per-speaker normalisation.

    Parameters
    ----------
    feature_dim : int
        D, >= 1.
    variance_floor : float
        Smallest variance that :meth:`normalize` divides by, > 0; it keeps constant dimensions finite.

    Notes
    -----
    Sums are float64 and add up: ``a + b`` describes the frames of both, whatever their order.

    Examples
    --------
    >>> features = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
    >>> statistics = MeanVariance(2).add(features)
    >>> statistics.normalize(features)
    tensor([[-1.,  0.],
            [ 1.,  0.]])
    """

    def __init__(self, feature_dim: int, variance_floor: float = 1e-8) -> None:
        if feature_dim < 1:
            raise ValueError(f"feature_dim must be >= 1; got {feature_dim}")
        if not 0 < variance_floor < math.inf:
            raise ValueError(f"variance_floor must be > 0 and finite; got {variance_floor}")
        self.feature_dim = feature_dim
        self.variance_floor = variance_floor
        self.count = 0
        self._sum = torch.zeros(feature_dim, dtype=torch.float64)
        self._square = torch.zeros(feature_dim, dtype=torch.float64)
        self._usual: tuple[Tensor, Tensor] | None = None  # mean and variance, once asked for by `normalize`

    def add(self, x: Tensor) -> "MeanVariance":
        """Count the frames of ``x`` (..., D) in, and return this object.

        Raises ``ValueError`` if the last axis is not D or a value is not finite.
        """
        self._check(x)
        frames = x.detach().reshape(-1, self.feature_dim).to("cpu", torch.float64)
        if not torch.isfinite(frames).all():
            raise ValueError("x must be finite; got NaN or infinite values")
        self._usual = None
        self.count += frames.shape[0]
        self._sum += frames.sum(0)
        self._square += frames.square().sum(0)
        return self

    def __add__(self, other: "MeanVariance") -> "MeanVariance":
        if not isinstance(other, MeanVariance):
            return NotImplemented
        if other.feature_dim != self.feature_dim:
            raise ValueError(
                f"feature_dim must agree to add up; got {self.feature_dim} and {other.feature_dim}"
            )
        total = MeanVariance(self.feature_dim, self.variance_floor)
        total.count = self.count + other.count
        total._sum = self._sum + other._sum
        total._square = self._square + other._square
        return total

    @property
    def mean(self) -> Tensor:
        """Mean of the frames, float64, shape (D,); ``ValueError`` before the first."""
        if self.count == 0:
            raise ValueError("no frame has been added yet")
        return self._sum / self.count

    @property
    def variance(self) -> Tensor:
        """Variance of the frames, not floored, float64, shape (D,); ``ValueError`` before the first."""
        mean = self.mean
        return (self._square / self.count - mean.square()).clamp(min=0)

    def normalize(self, x: Tensor, *, variance: bool = True) -> Tensor:
        """Shift ``x`` (..., D) to zero mean and, with ``variance``, scale it to unit variance.

        Raises ``ValueError`` if the last axis is not D or no frame has been added.
        """
        self._check(x)
        if self._usual is None:
            self._usual = self.mean, self.variance
        mean, squared = self._usual
        shifted = x - mean.to(x)
        return shifted / squared.clamp(min=self.variance_floor).sqrt().to(x) if variance else shifted

    def _check(self, x: Tensor) -> None:
        """Reject features of another dimension."""
        if x.ndim < 1 or x.shape[-1] != self.feature_dim:
            raise ValueError(f"x must have shape (..., D) with D = {self.feature_dim}; got {tuple(x.shape)}")
