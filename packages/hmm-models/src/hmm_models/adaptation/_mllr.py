"""Maximum likelihood linear regression: a speaker's transforms of means (MLLR)."""

from copy import deepcopy
from typing import Any, cast

import torch
from torch import Tensor

from hmm_models.adaptation._affine import AffineTransform
from hmm_models.adaptation._checks import check_finite, check_strength
from hmm_models.adaptation._cmllr import Structure, affordable_structure, check_structure, free_entries
from hmm_models.adaptation._cmllr_statistics import cmllr_prior, extended, gaussians
from hmm_models.adaptation._em import e_step, run_adaptation
from hmm_models.adaptation._regression_tree import RegressionTree, regression_tree
from hmm_models.adaptation._report import Adaptation, AdaptedClass
from hmm_models.adaptation._rows import invert
from hmm_models.emissions._mixture_statistics import MixtureStatistics
from hmm_models.emissions._mixtures import GaussianMixtures
from hmm_models.models._em_sequence_model import EMSequenceModel
from hmm_models.training._em import SequenceStatistics


@torch.no_grad()
def estimate_mllr(
    densities: GaussianMixtures,
    statistics: MixtureStatistics,
    groups: Tensor,
    *,
    structure: Structure = "full",
    num_blocks: int = 3,
    min_count: float = 10.0,
    strength: float = 10.0,
) -> tuple[AdaptedClass, ...]:
    r"""Estimate the transforms of means that make data most likely (MLLR).

    .. math:: \hat A_c, \hat b_c = \operatorname*{argmin}_{A, b}
        \sum_{m \in c} \sum_n \gamma_{nm} |x_n - A \mu_m - b|^2_{\Sigma_m^{-1}}

    Parameters
    ----------
    densities : GaussianMixtures
        The unadapted ones.
    statistics : MixtureStatistics
        Of the speaker's data, from ``accumulate``; its shares may be those of adapted densities.
    groups : Tensor of int64, shape (P, M)
        Which Gaussians have a transform together; -1 for one that keeps its mean. See ``RegressionTree.cut``.
    structure : {"full", "block", "diagonal", "bias", "identity"}, default "full"
        Which entries of a transform are free, as for ``estimate_cmllr``.
    num_blocks : int, default 3
        Blocks of ``"block"``.
    min_count : float, default 10.0
        Frames that each free entry of a row must have in its group. With fewer, the next simpler structure is
        taken, as the result says.
    strength : float, default 10.0
        Frames, >= 0, with which a Gaussian prior holds the entries of each transform near the identity's.

    Returns
    -------
    tuple of AdaptedClass
        One for each group, in ascending order.

    Raises
    ------
    SingularStatisticsError
        If ``strength`` is 0 and a group's data do not determine its transform: a ``ValueError``.
    ValueError
        If shapes disagree or values are out of range or not finite.

    Notes
    -----
    Each row is a weighted least-squares problem: O(C D^4 + P M D^3).

    References
    ----------
    .. [1] C. J. Leggetter and P. C. Woodland, "Maximum likelihood linear regression for speaker adaptation of
       continuous density hidden Markov models", Computer Speech and Language 9(2), 1995.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import GaussianMixtures
    >>> densities, index = GaussianMixtures(50, 1, 2), torch.arange(1000) % 50
    >>> x = densities.sample(index) + 3.0
    >>> statistics = densities.accumulate(x, density_index=index)
    >>> alike = torch.zeros(50, 1, dtype=torch.int64)
    >>> found = estimate_mllr(densities, statistics, alike, structure="bias")
    >>> found[0].transform.bias.round(decimals=0)
    tensor([3., 3.], dtype=torch.float64)
    """
    check_structure(structure, num_blocks, min_count)
    check_finite("statistics", statistics)
    P, M, D = densities.mean.shape
    if statistics.first.shape != (P, M, D) or groups.shape != (P, M):
        raise ValueError(
            f"statistics and groups must be of (P, M, D) = {(P, M, D)}; "
            f"got {tuple(statistics.first.shape)} and {tuple(groups.shape)}"
        )
    structures = _affordable(groups, statistics.occupancy, structure, D, num_blocks, min_count)
    return _regress(densities, statistics, groups, structures, num_blocks, _hold(densities, strength))


def _affordable(
    groups: Tensor,
    occupancy: Tensor,
    structure: Structure,
    feature_dim: int,
    num_blocks: int,
    min_count: float,
) -> dict[int, Structure]:
    """Richest structure that each group has enough frames for."""
    return {
        group: affordable_structure(
            structure, float(occupancy[groups == group].sum()), feature_dim, num_blocks, min_count
        )
        for group in torch.unique(groups[groups >= 0]).tolist()
    }


def _regress(
    densities: GaussianMixtures,
    statistics: MixtureStatistics,
    groups: Tensor,
    structures: dict[int, Structure],
    num_blocks: int,
    hold: Tensor,
) -> tuple[AdaptedClass, ...]:
    """Solve the least-squares problem of each group."""
    D = densities.feature_dim
    mean, precision = densities.mean.double(), 1.0 / densities.variance.double()
    classes = []
    for group, structure in structures.items():
        mine = groups == group
        count, own = statistics.occupancy[mine], precision[mine]
        inputs = torch.cat([mean[mine], torch.ones_like(own[:, :1])], -1)
        second = torch.einsum("md,me,mf->def", count.unsqueeze(-1) * own, inputs, inputs)
        first = (own * statistics.first[mine]).T @ inputs
        free = free_entries(structure, D, num_blocks).to(mine.device)
        weight = torch.eye(D, D + 1).to(first)
        for row in range(D):
            chosen = free[row].nonzero().squeeze(-1)
            if len(chosen):
                inner = (second[row] + hold[row].diag())[chosen][:, chosen]
                # What the identity leaves over.
                target = (first[row] - second[row] @ weight[row])[chosen]
                weight[row, chosen] += invert(inner, row) @ target
        classes.append(
            AdaptedClass(
                AffineTransform(weight[:, :D], weight[:, D]),
                structure,
                float(count.sum()),
                tuple((int(p), int(m)) for p, m in mine.nonzero().tolist()),
            )
        )
    return tuple(classes)


