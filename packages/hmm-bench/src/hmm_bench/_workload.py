"""The tensors of an instance."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hmm_core import Sparse


@dataclass(frozen=True)
class Workload:
    """Named tensors that an operation is computed from.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Named as in hmm-core: ``log_initial`` (K,), ``log_transition`` (K, K) or ``predecessors`` and
        ``log_weight`` (K, R), ``log_emission`` (B, T, K), ``log_final`` (K,), ``log_duration`` (K, L);
        ``log_prob`` (B, T, P) and ``targets`` (B, N); ``x`` (B, T, D) and ``y`` (B, N, D), or ``cost``
        (B, T, N); ``x`` (B, T, D), ``initial`` (K,), ``transition`` (K, K), ``weight`` (K, M), ``mean`` and
        ``variance`` (K, M, D) of EM, probabilities as such.

    Examples
    --------
    >>> workload = Workload({"x": torch.zeros(1, 2, 3)})
    >>> workload["x"].shape
    torch.Size([1, 2, 3])
    """

    tensors: Mapping[str, Tensor]

    def __getitem__(self, name: str) -> Tensor:
        """Return one of the tensors."""
        return self.tensors[name]

    @property
    def transition(self) -> Tensor | Sparse:
        """Transitions as hmm-core takes them."""
        if "predecessors" in self.tensors:
            return Sparse(self["predecessors"], self["log_weight"])
        return self["log_transition"]

    def to(self, dtype: torch.dtype) -> "Workload":
        """Return the same numbers in another precision.

        Parameters
        ----------
        dtype : torch.dtype
            Of the tensors that are not integers.

        Returns
        -------
        Workload
            With tensors of that dtype.
        """
        return Workload(
            {
                name: tensor.to(dtype) if tensor.is_floating_point() else tensor
                for name, tensor in self.tensors.items()
            }
        )

    def save(self, folder: Path) -> None:
        """Write each tensor to ``<name>.npy``.

        Parameters
        ----------
        folder : Path
            Must exist.
        """
        for name, tensor in self.tensors.items():
            np.save(folder / f"{name}.npy", tensor.contiguous().numpy(), allow_pickle=False)
