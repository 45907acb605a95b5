"""What an M-step did beside estimating."""

from typing import NamedTuple


class UpdateReport(NamedTuple):
    """What an M-step did beside estimating."""

    removed: tuple[tuple[int, int], ...] = ()
    """(density, component) that had too few frames, in ascending order."""
    revived: tuple[tuple[int, int], ...] = ()
    """(density, component) of these that were refilled by splitting the density's heaviest component."""
    starved: tuple[int, ...] = ()
    """Densities without any component that had enough frames; they keep their parameters."""
    num_floored: int = 0
    """Variances raised to the floor, per component and dimension, or direction of a full covariance."""
