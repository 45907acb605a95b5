"""Second moments of features by class, for transforms that part the classes or their dimensions."""

import torch
from torch import Tensor

from hmm_models._numerics import log_softmax
from hmm_models.adaptation._affine import AffineTransform
from hmm_models.adaptation._checks import check_frames
from hmm_models.emissions._accumulation import membership
from hmm_models.emissions._mixture_statistics import FullMixtureStatistics, MixtureStatistics
from hmm_models.emissions._mixtures import GaussianMixtures
from hmm_models.emissions._whitening import Whitening, whiten

# Share of a squared feature that sums of squares may lose, with room.
_UNRESOLVED = 1e-12
# Variance of a dimension that is always 0.
_SMALLEST = 1e-20


@torch.no_grad()
def accumulate_lda(
    x: Tensor,
    num_classes: int,
    density_posterior: Tensor | None = None,
    density_index: Tensor | None = None,
    weight: Tensor | None = None,
) -> FullMixtureStatistics:
    """Collect what ``estimate_lda`` needs from frames whose classes are known, softly or firmly.

    Parameters
    ----------
    x : Tensor, shape (N, D)
        Features, finite: frames side by side with their neighbours, say.
    num_classes : int
        P, >= 1: densities of a model, say.
    density_posterior : Tensor, shape (N, P), optional
        Share of each class in each frame, finite and >= 0. Give this or ``density_index``.
    density_index : Tensor of int64, shape (N,), optional
        The class of each frame, or -1 for a frame to leave out.
    weight : Tensor, shape (N,), optional
        Weight of each frame, finite and >= 0; 1 if omitted.

    Returns
    -------
    FullMixtureStatistics
        In float64, with M = 1, and products summed over all classes: O(P D + D^2) memory. They add.

    Raises
    ------
    ValueError
        If shapes disagree, values are out of range, or not exactly one of the two is given.

    Notes
    -----
    O(N D (D + P)) time; O(N D^2) whatever P where the classes are known firmly.

    Examples
    --------
    >>> import torch
    >>> statistics = accumulate_lda(torch.randn(10, 4), 2, density_index=torch.arange(10) % 2)
    >>> statistics.first.shape, statistics.second.shape
    (torch.Size([2, 1, 4]), torch.Size([1, 1, 4, 4]))
    """
    if num_classes < 1:
        raise ValueError(f"num_classes must be >= 1; got {num_classes}")
    x = check_frames(x)
    D = x.shape[1]
    # Only the sizes and the centre matter: the only component of a class has all of its frames.
    classes = Whitening(
        x.mean(0) if len(x) else x.new_zeros(D),
        x.new_zeros(1, 1, D, D),
        x.new_zeros(num_classes, 1, D),
        x.new_zeros(num_classes, 1),
    )
    member = membership(x, num_classes, density_posterior, density_index, weight)
    return classes.statistics(member.collect(classes, x, None))


@torch.no_grad()
def accumulate_mllt(
    densities: GaussianMixtures,
    x: Tensor,
    density_posterior: Tensor | None = None,
    density_index: Tensor | None = None,
    weight: Tensor | None = None,
) -> FullMixtureStatistics:
    """Collect what ``estimate_mllt`` needs from frames whose densities are known, softly or firmly.

    Parameters
    ----------
    densities : GaussianMixtures
        They share the frames among their components.
    x : Tensor, shape (N, D)
        Features, finite.
    density_posterior : Tensor, shape (N, P), optional
        Share of each density in each frame, finite and >= 0 (a state posterior). Give this or
        ``density_index``.
    density_index : Tensor of int64, shape (N,), optional
        The density of each frame, or -1 for a frame to leave out.
    weight : Tensor, shape (N,), optional
        Weight of each frame, finite and >= 0; 1 if omitted.

    Returns
    -------
    FullMixtureStatistics
        In float64, with products for each component: O(P M D^2) memory. They add.

    Raises
    ------
    TypeError
        If the densities are of another kind.
    ValueError
        If shapes disagree, values are out of range, or not exactly one of the two is given.

    Notes
    -----
    O(N M D^2) time where the densities are known firmly, else O(N P M D^2).

    Examples
    --------
    >>> import torch
    >>> from hmm_models import GaussianMixtures
    >>> densities = GaussianMixtures(2, 3, 4)
    >>> accumulate_mllt(densities, torch.randn(10, 4), density_index=torch.arange(10) % 2).second.shape
    torch.Size([2, 3, 4, 4])
    """
    if not isinstance(densities, GaussianMixtures):
        raise TypeError(f"densities must be GaussianMixtures; got {type(densities).__name__}")
    x = check_frames(x, densities.feature_dim)
    member = membership(x, densities.num_densities, density_posterior, density_index, weight)
    mean, log_weight = densities.mean.double(), log_softmax(densities.weight_logits.double())
    center = mean.mean((0, 1))
    if densities.num_mixtures == 1:  # Only the sizes and the centre matter, as above.
        P, M, D = mean.shape
        full = Whitening(center, mean.new_zeros(P, M, D, D), torch.zeros_like(mean), log_weight)
    else:
        covariance = torch.diag_embed(densities.variance.double())
        full = whiten(log_weight, mean, covariance, center, torch.float64)
    return full.statistics(member.collect(full, x, None))