def _hold(densities: GaussianMixtures, strength: float) -> Tensor:
    """Precision (D, D + 1) of each entry of a transform before data, in frames that the model expects."""
    check_strength("strength", strength)
    return cmllr_prior(densities, strength).second.diagonal(dim1=-2, dim2=-1)


def log_prior(classes: tuple[AdaptedClass, ...], hold: Tensor) -> float:
    """Tell what the prior says of transforms, against identities."""
    identity = torch.eye(*hold.shape).to(hold)
    changes = [extended(item.transform).to(hold) - identity for item in classes]
    return -0.5 * sum(float((hold * change.square()).sum()) for change in changes)


@torch.no_grad()
def adapt_mllr(
    model: EMSequenceModel[Any, Any],
    x: Tensor,
    lengths: Tensor | None = None,
    weights: Tensor | None = None,
    *,
    tree: RegressionTree | int = 8,
    structure: Structure = "full",
    num_blocks: int = 3,
    min_count: float = 10.0,
    strength: float = 10.0,
    max_iterations: int = 10,
    tolerance: float = 1e-3,
    **data: Tensor | None,
) -> Adaptation:
    """Move a model's means towards a speaker by affine transforms that many of them share (MLLR).

    Parameters
    ----------
    model : EMSequenceModel
        A ``GaussianHMM``, say, with diagonal or spherical covariances. Stays as it is.
    x, lengths, **data
        The data of one speaker, see ``SequenceModel``; ``allowed`` where states are known.
    weights : Tensor, shape (B,), optional
        Weight of each sequence, finite and >= 0; 1 if omitted.
    tree : RegressionTree or int, default 8
        Which Gaussians go together; a number makes a ``regression_tree`` of so many leaves. Nodes are divided
        as far as each part has enough frames.
    structure : {"full", "block", "diagonal", "bias", "identity"}, default "full"
        See ``estimate_mllr``.
    num_blocks : int, default 3
        See ``estimate_mllr``.
    min_count : float, default 10.0
        Frames that each free entry of a row must have; with fewer, Gaussians are grouped more coarsely, and
        if all together have too few, a simpler structure is taken.
    strength : float, default 10.0
        See ``estimate_mllr``.
    max_iterations : int, default 10
        E-steps and estimates, at most.
    tolerance : float, default 1e-3
        Stop when an iteration gains less, in nats per frame.

    Returns
    -------
    Adaptation
        ``model`` is a copy with other means; ``classes`` are the groups with their transforms.

    Raises
    ------
    SingularStatisticsError
        If ``strength`` is 0 and the data do not determine a transform.
    TypeError
        If the emission has no diagonal Gaussians.
    ValueError
        If shapes disagree, a value is out of range, or no path can produce one of the sequences.
    LikelihoodDecreaseError
        If an iteration lowers the likelihood, which it cannot but for rounding.

    Notes
    -----
    The likelihood plus the logarithm of the prior never falls. The groups are those of the first E-step.

    References
    ----------
    .. [1] C. J. Leggetter and P. C. Woodland, "Maximum likelihood linear regression for speaker adaptation of
       continuous density hidden Markov models", Computer Speech and Language 9(2), 1995.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import GaussianHMM
    >>> model = GaussianHMM(4, 2)
    >>> _ = torch.nn.init.normal_(model.emission.mean, std=5.0)
    >>> x = model.sample(100, 8).features + 1.0
    >>> adaptation = adapt_mllr(model, x, structure="bias")
    >>> adaptation.log_likelihood[-1] > adaptation.log_likelihood[0]
    True
    """
    check_structure(structure, num_blocks, min_count)
    original = gaussians(model.emission)[1]
    if isinstance(tree, int):
        tree = regression_tree(original, tree)
    elif tree.leaf.shape != original.weight_logits.shape:
        raise ValueError(
            f"tree.leaf must have shape (P, M) = {tuple(original.weight_logits.shape)}; "
            f"got {tuple(tree.leaf.shape)}"
        )
    adapted = deepcopy(model)
    densities = gaussians(adapted.emission)[1]
    hold = _hold(original, strength)
    # The first E-step decides how much is estimated: that may not change on the way.
    groups = torch.full_like(tree.leaf, -1)
    structures: dict[int, Structure] = {}
    classes: tuple[AdaptedClass, ...] = ()

    def update(statistics: SequenceStatistics) -> None:
        nonlocal groups, structures, classes
        sums, D = cast(MixtureStatistics, statistics.emission), original.feature_dim
        if not structures:
            width = int(free_entries(structure, D, num_blocks).sum(-1).max())
            groups = tree.cut(sums.occupancy, min_count * width)
            structures = _affordable(groups, sums.occupancy, structure, D, num_blocks, min_count)
        classes = _regress(original, sums, groups, structures, num_blocks, hold)
        for item in classes:
            density, component = torch.tensor(item.components, device=groups.device).T
            moved = item.transform(original.mean[density, component].double())
            densities.mean[density, component] = moved.to(densities.mean)

    fit, frames = run_adaptation(
        lambda: e_step(adapted, {"x": x, "lengths": lengths, "weights": weights, **data}),
        update,
        densities.rounding,
        lambda: log_prior(classes, hold),
        max_iterations,
        tolerance,
    )
    return Adaptation(adapted, fit.log_likelihood, frames, fit.converged, classes)
