"""Transitions as a list of predecessors for each state (ELL form)."""

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from hmm_core._tracing import values_are_readable

# Predecessors on a GPU that were found right, and the version that they had then.
_checked: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


@dataclass(frozen=True, eq=False)
class Sparse:
    """Transitions given by the predecessors of each state: ``R`` slots a state instead of ``K`` columns.

    Slot ``r`` of state ``j`` is the arc from ``predecessors[..., j, r]`` to ``j`` with weight
    ``log_weight[..., j, r]``.

    Parameters
    ----------
    predecessors : Tensor of int64, shape (K, R) or (B, K, R)
        The states with an arc into each state, ascending and without repetition; unused slots come last and
        hold -1.
    log_weight : Tensor, shape (K, R), (B, K, R) or (B or 1, T-1, K, R)
        Natural log of the weight of each arc, ``-inf`` allowed; entry ``[b, t]`` of the time-varying form is
        the step from frame ``t`` to frame ``t + 1``. The weight of an unused slot is ignored.

    Raises
    ------
    TypeError
        If an argument is not a tensor of the right kind.
    ValueError
        If the shapes disagree, or predecessors are out of range, not ascending, or after an unused slot.

    Notes
    -----
    The predecessors are checked once, here; both tensors are kept as they are, so a weight that requires
    gradients receives them. Those on a GPU, which the check waits for, are checked once for each tensor.

    Examples
    --------
    A chain of two states that can be left in neither direction but forwards:

    >>> import torch
    >>> chain = Sparse(torch.tensor([[0, -1], [0, 1]]), torch.tensor([[0.5, 0.0], [0.5, 1.0]]).log())
    >>> chain.to_dense().exp()
    tensor([[0.5000, 0.5000],
            [0.0000, 1.0000]])
    """

    predecessors: Tensor
    log_weight: Tensor

    def __post_init__(self) -> None:
        predecessors, log_weight = self.predecessors, self.log_weight
        for name, tensor in (("predecessors", predecessors), ("log_weight", log_weight)):
            if not isinstance(tensor, Tensor):
                raise TypeError(f"{name} must be a Tensor; got {type(tensor).__name__}")
        if predecessors.dtype != torch.int64:
            raise TypeError(f"predecessors must have dtype torch.int64; got {predecessors.dtype}")
        if not log_weight.is_floating_point():
            raise TypeError(f"log_weight must have a floating dtype; got {log_weight.dtype}")
        if predecessors.ndim not in {2, 3} or 0 in predecessors.shape[-2:]:
            raise ValueError(
                "predecessors must have shape (K, R) or (B, K, R), with K and R at least 1; "
                f"got {tuple(predecessors.shape)}"
            )
        if log_weight.ndim not in {2, 3, 4} or log_weight.shape[-2:] != predecessors.shape[-2:]:
            raise ValueError(
                "log_weight must have shape (K, R), (B, K, R) or (B, T-1, K, R) with "
                f"(K, R) = {tuple(predecessors.shape[-2:])} from predecessors; got {tuple(log_weight.shape)}"
            )
        batched = predecessors.ndim == 3 and log_weight.ndim > 2
        if batched and log_weight.shape[0] not in {1, predecessors.shape[0]}:
            raise ValueError(
                f"log_weight must have B = {predecessors.shape[0]}, from predecessors (B, K, R) = "
                f"{tuple(predecessors.shape)}; got {tuple(log_weight.shape)}"
            )
        if predecessors.device != log_weight.device:
            raise ValueError(
                f"log_weight must be on {predecessors.device} like predecessors; got {log_weight.device}"
            )
        if predecessors.numel() and values_are_readable():
            self._check_once()

    def _check_once(self) -> None:
        """Check the predecessors, unless they are on a GPU and known to be right."""
        given = self.predecessors
        if not _waits(given) or given.is_inference():  # looking is cheap, or changes would not be noticed
            self._check_order()
            return
        known: Any = _checked
        version = given._version  # noqa: SLF001  (documented, in spite of its name)
        if known.get(given) != version:
            self._check_order()
            known[given] = version

    def _check_order(self) -> None:
        """Refuse predecessors that are out of range, unordered or behind an unused slot."""
        low, high = (int(bound) for bound in self.predecessors.aminmax())
        if low < -1 or high >= self.num_states:
            raise ValueError(
                f"predecessors must lie in 0..K-1 = 0..{self.num_states - 1}, or be -1 in unused slots; "
                f"got {low if low < -1 else high}"
            )
        first, second = self.predecessors[..., :-1], self.predecessors[..., 1:]
        wrong = (second >= 0) & (second <= first) | (first < 0) & (second >= 0)
        if wrong.any():
            state = tuple(wrong.nonzero()[0].tolist())[:-1]
            raise ValueError(
                "predecessors of a state must ascend strictly, with unused slots (-1) last; "
                f"got {self.predecessors[state].tolist()} for state {state[-1]}"
            )

    @property
    def num_states(self) -> int:
        """Number of states K."""
        return self.predecessors.shape[-2]

    @property
    def num_slots(self) -> int:
        """Number of slots R, the largest number of arcs into one state."""
        return self.predecessors.shape[-1]

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Self:
        """Return the same transitions on another device or with weights of another dtype.

        Parameters
        ----------
        device : torch.device or str, optional
            Where both tensors go.
        dtype : torch.dtype, optional
            Floating dtype of ``log_weight``.

        Returns
        -------
        Sparse
            New transitions; gradients flow back to these weights.
        """
        return type(self)(self.predecessors.to(device=device), self.log_weight.to(device=device, dtype=dtype))

    def to_dense(self) -> Tensor:
        """Return the transition matrix, row = from, column = to.

        Returns
        -------
        Tensor, shape (..., K, K)
            ``-inf`` where there is no arc; leading axes as in the weights and predecessors together.
        """
        K, R = self.predecessors.shape[-2:]
        column = torch.where(self.predecessors < 0, K, self.predecessors)
        if column.ndim == 3 and self.log_weight.ndim == 4:
            column = column[:, None]
        leading = torch.broadcast_shapes(  # type: ignore[no-untyped-call]  # torch does not annotate it
            column.shape[:-2], self.log_weight.shape[:-2]
        )
        table = self.log_weight.new_full((*leading, K, K + 1), -torch.inf)
        filled = table.scatter(-1, column.expand(*leading, K, R), self.log_weight.expand(*leading, K, R))
        return filled[..., :K].transpose(-1, -2)

    @classmethod
    def from_dense(cls, matrix: Tensor) -> Self:
        """Keep the finite entries of a transition matrix.

        Parameters
        ----------
        matrix : Tensor, shape (K, K), (B, K, K) or (B or 1, T-1, K, K)
            Log weights, row = from, column = to. A time-varying arc is kept where any step has it.

        Returns
        -------
        Sparse
            With R the largest number of arcs into one state.

        Raises
        ------
        ValueError
            If the last two axes are not square, or there are not 2 to 4 axes.

        Examples
        --------
        >>> import torch
        >>> matrix = torch.tensor([[0.0, -1.0], [-torch.inf, -2.0]])
        >>> Sparse.from_dense(matrix).predecessors
        tensor([[ 0, -1],
                [ 0,  1]])
        """
        if matrix.ndim not in {2, 3, 4} or matrix.shape[-1] != matrix.shape[-2] or matrix.shape[-1] == 0:
            raise ValueError(
                f"matrix must have shape (K, K), (B, K, K) or (B, T-1, K, K); got {tuple(matrix.shape)}"
            )
        incoming = matrix.transpose(-1, -2)
        present = incoming > -torch.inf
        if matrix.ndim == 4:
            present = present.any(dim=1)
        counts = present.sum(dim=-1)
        R = max(1, int(counts.max())) if counts.numel() else 1
        order = torch.argsort((~present).to(torch.uint8), dim=-1, stable=True)[..., :R]
        used = torch.arange(R, device=matrix.device) < counts[..., None]
        column = order if matrix.ndim < 4 else order[:, None].expand(*matrix.shape[:-1], R)
        weight = incoming.gather(-1, column)
        predecessors = torch.where(used, order, -1)
        shared = matrix.ndim == 4 and matrix.shape[0] == 1
        return cls(predecessors[0] if shared else predecessors, weight)


def _waits(tensor: Tensor) -> bool:
    """Whether reading a tensor waits for a device."""
    return tensor.device.type != "cpu"
