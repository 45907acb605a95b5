"""Which Gaussians are adapted together."""

from typing import NamedTuple

import torch
from torch import Tensor

from hmm_models.emissions._clustering import kmeans
from hmm_models.emissions._mixtures import GaussianMixtures


class RegressionTree(NamedTuple):
    """Groups of Gaussians, and of groups: the fewer the data, the larger the groups that are used."""

    parent: tuple[int, ...]
    """Number of each node's parent; -1 for the root, which is node 0. Parents come before their children."""
    leaf: Tensor
    """Leaf of each Gaussian, shape (P, M), int64; -1 for one that is not in use."""

    def cut(self, occupancy: Tensor, min_count: float) -> Tensor:
        """Choose the finest groups that all have enough frames.

        Parameters
        ----------
        occupancy : Tensor, shape (P, M)
            Frames of each Gaussian.
        min_count : float
            Frames that each group must have; only the root may have fewer.

        Returns
        -------
        Tensor of int64, shape (P, M)
            Node of each Gaussian; -1 for one that is not in use. A node is divided only if all of its
            children have enough frames.
        """
        count = torch.zeros(len(self.parent), dtype=torch.float64)
        used = self.leaf >= 0
        count.index_add_(0, self.leaf[used].cpu(), occupancy[used].double().cpu())
        for node in range(len(self.parent) - 1, 0, -1):
            count[self.parent[node]] += count[node]
        enough = [True] * len(self.parent)
        for node in range(1, len(self.parent)):
            enough[self.parent[node]] &= bool(count[node] >= min_count)
        # Node that stands for each node: itself, or an ancestor that is not divided.
        group = list(range(len(self.parent)))
        for node in range(1, len(self.parent)):
            above = self.parent[node]
            if group[above] != above or not enough[above]:
                group[node] = group[above]
        table = torch.tensor([*group, -1], device=self.leaf.device)
        return table[self.leaf]


@torch.no_grad()
def regression_tree(densities: GaussianMixtures, num_classes: int = 8, *, seed: int = 0) -> RegressionTree:
    """Group Gaussians whose means are near each other.

    Parameters
    ----------
    densities : GaussianMixtures
        P densities of up to M Gaussians.
    num_classes : int, default 8
        Leaves, >= 1; fewer if fewer means are distinct.
    seed : int, default 0
        Of the starts of k-means; the same seed gives the same tree.

    Returns
    -------
    RegressionTree
        The group with the largest sum of squared distances is divided in two until there are enough.
        Distances are in average deviations of the Gaussians.

    Raises
    ------
    ValueError
        If ``num_classes`` is < 1.

    References
    ----------
    .. [1] C. J. Leggetter and P. C. Woodland, "Flexible speaker adaptation using maximum likelihood linear
       regression", ARPA Spoken Language Technology Workshop, 1995.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import GaussianMixtures
    >>> densities = GaussianMixtures(4, 1, 1)
    >>> densities.mean.data = torch.tensor([0.0, 0.1, 5.0, 5.2]).view(4, 1, 1)
    >>> tree = regression_tree(densities, 2)
    >>> tree.parent, tree.leaf[0] == tree.leaf[1], tree.leaf[0] == tree.leaf[2]
    ((-1, 0, 0), tensor([True]), tensor([False]))
    """
    if num_classes < 1:
        raise ValueError(f"num_classes must be >= 1; got {num_classes}")
    used = densities.weight_logits > -torch.inf
    deviation = densities.variance.double()[used].mean(0).sqrt()
    mean = densities.mean.double()[used] / deviation
    generator = torch.Generator().manual_seed(seed)
    parent, members = [-1], {0: torch.arange(len(mean), device=mean.device)}
    while len(members) < num_classes:
        spread = {
            node: float((mean[own] - mean[own].mean(0)).square().sum()) for node, own in members.items()
        }
        widest = max(spread, key=lambda node: spread[node])
        own = members[widest]
        side = kmeans(mean[own], 2, generator)
        if bool((side == side[0]).all()):
            break
        del members[widest]
        for half in (side == side[0], side != side[0]):
            members[len(parent)] = own[half]
            parent.append(widest)
    leaf = torch.full_like(used, -1, dtype=torch.int64)
    numbers = torch.empty(len(mean), dtype=torch.int64, device=mean.device)
    for node, own in members.items():
        numbers[own] = node
    leaf[used] = numbers
    return RegressionTree(tuple(parent), leaf)
