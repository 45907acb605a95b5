"""Maximum likelihood linear transform: features in which diagonal covariances suffice (MLLT, STC)."""

from typing import NamedTuple

import torch

from hmm_models.adaptation._affine import AffineTransform
from hmm_models.adaptation._checks import check_finite, check_strength
from hmm_models.adaptation._rows import RowMaximizer
from hmm_models.adaptation._scatter import class_means, with_signs, within_covariance
from hmm_models.emissions._mixture_statistics import FullMixtureStatistics

# Nats per frame by which a pass over the rows must gain to be followed by another.
_TOLERANCE = 1e-7


class MLLTEstimate(NamedTuple):
    """A transform that diagonal Gaussians fit best."""

    transform: AffineTransform
    """In float64, without bias."""
    log_likelihood: tuple[float, ...]
    """Nats per frame that the best diagonal covariances gain over those of untransformed features: 0 at the
    start, then after each pass over the rows; it never falls."""


@torch.no_grad()
def estimate_mllt(
    statistics: FullMixtureStatistics, *, smoothing: float = 10.0, max_sweeps: int = 100
) -> MLLTEstimate:
    r"""Find the features whose dimensions vary independently in each Gaussian (MLLT, semi-tied covariances).

    .. math:: \hat A = \operatorname*{argmax}_A \sum_m n_m \left(\log |\det A|
        - \frac12 \sum_i \log a_i W_m a_i^T\right)

    with :math:`n_m` frames and the covariance :math:`W_m` of component *m*, and the rows :math:`a_i`.

    Parameters
    ----------
    statistics : FullMixtureStatistics
        From ``accumulate_mllt``, summed over the data; with products for each component.
    smoothing : float, default 10.0
        Frames of the average covariance that each component gets in addition to its own, >= 0: covariances
        of few frames are singular.
    max_sweeps : int, default 100
        Passes over the rows, at most.

    Returns
    -------
    MLLTEstimate
        Rows are scaled so that the average variance within components is 1 in each, and turned so that their
        largest entry is positive. Deterministic.

    Raises
    ------
    SingularStatisticsError
        If ``smoothing`` is too small for the data: a ``ValueError``.
    ValueError
        If there are no frames, a value is not finite or out of range, or products are summed over components.

    Notes
    -----
    O(P M D^3 + D^4) a pass, until one gains less than 1e-7 nats per frame. ``transform_statistics`` moves a
    model into the new features.

    References
    ----------
    .. [1] M. J. F. Gales, "Semi-tied covariance matrices for hidden Markov models", IEEE Trans. Speech and
       Audio Processing 7(3), 1999.
    .. [2] R. A. Gopinath, "Maximum likelihood modeling with Gaussian distributions for classification",
       ICASSP 1998.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import GaussianMixtures, accumulate_mllt
    >>> mixed = torch.randn(2000, 2) @ torch.tensor([[1.0, 0.9], [0.0, 1.0]])
    >>> densities, index = GaussianMixtures(1, 1, 2), torch.zeros(2000, dtype=torch.int64)
    >>> estimate = estimate_mllt(accumulate_mllt(densities, mixed, density_index=index))
    >>> estimate.log_likelihood[-1] > 0.2
    True
    """
    P, M, D = statistics.first.shape
    if statistics.second.shape[:2] != (P, M):
        raise ValueError(
            f"statistics.second must have shape (P, M, D, D) = {(P, M, D, D)}; "
            f"got {tuple(statistics.second.shape)}"
        )
    check_finite("statistics", statistics)
    check_strength("smoothing", smoothing)
    seen = statistics.occupancy.flatten() > 0.0
    occupancy = statistics.occupancy.flatten()[seen]
    frames = float(occupancy.sum())
    if not frames > 0.0:
        raise ValueError("statistics must be of at least one frame; got none")

    average = within_covariance(statistics)
    mean, first = class_means(statistics).flatten(0, 1)[seen], statistics.first.flatten(0, 1)[seen]
    scatter = statistics.second.flatten(0, 1)[seen] - mean.unsqueeze(-1) * first.unsqueeze(-2)
    count = occupancy.view(-1, 1, 1)
    covariance = (0.5 * (scatter + scatter.mT) + smoothing * average) / (count + smoothing)

    def spread(weight: torch.Tensor) -> torch.Tensor:
        """Variances of each component in the directions of the rows."""
        return ((weight @ covariance) * weight).sum(-1)

    def gain(weight: torch.Tensor, variance: torch.Tensor) -> float:
        """Nats per frame."""
        volume = torch.linalg.slogdet(weight).logabsdet
        ratio = variance / covariance.diagonal(dim1=-2, dim2=-1)
        return float(volume - 0.5 * (occupancy @ ratio.log().sum(-1)) / frames)

    weight = torch.eye(D, dtype=torch.float64, device=average.device)
    free, no_target = torch.ones_like(weight, dtype=torch.bool), torch.zeros_like(weight)
    history, variance = [0.0], spread(weight)
    while len(history) <= max_sweeps:
        second = torch.einsum("mi,mde->ide", occupancy.unsqueeze(-1) / variance, covariance)
        rows = RowMaximizer(weight, frames, second, no_target, free)
        rows.sweep()
        weight = torch.from_numpy(rows.weight).to(weight)
        variance = spread(weight)
        history.append(gain(weight, variance))
        if history[-1] - history[-2] < _TOLERANCE:
            break
    weight = weight / ((weight @ average) * weight).sum(-1, keepdim=True).sqrt()
    return MLLTEstimate(AffineTransform(with_signs(weight)), tuple(history))
