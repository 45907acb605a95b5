"""Which entries of a table are one parameter."""

import torch
from torch import Tensor


def tie_rows(possible: Tensor, group: Tensor) -> Tensor:
    """Assign numbers to the entries of a table so that the rows of a group share their probabilities.

    The n-th possible entry of a row is the n-th possible one of every other row of its group: in a
    left-to-right model staying is tied with staying, going on with going on, also where the last state goes
    on to the end. Rows of one group that have different numbers of possible entries are tied only with their
    like.

    Parameters
    ----------
    possible : Tensor of bool, shape (K, J)
        Whether the probability is more than 0.
    group : Tensor of int64, shape (K,)
        Group of each row, such as the phoneme of the state; -1 leaves the row on its own.

    Returns
    -------
    Tensor of int64, shape (K, J)
        For ``ProbabilityTable(..., tied=)``; -1 where nothing is tied.

    Raises
    ------
    ValueError
        If a shape or dtype disagrees.

    Examples
    --------
    The two states of each phoneme last equally long:

    >>> import torch
    >>> from hmm_models import ProbabilityTable, create_phoneme_aware_transitions
    >>> matrix = create_phoneme_aware_transitions([4.0, 10.0], 2)
    >>> tied = tie_rows(matrix > 0, torch.tensor([0, 0, 1, 1]))
    >>> table = ProbabilityTable(matrix.log(), tied=tied)
    >>> table.update(torch.tensor([[2.0, 1, 0, 0], [0, 7, 2, 0], [0, 0, 1, 1], [0, 0, 0, 3]]))
    >>> table.log_prob().detach().exp()
    tensor([[0.7500, 0.2500, 0.0000, 0.0000],
            [0.0000, 0.7500, 0.2500, 0.0000],
            [0.0000, 0.0000, 0.5000, 0.5000],
            [0.0000, 0.0000, 0.0000, 1.0000]])
    """
    if possible.ndim != 2 or possible.dtype != torch.bool:
        raise ValueError(
            f"possible must be bool of shape (K, J); got {possible.dtype} {tuple(possible.shape)}"
        )
    K, J = possible.shape
    if group.shape != (K,) or group.dtype != torch.int64:
        raise ValueError(
            f"group must be int64 of shape (K,) = ({K},); got {group.dtype} {tuple(group.shape)}"
        )
    rank = possible.cumsum(1) - 1
    # A number for each group, each count of possible entries, and each place among them.
    number = (group.unsqueeze(1) * (J + 1) + possible.sum(1, keepdim=True)) * J + rank
    return torch.where(possible & (group.unsqueeze(1) >= 0), number, -1)


def representatives(tied: Tensor, free: Tensor) -> Tensor:
    """Place, in the flattened table, of the entry whose parameter each entry reads: the first of its like."""
    own = torch.arange(tied.numel(), device=tied.device)
    shared = ((tied >= 0) & free).flatten()
    _, kind = torch.unique(tied.flatten()[shared], return_inverse=True)
    first = torch.full((int(kind.max()) + 1 if kind.numel() else 0,), tied.numel(), device=tied.device)
    first = first.scatter_reduce(0, kind, own[shared], "amin")
    return own.masked_scatter(shared, first[kind]).view_as(tied)


def check_ties(tied: Tensor, free: Tensor, log_prob: Tensor) -> None:
    """Refuse rows that share some parameters but not all: their sums would be tied to each other, too."""
    rows = tied.flatten(0, -2) if tied.ndim > 1 else tied.unsqueeze(0)
    possible, mass = free.view_as(rows), log_prob.double().exp().view_as(rows)
    known: dict[int, tuple[int, list[int], float]] = {}
    for index, row in enumerate(rows):
        mine = row[possible[index]].sort().values.tolist()
        share = float(mass[index][possible[index]].sum())
        for parameter in mine:
            other, theirs, rest = known.setdefault(parameter, (index, mine, share))
            if theirs != mine:
                raise ValueError(
                    "tied must give rows that share one number the same numbers, each as often; "
                    f"rows {other} and {index} share some"
                )
            if abs(rest - share) > 1e-4:
                raise ValueError(
                    "tied must join rows whose fixed entries leave the same probability; "
                    f"rows {other} and {index} leave {rest:.6g} and {share:.6g}"
                )
