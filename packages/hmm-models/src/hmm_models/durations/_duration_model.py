"""Distributions of the number of frames that a state lasts."""

from collections.abc import Mapping
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from hmm_models._numerics import log_softmax
from hmm_models._serialization import register_model
from hmm_models.durations._families import FAMILIES
from hmm_models.durations._maximization import maximize
from hmm_models.emissions._accumulation import check_shares

DurationFamily = Literal[
    "categorical", "gaussian", "gamma", "lognormal", "poisson", "negative_binomial", "neural"
]
_KNOWN = ("categorical", *FAMILIES, "neural")


@register_model
class DurationModel(nn.Module):
    r"""Distribution of the durations 1..L of each of K states.

    .. math:: p_k(d) = \frac{w(d; \theta_k)}{\sum_{d'=1}^{L} w(d'; \theta_k)}, \quad d = 1, \dots, L

    with the weights :math:`w` of a family: what the family gives to durations beyond L is cut off, and the
    rest normalised. Trains by EM (``update``) and by gradient descent (``log_prob`` is differentiable).

    Parameters
    ----------
    num_states : int
        K, >= 1.
    max_duration : int
        L, >= 1, in frames.
    family : str, default "gamma"
        ``"categorical"``: a table. ``"gaussian"``, ``"gamma"``, ``"lognormal"``: the density at d.
        ``"poisson"``, ``"negative_binomial"``: the probability of d - 1 further frames. ``"neural"``: a table
        computed by a network of two layers from an embedding of the state, so that states share what they
        have in common.
    hidden_dim : int, default 64
        Width of the network; only for ``"neural"``.
    mean : float, optional
        Mean duration to start from, in frames, 1..L; a third of L, at least 1, if omitted. The deviation
        starts at half of it. ``"categorical"`` and ``"neural"`` start with all durations alike.

    Raises
    ------
    ValueError
        If a size is < 1, the family unknown, or the mean out of range.

    References
    ----------
    .. [1] S. E. Levinson, "Continuously variable duration hidden Markov models for automatic speech
       recognition", Computer Speech and Language 1(1), 1986 (gamma).
    .. [2] H. Zen et al., "A hidden semi-Markov model-based speech synthesis system", IEICE Transactions
       E90-D(5), 2007 (Gaussian).

    Examples
    --------
    >>> import torch
    >>> duration = DurationModel(1, 20, "gamma")
    >>> counts = torch.zeros(1, 20)
    >>> counts[0, 3:8] = torch.tensor([1.0, 5.0, 9.0, 4.0, 1.0])
    >>> duration.update(counts)
    >>> [round(float(mean), 2) for mean in duration.mean.detach()]
    [5.95]
    """

    def __init__(
        self,
        num_states: int,
        max_duration: int,
        family: DurationFamily = "gamma",
        *,
        hidden_dim: int = 64,
        mean: float | None = None,
    ) -> None:
        super().__init__()
        sizes = {"num_states": num_states, "max_duration": max_duration, "hidden_dim": hidden_dim}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} must be >= 1; got {size}")
        if family not in _KNOWN:
            raise ValueError(f"family must be one of {_KNOWN}; got {family!r}")
        if mean is None:
            mean = max(1.0, max_duration / 3.0)
        if not 1.0 <= mean <= max_duration:
            raise ValueError(f"mean must be in 1..max_duration = 1..{max_duration}; got {mean}")
        self.family = family
        self.num_states = num_states
        self.max_duration = max_duration
        self.hidden_dim = hidden_dim
        if family == "categorical":
            self.logits = nn.Parameter(log_softmax(torch.zeros(num_states, max_duration)))
        elif family == "neural":
            self.embedding = nn.Parameter(0.1 * torch.randn(num_states, hidden_dim))
            self.network = nn.Sequential(
                nn.Linear(hidden_dim, hidden_dim), nn.Tanh(), nn.Linear(hidden_dim, max_duration)
            )
        else:
            start = torch.full((num_states,), float(mean))
            parameter = FAMILIES[family].from_moments(start, (0.5 * start).square())
            self.parameter = nn.Parameter(parameter.clamp(*self._bounds(parameter)))

    def _bounds(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Lowest and highest values (n,) of the parameters of a state."""
        low, high = zip(*FAMILIES[self.family].bounds(self.max_duration), strict=True)
        return like.new_tensor(low), like.new_tensor(high)

    def _durations(self, like: Tensor) -> Tensor:
        """1..L, as numbers like others."""
        return torch.arange(1, self.max_duration + 1, dtype=like.dtype, device=like.device)

    def log_prob(self) -> Tensor:
        """Log-probability of each duration.

        Returns
        -------
        Tensor, shape (K, L)
            Of d = 1..L at index d - 1; rows sum to 1 in probability. Differentiable.

        Notes
        -----
        O(K L). The parameters of a family count as the nearest that its bounds allow: a deviation of 0.15
        frames at least, and means and deviations that durations up to L can tell apart.
        """
        if self.family == "categorical":
            return log_softmax(self.logits)
        if self.family == "neural":
            logits: Tensor = self.network(self.embedding)
            return log_softmax(logits)
        return self._log_prob(self.parameter)

    def forward(self) -> Tensor:
        """Compute ``log_prob``."""
        return self.log_prob()

    def _log_prob(self, parameter: Tensor) -> Tensor:
        """Log-probabilities (K, L) for parameters (K, n) of the family."""
        parameter = parameter.clamp(*self._bounds(parameter))
        return log_softmax(FAMILIES[self.family].log_weight(parameter, self._durations(parameter)))

    @property
    def mean(self) -> Tensor:
        """Mean duration of each state in frames, shape (K,); differentiable."""
        probability = self.log_prob().exp()
        return probability @ self._durations(probability)

    @property
    def variance(self) -> Tensor:
        """Variance of each state's duration in squared frames, shape (K,); differentiable."""
        probability = self.log_prob().exp()
        distance = self._durations(probability) - (probability @ self._durations(probability)).unsqueeze(-1)
        return (probability * distance.square()).sum(-1)

    @property
    def num_parameters(self) -> int:
        """Free parameters."""
        if self.family == "categorical":
            return int((self.logits > -torch.inf).sum()) - self.num_states
        return sum(parameter.numel() for parameter in self.parameters())

    def sample(self, states: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Draw durations.

        Parameters
        ----------
        states : Tensor of int64, shape (...)
            The state of each segment, 0..K-1.
        generator : torch.Generator, optional
            Source of randomness; torch's global one if omitted.

        Returns
        -------
        Tensor of int64, shape (...)
            Frames, 1..L.
        """
        table = self.log_prob().detach().exp()
        drawn = torch.multinomial(table[states.flatten()], 1, generator=generator)
        return 1 + drawn.reshape(states.shape)

    def update(
        self, counts: Tensor, *, method: Literal["likelihood", "moments"] = "likelihood", steps: int = 100
    ) -> None:
        """Replace the parameters by the most likely ones given the counts (M-step).

        Parameters
        ----------
        counts : Tensor, shape (K, L)
            Expected number of segments of each state and duration, finite and >= 0. A state without any
            keeps its parameters.
        method : {"likelihood", "moments"}, default "likelihood"
            ``"likelihood"``: what maximises the likelihood of the truncated distribution. ``"moments"``:
            what has the mean and variance of the counts if nothing is cut off (as HTS does), where that is
            not worse than the present parameters. The same for a table.
        steps : int, default 100
            Steps of Adam, with a rate of 0.01; only for ``"neural"``, which keeps the best of them.

        Raises
        ------
        ValueError
            If the shape disagrees, a count is negative or not finite, or the method is unknown.

        Notes
        -----
        Never lowers the likelihood of the counts. Works in float64; Newton's method with as many variables
        as a state has parameters, O(K L) each step.
        """
        check_shares("counts", counts, "(K, L)", (self.num_states, self.max_duration))
        if method not in {"likelihood", "moments"}:
            raise ValueError(f'method must be "likelihood" or "moments"; got {method!r}')
        counts = counts.detach().double()
        if self.family == "neural":
            self._update_network(counts, steps)
            return
        with torch.no_grad():
            total = counts.sum(-1, keepdim=True)
            seen = total > 0.0
            share = counts / torch.where(seen, total, 1.0)
            if self.family == "categorical":
                allowed = torch.where(self.logits > -torch.inf, counts, 0.0)
                mass = allowed.sum(-1, keepdim=True)
                table = (allowed / torch.where(mass > 0.0, mass, 1.0)).log()
                self.logits.copy_(torch.where(mass > 0.0, table, self.logits))
                return
            present = self.parameter.double()
            low, high = self._bounds(present)
            matched = self._matched(share).clamp(low, high)

            def gain(parameter: Tensor) -> Tensor:
                return (share * self._log_prob(parameter)).sum(-1)

            # The better of the two starts; it is never worse than the present parameters.
            better = (gain(matched) > gain(present)).unsqueeze(-1)
            best = torch.where(better, matched, present)
            if method == "likelihood":
                best = maximize(gain, best, low, high)
            self.parameter.copy_(torch.where(seen, best, present))

    def _matched(self, share: Tensor) -> Tensor:
        """Parameters (K, n) with the moments of shares (K, L) that sum to 1, or to 0 for states not seen."""
        d = self._durations(share)
        mean = (share @ d).clamp_min(1.0)
        variance = (share * (d - mean.unsqueeze(-1)).square()).sum(-1).clamp_min(1e-2)
        return FAMILIES[self.family].from_moments(mean, variance)

    def _update_network(self, counts: Tensor, steps: int) -> None:
        """Improve the network; keep the best of all steps."""
        weight = (counts / counts.sum().clamp_min(torch.finfo(torch.float64).tiny)).to(self.embedding)
        optimizer = torch.optim.Adam(self.parameters(), lr=0.01)
        best, best_loss = {}, torch.inf
        with torch.enable_grad():
            for step in range(steps + 1):
                loss = -(weight * self.log_prob()).sum()
                value = float(loss.detach())
                if value < best_loss:
                    best_loss = value
                    best = {name: value.detach().clone() for name, value in self.state_dict().items()}
                if step < steps:
                    optimizer.zero_grad()
                    torch.autograd.backward(loss)
                    optimizer.step()
        self.load_state_dict(best)
        for parameter in self.parameters():
            parameter.grad = None

    def config(self) -> dict[str, Any]:
        """Describe the structure for ``save_model``.

        Returns
        -------
        dict
            The arguments of the class.
        """
        return {
            "num_states": self.num_states,
            "max_duration": self.max_duration,
            "family": self.family,
            "hidden_dim": self.hidden_dim,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the structure that ``config`` described.

        Parameters
        ----------
        config : mapping
            The arguments of the class.

        Returns
        -------
        DurationModel
            With fresh parameters.
        """
        return cls(**config)

    def extra_repr(self) -> str:
        """Sizes and family, for ``repr``."""
        return f"num_states={self.num_states}, max_duration={self.max_duration}, family={self.family!r}"
