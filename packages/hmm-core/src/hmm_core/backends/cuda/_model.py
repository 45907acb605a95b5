"""The canonical arguments as the Triton kernels take them."""

from typing import NamedTuple

from torch import Tensor


class Model(NamedTuple):
    """Contiguous tensors, and the elements from one sequence (or step) to the next: 0 where it is shared."""

    log_initial: Tensor  # (B|1, K)
    predecessors: Tensor | None  # (B|1, K, R)
    log_weight: Tensor  # (B|1, T-1|1, K, K) or (B|1, T-1|1, K, R)
    log_emission: Tensor  # (B, T, P)
    lengths: Tensor  # (B,)
    log_final: Tensor  # (B|1, K)
    emission_index: Tensor | None  # (B|1, K)
    initial_stride: int
    predecessor_stride: int
    weight_stride: int
    step_stride: int
    final_stride: int
    index_stride: int

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """Sequences, frames, states, densities."""
        B, T, P = self.log_emission.shape
        return B, T, self.log_initial.shape[1], P


def describe(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
) -> Model:
    """Bring the canonical arguments into the layout of the kernels; nothing is read on the host."""
    if log_weight.shape[1] == 0:  # one frame or none: there is no step, but the kernels expect a table
        log_weight = log_weight.new_zeros((1, 1, *log_weight.shape[2:]))
    arcs = log_weight.shape[2] * log_weight.shape[3]
    return Model(
        log_initial.contiguous(),
        None if predecessors is None else predecessors.contiguous(),
        log_weight.contiguous(),
        log_emission.contiguous(),
        lengths.contiguous(),
        log_final.contiguous(),
        None if emission_index is None else emission_index.contiguous(),
        initial_stride=_stride(log_initial, log_initial.shape[1]),
        predecessor_stride=_stride(predecessors, arcs),
        weight_stride=_stride(log_weight, arcs * log_weight.shape[1]),
        step_stride=arcs if log_weight.shape[1] > 1 else 0,
        final_stride=_stride(log_final, log_final.shape[1]),
        index_stride=_stride(emission_index, log_initial.shape[1]),
    )


def _stride(tensor: Tensor | None, size: int) -> int:
    """Elements from one sequence to the next, 0 where all share one."""
    return size if tensor is not None and tensor.shape[0] > 1 else 0
