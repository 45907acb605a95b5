"""Linear discriminant analysis of features whose classes are known."""

from typing import NamedTuple

import torch
from torch import Tensor

from hmm_models.adaptation._affine import AffineTransform
from hmm_models.adaptation._checks import check_finite
from hmm_models.adaptation._scatter import class_means, with_signs, within_covariance
from hmm_models.emissions._mixture_statistics import FullMixtureStatistics

# Eigenvalues of a correlation matrix below this are rounding.
_SMALLEST_SHARE = 1e-14


class LDAEstimate(NamedTuple):
    """Directions in which classes differ most."""

    transform: AffineTransform
    """Of D features to R, in float64."""
    ratio: Tensor
    """Variance between the classes over variance within, in each direction; descending, shape (R,)."""


@torch.no_grad()
def estimate_lda(statistics: FullMixtureStatistics, output_dim: int | None = None) -> LDAEstimate:
    r"""Find the projection in which classes are furthest apart against their spread (LDA).

    The rows of *A* solve :math:`S_b a = \lambda S_w a`, with :math:`S_w` and :math:`S_b` the covariances
    within and between the classes.

    Parameters
    ----------
    statistics : FullMixtureStatistics
        From ``accumulate_lda``, summed over the data.
    output_dim : int, optional
        R, 1..D, directions to keep; D if omitted. More than P - 1 of them do not part the classes further.

    Returns
    -------
    LDAEstimate
        In the transformed features the mean of all frames is 0 and the covariance within classes the unit
        matrix. Deterministic: the largest entry of each row is positive.

    Raises
    ------
    ValueError
        If there are no frames, a value is not finite, or ``output_dim`` is out of range.

    Notes
    -----
    O(D^3). Features that do not vary within classes count as if they varied by 1e-12 of their mean square.

    References
    ----------
    .. [1] R. Haeb-Umbach and H. Ney, "Linear discriminant analysis for improved large vocabulary continuous
       speech recognition", ICASSP 1992.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import accumulate_lda
    >>> index = torch.arange(1000) % 2
    >>> x = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0))
    >>> x[:, 1] += 4.0 * index
    >>> estimate = estimate_lda(accumulate_lda(x, 2, density_index=index), 1)
    >>> estimate.transform.weight.round(decimals=0).abs()
    tensor([[0., 1., 0.]], dtype=torch.float64)
    """
    D = statistics.first.shape[-1]
    R = D if output_dim is None else output_dim
    if not 1 <= R <= D:
        raise ValueError(f"output_dim must be in 1..D = 1..{D}; got {output_dim}")
    check_finite("statistics", statistics)
    frames = statistics.occupancy.sum()
    if not float(frames) > 0.0:
        raise ValueError("statistics must be of at least one frame; got none")
    mean = statistics.first.sum((0, 1)) / frames
    apart = class_means(statistics).flatten(0, 1) - mean
    between = (apart * statistics.occupancy.reshape(-1, 1)).T @ apart / frames
    within = within_covariance(statistics)
    # In units of the features' own deviations the matrices are as well conditioned as they can be.
    scale = within.diagonal().sqrt()
    value, vector = torch.linalg.eigh(within / (scale.unsqueeze(-1) * scale))
    whitener = (vector / value.clamp_min(_SMALLEST_SHARE).sqrt()).T / scale
    ratio, direction = torch.linalg.eigh(whitener @ between @ whitener.T)
    rows = with_signs((direction.T @ whitener).flip(0)[:R])
    return LDAEstimate(AffineTransform(rows, -rows @ mean), ratio.flip(0)[:R].clamp_min(0.0))
