"""Mixture densities made ready for matrix products on blocks of frames."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Generic, Self, TypeVar

import torch
from torch import Tensor

from hmm_models._numerics import exp_, logsumexp
from hmm_models._statistics import Statistics
from hmm_models._tracing import is_recorded

LOG_TWO_PI = math.log(2.0 * math.pi)
# Numbers in the largest tensor of a block: 1 MiB of float32, which a core's cache holds.
_BLOCK = 1 << 18
# Rows that keep a matrix product efficient however large the model is.
_FEWEST_ROWS = 64

S = TypeVar("S", bound=Statistics)


class Densities(ABC, Generic[S]):
    """P mixtures of M components in one dtype; frames are on the last axis of all that is computed.

    What is read of R frames meets all densities, shape (R, W), or each density's own meets it alone,
    shape (P, R, W).
    """

    constant: Tensor
    """Shape (P, M), in the dtype of the computation; -inf for a component that is not in use."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Numbers per frame in the largest tensor."""

    @abstractmethod
    def read(self, x: Tensor, observed: Tensor | None) -> Tensor:
        """Turn features (R, D) into the other factor of the products, with frames as rows."""

    @abstractmethod
    def log_joint(self, inputs: Tensor) -> Tensor:
        """Log of weight times density of every component, shape (P, M, R)."""

    @abstractmethod
    def moments(self, inputs: Tensor, component: Tensor) -> tuple[Tensor, ...]:
        """Sum over frames of shares (P, M, R), and of what is read, weighted with them."""

    @abstractmethod
    def zeros(self) -> tuple[Tensor, ...]:
        """Moments of no frames, in float64."""

    @abstractmethod
    def statistics(self, moments: tuple[Tensor, ...]) -> S:
        """Turn moments (float64) into sums over the features as they came."""

    @abstractmethod
    def select(self, index: Tensor) -> Self:
        """Take some densities (Q,), any of them as often as it is named."""

    def log_prob(self, x: Tensor, observed: Tensor | None) -> Tensor:
        """Log-density (N, P) of frames (N, D), in blocks where no gradient is recorded."""
        if torch.is_grad_enabled() or is_recorded():
            return self._log_prob(x, observed).T.contiguous()
        result = x.new_empty(len(x), len(self.constant))
        for rows in self.blocks(len(x)):
            result[rows] = self._log_prob(x[rows], None if observed is None else observed[rows]).T
        return result

    def _log_prob(self, x: Tensor, observed: Tensor | None) -> Tensor:
        """Log-density (P, N) of all frames at once."""
        joint = self.log_joint(self.read(x, observed))
        return joint[:, 0] if joint.shape[1] == 1 else logsumexp(joint, 1)

    def shares(self, inputs: Tensor, density: Tensor) -> Tensor:
        """Divide shares (P, R) of the densities among their components: (P, M, R)."""
        if self.constant.shape[1] == 1:
            used = self.constant > -torch.inf
            return (density if bool(used.all()) else density * used).unsqueeze(1)
        density = density.contiguous()
        joint = self.log_joint(inputs)
        # A density without components has no finite maximum; its shares come out as 0.
        peak = joint.amax(1, keepdim=True).clamp_(min=torch.finfo(joint.dtype).min)
        exp_(joint.sub_(peak))
        # The largest term is 1, unless all are 0.
        return joint.mul_(density.unsqueeze(1) / joint.sum(1, keepdim=True).clamp_(min=1.0))

    def blocks(self, num_frames: int) -> Iterator[slice]:
        """Frames that fit into the cache together."""
        return cut(num_frames, self.block_size)

    @property
    def block_size(self) -> int:
        """How many frames these are."""
        return max(_FEWEST_ROWS, _BLOCK // self.width)


def cut(length: int, size: int) -> Iterator[slice]:
    """Cut a range into pieces of one size, the last of which may be shorter."""
    for start in range(0, length, size):
        yield slice(start, start + size)
