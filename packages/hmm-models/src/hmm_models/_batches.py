"""Sequences of different lengths as one padded batch; arrays of numpy as tensors."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Array = Tensor | npt.NDArray[Any]
Sequences = Array | Sequence[Array]


class PaddedBatch(NamedTuple):
    """Sequences side by side, the first two arguments of every method of a model."""

    x: Tensor
    """Shape (B, T, ...), T frames of the longest; 0 behind the ends of the others."""
    lengths: Tensor
    """Shape (B,), int64."""


def collate_variable_length(sequences: Sequence[Array]) -> PaddedBatch:
    """Pad sequences of different lengths to one batch; the ``collate_fn`` of a ``DataLoader``.

    Parameters
    ----------
    sequences : sequence of B Tensors or arrays, shapes (T_i, ...)
        Features (T_i, D) or symbols (T_i,), at least one sequence; of one dtype, and of one shape behind the
        first axis. Sequences without frames are fine.

    Returns
    -------
    PaddedBatch
        ``x`` (B, T, ...) and ``lengths`` (B,), also by unpacking.

    Raises
    ------
    ValueError
        If there is no sequence, or two of them disagree.

    Notes
    -----
    Sequences that hmmlearn has one behind the other, ``X`` (sum of all T_i, D) with a list of lengths, are
    ``np.split(X, np.cumsum(lengths)[:-1])`` here.

    Examples
    --------
    >>> import torch
    >>> x, lengths = collate_variable_length([torch.ones(3, 2), torch.ones(1, 2)])
    >>> x[..., 0], lengths
    (tensor([[1., 1., 1.],
            [1., 0., 0.]]), tensor([3, 1]))
    """
    rows = [as_tensor(sequence) for sequence in sequences]
    if not rows:
        raise ValueError("sequences must hold at least one sequence; got none")
    for index, row in enumerate(rows):
        if not row.ndim or row.shape[1:] != rows[0].shape[1:] or row.dtype != rows[0].dtype:
            raise ValueError(
                f"sequences must have shapes (T_i, ...) that differ in T_i alone, and one dtype; got "
                f"{tuple(rows[0].shape)}, {rows[0].dtype} at 0 and {tuple(row.shape)}, {row.dtype} at {index}"
            )
    lengths = torch.tensor([len(row) for row in rows], device=rows[0].device)
    return PaddedBatch(torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths)


def as_batch(
    x: Sequences, lengths: Tensor | npt.NDArray[Any] | Sequence[int] | None
) -> tuple[Tensor, Tensor | None]:
    """Turn what scikit-learn hands over into a batch: a tensor, an array, or a list of sequences."""
    if not isinstance(x, Tensor | np.ndarray):
        if lengths is not None:
            raise ValueError("lengths must not be given with a list of sequences; got both")
        return collate_variable_length(x)
    return as_tensor(x), None if lengths is None else torch.as_tensor(lengths)


def as_tensor(value: Array) -> Tensor:
    """Take a tensor as it is; share the memory of an array, unless that may not be written or has gaps."""
    return (
        value if isinstance(value, Tensor) else torch.from_numpy(np.require(value, requirements=["C", "W"]))
    )
