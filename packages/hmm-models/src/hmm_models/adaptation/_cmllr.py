"""Constrained maximum likelihood linear regression: a feature transform for a speaker (CMLLR, fMLLR)."""

import logging
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from hmm_models.adaptation._affine import AffineTransform
from hmm_models.adaptation._checks import check_finite
from hmm_models.adaptation._cmllr_statistics import CMLLRStatistics, extended
from hmm_models.adaptation._rows import RowMaximizer

_LOGGER = logging.getLogger("hmm_models")
# Nats per frame by which a pass over the rows must gain to be followed by another.
_TOLERANCE = 1e-6

Structure = Literal["full", "block", "diagonal", "bias", "identity"]


class CMLLREstimate(NamedTuple):
    """A transform of a speaker's features, and what it rests on."""

    transform: AffineTransform
    """In float64."""
    structure: Structure
    """What was estimated: what was asked for, or less where there were too few frames."""
    occupancy: float
    """Frames of the data, without those of a prior."""
    auxiliary: tuple[float, ...]
    """The objective, prior included, at the start and after each pass over the rows; it never falls."""


@torch.no_grad()
def estimate_cmllr(
    statistics: CMLLRStatistics,
    *,
    structure: Structure = "full",
    num_blocks: int = 3,
    min_count: float = 10.0,
    prior: CMLLRStatistics | None = None,
    initial: AffineTransform | None = None,
    max_sweeps: int = 100,
) -> CMLLREstimate:
    r"""Estimate the affine transform that makes a speaker's features most likely (CMLLR, fMLLR).

    .. math:: \hat A, \hat b = \operatorname*{argmax}_{A, b}
        \sum_{nm} \gamma_{nm} \log \left(|\det A| \, \mathcal N(A x_n + b; \mu_m, \Sigma_m)\right)

    Parameters
    ----------
    statistics : CMLLRStatistics
        From ``accumulate_cmllr``, summed over the speaker's data.
    structure : {"full", "block", "diagonal", "bias", "identity"}, default "full"
        Which entries are free: all; those of diagonal blocks, and the bias; the diagonal and the bias; the
        bias.
    num_blocks : int, default 3
        Blocks of ``"block"``, of equal size as far as possible: features and their first and second slopes.
    min_count : float, default 10.0
        Frames that each free entry of a row must have. With fewer, the next simpler structure is taken, and
        in the end the identity; the result and the log ``hmm_models`` say which.
    prior : CMLLRStatistics, optional
        From ``cmllr_prior``: what holds the transform near the identity where the data say little.
    initial : AffineTransform, optional
        Of the structure, where to start from; the identity if omitted.
    max_sweeps : int, default 100
        Passes over the rows, at most.

    Returns
    -------
    CMLLREstimate
        Deterministic.

    Raises
    ------
    SingularStatisticsError
        If the statistics do not determine the transform: a ``ValueError``.
    ValueError
        If a value is out of range or not finite, or shapes disagree.

    Notes
    -----
    Each row is maximised in closed form with the others fixed, in turn, until a pass gains less than 1e-6
    nats per frame. O(D^4) a pass.

    References
    ----------
    .. [1] M. J. F. Gales, "Maximum likelihood linear transformations for HMM-based speech recognition",
       Computer Speech and Language 12(2), 1998.

    Examples
    --------
    The speaker's features are twice as large:

    >>> import torch
    >>> from hmm_models import GaussianMixtures, accumulate_cmllr
    >>> densities = GaussianMixtures(20, 1, 2)
    >>> index = torch.arange(2000) % 20
    >>> x = 2.0 * densities.sample(index)
    >>> estimate = estimate_cmllr(accumulate_cmllr(densities, x, density_index=index))
    >>> estimate.structure, estimate.transform.weight.shape
    ('full', torch.Size([2, 2]))
    >>> 0.4 < estimate.transform.weight[0, 0].item() < 0.6
    True
    """
    check_structure(structure, num_blocks, min_count)
    check_finite("statistics", statistics)
    if prior is not None:
        check_finite("prior", prior)
    occupancy, D = float(statistics.occupancy), len(statistics.first)
    found = affordable_structure(structure, occupancy, D, num_blocks, min_count)
    total = statistics if prior is None else statistics + prior
    start = AffineTransform.identity(D, torch.float64) if initial is None else initial
    weight = extended(start).to(total.first)
    free = free_entries(found, D, num_blocks).to(weight.device)
    off = weight - torch.eye(D, D + 1).to(weight)
    if weight.shape != free.shape or bool(off[~free].any()):
        raise ValueError(f"initial must be of {D} features to {D}, and of the structure {found!r}")
    history = [total.auxiliary(start)]
    frames = float(total.occupancy)
    if found != "identity":
        rows = RowMaximizer(weight, frames, total.second, total.first, free)
        while len(history) <= max_sweeps:
            gain = rows.sweep()
            history.append(history[-1] + gain)
            if gain < _TOLERANCE * frames:
                break
        weight = torch.from_numpy(rows.weight).to(weight)
    return CMLLREstimate(AffineTransform(weight[:, :D], weight[:, D]), found, occupancy, tuple(history))


def affordable_structure(
    wanted: Structure, occupancy: float, feature_dim: int, num_blocks: int, min_count: float
) -> Structure:
    """Richest structure, not richer than wanted, that has enough frames."""
    ladder: tuple[Structure, ...] = get_args(Structure)
    for structure in ladder[ladder.index(wanted) :]:
        parameters = int(free_entries(structure, feature_dim, num_blocks).sum(-1).max())
        if occupancy >= min_count * parameters:
            break
    if structure != wanted:
        _LOGGER.info("%.0f frames are too few for a %s transform: %s", occupancy, wanted, structure)
    return structure


def free_entries(structure: Structure, feature_dim: int, num_blocks: int) -> Tensor:
    """Mask (D, D + 1) of the entries of [A, b] that are estimated."""
    D = feature_dim
    number = {"full": 1, "block": min(num_blocks, D)}.get(structure, D)
    block = torch.arange(D) * number // D
    matrix = block.unsqueeze(-1) == block
    if structure in {"bias", "identity"}:
        matrix = torch.zeros_like(matrix)
    bias = torch.full((D, 1), structure != "identity")
    return torch.cat([matrix, bias], -1)


def check_structure(structure: str, num_blocks: int, min_count: float) -> None:
    """Refuse unknown structures and counts out of range."""
    if structure not in get_args(Structure):
        raise ValueError(f"structure must be one of {get_args(Structure)}; got {structure!r}")
    if num_blocks < 1:
        raise ValueError(f"num_blocks must be >= 1; got {num_blocks}")
    if not min_count >= 0.0:
        raise ValueError(f"min_count must be >= 0; got {min_count}")
