"""Transitions of units, such as phones, under a table of which unit follows which."""

from collections.abc import Mapping, Sequence
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from hmm_models._numerics import logsumexp
from hmm_models._serialization import build_model, describe_model, register_model
from hmm_models.transitions._table import ProbabilityTable
from hmm_models.transitions._topology import Topology, check_distribution


@register_model
class HierarchicalTransition(nn.Module):
    r"""Transitions of units under a table of which unit follows which, a hidden Markov model of two levels.

    .. math::
        p(j \mid i) = a_{ij} + e_i \, A_{u(i) \, u(j)} \, b_j

    with :math:`a` the steps within a unit, :math:`e_i` the probability of leaving the unit :math:`u(i)` after
    state i, :math:`A` the table of the units, and :math:`b_j` the probability of entering the unit of state j
    there. These factors are the parameters, each a ``ProbabilityTable``: ``inner`` (K, K + 1) with a and, in
    its last column, e; ``between`` (U, U), or (U, U + 1) whose last column holds the ends of a sequence; and
    ``entry`` (U, K). What a unit forbids stays forbidden.

    Parameters
    ----------
    units : sequence of Topology
        The U units, such as ``phone_topology()``; their states are numbered unit after unit. ``log_final`` is
        needed: it tells where a unit can be left.
    unit_transition : Tensor, shape (U, U) or (U, U + 1)
        Probability that unit v follows unit u, row = from; in a last column, that the sequence ends after u.
    inner, entry, between : ProbabilityTable, optional
        Instead of the factors that these arguments give: with fixed or tied entries, or a prior.

    Raises
    ------
    ValueError
        If there is no unit, one has no ``log_final``, ``unit_transition`` is not row-stochastic, or a factor
        has another shape.

    Notes
    -----
    ``update`` deals counts out to the factors, those of a step that two ways explain (within the unit, or out
    of it and in again) as each is likely: no update lowers the likelihood. Of one-state units with self-loops
    that may follow themselves, no data tells these two ways apart.

    References
    ----------
    .. [1] S. Fine, Y. Singer and N. Tishby, "The hierarchical hidden Markov model: analysis and
       applications", Machine Learning 32, 1998.

    Examples
    --------
    Three phones of three states in a circle, of which EM learns the durations and the order:

    >>> import torch
    >>> from hmm_models import GaussianHMM, phone_topology
    >>> circle = torch.eye(3).roll(1, 1)
    >>> steps = HierarchicalTransition([phone_topology(3)] * 3, circle)
    >>> steps.log_prob()[2].exp()
    tensor([0.0000, 0.0000, 0.7500, 0.2500, 0.0000, 0.0000, 0.0000, 0.0000, 0.0000],
           grad_fn=<ExpBackward0>)
    >>> model = GaussianHMM(9, 2, transition=steps)
    >>> result = model.fit(torch.randn(4, 60, 2), max_iterations=3)
    >>> steps.between.log_prob().detach().exp()
    tensor([[0., 1., 0.],
            [0., 0., 1.],
            [1., 0., 0.]])
    """

    unit_of_state: Tensor

    def __init__(
        self,
        units: Sequence[Topology],
        unit_transition: Tensor,
        *,
        inner: ProbabilityTable | None = None,
        entry: ProbabilityTable | None = None,
        between: ProbabilityTable | None = None,
    ) -> None:
        super().__init__()
        U = len(units)
        if not U or any(unit.log_final is None for unit in units):
            raise ValueError("units must hold topologies with log_final, one at least; got others or none")
        if tuple(unit_transition.shape) not in [(U, U), (U, U + 1)]:
            raise ValueError(
                f"unit_transition must have shape (U, U) or (U, U + 1) with U = {U}; "
                f"got {tuple(unit_transition.shape)}"
            )
        check_distribution("unit_transition", unit_transition)
        sizes = [unit.log_initial.numel() for unit in units]
        self.register_buffer("unit_of_state", torch.arange(U).repeat_interleave(torch.tensor(sizes)))
        steps = torch.block_diag(*(unit.log_transition.exp() for unit in units))  # type: ignore[no-untyped-call]  # torch's
        leave = torch.cat([_final(unit).exp() for unit in units])
        start = torch.block_diag(*(unit.log_initial.exp().unsqueeze(0) for unit in units))  # type: ignore[no-untyped-call]
        factors = {
            "inner": (inner, torch.cat([steps, leave.unsqueeze(-1)], -1)),
            "entry": (entry, start),
            "between": (between, unit_transition.to(steps)),
        }
        for name, (given, probability) in factors.items():
            if given is not None and given.shape != probability.shape:
                raise ValueError(
                    f"{name} must have shape {tuple(probability.shape)}; got {tuple(given.shape)}"
                )
        self.inner, self.entry, self.between = (
            ProbabilityTable(probability.log()) if given is None else given
            for given, probability in factors.values()
        )

    @property
    def shape(self) -> torch.Size:
        """(K, K), or (K, K + 1) where sequences end."""
        K = len(self.unit_of_state)
        return torch.Size((K, K + self.between.shape[1] - self.between.shape[0]))

    @property
    def num_parameters(self) -> int:
        """Free parameters of the factors."""
        return self.inner.num_parameters + self.entry.num_parameters + self.between.num_parameters

    def log_prob(self) -> Tensor:
        """Log-probabilities of the steps between all states.

        Returns
        -------
        Tensor, shape (K, K) or (K, K + 1)
            Row = from, column = to; rows sum to 1 in probability. Differentiable.
        """
        within, across = self._ways()
        K, U = within.shape[0], self.between.shape[0]
        table = logsumexp(torch.stack([within, across]), 0)
        if self.between.shape[1] == U:
            return table
        end = self.inner.log_prob()[:, K] + self.between.log_prob()[self.unit_of_state, U]
        return torch.cat([table, end.unsqueeze(-1)], -1)

    def forward(self) -> Tensor:
        """Compute ``log_prob``."""
        return self.log_prob()

    def log_prior(self) -> Tensor:
        """Log-density of the factors under their priors, up to a constant.

        Returns
        -------
        Tensor, shape ()
            0 without priors; differentiable.
        """
        return self.inner.log_prior() + self.entry.log_prior() + self.between.log_prior()

    @torch.no_grad()
    def update(self, counts: Tensor) -> None:
        """Replace the factors by relative counts (M-step).

        Parameters
        ----------
        counts : Tensor, shape (K, K) or (K, K + 1)
            Expected counts of the steps, finite and >= 0; what is forbidden is ignored.

        Raises
        ------
        ValueError
            If the shape disagrees or a count is negative or not finite.
        """
        if counts.shape != self.shape:
            raise ValueError(f"counts must have shape {tuple(self.shape)}; got {tuple(counts.shape)}")
        if not bool((torch.isfinite(counts) & (counts >= 0.0)).all()):
            raise ValueError(f"counts must be finite and >= 0; got {counts.tolist()}")
        K, U = len(self.unit_of_state), self.between.shape[0]
        within, across = (way.double() for way in self._ways()[:2])
        total = logsumexp(torch.stack([within, across]), 0)
        possible = total > -torch.inf
        steps = torch.where(possible, counts[:, :K].double(), 0.0)
        inside = steps * torch.where(possible, within - total, -torch.inf).exp()
        outside = steps - inside
        ends = counts[:, K:].double()
        member = nn.functional.one_hot(self.unit_of_state, U).to(steps)
        self.inner.update(torch.cat([inside, outside.sum(1, keepdim=True) + ends.sum(1, keepdim=True)], 1))
        self.entry.update(member.T * outside.sum(0))
        self.between.update(torch.cat([member.T @ outside @ member, member.T @ ends], 1).clamp_min(0.0))

    def _ways(self) -> tuple[Tensor, Tensor]:
        """Log-probabilities (K, K) of the steps within a unit, and of those out of one and into one."""
        K, unit = len(self.unit_of_state), self.unit_of_state
        inner, between = self.inner.log_prob(), self.between.log_prob()
        enter = self.entry.log_prob()[unit, torch.arange(K, device=unit.device)]
        return inner[:, :K], inner[:, K:] + between[unit][:, unit] + enter

    def config(self) -> dict[str, Any]:
        """Describe the structure for ``save_model``.

        Returns
        -------
        dict
            States of each unit, and the factors.
        """
        return {
            "sizes": torch.bincount(self.unit_of_state).tolist(),
            **{name: describe_model(getattr(self, name)) for name in ("inner", "entry", "between")},
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the structure that ``config`` described.

        Parameters
        ----------
        config : mapping
            What ``config`` returned.

        Returns
        -------
        HierarchicalTransition
            With fresh parameters.
        """
        flat = (torch.full((size,), 1.0 / size).log() for size in config["sizes"])
        units = [Topology(row, row.expand(len(row), -1), row) for row in flat]
        factors = {
            name: cast(ProbabilityTable, build_model(config[name])) for name in ("inner", "entry", "between")
        }
        U, columns = factors["between"].shape
        return cls(units, torch.full((U, columns), 1.0 / columns), **factors)


def _final(unit: Topology) -> Tensor:
    """Log-probabilities of leaving a unit, which were checked to be there."""
    assert unit.log_final is not None  # noqa: S101  (for mypy)
    return unit.log_final
