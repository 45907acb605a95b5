"""Dynamic time warping with steps of one frame in either sequence or both, all of the same weight."""

from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor

from hmm_bench._instance import Instance
from hmm_bench._workload import Workload
from hmm_bench.problems._problem import Answer, Backend, Problem, absolute_error, relative_error
from hmm_core import FrameCost, dtw, pairwise_cost, soft_dtw

GAMMA = 1.0
"""Temperature of soft-DTW."""


class _Warping(Problem):
    """Two sequences of vectors that drift alike, or the squared distances between them."""

    def make(self, instance: Instance, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Smooth random walks of D dimensions (8 where only costs are given), the second one warped."""
        B, T, N, D = instance.batch, instance.frames, instance.tokens, instance.features or 8
        walk = torch.randn((B, T, D), generator=generator, dtype=torch.float64).cumsum(1)
        walk = walk / walk.std(dim=(1, 2), keepdim=True).clamp(min=1e-3)
        speed = torch.rand((B, N), generator=generator, dtype=torch.float64).cumsum(1)
        position = (speed / speed[:, -1:] * (T - 1)).long()
        noise = 0.1 * torch.randn((B, N, D), generator=generator, dtype=torch.float64)
        warped = walk.gather(1, position[..., None].expand(-1, -1, D)) + noise
        if instance.features:
            return {"x": walk, "y": warped}
        return {"cost": torch.cdist(walk, warped).square()}


def _cost(workload: Workload) -> Tensor | FrameCost:
    """Return the costs, or the features that have them."""
    if "cost" in workload.tensors:
        return workload["cost"]
    return FrameCost(workload["x"], workload["y"], "sqeuclidean")


class Dtw(_Warping):
    """Paths (B, T + N - 1, 2), padded with -1, whose summed cost is the smallest to 1e-5 relative."""

    tolerance = 1e-5

    def core(self, _: Instance, workload: Workload, backend: Backend) -> Callable[[], Answer]:
        """Compute ``dtw`` and its path, from costs or features."""
        # There is a path unless it was declined.
        return lambda: (cast(Tensor, dtw(_cost(workload), step_pattern="symmetric1", backend=backend).path),)

    def error(self, exact: Workload, answer: Answer, expected: Answer) -> float:
        """Sum the costs along the paths, if they are paths."""
        given = _cost(exact)
        cost = pairwise_cost(*given[:2], metric=given.metric) if isinstance(given, FrameCost) else given
        return relative_error(_path_cost(cost, answer[0]), _path_cost(cost, expected[0]))


def _path_cost(cost: Tensor, paths: Tensor) -> Tensor:
    """Sum the costs (B,) along paths of pairs, padded with -1 at the end; infinite for what is no path."""
    totals = []
    for table, padded in zip(cost, paths.to(torch.int64), strict=True):
        path = padded[padded[:, 0] >= 0]
        steps = path.diff(dim=0)
        corners = torch.tensor([[0, 0], [table.shape[0] - 1, table.shape[1] - 1]])
        sound = len(path) and torch.equal(path[[0, -1]], corners)
        sound = sound and bool(((steps >= 0) & (steps <= 1)).all()) and bool((steps.sum(1) > 0).all())
        totals.append(table[path[:, 0], path[:, 1]].sum() if sound else torch.tensor(torch.inf).double())
    return torch.stack(totals)


class SoftDtw(_Warping):
    """Values (B,) to 1e-5 relative, and their gradient to the costs or to ``x`` to 1e-3 of its scale."""

    tolerance = 1e-3

    def core(self, _: Instance, workload: Workload, backend: Backend) -> Callable[[], Answer]:
        """Compute ``soft_dtw`` and its gradient."""
        tensors = dict(workload.tensors)
        name = "cost" if "cost" in tensors else "x"
        leaf = tensors[name] = tensors[name].clone().requires_grad_()
        given = Workload(tensors)

        def run() -> Answer:
            """Forward and backward."""
            value = soft_dtw(_cost(given), gamma=GAMMA, backend=backend)
            (gradient,) = torch.autograd.grad(value.sum(), leaf)
            return value.detach(), gradient

        return run

    def error(self, _: Workload, answer: Answer, expected: Answer) -> float:
        """Compare values, a hundred times more strictly, and gradients."""
        scale = expected[1].abs().max().clamp(min=1.0)
        return max(
            100 * relative_error(answer[0], expected[0]), absolute_error(answer[1], expected[1], scale)
        )
