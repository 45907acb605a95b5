"""Initial and transition probabilities as parameters."""

import torch
from torch import Tensor, nn

from hmm_models._numerics import log_softmax


class ProbabilityTable(nn.Module):
    r"""Rows of probabilities, trained by EM or by gradient descent, in which zeros stay zero.

    The parameter ``logits`` (..., K) holds each row up to a constant; ``-inf`` is probability 0, has zero
    gradient, and no training changes it: a forbidden transition stays forbidden.

    Parameters
    ----------
    log_weight : Tensor, shape (..., K)
        Starting values in natural logarithms; rows are normalised. NaN and ``+inf`` are refused.

    Raises
    ------
    ValueError
        If a value is NaN or ``+inf``, or a row is all ``-inf``.

    Examples
    --------
    >>> import torch
    >>> table = ProbabilityTable(torch.tensor([[1.0, 1.0, 0.0]]).log())
    >>> table.update(torch.tensor([[3.0, 1.0, 5.0]]))
    >>> table.log_prob().exp()
    tensor([[0.7500, 0.2500, 0.0000]], grad_fn=<ExpBackward0>)
    """

    def __init__(self, log_weight: Tensor) -> None:
        super().__init__()
        if not bool((log_weight < torch.inf).all()):
            raise ValueError(f"log_weight must be < inf, without NaN; got {log_weight.tolist()}")
        if bool((log_weight == -torch.inf).all(-1).any()):
            raise ValueError(f"log_weight must allow something in every row; got {log_weight.tolist()}")
        self.logits = nn.Parameter(log_softmax(log_weight.detach()).clone())

    @property
    def num_parameters(self) -> int:
        """Free parameters: one less than the possible entries of each row."""
        possible = self.logits.detach() > -torch.inf
        return int(possible.sum()) - possible[..., 0].numel()

    def log_prob(self) -> Tensor:
        """Log-probabilities.

        Returns
        -------
        Tensor, shape (..., K)
            Rows sum to 1 in probability; differentiable.
        """
        return log_softmax(self.logits)

    def forward(self) -> Tensor:
        """Compute ``log_prob``."""
        return self.log_prob()

    @torch.no_grad()
    def update(self, counts: Tensor) -> None:
        """Replace the probabilities by relative counts (M-step).

        Parameters
        ----------
        counts : Tensor, shape (..., K)
            Expected counts, finite and >= 0; counts of what is forbidden are ignored, and a row without
            any keeps its probabilities.

        Raises
        ------
        ValueError
            If the shape disagrees or a count is negative or not finite.
        """
        if counts.shape != self.logits.shape:
            raise ValueError(f"counts must have shape {tuple(self.logits.shape)}; got {tuple(counts.shape)}")
        if not bool((torch.isfinite(counts) & (counts >= 0.0)).all()):
            raise ValueError(f"counts must be finite and >= 0; got {counts.tolist()}")
        allowed = torch.where(self.logits > -torch.inf, counts.double(), 0.0)
        total = allowed.sum(-1, keepdim=True)
        seen = total > 0.0
        self.logits.copy_(torch.where(seen, (allowed / torch.where(seen, total, 1.0)).log(), self.logits))
