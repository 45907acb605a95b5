"""How many components each density deserves, and how they come about."""

import heapq
from collections.abc import Callable

import torch
from torch import Tensor


def split_targets(
    occupancy: Tensor, num_components: int, *, power: float = 0.25, min_occupancy: float = 20.0
) -> Tensor:
    r"""Hand out a budget of mixture components by occupancy, as Kaldi does.

    Every density gets one component; then, one at a time, the density with the largest
    :math:`o_p^{power} / n_p` gets another, as long as :math:`o_p / (n_p + 1) \ge` ``min_occupancy``.

    Parameters
    ----------
    occupancy : Tensor, shape (P,)
        Frames of each density, finite and >= 0.
    num_components : int
        Components of all densities together; fewer are handed out when the frames do not suffice, and
        never fewer than one per density.
    power : float, default 0.25
        0 shares equally, 1 in proportion to the frames. Kaldi's recipes use 0.2 to 0.25.
    min_occupancy : float, default 20.0
        Frames that each component of a density with more than one shall have.

    Returns
    -------
    Tensor of int64, shape (P,)
        Components of each density.

    Raises
    ------
    ValueError
        If ``num_components`` < 1, or ``occupancy`` has another shape or values.

    Notes
    -----
    Deterministic; of equal densities the first is served first.

    Examples
    --------
    >>> import torch
    >>> split_targets(torch.tensor([1000.0, 100.0, 30.0]), 8)
    tensor([4, 3, 1])
    """
    if num_components < 1:
        raise ValueError(f"num_components must be >= 1; got {num_components}")
    if occupancy.ndim != 1 or not bool((torch.isfinite(occupancy) & (occupancy >= 0.0)).all()):
        raise ValueError(f"occupancy must have shape (P,), finite and >= 0; got {occupancy}")
    frames = occupancy.double().tolist()
    target = [1] * len(frames)
    queue = [(-(count**power), density) for density, count in enumerate(frames)]
    heapq.heapify(queue)
    remaining = num_components - len(frames)
    while remaining > 0 and queue:
        _, density = heapq.heappop(queue)
        count = target[density] + 1
        if frames[density] <= 0.0 or frames[density] / count < min_occupancy:
            continue
        target[density] = count
        remaining -= 1
        heapq.heappush(queue, (-(frames[density] ** power) / count, density))
    return torch.tensor(target)


def split_heaviest(
    weight: Tensor,
    mean: Tensor,
    target: Tensor,
    perturbation: float,
    deviation: Callable[[Tensor, Tensor, Tensor], Tensor],
) -> tuple[Tensor, Tensor, Tensor]:
    """Split the heaviest components until each density has its target; see ``MixtureEmission.split``.

    ``deviation(density, component, direction)`` turns a direction into one of the component's length. Returns
    weights, means, and for each component the one (P, M) that it was split from.
    """
    weight, mean = weight.clone(), mean.clone()
    reach = torch.full_like(weight, perturbation)
    # Every split has a direction of its own, and halves reach half as far: no two components coincide.
    P, M, D = mean.shape
    origin = torch.arange(M, device=mean.device).expand(P, M).clone()
    directions = torch.randn(M, D, generator=torch.Generator().manual_seed(0)).to(mean)
    directions /= directions.square().mean(-1, keepdim=True).sqrt()
    for direction in directions:
        used = weight > 0.0
        rows = torch.arange(P, device=mean.device)[(used.sum(-1) < target) & used.any(-1)]
        if not len(rows):
            break
        source = weight[rows].argmax(-1)
        free = (~used[rows]).int().argmax(-1)
        weight[rows, source] *= 0.5
        step = deviation(rows, origin[rows, source], direction) * reach[rows, source].unsqueeze(-1)
        reach[rows, source] *= 0.5
        for value in (weight, reach, mean, origin):
            value[rows, free] = value[rows, source]
        mean[rows, source] += step
        mean[rows, free] -= step
    return weight, mean, origin
