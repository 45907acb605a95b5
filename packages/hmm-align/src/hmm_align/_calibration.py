"""From the spread of a boundary's posterior to how far the boundary may be from the truth."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# The probability with which a boundary lies within its uncertainty.
LEVEL = 0.8
# At other probabilities an interval is as wide as the uncertainty times its factor.
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


class UncertaintyMap(NamedTuple):
    """Uncertainty by the standard deviation d of a posterior: ``scale * (d**2 + floor**2) ** (power / 2)``.

    All in seconds.
    """

    floor: float
    power: float
    scale: float

    def __call__(self, deviation: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the uncertainties of boundaries."""
        return self.scale * np.hypot(deviation, self.floor) ** self.power

    def inverse(self, uncertainty: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the standard deviations that have these uncertainties."""
        squared = (uncertainty / self.scale) ** (2 / self.power) - self.floor**2
        return np.sqrt(np.maximum(squared, 0.0))


# Fitted by `nox -s bench -- align_uncertainty` on 30 sentences of four voices of eSpeak NG in English, whose
# times are exact: boundaries that tied states place, those that monophones or a network place, and the
# factors of the first.
TIED = UncertaintyMap(0.004, 2.0, 251.6)
MIXTURES = UncertaintyMap(0.003, 2.0, 283.4)
NETWORK = UncertaintyMap(0.002, 1.5, 11.66)
FACTORS = (0.1, 0.19, 0.28, 0.37, 0.45, 0.57, 0.75, 1.0, 1.81, 2.97)

_FLOORS = (0.002, 0.003, 0.004, 0.005, 0.006, 0.008)
_POWERS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)


def fit_map(
    deviation: NDArray[np.float64], error: NDArray[np.float64]
) -> tuple[UncertaintyMap, tuple[float, ...]]:
    """Return the map and the factors whose intervals hold the errors most tightly (quantile regression).

    Deviations (n,) and errors (n,) are in seconds. Of a few floors and powers those are taken whose quantiles
    have the least pinball loss, summed over `LEVELS`.
    """
    levels = np.asarray(LEVELS)
    found: list[tuple[float, UncertaintyMap, tuple[float, ...]]] = []
    for floor in _FLOORS:
        for power in _POWERS:
            spread = np.hypot(deviation, floor) ** power
            widths = np.quantile(np.abs(error) / spread, levels)
            missed = np.abs(error)[:, None] - spread[:, None] * widths
            loss = float(np.maximum(levels * missed, (levels - 1) * missed).mean())
            scale = float(widths[LEVELS.index(LEVEL)])
            factors = tuple(float(width) / scale for width in widths)
            found.append((loss, UncertaintyMap(floor, power, scale), factors))
    return min(found)[1:]


def coverage_of(uncertainty: NDArray[np.float64], error: NDArray[np.float64]) -> tuple[float, ...]:
    """Return for each of `LEVELS` the share of errors (n,) within their intervals; NaN without any."""
    if not len(error):
        return (float("nan"),) * len(LEVELS)
    return tuple(float(np.mean(np.abs(error) <= factor * uncertainty)) for factor in FACTORS)
