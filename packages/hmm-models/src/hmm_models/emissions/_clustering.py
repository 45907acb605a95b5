"""Which density and component each frame starts in, before the first EM iteration."""

import torch
from torch import Tensor

_ITERATIONS = 20
_RESTARTS = 3


def kmeans(x: Tensor, num_clusters: int, generator: torch.Generator) -> Tensor:
    """Cluster of each frame (N,), from k-means++ and Lloyd's iterations; the best of three starts."""
    best, best_distortion = torch.zeros(len(x), dtype=torch.int64, device=x.device), torch.inf
    if num_clusters == 1 or not len(x):
        return best
    for _ in range(_RESTARTS):
        centers = _spread_centers(x, num_clusters, generator)
        for _ in range(_ITERATIONS):
            index = torch.cdist(x, centers).argmin(-1)
            moved = _centers(x, index, centers)
            if torch.equal(moved, centers):
                break
            centers = moved
        distance, index = torch.cdist(x, centers).min(-1)
        distortion = float(distance.square().sum())
        if distortion < best_distortion:
            best, best_distortion = index, distortion
    return best


def _spread_centers(x: Tensor, num_clusters: int, generator: torch.Generator) -> Tensor:
    """Frames far from each other (k-means++); fewer when fewer are distinct."""
    chosen = [int(torch.randint(len(x), (), generator=generator))]
    distance = (x - x[chosen[0]]).square().sum(-1)
    while len(chosen) < num_clusters and float(distance.max()) > 0.0:
        cumulative = distance.cumsum(0)
        draw = torch.rand((), generator=generator, dtype=x.dtype).to(x.device) * cumulative[-1]
        chosen.append(int(torch.searchsorted(cumulative, draw, right=True).clamp_max(len(x) - 1)))
        distance = distance.minimum((x - x[chosen[-1]]).square().sum(-1))
    return x[chosen]


def _centers(x: Tensor, index: Tensor, centers: Tensor) -> Tensor:
    """Mean of each cluster; an empty one stays where it is."""
    member = torch.nn.functional.one_hot(index, len(centers)).to(x)
    count = member.sum(0).unsqueeze(-1)
    return torch.where(count > 0.0, (member.T @ x) / count.clamp_min(1.0), centers)


def cluster_within(x: Tensor, state: Tensor, num_mixtures: int, generator: torch.Generator) -> Tensor:
    """Component of each frame within its state, shape (N,)."""
    component = torch.zeros_like(state)
    for value in torch.unique(state).tolist():
        frames = (state == value).nonzero().squeeze(-1)
        component[frames] = kmeans(x[frames], num_mixtures, generator)
    return component
