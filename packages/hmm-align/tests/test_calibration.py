"""From the spread of posteriors to uncertainties that hold."""

import numpy as np
import pytest

from hmm_align._calibration import FACTORS, LEVEL, LEVELS, MIXTURES, NETWORK, UncertaintyMap, fit_map


@pytest.mark.parametrize("calibration", [MIXTURES, NETWORK])
def test_uncertainties_rise_with_the_spread_and_lead_back_to_it(calibration: UncertaintyMap) -> None:
    deviation = np.linspace(0.0005, 0.05, 40)
    uncertainty = calibration(deviation)
    assert (np.diff(uncertainty) > 0).all()
    assert calibration.inverse(uncertainty) == pytest.approx(deviation)
    # A certain boundary has the sampling of speech left, and nothing has less.
    assert 0.001 < calibration(np.zeros(1))[0] < 0.010
    assert calibration.inverse(np.zeros(1)).tolist() == [0.0]


def test_the_factors_rise_and_are_one_at_their_level() -> None:
    assert len(FACTORS) == len(LEVELS)
    assert (np.diff(FACTORS) > 0).all()
    assert FACTORS[LEVELS.index(LEVEL)] == 1.0


def test_a_fitted_map_holds_for_errors_it_has_not_seen() -> None:
    chance = np.random.default_rng(0)

    def draw() -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], ...]:
        """Spreads, and errors with heavy tails that grow faster than they."""
        deviation = chance.gamma(4.0, 0.0015, 4000)
        return deviation, chance.laplace(0.0, 0.9 * np.hypot(deviation, 0.004) ** 1.5 / 0.08)

    calibration, factors = fit_map(*draw())
    assert 1.0 <= calibration.power <= 2.0
    deviation, error = draw()
    for level, factor in zip(LEVELS, factors, strict=True):
        # Three standard errors of a share of 4000.
        assert np.mean(np.abs(error) <= factor * calibration(deviation)) == pytest.approx(level, abs=0.024)
    wide = deviation > np.quantile(deviation, 0.8)
    share = np.mean(np.abs(error[wide]) <= calibration(deviation[wide]))
    # Among the uncertain ones as among all: a constant width would hold half of them.
    assert share == pytest.approx(LEVEL, abs=0.06)
