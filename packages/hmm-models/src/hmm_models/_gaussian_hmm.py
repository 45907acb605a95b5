"""Hidden Markov model whose states emit Gaussian mixtures."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

import hmm_core
from hmm_core import Posterior, ViterbiPath
from hmm_models._accumulation import check_shares
from hmm_models._em import FitResult, HMMStatistics, run_em
from hmm_models._initialization import cluster_within, firm_statistics, is_left_to_right, kmeans, segment
from hmm_models._mixtures import GaussianMixtures, UpdateReport
from hmm_models._serialization import register_model
from hmm_models._statistics import MixtureStatistics
from hmm_models._table import ProbabilityTable
from hmm_models._topology import Topology, check_topology, named_topology

_COVARIANCE_TYPES = ("diag",)


class Sample(NamedTuple):
    """What a model generated."""

    states: Tensor
    """Shape (B, T), int64."""
    features: Tensor
    """Shape (B, T, D)."""


@register_model
class GaussianHMM(nn.Module):
    r"""Hidden Markov model with a mixture of diagonal Gaussians in each state.

    .. math::
        p(x_{1:T}, z_{1:T}) = p(z_1) \prod_{t=1}^{T-1} p(z_{t+1} \mid z_t) \; p(\text{end} \mid z_T)
        \prod_{t=1}^{T} p(x_t \mid z_t)

    Trains by EM (``fit``) and, being an ``nn.Module`` whose ``log_likelihood`` is differentiable, by any
    optimizer of torch, in any order. The parts are ``initial``, ``transition`` (``ProbabilityTable``) and
    ``emission`` (``GaussianMixtures``).

    Parameters
    ----------
    num_states : int
        K, >= 1.
    feature_dim : int
        D, >= 1.
    num_mixtures : int, default 1
        M, components per state, >= 1.
    obs_dim : int, optional
        Another name of ``feature_dim``; give one of them.
    covariance_type : {"diag"}
        Shape of the covariances.
    topology : {"ergodic", "left_to_right"} or Topology, default "ergodic"
        ``"ergodic"``: every state after every state. ``"left_to_right"``: start in the first state, stay or
        go on to the next, end anywhere. A ``Topology`` sets starting values of its own, and with
        ``log_final`` where sequences end. What it forbids stays forbidden.

    Raises
    ------
    ValueError
        If a size is < 1, a name unknown, or the topology has another number of states.

    Notes
    -----
    ``x`` is (B, T, D) everywhere, with ``lengths`` (B,) for sequences that end earlier; what stands behind
    their ends is never read. Means start at random; ``fit`` and ``initialize`` start them from data.

    Examples
    --------
    >>> import torch
    >>> truth = GaussianHMM(2, 1)
    >>> with torch.no_grad():
    ...     _ = truth.emission.mean.copy_(torch.tensor([[[-3.0]], [[3.0]]]))
    >>> x = truth.sample(200, generator=torch.Generator().manual_seed(0)).features
    >>> model = GaussianHMM(2, 1)
    >>> result = model.fit(x)
    >>> result.converged, model.emission.mean.flatten().sort().values.round(decimals=0)
    (True, tensor([-3.,  3.], grad_fn=<RoundBackward1>))
    >>> model.viterbi(x).states.shape
    torch.Size([1, 200])
    """

    def __init__(
        self,
        num_states: int,
        feature_dim: int | None = None,
        num_mixtures: int = 1,
        *,
        obs_dim: int | None = None,
        covariance_type: str = "diag",
        topology: str | Topology = "ergodic",
    ) -> None:
        super().__init__()
        size = obs_dim if feature_dim is None else feature_dim
        if size is None or None not in (feature_dim, obs_dim):
            raise ValueError(
                f"give exactly one of feature_dim and its alias obs_dim; got {feature_dim} and {obs_dim}"
            )
        if covariance_type not in _COVARIANCE_TYPES:
            raise ValueError(f"covariance_type must be one of {_COVARIANCE_TYPES}; got {covariance_type!r}")
        if num_states < 1:
            raise ValueError(f"num_states must be >= 1; got {num_states}")
        if isinstance(topology, str):
            topology = named_topology(topology, num_states)
        check_topology(topology, num_states)
        rows = [topology.log_transition]
        if topology.log_final is not None:
            rows.append(topology.log_final.unsqueeze(-1))
        self.covariance_type = covariance_type
        self.initial = ProbabilityTable(topology.log_initial)
        self.transition = ProbabilityTable(torch.cat(rows, -1))
        self.emission = GaussianMixtures(num_states, num_mixtures, size)

    @property
    def num_states(self) -> int:
        """K."""
        return self.emission.num_densities

    @property
    def feature_dim(self) -> int:
        """D."""
        return self.emission.feature_dim

    @property
    def num_mixtures(self) -> int:
        """M."""
        return self.emission.num_mixtures

    @property
    def topology(self) -> Topology:
        """Present log-probabilities of starts, steps and ends; differentiable."""
        K, table = self.num_states, self.transition.log_prob()
        return Topology(self.initial.log_prob(), table[:, :K], table[:, K] if table.shape[1] > K else None)

    def log_likelihood(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Log-likelihood of each sequence.

        Parameters
        ----------
        x : Tensor, shape (B, T, D)
            Features.
        lengths : Tensor of int64, shape (B,), optional
            Valid frames of each sequence, 0..T.

        Returns
        -------
        Tensor, shape (B,)
            In nats, ``-inf`` for a sequence that no path can produce. Differentiable.

        Raises
        ------
        ValueError
            If shapes disagree, a length is out of range, or a valid frame is not finite.
        """
        return hmm_core.log_likelihood(**self._arguments(x, lengths))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute ``log_likelihood``."""
        return self.log_likelihood(x, lengths)

    def posterior(self, x: Tensor, lengths: Tensor | None = None) -> Posterior:
        """Probability of each state in each frame, given the whole sequence.

        Parameters
        ----------
        x : Tensor, shape (B, T, D)
            Features.
        lengths : Tensor of int64, shape (B,), optional
            Valid frames of each sequence, 0..T.

        Returns
        -------
        hmm_core.Posterior
            ``state`` (B, T, K), 0 behind the end and where no path exists; ``log_likelihood`` (B,).

        Raises
        ------
        ValueError
            If shapes disagree, a length is out of range, or a valid frame is not finite.
        """
        return hmm_core.posterior(**self._arguments(x, lengths))

    def viterbi(self, x: Tensor, lengths: Tensor | None = None) -> ViterbiPath:
        """Most likely state path of each sequence.

        Parameters
        ----------
        x : Tensor, shape (B, T, D)
            Features.
        lengths : Tensor of int64, shape (B,), optional
            Valid frames of each sequence, 0..T.

        Returns
        -------
        hmm_core.ViterbiPath
            ``states`` (B, T), -1 behind the end and where no path exists; ``log_score`` (B,).

        Raises
        ------
        ValueError
            If shapes disagree, a length is out of range, or a valid frame is not finite.
        """
        return hmm_core.viterbi(**self._arguments(x, lengths))

    def sample(
        self, num_frames: int, num_sequences: int = 1, *, generator: torch.Generator | None = None
    ) -> Sample:
        """Generate sequences.

        Parameters
        ----------
        num_frames : int
            T, >= 1, of each sequence.
        num_sequences : int, default 1
            B, >= 1.
        generator : torch.Generator, optional
            Source of randomness; torch's global one if omitted.

        Returns
        -------
        Sample
            ``states`` (B, T) and ``features`` (B, T, D).

        Raises
        ------
        ValueError
            If no path is ``num_frames`` long.

        Notes
        -----
        Where sequences have ends, the paths are drawn given that they end after ``num_frames``.
        """
        with torch.no_grad():
            chain = self.topology
            flat = chain.log_initial.new_zeros(num_sequences, num_frames, self.num_states)
            states = hmm_core.sample(
                chain.log_initial, chain.log_transition, flat, log_final=chain.log_final, generator=generator
            )
            if bool((states < 0).any()):
                raise ValueError(f"num_frames must be the length of a possible path; got {num_frames}")
            return Sample(states, self.emission.sample(states, generator))

    def _arguments(self, x: Tensor, lengths: Tensor | None) -> dict[str, Any]:
        """Arguments of the recursions of hmm_core: this model's chain and its scores of the valid frames."""
        valid = self._valid(x, lengths)
        if valid is not None:
            x = x.masked_fill(~valid.unsqueeze(-1), 0.0)
        log_emission = self.emission.log_prob(x)
        chain = self.topology
        return {
            "log_initial": chain.log_initial.to(log_emission),
            "log_transition": chain.log_transition.to(log_emission),
            "log_emission": log_emission,
            "lengths": lengths,
            "log_final": None if chain.log_final is None else chain.log_final.to(log_emission),
        }

    def _valid(self, x: Tensor, lengths: Tensor | None) -> Tensor | None:
        """Mask (B, T) of the frames before the ends, or None for all; refuses other shapes."""
        if x.ndim != 3 or x.shape[-1] != self.feature_dim:
            raise ValueError(
                f"x must have shape (B, T, D) = (B, T, {self.feature_dim}); got {tuple(x.shape)}"
            )
        if lengths is None:
            return None
        B, T, _ = x.shape
        if lengths.shape != (B,):
            raise ValueError(
                f"lengths must have shape (B,) = ({B},), with B from x (B, T, D) = {tuple(x.shape)}; "
                f"got {tuple(lengths.shape)}"
            )
        return torch.arange(T, device=x.device) < lengths.to(x.device).unsqueeze(-1)

    def _valid_and_weight(
        self, x: Tensor, lengths: Tensor | None, weights: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Mask (B, T) of the frames before the ends, and float64 weights (B,)."""
        valid = self._valid(x, lengths)
        if valid is None:
            valid = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        if weights is None:
            return valid, valid.new_ones(len(x), dtype=torch.float64)
        check_shares("weights", weights, "(B,)", (len(x),))
        return valid, weights.double()

    @torch.no_grad()
    def accumulate(
        self, x: Tensor, lengths: Tensor | None = None, weights: Tensor | None = None
    ) -> HMMStatistics:
        """Collect what ``update`` needs (E-step); the results of several calls add.

        Parameters
        ----------
        x : Tensor, shape (B, T, D)
            Features.
        lengths : Tensor of int64, shape (B,), optional
            Valid frames of each sequence, 0..T.
        weights : Tensor, shape (B,), optional
            Weight of each sequence, finite and >= 0; 1 if omitted.

        Returns
        -------
        HMMStatistics
            In float64.

        Raises
        ------
        ValueError
            If shapes disagree, a value is out of range, or a valid frame is not finite.

        Notes
        -----
        Computes in float64 whatever the dtypes. A sequence that no path can produce adds nothing but its
        log-likelihood of ``-inf``.
        """
        valid, weight = self._valid_and_weight(x, lengths, weights)
        x = x.double()
        arguments = self._arguments(x, lengths)
        state, log_likelihood = hmm_core.posterior(**arguments)
        steps = hmm_core.expected_transitions(**arguments)
        share = state * weight[:, None, None]
        transition = (steps * weight[:, None, None]).sum(0)
        if arguments["log_final"] is not None:
            last = torch.arange(x.shape[1], device=x.device) == valid.sum(1, keepdim=True) - 1
            transition = torch.cat([transition, share[last].sum(0).unsqueeze(-1)], -1)
        return HMMStatistics(
            initial=share[:, :1].sum((0, 1)),
            transition=transition,
            emission=self.emission.accumulate(x[valid], share[valid]),
            log_likelihood=torch.where(weight > 0.0, log_likelihood * weight, 0.0).sum(),
            num_frames=(valid.sum(1) * weight).sum(),
        )

    def zero_statistics(self, device: torch.device | None = None) -> HMMStatistics:
        """Statistics of no data, to add to.

        Parameters
        ----------
        device : torch.device, optional
            Where the sums live.

        Returns
        -------
        HMMStatistics
            Zeros in float64.
        """
        P, M, D = self.emission.mean.shape
        zeros = partial(torch.zeros, dtype=torch.float64, device=device)
        emission = MixtureStatistics.zeros(P, M, D, device)
        return HMMStatistics(zeros(P), zeros(self.transition.logits.shape), emission, zeros(()), zeros(()))

    def update(self, statistics: HMMStatistics, *, min_occupancy: float = 1e-3) -> UpdateReport:
        """Replace the parameters by the most likely ones given the statistics (M-step).

        Parameters
        ----------
        statistics : HMMStatistics
            From ``accumulate``, summed over the data.
        min_occupancy : float, default 1e-3
            Frames below which a mixture component is removed; see ``GaussianMixtures.update``.

        Returns
        -------
        UpdateReport
            What was removed, kept for lack of data and floored.

        Raises
        ------
        ValueError
            If the statistics are of another shape, or not finite.
        """
        self.initial.update(statistics.initial)
        self.transition.update(statistics.transition)
        return self.emission.update(statistics.emission, min_occupancy=min_occupancy, min_weight=0.0)

    @torch.no_grad()
    def initialize(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        weights: Tensor | None = None,
        *,
        seed: int = 0,
        variance_floor: float = 1e-3,
    ) -> None:
        """Start the emissions from data; initial and transition probabilities stay as they are.

        Parameters
        ----------
        x : Tensor, shape (B, T, D)
            Features.
        lengths : Tensor of int64, shape (B,), optional
            Valid frames of each sequence, 0..T.
        weights : Tensor, shape (B,), optional
            Weight of each sequence, finite and >= 0; 1 if omitted.
        seed : int, default 0
            Of the clustering; the same seed gives the same start.
        variance_floor : float, default 1e-3
            Share of the variance of all frames below which no variance may fall.

        Raises
        ------
        ValueError
            If shapes disagree, a value is out of range, or no frame is valid.

        Notes
        -----
        A left-to-right model cuts each sequence into equal parts, one per state; any other clusters the
        frames by k-means on standardised features. The components of a state start from clusters of its
        frames.
        """
        valid, weight = self._valid_and_weight(x, lengths, weights)
        valid = valid & (weight > 0.0).unsqueeze(-1)
        frames, share = x[valid].double(), weight.unsqueeze(-1).expand_as(valid)[valid]
        if not len(frames):
            raise ValueError("x must hold at least one valid frame of positive weight; got none")
        self.emission.log_prob(frames)
        mean = (share.unsqueeze(-1) * frames).sum(0) / share.sum()
        variance = (share.unsqueeze(-1) * (frames - mean).square()).sum(0) / share.sum()
        self.emission.reset_flat(mean, variance, variance_floor=variance_floor)
        self.emission.split([self.num_mixtures] * self.num_states)

        generator = torch.Generator().manual_seed(seed)
        scaled = (frames - mean) / torch.where(variance > 0.0, variance, 1.0).sqrt()
        chain = self.topology
        if is_left_to_right(chain.log_initial, chain.log_transition):
            state = segment(valid.sum(1), self.num_states)
        else:
            state = kmeans(scaled, self.num_states, generator)
        component = cluster_within(scaled, state, self.num_mixtures, generator)
        self.emission.update(
            firm_statistics(frames, share, state, component, (self.num_states, self.num_mixtures)),
            min_occupancy=0.0,
            min_weight=0.0,
        )

    def fit(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        weights: Tensor | None = None,
        *,
        max_iterations: int = 100,
        tolerance: float = 1e-4,
        initialize: bool = True,
        seed: int = 0,
        variance_floor: float = 1e-3,
        min_occupancy: float = 1e-3,
        batch_size: int | None = None,
    ) -> FitResult:
        """Train by expectation-maximisation (Baum-Welch).

        Parameters
        ----------
        x : Tensor, shape (B, T, D)
            Features.
        lengths : Tensor of int64, shape (B,), optional
            Valid frames of each sequence, 0..T.
        weights : Tensor, shape (B,), optional
            Weight of each sequence, finite and >= 0; 1 if omitted.
        max_iterations : int, default 100
            Updates, at most.
        tolerance : float, default 1e-4
            Stop when an update gains less, in nats per frame.
        initialize : bool, default True
            Call ``initialize`` first, with ``seed`` and ``variance_floor``; False continues from the
            present parameters.
        seed : int, default 0
            See ``initialize``.
        variance_floor : float, default 1e-3
            See ``initialize``.
        min_occupancy : float, default 1e-3
            See ``update``.
        batch_size : int, optional
            Sequences per pass of the E-step, to bound memory; all if omitted. Changes nothing else.

        Returns
        -------
        FitResult
            The likelihood after each update, and what the updates reported.

        Raises
        ------
        ValueError
            If shapes disagree, a value is out of range, or no path can produce one of the sequences.
        LikelihoodDecreaseError
            If an update lowers the likelihood by more than the rounding of the parameters explains.

        Notes
        -----
        The likelihood never falls, floored variances included; only an update that removes components may
        lower it, and reports them. Each iteration costs O(B T K (K + M D)).

        References
        ----------
        .. [1] L. R. Rabiner, "A tutorial on hidden Markov models and selected applications in speech
           recognition", Proc. IEEE 77(2), 1989.
        """
        if initialize:
            self.initialize(x, lengths, weights, seed=seed, variance_floor=variance_floor)
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size must be >= 1; got {batch_size}")
        step = batch_size or max(len(x), 1)

        def accumulate() -> HMMStatistics:
            total = self.zero_statistics(x.device)
            for i in range(0, len(x), step):
                rows = slice(i, i + step)
                total = total + self.accumulate(
                    x[rows],
                    None if lengths is None else lengths[rows],
                    None if weights is None else weights[rows],
                )
            return total

        self._refuse_impossible(x, lengths, weights)
        return run_em(
            accumulate,
            lambda statistics: self.update(statistics, min_occupancy=min_occupancy),
            self._rounding,
            max_iterations,
            tolerance,
        )

    @torch.no_grad()
    def _refuse_impossible(self, x: Tensor, lengths: Tensor | None, weights: Tensor | None) -> None:
        """Name the sequences that no path can produce: EM could not learn from them."""
        impossible = self.log_likelihood(x, lengths) == -torch.inf
        if weights is not None:
            impossible &= weights > 0.0
        if bool(impossible.any()):
            raise ValueError(
                f"no path of the model can produce sequences {impossible.nonzero().flatten().tolist()}: "
                "each must be as long as the shortest path from a start to an end; leave them out"
            )

    @torch.no_grad()
    def _rounding(self) -> float:
        """Nats per frame that rounding the parameters, and working in float64, may cost."""
        emission = self.emission
        precision, eps = 1.0 / emission.variance.double(), torch.finfo(emission.mean.dtype).eps
        mean = emission.mean.double()
        stored = 0.5 * ((eps * mean).square() * precision).sum(-1)
        stored += eps * (1.0 + emission.log_variance.double().abs().sum(-1))
        worked = 1e-13 * ((mean - mean.mean((0, 1))).square() * precision).sum(-1)
        return 1e-9 + float((stored + worked).max())

    def config(self) -> dict[str, Any]:
        """Describe the structure for ``save_model``.

        Returns
        -------
        dict
            Sizes, the covariance type and whether sequences have ends.
        """
        return {
            "num_states": self.num_states,
            "feature_dim": self.feature_dim,
            "num_mixtures": self.num_mixtures,
            "covariance_type": self.covariance_type,
            "has_final": self.transition.logits.shape[1] > self.num_states,
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
        GaussianHMM
            With fresh parameters.
        """
        arguments = dict(config)
        flat = torch.zeros(arguments["num_states"])
        has_final = arguments.pop("has_final")
        topology = Topology(flat, flat.expand(len(flat), -1), flat if has_final else None)
        return cls(**arguments, topology=topology)

    def extra_repr(self) -> str:
        """Sizes, for ``repr``."""
        return ", ".join(f"{name}={value!r}" for name, value in self.config().items())
