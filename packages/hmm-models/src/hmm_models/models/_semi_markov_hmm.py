"""Hidden semi-Markov model: a distribution of its own says how long a state lasts."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Self, cast

import torch
from torch import Tensor, nn

from hmm_core import semi_markov
from hmm_core.semi_markov import SemiMarkovPath, SemiMarkovPosterior
from hmm_models._numerics import log_softmax
from hmm_models._report import UpdateReport
from hmm_models._serialization import build_model, describe_model, register_model
from hmm_models.durations._duration_model import DurationFamily, DurationModel
from hmm_models.emissions._lazy import LazyGaussianMixtures
from hmm_models.emissions._mixtures import GaussianMixtures
from hmm_models.models._em_sequence_model import EMSequenceModel
from hmm_models.models._hidden_markov_model import blank_topology
from hmm_models.models._sequence_model import Frames
from hmm_models.training._counts import Algorithm, check_algorithm, expected_counts
from hmm_models.training._em import SequenceStatistics
from hmm_models.transitions._parts import build_tables, check_tables, describe_tables
from hmm_models.transitions._table import ProbabilityTable
from hmm_models.transitions._topology import Topology, check_topology

Censoring = Literal["none", "left", "right", "both"]


@dataclass(frozen=True, eq=False)
class SemiMarkovStatistics(SequenceStatistics):
    """What the M-step of a hidden semi-Markov model needs to know of the data; adds over sequences.

    Parameters
    ----------
    log_likelihood : Tensor of float64, shape ()
        Sum over the sequences.
    num_frames : Tensor of float64, shape ()
        Sum over the sequences.
    emission : Statistics
        Of the states' densities.
    initial : Tensor of float64, shape (K,)
        Expected number of sequences that start with each state.
    transition : Tensor of float64, shape (K, K + 1)
        Expected number of changes of state; the last column counts the ends.
    duration : Tensor of float64, shape (K, L)
        Expected number of segments of each length.
    """

    initial: Tensor
    transition: Tensor
    duration: Tensor


@register_model
class SemiMarkovHMM(EMSequenceModel[SemiMarkovPosterior, SemiMarkovPath]):
    r"""Hidden semi-Markov model (HSMM): explicit durations, any emission.

    .. math::
        p(x_{1:T}, (j_m, d_m)_{1:n}) = p(j_1) \prod_{m=1}^{n-1} p(j_{m+1} \mid j_m) \; p(\text{end} \mid j_n)
        \prod_{m=1}^{n} p_{j_m}(d_m) \prod_t p(x_t \mid z_t)

    Trains by EM (``fit``) and by gradient descent, in any order. The parts are ``initial``, ``transition``,
    ``duration`` (a ``DurationModel``) and ``emission``.

    Parameters
    ----------
    num_states : int
        K, >= 1.
    feature_dim : int, optional
        D. If omitted, the first batch tells, see ``LazyGaussianMixtures``.
    max_duration : int, default 50
        L, frames that a state lasts at most.
    num_mixtures : int, default 1
        M, Gaussians per state.
    obs_dim : int, optional
        Another name of ``feature_dim``.
    duration : str or DurationModel, default "gamma"
        A family of ``DurationModel``, or one ready made.
    topology : {"left_to_right", "ergodic"} or Topology, default "ergodic"
        ``"ergodic"``: every other state after every state, an end after any. ``"left_to_right"``: all
        states one after the other, the end after the last. In a ``Topology``, ``log_transition`` holds
        changes of state: a state that follows itself starts a second segment.
    censoring : {"none", "left", "right", "both"}, default "none"
        Whether the first and the last segment may reach beyond the observations, see
        ``hmm_core.semi_markov.log_likelihood``. Where the last one may, sequences have no ends: the changes
        of state alone are distributions.
    emission : nn.Module, optional
        Any ``Emission`` of K densities instead of Gaussians; ``feature_dim`` and ``num_mixtures`` are then
        not given.
    initial : ProbabilityTable of shape (K,), optional
        Instead of the topology's starts: with fixed or tied entries, or a prior.
    transition : ProbabilityTable of shape (K, K + 1), optional
        Instead of the topology's changes of state (the last column holds the ends). Where the last segment
        may be cut, so that no end is seen, and entries are fixed, tied or have a prior, it must forbid the
        ends.

    Raises
    ------
    ValueError
        If sizes are out of range or disagree, or a name is unknown.

    Notes
    -----
    O(B T K (K + L)) time and O(T K) memory. A sequence longer than the longest path, or shorter than the
    shortest, has log-likelihood ``-inf``. The description of the data is that of ``SequenceModel``; also
    known as ``HSMMLayer``.

    References
    ----------
    .. [1] S.-Z. Yu, "Hidden semi-Markov models", Artificial Intelligence 174(2), 2010.

    Examples
    --------
    >>> import torch
    >>> truth = SemiMarkovHMM(2, 1, 20, duration=DurationModel(2, 20, "poisson", mean=8.0))
    >>> with torch.no_grad():
    ...     _ = truth.emission.mean.copy_(torch.tensor([[[-3.0]], [[3.0]]]))
    >>> x = truth.sample(300, generator=torch.Generator().manual_seed(0)).features
    >>> model = SemiMarkovHMM(2, max_duration=20, duration="poisson", censoring="right")
    >>> result = model.fit(x)
    >>> result.converged, model.duration.mean.shape
    (True, torch.Size([2]))
    """

    _recursions = semi_markov

    def __init__(
        self,
        num_states: int,
        feature_dim: int | None = None,
        max_duration: int = 50,
        num_mixtures: int = 1,
        *,
        obs_dim: int | None = None,
        duration: DurationFamily | DurationModel = "gamma",
        topology: str | Topology = "ergodic",
        censoring: Censoring = "none",
        emission: nn.Module | None = None,
        initial: ProbabilityTable | None = None,
        transition: ProbabilityTable | None = None,
    ) -> None:
        super().__init__()
        if None not in (feature_dim, obs_dim):
            raise ValueError(
                f"give one of feature_dim and its alias obs_dim; got {feature_dim} and {obs_dim}"
            )
        if num_states < 1:
            raise ValueError(f"num_states must be >= 1; got {num_states}")
        if censoring not in {"none", "left", "right", "both"}:
            raise ValueError(f'censoring must be "none", "left", "right" or "both"; got {censoring!r}')
        if isinstance(topology, str):
            topology = _named_topology(topology, num_states)
        check_topology(topology, num_states)
        final = topology.log_final
        if final is None:
            raise ValueError("topology must have log_final: a state without another to go to must end")
        if not isinstance(duration, DurationModel):
            duration = DurationModel(num_states, max_duration, duration)
        if emission is None:
            emission = _gaussians(num_states, num_mixtures, obs_dim if feature_dim is None else feature_dim)
        sizes = {
            "duration": (duration.num_states, "states"),
            "emission": (int(cast(Any, emission).num_densities), "densities"),
        }
        for name, (size, what) in sizes.items():
            if size != num_states:
                raise ValueError(f"{name} must have num_states = {num_states} {what}; got {size}")
        self.censoring: Censoring = censoring
        steps = torch.cat([topology.log_transition, final.unsqueeze(-1)], -1)
        self.initial = ProbabilityTable(topology.log_initial) if initial is None else initial
        self.transition = ProbabilityTable(steps) if transition is None else transition
        check_tables(self.initial, self.transition, [(num_states, num_states + 1)])
        self._check_ends()
        self.duration = duration
        self.emission = emission

    def _check_ends(self) -> None:
        """Refuse beliefs that the M-step could not weigh against ends that nobody sees."""
        possible = bool((self.transition.logits[:, -1] > -torch.inf).any())
        if self.censoring in {"right", "both"} and self.transition.constrained and possible:
            raise ValueError(
                "transition must forbid the ends (-inf in its last column) where entries are fixed, tied or "
                f"have a prior and censoring={self.censoring!r}"
            )

    @property
    def num_states(self) -> int:
        """K."""
        return self.initial.shape[0]

    @property
    def max_duration(self) -> int:
        """L."""
        return self.duration.max_duration

    @property
    def topology(self) -> Topology:
        """Present log-probabilities of starts, changes of state and ends; differentiable."""
        K, table = self.num_states, self.transition.log_prob()
        return Topology(self.initial.log_prob(), table[:, :K], table[:, K])

    def _durations(self) -> tuple[Tensor, Tensor, int | None]:
        """Mean and variance of the duration model, and L."""
        return self.duration.mean, self.duration.variance, self.max_duration

    @property
    def _ends_anywhere(self) -> bool:
        """Whether the last segment may be cut."""
        return self.censoring in {"right", "both"}

    def with_emission(self, emission: nn.Module) -> "SemiMarkovHMM":
        """Put other densities in the place of these.

        Parameters
        ----------
        emission : nn.Module
            Any ``Emission`` of K densities: the present one behind a transform, say.

        Returns
        -------
        SemiMarkovHMM
            With the very same ``initial``, ``transition`` and ``duration``, not copies.

        Raises
        ------
        ValueError
            If the emission has another number of densities.
        """
        model = SemiMarkovHMM(
            self.num_states,
            duration=self.duration,
            topology=self._present_topology(),
            censoring=self.censoring,
            emission=emission,
        )
        model.initial, model.transition = self.initial, self.transition
        return model._restored()

    def _arguments(
        self, frames: Frames, lengths: Tensor | None, context: Tensor | None = None
    ) -> dict[str, Any]:
        """Arguments of the recursions of hmm_core: this model and its scores of the valid frames."""
        return self._describe(self._score(frames), lengths, context)

    def _describe(
        self, log_emission: Tensor, lengths: Tensor | None = None, context: Tensor | None = None
    ) -> dict[str, Any]:
        """Arguments of the recursions for these scores of frames."""
        if context is not None:
            raise TypeError(
                "context must be omitted: the steps of a SemiMarkovHMM depend on nothing; got one"
            )
        log_initial, log_transition, log_final = self.topology
        if self.censoring in {"right", "both"}:  # the model does not end with the observations
            log_transition, log_final = log_softmax(log_transition), None
        return {
            "log_initial": log_initial.to(log_emission),
            "log_transition": log_transition.to(log_emission),
            "log_duration": self.duration.log_prob().to(log_emission),
            "log_emission": log_emission,
            "lengths": lengths,
            "log_final": None if log_final is None else log_final.to(log_emission),
            "censoring": self.censoring,
        }

    @torch.no_grad()
    def accumulate(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        weights: Tensor | None = None,
        *,
        observed: Tensor | None = None,
        allowed: Tensor | None = None,
        frame_weights: Tensor | None = None,
        context: Tensor | None = None,
        algorithm: Algorithm = "baum_welch",
    ) -> SemiMarkovStatistics:
        """Collect what ``update`` needs (E-step); the results of several calls add.

        Parameters
        ----------
        x, lengths, observed, allowed, frame_weights
            The data, see ``SequenceModel``.
        context
            Must be omitted.
        weights : Tensor, shape (B,), optional
            Weight of each sequence, finite and >= 0; 1 if omitted.
        algorithm : {"baum_welch", "viterbi"}, default "baum_welch"
            Whether all segmentations count, each as it is likely, or the best one of each sequence alone;
            then ``log_likelihood`` is the score of these.

        Returns
        -------
        SemiMarkovStatistics
            In float64.

        Raises
        ------
        TypeError
            If EM cannot train the emission.
        ValueError
            If shapes disagree, a value is out of range, or a frame that is read is not finite.

        Notes
        -----
        Computes in float64 whatever the dtypes. A sequence that no segmentation can produce adds nothing but
        its log-likelihood of ``-inf``.
        """
        check_algorithm(algorithm)
        x = x.double() if x.is_floating_point() else x
        frames = self._frames(
            x, lengths, weights, observed=observed, allowed=allowed, frame_weights=frame_weights
        )
        weight, arguments = frames.weight, self._arguments(frames, lengths, context)
        if algorithm == "viterbi":
            score, counts = expected_counts(semi_markov, arguments, weight, algorithm)
        else:
            score, counts = _posterior_counts(arguments, weight)
        ends = counts["log_final"] if arguments["log_final"] is not None else torch.zeros(self.num_states)
        return SemiMarkovStatistics(
            log_likelihood=torch.where(weight > 0.0, score * weight, 0.0).sum(),
            num_frames=(frames.valid.sum(1) * weight).sum(),
            emission=self._accumulate_emission(frames, counts["log_emission"]),
            initial=counts["log_initial"],
            transition=torch.cat([counts["log_transition"], ends.to(weight).unsqueeze(-1)], -1),
            duration=counts["log_duration"],
        )

    def zero_statistics(self, device: torch.device | None = None) -> SemiMarkovStatistics:
        """Statistics of no data, to add to.

        Parameters
        ----------
        device : torch.device, optional
            Where the sums live.

        Returns
        -------
        SemiMarkovStatistics
            Zeros in float64.
        """
        K, zeros = self.num_states, partial(torch.zeros, dtype=torch.float64, device=device)
        emission = self._trainable().zero_statistics(device)
        shapes = ((K,), (K, K + 1), (K, self.max_duration))
        return SemiMarkovStatistics(zeros(()), zeros(()), emission, *map(zeros, shapes))

    def update(self, statistics: SemiMarkovStatistics, **options: Any) -> UpdateReport:  # noqa: ANN401
        """Replace the parameters by the most likely ones given the statistics (M-step).

        Parameters
        ----------
        statistics : SemiMarkovStatistics
            From ``accumulate``, summed over the data.
        **options
            Of the emission's ``update``.

        Returns
        -------
        UpdateReport
            What the emission did beside estimating.

        Raises
        ------
        ValueError
            If the statistics are of another shape, or not finite.
        """
        self.initial.update(statistics.initial)
        self.transition.update(statistics.transition)
        self.duration.update(statistics.duration)
        return self._trainable().update(statistics.emission, **options)

    def config(self) -> dict[str, Any]:
        """Describe the structure for ``save_model``.

        Returns
        -------
        dict
            The parts, and the censoring.

        Raises
        ------
        TypeError
            If the class of the emission is not registered.
        """
        return {
            "num_states": self.num_states,
            "duration": describe_model(self.duration),
            "emission": describe_model(self.emission),
            "censoring": self.censoring,
            **describe_tables(initial=self.initial, transition=self.transition),
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
        SemiMarkovHMM
            With fresh parameters.
        """
        K = config["num_states"]
        model = cls(
            K,
            duration=cast(DurationModel, build_model(config["duration"])),
            topology=blank_topology(K, has_final=True),
            censoring=config["censoring"],
            emission=build_model(config["emission"]),
        )
        # Not as arguments: what the tables allow comes from the file, later.
        for name, part in build_tables(config).items():
            setattr(model, name, part)
        return model._restored()

    def _present(self) -> dict[str, Any]:
        """Arguments that make a model like this one."""
        return {
            "num_states": self.num_states,
            "feature_dim": None,
            "max_duration": self.max_duration,
            "num_mixtures": 1,
            "obs_dim": None,
            "duration": self.duration,
            "censoring": self.censoring,
            "emission": self.emission,
            **self._present_chain(),
        }


