"""Families of duration distributions: log-weights on 1..L, up to a constant."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# A deviation below this many frames is one duration for all that a table of frames can tell.
_SHORTEST_DEVIATION = 0.15


@dataclass(frozen=True)
class Family:
    """A family with parameters (K, n), each row within the bounds."""

    names: tuple[str, ...]
    log_weight: Callable[[Tensor, Tensor], Tensor]
    """From parameters (K, n) and durations (L,) to log-weights (K, L)."""
    from_moments: Callable[[Tensor, Tensor], Tensor]
    """From means (K,) and variances (K,) to parameters (K, n), as if nothing was cut off."""
    bounds: Callable[[int], tuple[tuple[float, float], ...]]
    """Lowest and highest value of each parameter for durations up to L."""


def _gaussian(parameter: Tensor, d: Tensor) -> Tensor:
    """Density of a normal distribution at d."""
    mean, log_deviation = parameter.unbind(-1)
    return -0.5 * ((d - mean.unsqueeze(-1)) / log_deviation.exp().unsqueeze(-1)).square()


def _gaussian_moments(mean: Tensor, variance: Tensor) -> Tensor:
    """Mean and log deviation."""
    return torch.stack([mean, 0.5 * variance.log()], -1)


def _lognormal(parameter: Tensor, d: Tensor) -> Tensor:
    """Density of a log-normal distribution at d."""
    mean, log_deviation = parameter.unbind(-1)
    log_d = d.log()
    return -0.5 * ((log_d - mean.unsqueeze(-1)) / log_deviation.exp().unsqueeze(-1)).square() - log_d


def _lognormal_moments(mean: Tensor, variance: Tensor) -> Tensor:
    """Mean and log deviation of the logarithm."""
    square = torch.log1p(variance / mean.square())
    return torch.stack([mean.log() - 0.5 * square, 0.5 * square.log()], -1)


def _gamma(parameter: Tensor, d: Tensor) -> Tensor:
    """Density of a gamma distribution at d."""
    shape, rate = parameter.exp().unsqueeze(-1).unbind(-2)
    return (shape - 1.0) * d.log() - rate * d


def _gamma_moments(mean: Tensor, variance: Tensor) -> Tensor:
    """Log shape and log rate."""
    return torch.stack([(mean.square() / variance).log(), (mean / variance).log()], -1)


def _poisson(parameter: Tensor, d: Tensor) -> Tensor:
    """Poisson probability of d - 1."""
    return (d - 1.0) * parameter - torch.lgamma(d)


def _poisson_moments(mean: Tensor, variance: Tensor) -> Tensor:
    """Log rate."""
    del variance
    return (mean - 1.0).clamp_min(1e-3).log().unsqueeze(-1)


def _negative_binomial(parameter: Tensor, d: Tensor) -> Tensor:
    """Negative binomial probability of d - 1."""
    size, logit = parameter.unsqueeze(-1).unbind(-2)
    size = size.exp()
    log_success = torch.nn.functional.logsigmoid(logit)
    return torch.lgamma(d - 1.0 + size) - torch.lgamma(size) - torch.lgamma(d) + (d - 1.0) * log_success


def _negative_binomial_moments(mean: Tensor, variance: Tensor) -> Tensor:
    """Log size, and logit of the probability of another frame."""
    mean = (mean - 1.0).clamp_min(1e-3)
    variance = variance.maximum(1.01 * mean)
    size = mean.square() / (variance - mean)
    return torch.stack([size.log(), ((variance - mean) / mean).log()], -1)


def _deviation_bounds(L: int) -> tuple[float, float]:
    """Of a logarithm of a deviation, in frames."""
    return math.log(_SHORTEST_DEVIATION), math.log(10.0 * L)


FAMILIES = {
    "gaussian": Family(
        ("mean", "log_deviation"),
        _gaussian,
        _gaussian_moments,
        lambda L: ((-float(L), 2.0 * L), _deviation_bounds(L)),
    ),
    "lognormal": Family(
        ("mean_log", "log_deviation_log"),
        _lognormal,
        _lognormal_moments,
        lambda L: ((-1.0, math.log(2.0 * L)), (math.log(_SHORTEST_DEVIATION / L), math.log(10.0))),
    ),
    "gamma": Family(
        ("log_shape", "log_rate"),
        _gamma,
        _gamma_moments,
        lambda L: (
            (math.log(0.05), 2.0 * math.log(L / _SHORTEST_DEVIATION)),
            (-math.log(20.0 * L), math.log(L) - 2.0 * math.log(_SHORTEST_DEVIATION)),
        ),
    ),
    "poisson": Family(
        ("log_rate",), _poisson, _poisson_moments, lambda L: ((math.log(1e-3), math.log(2.0 * L)),)
    ),
    "negative_binomial": Family(
        ("log_size", "logit"),
        _negative_binomial,
        _negative_binomial_moments,
        lambda L: ((math.log(0.05), math.log(1e4)), (-math.log(1e7), math.log(40.0 * L))),
    ),
}
