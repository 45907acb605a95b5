"""What the estimate of a CMLLR transform needs to know of the data."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from hmm_models._numerics import log_softmax
from hmm_models._statistics import Statistics
from hmm_models.adaptation._affine import AffineTransform
from hmm_models.adaptation._checks import check_frames, check_strength
from hmm_models.adaptation._transformed import unwrapped
from hmm_models.emissions._accumulation import membership
from hmm_models.emissions._expansion import Expansion, expand
from hmm_models.emissions._mixtures import GaussianMixtures


@dataclass(frozen=True, eq=False)
class CMLLRStatistics(Statistics):
    r"""What ``estimate_cmllr`` needs to know of the data.

    With :math:`\xi_n = [x_n, 1]` and :math:`\gamma_{nm}` the share of Gaussian *m* in frame *n*, for each
    dimension *i*:

    .. math::
        \beta = \sum_{nm} \gamma_{nm}, \quad
        G_i = \sum_{nm} \frac{\gamma_{nm}}{\sigma^2_{mi}} \xi_n \xi_n^T, \quad
        k_i = \sum_{nm} \frac{\gamma_{nm} \mu_{mi}}{\sigma^2_{mi}} \xi_n^T

    Those of disjoint data add, and so do those of several models of one speaker.

    Parameters
    ----------
    occupancy : Tensor of float64, shape ()
        :math:`\beta`, frames.
    second : Tensor of float64, shape (D, D + 1, D + 1)
        *G*.
    first : Tensor of float64, shape (D, D + 1)
        *k*.

    Examples
    --------
    >>> statistics = CMLLRStatistics.zeros(13)
    >>> statistics.second.shape
    torch.Size([13, 14, 14])
    """

    occupancy: Tensor
    second: Tensor
    first: Tensor

    def __post_init__(self) -> None:
        D = len(self.first)
        if self.first.shape != (D, D + 1) or self.second.shape != (D, D + 1, D + 1):
            raise ValueError(
                f"first and second must have shapes (D, D + 1) and (D, D + 1, D + 1); "
                f"got {tuple(self.first.shape)} and {tuple(self.second.shape)}"
            )

    @classmethod
    def zeros(cls, feature_dim: int, device: torch.device | None = None) -> Self:
        """Statistics of no data.

        Parameters
        ----------
        feature_dim : int
            D.
        device : torch.device, optional
            Where the sums live.

        Returns
        -------
        CMLLRStatistics
            Zeros in float64.
        """
        D = feature_dim
        shapes: tuple[tuple[int, ...], ...] = ((), (D, D + 1, D + 1), (D, D + 1))
        return cls(*(torch.zeros(shape, dtype=torch.float64, device=device) for shape in shapes))

    @torch.no_grad()
    def auxiliary(self, transform: AffineTransform) -> float:
        r"""Compute the expected log-likelihood through a transform, up to what does not depend on it.

        .. math:: \beta \log |\det A| - \frac12 \sum_i w_i G_i w_i^T + \sum_i w_i k_i^T

        Parameters
        ----------
        transform : AffineTransform
            Its :math:`[A, b]` has the rows :math:`w_i`.

        Returns
        -------
        float
            In nats.

        Raises
        ------
        ValueError
            If the transform is not of D features to D.
        """
        rows = extended(transform).to(self.first)
        if rows.shape != self.first.shape:
            raise ValueError(
                f"transform must be of {len(self.first)} features to as many; "
                f"got {transform.feature_dim} to {transform.output_dim}"
            )
        volume = torch.linalg.slogdet(rows[:, :-1]).logabsdet
        square = torch.einsum("ie,ief,if->", rows, self.second, rows)
        return float(self.occupancy * volume - 0.5 * square + (rows * self.first).sum())


def extended(transform: AffineTransform) -> Tensor:
    """Put [A, b] together in float64, shape (R, D + 1)."""
    return torch.cat([transform.weight, transform.bias.unsqueeze(-1)], -1).detach().double()


def gaussians(emission: nn.Module) -> tuple[tuple[AffineTransform, ...], GaussianMixtures]:
    """Diagonal Gaussians, and the transforms that features go through before, in this order."""
    transforms, densities = unwrapped(emission)
    if not isinstance(densities, GaussianMixtures):
        raise TypeError(
            "emission must be GaussianMixtures (diagonal or spherical), as they are or in a "
            f"TransformedEmission; got {type(densities).__name__}"
        )
    return transforms, densities


@torch.no_grad()
def accumulate_cmllr(
    emission: nn.Module,
    x: Tensor,
    density_posterior: Tensor | None = None,
    density_index: Tensor | None = None,
    weight: Tensor | None = None,
) -> CMLLRStatistics:
    """Collect what ``estimate_cmllr`` needs from frames whose densities are known, softly or firmly.

    Parameters
    ----------
    emission : GaussianMixtures or TransformedEmission
        The densities; with a transform, the present one of the speaker: it decides which components a frame
        belongs to.
    x : Tensor, shape (N, D)
        Features before any transform; finite.
    density_posterior : Tensor, shape (N, P), optional
        Share of each density in each frame, finite and >= 0 (a state posterior). Give this or
        ``density_index``.
    density_index : Tensor of int64, shape (N,), optional
        The density of each frame, or -1 for a frame to leave out.
    weight : Tensor, shape (N,), optional
        Weight of each frame, finite and >= 0; 1 if omitted.

    Returns
    -------
    CMLLRStatistics
        In float64, on the device of ``x``.

    Raises
    ------
    TypeError
        If the emission is of another kind.
    ValueError
        If shapes disagree, values are out of range, or not exactly one of the two is given.

    Notes
    -----
    O(N D (D^2 + P M)) time; memory is bounded by blocks of frames.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import GaussianMixtures
    >>> densities, x = GaussianMixtures(5, 2, 3), torch.randn(20, 3)
    >>> statistics = accumulate_cmllr(densities, x[:10], density_index=torch.arange(10) % 5)
    >>> statistics += accumulate_cmllr(densities, x[10:], density_index=torch.arange(10) % 5)
    >>> statistics.occupancy
    tensor(20., dtype=torch.float64)
    """
    transforms, densities = gaussians(emission)
    if len(transforms) > 1:
        raise ValueError(f"emission must have at most one transform, the speaker's; got {len(transforms)}")
    transform = transforms[0] if transforms else None
    x = check_frames(x, densities.feature_dim)
    member = membership(x, densities.num_densities, density_posterior, density_index, weight)
    mean, variance = densities.mean.double(), densities.variance.double()
    base = expand(log_softmax(densities.weight_logits.double()), mean, variance.log(), missing=False)
    sums = _Sums(base.center, base.coefficient, base.constant, 1.0 / variance, mean / variance, transform)
    occupancy, square, first = member.collect(sums, x, None)
    return CMLLRStatistics(occupancy.squeeze(0), _unfold(square.squeeze(0)), first.squeeze(0))


@torch.no_grad()
def cmllr_prior(emission: nn.Module, strength: float) -> CMLLRStatistics:
    r"""Statistics of frames that the model expects: they hold a transform near the identity.

    Parameters
    ----------
    emission : GaussianMixtures or TransformedEmission
        The densities, all equally likely; a transform is not looked at.
    strength : float
        Frames that count as if they had been seen, >= 0.

    Returns
    -------
    CMLLRStatistics
        Whose own best transform is the identity, exactly: a prior to ``estimate_cmllr``.

    Raises
    ------
    TypeError
        If the emission is of another kind.
    ValueError
        If ``strength`` is negative or not finite.

    Notes
    -----
    A conjugate density of the transform, in the spirit of fMAPLR [1]_, whose parameters are the moments of
    the model instead of those of many speakers' transforms.

    References
    ----------
    .. [1] X. Lei, J. Hamaker and X. He, "Robust feature space adaptation for telephony speech recognition",
       Interspeech 2006.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import GaussianMixtures, estimate_cmllr
    >>> transform = estimate_cmllr(cmllr_prior(GaussianMixtures(5, 2, 3), 100.0)).transform
    >>> torch.allclose(transform.weight, torch.eye(3, dtype=torch.float64))
    True
    """
    check_strength("strength", strength)
    densities = gaussians(emission)[1]
    mean, variance = densities.mean.double().flatten(0, 1), densities.variance.double().flatten(0, 1)
    weight = strength * densities.weight.double().flatten() / densities.num_densities
    precision = weight.unsqueeze(-1) / variance
    inputs = torch.cat([mean, torch.ones_like(mean[:, :1])], -1)
    second = _unfold(precision.T @ _fold(inputs))
    second[:, :-1, :-1] += torch.diag_embed(precision.T @ variance)
    return CMLLRStatistics(weight.sum(), second, (precision * mean).T @ inputs)


@dataclass(frozen=True, eq=False)
class _Sums(Expansion):
    """Gaussians whose moments are the statistics of a transform; one row, whatever the density.

    What is read of a frame is its expansion, after the transform, and :math:`[x, 1]` before it.
    """

    precision: Tensor
    """Shape (P, M, D)."""
    scaled_mean: Tensor
    """Means times precisions, shape (P, M, D)."""
    transform: AffineTransform | None

    @property
    def width(self) -> int:
        """Products of inputs or components, whichever are more."""
        D = len(self.center)
        return max((D + 1) * (D + 2) // 2, self.constant.numel())

    def read(self, x: Tensor, observed: Tensor | None) -> Tensor:
        """Expansion, and the features themselves with a 1."""
        known = x if self.transform is None else self.transform(x)
        return torch.cat([super().read(known, observed), x, torch.ones_like(x[:, :1])], -1)

    def log_joint(self, inputs: Tensor) -> Tensor:
        """Log of weight times density of every component, shape (P, M, R)."""
        return super().log_joint(inputs[..., : self.coefficient.shape[-1]])

    def moments(self, inputs: Tensor, component: Tensor) -> tuple[Tensor, ...]:
        """Sum the shares, weighted products of the inputs, and weighted inputs."""
        inputs = inputs[..., self.coefficient.shape[-1] :]

        def weigh(scale: Tensor) -> Tensor:
            """Sum the components' scales (P, M, D) over each frame's shares in them: (D, frames)."""
            if inputs.ndim == 3:
                return (scale.mT @ component).transpose(0, 1).flatten(1)
            return scale.flatten(0, 1).T @ component.flatten(0, 1)

        read = inputs.flatten(0, -2)
        sums = (component.sum(), weigh(self.precision) @ _fold(read), weigh(self.scaled_mean) @ read)
        return tuple(value.unsqueeze(0) for value in sums)

    def zeros(self) -> tuple[Tensor, ...]:
        """Moments of no frames."""
        D = len(self.center)
        shapes: tuple[tuple[int, ...], ...] = ((1,), (1, D, (D + 1) * (D + 2) // 2), (1, D, D + 1))
        return tuple(self.center.new_zeros(shape) for shape in shapes)

    def select(self, index: Tensor) -> Self:
        """Take some densities."""
        own = super().select(index)
        return replace(own, precision=self.precision[index], scaled_mean=self.scaled_mean[index])


def _fold(inputs: Tensor) -> Tensor:
    """Products of each two entries of rows (N, E), once each: (N, E (E + 1) / 2)."""
    row, column = torch.triu_indices(inputs.shape[1], inputs.shape[1], device=inputs.device)
    return inputs[:, row] * inputs[:, column]


def _unfold(products: Tensor) -> Tensor:
    """Symmetric matrices (D, E, E) from their upper triangles (D, E (E + 1) / 2)."""
    size = int((2 * products.shape[-1]) ** 0.5)
    row, column = torch.triu_indices(size, size, device=products.device)
    result = products.new_zeros(*products.shape[:-1], size, size)
    result[..., row, column] = products
    result[..., column, row] = products
    return result
