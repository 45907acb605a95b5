"""Initial and transition probabilities as parameters."""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from hmm_models._numerics import log_softmax
from hmm_models._serialization import register_model
from hmm_models.transitions._ties import check_ties, representatives


@register_model
class ProbabilityTable(nn.Module):
    r"""Rows of probabilities, trained by EM or by gradient descent, in which zeros stay zero.

    The parameter ``logits`` (..., K) holds each row up to a constant; ``-inf`` is probability 0, has zero
    gradient, and no training changes it: a forbidden transition stays forbidden. Entries can be fixed, share
    one probability, and have a Dirichlet prior

    .. math:: \log p(\text{table}) = \sum_{ij} (\alpha_{ij} - 1) \log p_{ij} + \text{const},

    whose mode, :math:`p_{ij} \propto n_{ij} + \alpha_{ij} - 1`, is what ``update`` takes [1]_.

    Parameters
    ----------
    log_weight : Tensor, shape (..., K)
        Starting values in natural logarithms; rows are normalised. NaN and ``+inf`` are refused.
    fixed : Tensor of bool, broadcasting to (..., K), optional
        Entries that keep the probability they start with; the others of the row share the rest.
    tied : Tensor of int64, broadcasting to (..., K), optional
        Entries with the same number >= 0 are one parameter: their counts add up, and they start from their
        mean. Entries with -1, fixed ones and zeros are on their own. Rows that share one number must share
        all of them (``tie_rows`` numbers them), so that the M-step has a solution.
    concentration : float or Tensor, broadcasting to (..., K), optional
        :math:`\alpha \ge 1` of each entry, ``alpha - 1`` counts that were seen in advance; 1 is no prior. Of
        fixed entries and zeros it is ignored, those of tied entries add up like their counts.

    Raises
    ------
    ValueError
        If a value is NaN or ``+inf``, a row is all ``-inf``, a shape does not fit, rows share some numbers
        but not all, or a concentration is below 1: then the density has no mode, but is infinite at 0.

    References
    ----------
    .. [1] J.-L. Gauvain and C.-H. Lee, "Maximum a posteriori estimation for multivariate Gaussian mixture
       observations of Markov chains", IEEE Trans. Speech and Audio Processing 2(2), 1994.

    Examples
    --------
    >>> import torch
    >>> table = ProbabilityTable(torch.tensor([[1.0, 1.0, 0.0]]).log())
    >>> table.update(torch.tensor([[3.0, 1.0, 5.0]]))
    >>> table.log_prob().exp()
    tensor([[0.7500, 0.2500, 0.0000]], grad_fn=<ExpBackward0>)

    Half of the row is fixed, and every other entry counts as seen once before:

    >>> fixed = torch.tensor([[True, False, False]])
    >>> table = ProbabilityTable(torch.tensor([[0.5, 0.3, 0.2]]).log(), fixed=fixed, concentration=2.0)
    >>> table.update(torch.tensor([[9.0, 2.0, 0.0]]))
    >>> table.log_prob().detach().exp()
    tensor([[0.5000, 0.3750, 0.1250]])
    """

    fixed: Tensor | None
    fixed_log_prob: Tensor | None
    log_free: Tensor | None
    tied: Tensor | None
    concentration: Tensor | None

    def __init__(
        self,
        log_weight: Tensor,
        *,
        fixed: Tensor | None = None,
        tied: Tensor | None = None,
        concentration: float | Tensor | None = None,
    ) -> None:
        super().__init__()
        if not bool((log_weight < torch.inf).all()):
            raise ValueError(f"log_weight must be < inf, without NaN; got {log_weight.tolist()}")
        if bool((log_weight == -torch.inf).all(-1).any()):
            raise ValueError(f"log_weight must allow something in every row; got {log_weight.tolist()}")
        start = log_softmax(log_weight.detach()).clone()
        self.register_buffer("fixed", None if fixed is None else _fit("fixed", fixed, start, torch.bool))
        if concentration is not None:
            concentration = _fit("concentration", torch.as_tensor(concentration), start, torch.float64)
            if not bool(((concentration >= 1.0) & (concentration < torch.inf)).all()):
                raise ValueError(
                    "concentration must be >= 1 and finite (below 1 a Dirichlet density is infinite at 0, "
                    f"and has no mode for an M-step to take); got {concentration.tolist()}"
                )
        self.register_buffer("concentration", concentration)
        free = self._is_free(start)
        if tied is not None:
            tied = representatives(_fit("tied", tied, start, torch.int64), free)
            check_ties(tied, free, start)
            start = torch.where(free, _mean_of_ties(start.exp(), tied).log(), start)
        self.register_buffer("tied", tied)
        self.register_buffer("fixed_log_prob", None if fixed is None else start.clone())
        mass = start.double().exp().masked_fill(~free, 0.0).sum(-1, keepdim=True)
        self.register_buffer("log_free", None if fixed is None else mass.log().to(start))
        self.logits = nn.Parameter(start)

    @property
    def shape(self) -> torch.Size:
        """Of the table."""
        return self.logits.shape

    @property
    def constrained(self) -> bool:
        """Whether something is fixed, tied, or believed in advance."""
        return not (self.fixed is None and self.tied is None and self.concentration is None)

    @property
    def num_parameters(self) -> int:
        """Free parameters: one less than the possible entries of each row that are not fixed or tied."""
        free = self._is_free(self.logits.detach())
        if self.tied is not None:
            own = torch.arange(free.numel(), device=free.device).view_as(free)
            free = free & (self.tied == own)
        return int(free.sum()) - int(free.any(-1).sum())

    def log_prob(self) -> Tensor:
        """Log-probabilities.

        Returns
        -------
        Tensor, shape (..., K)
            Rows sum to 1 in probability; differentiable.
        """
        logits = self._logits()
        if self.fixed is None or self.fixed_log_prob is None or self.log_free is None:
            return log_softmax(logits)
        free = log_softmax(logits.masked_fill(self.fixed, -torch.inf)) + self.log_free
        return torch.where(self.fixed, self.fixed_log_prob, free)

    def forward(self) -> Tensor:
        """Compute ``log_prob``."""
        return self.log_prob()

    def _logits(self) -> Tensor:
        """Log-probabilities up to a constant of each row; of fixed entries without meaning."""
        return self.logits if self.tied is None else self.logits.flatten()[self.tied]

    def log_prior(self) -> Tensor:
        r"""Log-density of the table under its prior, up to a constant.

        Returns
        -------
        Tensor, shape ()
            :math:`\sum (\alpha - 1) \log p` over what is free, 0 without a prior; differentiable.
        """
        table = self.log_prob()
        if self.concentration is None:
            return table.new_zeros(())
        counted = self._is_free(table.detach()) & (self.concentration > 1.0)
        return (torch.where(counted, table, 0.0) * (self.concentration - 1.0)).sum()

    @torch.no_grad()
    def update(self, counts: Tensor) -> None:
        """Replace the probabilities by relative counts, those of the prior included (M-step).

        Parameters
        ----------
        counts : Tensor, shape (..., K)
            Expected counts, finite and >= 0; counts of what is forbidden or fixed are ignored, and a row
            without any keeps its probabilities.

        Raises
        ------
        ValueError
            If the shape disagrees or a count is negative or not finite.
        """
        if counts.shape != self.logits.shape:
            raise ValueError(f"counts must have shape {tuple(self.logits.shape)}; got {tuple(counts.shape)}")
        if not bool((torch.isfinite(counts) & (counts >= 0.0)).all()):
            raise ValueError(f"counts must be finite and >= 0; got {counts.tolist()}")
        free = self._is_free(self._logits())
        counts = counts.double()
        if self.concentration is not None:
            counts = counts + (self.concentration.double() - 1.0)
        counts = torch.where(free, counts, 0.0)
        if self.tied is not None:
            counts = _mean_of_ties(counts, self.tied)
        total = counts.sum(-1, keepdim=True)
        seen = total > 0.0
        learnt = (counts / torch.where(seen, total, 1.0)).log()
        self.logits.copy_(torch.where(seen & self._may_change(), learnt, self.logits))

    def _is_free(self, logits: Tensor) -> Tensor:
        """Entries that training may change: possible and not fixed."""
        return (logits > -torch.inf) & self._may_change()

    def _may_change(self) -> Tensor:
        """Entries that are not fixed."""
        return torch.tensor(True) if self.fixed is None else ~self.fixed  # noqa: FBT003  (a value)

    def config(self) -> dict[str, Any]:
        """Describe the structure for ``save_model``.

        Returns
        -------
        dict
            The shape, and whether there are fixed or tied entries and a prior.
        """
        present = {name: getattr(self, name) is not None for name in ("fixed", "tied", "concentration")}
        return {"shape": list(self.shape), **present}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the structure that ``config`` described.

        Parameters
        ----------
        config : mapping
            What ``config`` returned.

        Returns
        -------
        ProbabilityTable
            With fresh parameters.
        """
        return cls(
            torch.zeros(config["shape"]),
            fixed=torch.tensor(False) if config["fixed"] else None,  # noqa: FBT003  (a value)
            tied=torch.tensor(-1) if config["tied"] else None,
            concentration=1.0 if config["concentration"] else None,
        )


def _fit(name: str, value: Tensor, table: Tensor, dtype: torch.dtype) -> Tensor:
    """Broadcast what is said of each entry to the table."""
    kinds = {torch.bool: "bool", torch.int64: "int64"}
    if dtype in kinds and value.dtype != dtype:
        raise ValueError(f"{name} must be of {kinds[dtype]}; got {value.dtype}")
    try:
        return value.detach().to(table.device, dtype).expand(table.shape).clone()
    except RuntimeError as error:
        raise ValueError(
            f"{name} must broadcast to {tuple(table.shape)}; got {tuple(value.shape)}"
        ) from error


def _mean_of_ties(value: Tensor, tied: Tensor) -> Tensor:
    """Replace each entry by the mean of all that share its parameter."""
    index = tied.flatten()
    total = torch.zeros_like(value).flatten().index_add_(0, index, value.flatten())
    count = torch.zeros_like(value).flatten().index_add_(0, index, torch.ones_like(value).flatten())
    return total[tied] / count[tied]
