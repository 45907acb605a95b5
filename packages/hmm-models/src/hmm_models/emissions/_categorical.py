"""Symbols out of a finite alphabet."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from hmm_models._numerics import log_softmax
from hmm_models._report import UpdateReport
from hmm_models._serialization import register_model
from hmm_models._statistics import Statistics
from hmm_models._tracing import is_recorded
from hmm_models.emissions._accumulation import check_shares


@dataclass(frozen=True, eq=False)
class CategoricalStatistics(Statistics):
    """What the M-step of categorical emissions needs to know of the data.

    Parameters
    ----------
    counts : Tensor of float64, shape (P, V)
        Expected frames of each density with each symbol.
    """

    counts: Tensor


@register_model
class CategoricalEmission(nn.Module):
    r"""P distributions over V symbols.

    The parameter ``logits`` (P, V) holds each row up to a constant; ``-inf`` is probability 0 and stays so.

    Parameters
    ----------
    num_densities : int
        P, >= 1.
    num_symbols : int
        V, >= 1.

    Notes
    -----
    Observations are int64 tensors (B, T) of symbols 0..V-1. Starts near equal probabilities, drawn from
    torch's global generator.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import HiddenMarkovModel
    >>> x = torch.tensor([[0, 0, 0, 2, 2, 1, 2, 0, 0]])
    >>> model = HiddenMarkovModel(CategoricalEmission(2, 3))
    >>> result = model.fit(x, max_iterations=50)
    >>> model.viterbi(x).states.unique().tolist()
    [0, 1]
    """

    def __init__(self, num_densities: int, num_symbols: int) -> None:
        super().__init__()
        for name, size in (("num_densities", num_densities), ("num_symbols", num_symbols)):
            if size < 1:
                raise ValueError(f"{name} must be >= 1; got {size}")
        self.logits = nn.Parameter(log_softmax(0.1 * torch.randn(num_densities, num_symbols)))

    @property
    def num_densities(self) -> int:
        """P."""
        return self.logits.shape[0]

    @property
    def num_symbols(self) -> int:
        """V."""
        return self.logits.shape[1]

    @property
    def num_parameters(self) -> int:
        """Free parameters: one less than the possible symbols of each density."""
        return int((self.logits > -torch.inf).sum()) - self.num_densities

    def log_prob(self, x: Tensor) -> Tensor:
        """Log-probability of each symbol under each density.

        Parameters
        ----------
        x : Tensor of int64, shape (...)
            Symbols, 0..V-1.

        Returns
        -------
        Tensor, shape (..., P)
            ``-inf`` where a density forbids the symbol. Differentiable in the parameters.

        Raises
        ------
        ValueError
            If ``x`` is not of integers, or a symbol is out of range.
        """
        self._check_symbols(x)
        return log_softmax(self.logits).T[x]

    def forward(self, x: Tensor) -> Tensor:
        """Compute ``log_prob``."""
        return self.log_prob(x)

    def _check_symbols(self, x: Tensor) -> None:
        """Refuse what is no symbol."""
        if x.dtype != torch.int64:
            raise ValueError(f"x must be of int64 symbols; got {x.dtype}")
        if is_recorded() or not x.numel():
            return
        low, high = (int(bound) for bound in x.aminmax())
        if low < 0 or high >= self.num_symbols:
            raise ValueError(f"x must be in 0..V-1 = 0..{self.num_symbols - 1}; got {low}..{high}")

    def zero_statistics(self, device: torch.device | None = None) -> CategoricalStatistics:
        """Statistics of no data, to add to.

        Parameters
        ----------
        device : torch.device, optional
            Where the sums live.

        Returns
        -------
        CategoricalStatistics
            Zeros in float64.
        """
        return CategoricalStatistics(torch.zeros(self.logits.shape, dtype=torch.float64, device=device))

    @torch.no_grad()
    def accumulate(self, x: Tensor, density_posterior: Tensor) -> CategoricalStatistics:
        """Collect what ``update`` needs.

        Parameters
        ----------
        x : Tensor of int64, shape (N,)
            Symbols.
        density_posterior : Tensor, shape (N, P)
            Share of each density in each frame, finite and >= 0.

        Returns
        -------
        CategoricalStatistics
            In float64.

        Raises
        ------
        ValueError
            If shapes disagree or values are out of range.
        """
        self._check_symbols(x)
        check_shares("density_posterior", density_posterior, "(N, P)", (len(x), self.num_densities))
        total = self.zero_statistics(x.device)
        total.counts.T.index_add_(0, x, density_posterior.double())
        return total

    @torch.no_grad()
    def update(
        self, statistics: CategoricalStatistics, *, prior: float | Tensor | None = None
    ) -> UpdateReport:
        r"""Replace the probabilities by relative counts, those of the prior included (M-step).

        Parameters
        ----------
        statistics : CategoricalStatistics
            From ``accumulate``, summed over the data.
        prior : float or Tensor, broadcasting to (P, V), optional
            Concentration :math:`\alpha \ge 1` of a Dirichlet prior of each density: the mode,
            :math:`n + \alpha - 1` in relative numbers, replaces the likeliest.

        Returns
        -------
        UpdateReport
            Densities without frames, which keep their probabilities.

        Raises
        ------
        ValueError
            If the statistics are of another shape, negative or not finite, or the prior is.
        """
        counts = statistics.counts.to(self.logits.device)
        check_shares("statistics.counts", counts, "(P, V)", tuple(self.logits.shape))
        if prior is not None:
            counts = counts + self._checked_prior(prior) - 1.0
        counts = torch.where(self.logits > -torch.inf, counts, 0.0)
        total = counts.sum(-1, keepdim=True)
        seen = total > 0.0
        table = (counts / torch.where(seen, total, 1.0)).log()
        self.logits.copy_(torch.where(seen, table, self.logits))
        return UpdateReport(starved=tuple((~seen).squeeze(-1).nonzero().flatten().tolist()))

    def _checked_prior(self, prior: float | Tensor) -> Tensor:
        """Broadcast a concentration to (P, V) in float64; refuse one that has no mode."""
        alpha = torch.as_tensor(prior, dtype=torch.float64, device=self.logits.device)
        if not bool(((alpha >= 1.0) & (alpha < torch.inf)).all()):
            raise ValueError(f"prior must be >= 1 and finite, a concentration; got {alpha.tolist()}")
        if torch.broadcast_shapes(alpha.shape, self.logits.shape) != self.logits.shape:  # type: ignore[no-untyped-call]  # torch's
            raise ValueError(
                f"prior must broadcast to (P, V) = {tuple(self.logits.shape)}; got {tuple(alpha.shape)}"
            )
        return alpha.expand(self.logits.shape)

    @torch.no_grad()
    def log_prior(self, prior: float | Tensor) -> float:
        r"""Log-density of the probabilities under a prior, up to a constant.

        Parameters
        ----------
        prior : float or Tensor, broadcasting to (P, V)
            See ``update``.

        Returns
        -------
        float
            :math:`\sum (\alpha - 1) \log p` over the possible symbols.

        Raises
        ------
        ValueError
            If the prior is out of range.
        """
        table = log_softmax(self.logits).double()
        return float((torch.where(table > -torch.inf, table, 0.0) * (self._checked_prior(prior) - 1.0)).sum())

    @torch.no_grad()
    def initialize(
        self,
        x: Tensor,
        weight: Tensor,
        density_index: Tensor | None,
        generator: torch.Generator,
        *,
        smoothing: float = 0.1,
    ) -> None:
        """Start from frames whose densities are known or are to be found.

        Parameters
        ----------
        x : Tensor of int64, shape (N,)
            Symbols.
        weight : Tensor, shape (N,)
            Weight of each frame, finite and > 0.
        density_index : Tensor of int64, shape (N,), or None
            The density of each frame; None draws each density around the frequencies of all frames.
        generator : torch.Generator
            Source of randomness.
        smoothing : float, default 0.1
            Frames of each possible symbol that are added to each density, so that none starts impossible.

        Raises
        ------
        ValueError
            If shapes disagree or a value is out of range.
        """
        P = self.num_densities
        if density_index is not None:
            share = nn.functional.one_hot(density_index, P).double() * weight.double().unsqueeze(-1)
            counts = self.accumulate(x, share).counts
        else:
            counts = self.accumulate(x, (weight.double() / P).unsqueeze(-1).expand(-1, P)).counts
            # Gamma variates of shape 1: rows of a Dirichlet distribution around the frequencies.
            draw = torch.rand(counts.shape, generator=generator, dtype=counts.dtype).to(counts)
            counts = counts * (0.5 - draw.log())
        self.update(CategoricalStatistics(counts + smoothing))

    def rounding(self) -> float:
        """Nats per frame that rounding the parameters may cost.

        Returns
        -------
        float
            By the dtype of the parameters.
        """
        finite = self.logits.detach()[self.logits.detach() > -torch.inf]
        return 1e-9 + torch.finfo(self.logits.dtype).eps * (1.0 + float(finite.abs().max()))

    @torch.no_grad()
    def sample(self, density_index: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw symbols.

        Parameters
        ----------
        density_index : Tensor of int64, shape (...)
            The density of each frame, 0..P-1.
        generator : torch.Generator, optional
            Source of randomness; torch's global one if omitted.

        Returns
        -------
        Tensor of int64, shape (...)
            Symbols.
        """
        table = log_softmax(self.logits).exp()
        drawn = torch.multinomial(table[density_index.flatten()], 1, generator=generator)
        return drawn.reshape(density_index.shape)

    def config(self) -> dict[str, Any]:
        """Describe the structure for ``save_model``.

        Returns
        -------
        dict
            The arguments of the class.
        """
        return {"num_densities": self.num_densities, "num_symbols": self.num_symbols}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the structure that ``config`` described.

        Parameters
        ----------
        config : mapping
            The arguments of the class.

        Returns
        -------
        CategoricalEmission
            With fresh parameters.
        """
        return cls(**config)

    def extra_repr(self) -> str:
        """Sizes, for ``repr``."""
        return f"num_densities={self.num_densities}, num_symbols={self.num_symbols}"