@torch.no_grad()
def transform_statistics(transform: AffineTransform, statistics: FullMixtureStatistics) -> MixtureStatistics:
    """Tell what the statistics of diagonal Gaussians would be over transformed features.

    Parameters
    ----------
    transform : AffineTransform
        Of D features.
    statistics : FullMixtureStatistics
        With products for each component, from ``accumulate_mllt``.

    Returns
    -------
    MixtureStatistics
        What ``GaussianMixtures.update`` needs to move into the transformed space, without going through the
        data again.

    Raises
    ------
    ValueError
        If the shapes disagree, or the products are summed over components.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import GaussianMixtures
    >>> densities, x, index = GaussianMixtures(2, 1, 3), torch.randn(10, 3), torch.arange(10) % 2
    >>> statistics = accumulate_mllt(densities, x, density_index=index)
    >>> halved = transform_statistics(AffineTransform(0.5 * torch.eye(3)), statistics)
    >>> torch.allclose(halved.second, 0.25 * statistics.second.diagonal(dim1=-2, dim2=-1))
    True
    """
    P, M, D = statistics.first.shape
    if statistics.second.shape[:2] != (P, M):
        raise ValueError(
            f"statistics.second must have shape (P, M, D, D) = {(P, M, D, D)}; "
            f"got {tuple(statistics.second.shape)}"
        )
    if transform.feature_dim != D:
        raise ValueError(f"transform must be of D = {D} features; got {transform.feature_dim}")
    weight, bias = transform.weight.to(statistics.first), transform.bias.to(statistics.first)
    first = statistics.first @ weight.T
    square = torch.einsum("rd,pmde,re->pmr", weight, statistics.second, weight)
    count = statistics.occupancy.unsqueeze(-1)
    return MixtureStatistics(
        statistics.occupancy, first + count * bias, square + bias * (2.0 * first + count * bias)
    )


def class_means(statistics: FullMixtureStatistics) -> Tensor:
    """Means (P, M, D); 0 where there are no frames."""
    occupancy = statistics.occupancy.unsqueeze(-1)
    return torch.where(occupancy > 0.0, statistics.first / occupancy, 0.0)


def within_covariance(statistics: FullMixtureStatistics) -> Tensor:
    """Covariance (D, D) around the means of the own classes, of all frames; positive definite."""
    frames = statistics.occupancy.sum()
    mean, second = class_means(statistics).flatten(0, 1), statistics.second.sum((0, 1))
    covariance = (second - mean.T @ statistics.first.flatten(0, 1)) / frames
    # What never varies gets a variance that rounding of its square could not have hidden.
    resolved = (_UNRESOLVED * second.diagonal() / frames).clamp_min(_SMALLEST)
    return 0.5 * (covariance + covariance.T) + resolved.diag()


def with_signs(rows: Tensor) -> Tensor:
    """Turn each row so that its largest entry is positive; the first one of equals counts."""
    largest = rows.gather(-1, rows.abs().argmax(-1, keepdim=True))
    return torch.where(largest < 0.0, -rows, rows)