HSMMLayer = SemiMarkovHMM


def _posterior_counts(arguments: dict[str, Any], weight: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Compute ``expected_counts`` of all paths in less time: without a log-likelihood of its own."""
    found = semi_markov.posterior(**arguments)
    return found.log_likelihood, {
        "log_emission": found.state * weight[:, None, None],
        "log_initial": weight @ found.initial,
        "log_transition": torch.einsum("b,bij->ij", weight, found.transition),
        "log_duration": torch.einsum("b,bkl->kl", weight, found.duration),
        "log_final": weight @ found.final,
    }


def _gaussians(num_states: int, num_mixtures: int, feature_dim: int | None) -> GaussianMixtures:
    """Emission of features of a width that is known or shows with the first batch."""
    if feature_dim is None:
        return LazyGaussianMixtures(num_states, num_mixtures)
    return GaussianMixtures(num_states, num_mixtures, feature_dim)


def _named_topology(name: str, num_states: int) -> Topology:
    """Topology that a semi-Markov model knows by name."""
    K = num_states
    start = torch.zeros(K)
    start[0] = 1.0
    step, end = torch.zeros(K, K), torch.zeros(K)
    step.diagonal(1).fill_(1.0)
    end[-1] = 1.0
    share = torch.full((K,), 1.0 / K)
    others = (1.0 - torch.eye(K)) / K
    known = {
        "ergodic": (share, others, share if K > 1 else torch.ones(1)),
        "left_to_right": (start, step, end),
    }
    if name not in known:
        raise ValueError(f"topology must be a Topology or one of {tuple(known)}; got {name!r}")
    return Topology.from_probabilities(*known[name])
