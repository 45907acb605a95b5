"""Hidden Markov model with any emission."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

import hmm_core
from hmm_core import Posterior, ViterbiPath
from hmm_models._numerics import logsumexp
from hmm_models._report import UpdateReport
from hmm_models._serialization import build_model, describe_model, register_model
from hmm_models.models._em_sequence_model import EMSequenceModel
from hmm_models.models._model_stream import ModelStream
from hmm_models.models._sequence_model import Frames
from hmm_models.training._counts import Algorithm, check_algorithm, expected_counts, take_level
from hmm_models.training._em import HMMStatistics
from hmm_models.transitions._adaptive import AdaptiveTransitionMatrix
from hmm_models.transitions._context import at_last_frame, context_counts, context_table
from hmm_models.transitions._parts import (
    TrainableTransition,
    build_tables,
    check_tables,
    describe_tables,
)
from hmm_models.transitions._table import ProbabilityTable
from hmm_models.transitions._topology import Topology, check_topology, named_topology


@register_model
class HiddenMarkovModel(EMSequenceModel[Posterior, ViterbiPath]):
    r"""Hidden Markov model of the emission given.

    .. math::
        p(x_{1:T}, z_{1:T}) = p(z_1) \prod_{t=1}^{T-1} p(z_{t+1} \mid z_t) \; p(\text{end} \mid z_T)
        \prod_{t=1}^{T} p(x_t \mid z_t)

    Trains by EM (``fit``) and, being an ``nn.Module`` whose ``log_likelihood`` is differentiable, by any
    optimizer of torch, in any order. The parts are ``initial``, ``transition`` (``ProbabilityTable``) and
    ``emission``.

    Parameters
    ----------
    emission : nn.Module
        With ``num_densities`` and ``log_prob``, see ``Emission``; one density a state.
    topology : {"ergodic", "left_to_right"} or Topology, default "ergodic"
        ``"ergodic"``: every state after every state. ``"left_to_right"``: start in the first state, stay or
        go on to the next, end anywhere. A ``Topology`` sets starting values of its own, and with
        ``log_final`` where sequences end. What it forbids stays forbidden.
    initial : ProbabilityTable of shape (K,), optional
        Instead of the topology's starts: with fixed or tied entries, or a prior.
    transition : nn.Module, optional
        Instead of the topology's steps and ends, a ``TrainableTransition``: a ``ProbabilityTable`` (K, K), or
        (K, K + 1) whose last column holds the ends; one with an axis of classes before these, of which
        ``context`` chooses; a ``HierarchicalTransition``. Or an ``AdaptiveTransitionMatrix``, which only
        gradient descent trains.

    Raises
    ------
    ValueError
        If a name is unknown, or a part has another number of states than there are densities.

    Notes
    -----
    The description of the data, ``x, lengths, observed, allowed, frame_weights``, is that of
    ``SequenceModel`` everywhere, ``context`` that of ``EMSequenceModel``. Where the context changes from
    frame to frame, the steps take O(B T K^2) memory.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import GaussianMixtures
    >>> model = HiddenMarkovModel(GaussianMixtures(3, 2, 13), topology="left_to_right")
    >>> x = torch.randn(4, 50, 13, generator=torch.Generator().manual_seed(0)).cumsum(1)
    >>> result = model.fit(x, torch.tensor([50, 40, 30, 20]), max_iterations=5)
    >>> result.log_likelihood[-1] > result.log_likelihood[0]
    True
    """

    _recursions = hmm_core

    def __init__(
        self,
        emission: nn.Module,
        topology: str | Topology = "ergodic",
        *,
        initial: ProbabilityTable | None = None,
        transition: nn.Module | None = None,
    ) -> None:
        super().__init__()
        num_states = int(cast(Any, emission).num_densities)
        if isinstance(topology, str):
            topology = named_topology(topology, num_states)
        check_topology(topology, num_states)
        rows = [topology.log_transition]
        if topology.log_final is not None:
            rows.append(topology.log_final.unsqueeze(-1))
        self.initial = ProbabilityTable(topology.log_initial) if initial is None else initial
        steps = torch.cat(rows, -1)
        self.transition: Any = ProbabilityTable(steps) if transition is None else transition
        K = num_states
        check_tables(self.initial, self.transition, [(K, K), (K, K + 1)])
        self.emission = emission

    @property
    def num_states(self) -> int:
        """K."""
        return self.initial.shape[0]

    @property
    def has_final(self) -> bool:
        """Whether sequences end with a probability of their own."""
        return int(self.transition.shape[-1]) > self.num_states

    @property
    def topology(self) -> Topology:
        """Present log-probabilities of starts, steps and ends; differentiable.

        Where steps depend on a context: the mean of the classes, or what a context of zeros gives.
        """
        K, part = self.num_states, self.transition
        if isinstance(part, AdaptiveTransitionMatrix):
            table = part.log_prob(part.logits.new_zeros(part.context_dim))
        else:
            table = part.log_prob()
            table = table if table.ndim == 2 else logsumexp(table, 0) - math.log(len(table))
        return Topology(self.initial.log_prob(), table[:, :K], table[:, K] if self.has_final else None)

    def with_emission(self, emission: nn.Module) -> "HiddenMarkovModel":
        """Put other densities in the place of these.

        Parameters
        ----------
        emission : nn.Module
            Any ``Emission`` of K densities: the present one behind a transform, say.

        Returns
        -------
        HiddenMarkovModel
            With the very same ``initial`` and ``transition``, not copies.

        Raises
        ------
        ValueError
            If the emission has another number of densities.
        """
        model = HiddenMarkovModel(emission, self._present_topology())
        model.initial, model.transition = self.initial, self.transition
        return model._restored()

    def _durations(self) -> tuple[Tensor, Tensor, int | None]:
        """Mean and variance of geometric distributions."""
        stay = self.topology.log_transition.diagonal().double().exp()
        leave = 1.0 - stay
        # Within rounding of a table of probabilities.
        lasting = leave < 1e-6
        leave = torch.where(lasting, 1.0, leave)
        mean, variance = leave.reciprocal(), stay / leave.square()
        return mean.masked_fill(lasting, torch.inf), variance.masked_fill(lasting, torch.inf), None

    @property
    def _ends_anywhere(self) -> bool:
        """Whether there are no probabilities of ends."""
        return self.topology.log_final is None

    def _arguments(
        self, frames: Frames, lengths: Tensor | None, context: Tensor | None = None
    ) -> dict[str, Any]:
        """Arguments of the recursions of hmm_core: this model's chain and its scores of the valid frames."""
        return self._describe(self._score(frames), lengths, context)

    def _describe(
        self, log_emission: Tensor, lengths: Tensor | None = None, context: Tensor | None = None
    ) -> dict[str, Any]:
        """Arguments of the recursions for these scores of frames."""
        K = self.num_states
        table = context_table(self.transition, context, log_emission, lengths).to(log_emission)
        steps, final = table[..., :K], table[..., K] if self.has_final else None
        if table.ndim == 4:
            steps = steps[:, :-1]
            if final is not None:
                final = at_last_frame(final, lengths)
        return {
            "log_initial": self.initial.log_prob().to(log_emission),
            "log_transition": steps,
            "log_emission": log_emission,
            "lengths": lengths,
            "log_final": final,
        }

    def stream(self, lag: int | None = None, chunk_size: int = 1024) -> ModelStream:
        """Begin to listen to features that come a few frames at a time.

        Parameters
        ----------
        lag : int, optional
            Frames, >= 0, after which a state must be decided at the latest. If omitted, when all paths agree.
        chunk_size : int, default 1024
            Frames, >= 1, whose densities are computed at once.

        Returns
        -------
        ModelStream
            Whose results are those of the whole recording. It copies the present probabilities of starts,
            steps and ends.

        Raises
        ------
        ValueError
            If a number is out of range.
        """
        return ModelStream(self, lag, chunk_size)

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
    ) -> HMMStatistics:
        """Collect what ``update`` needs (E-step); the results of several calls add.

        Parameters
        ----------
        x, lengths, observed, allowed, frame_weights, context
            The data, see ``SequenceModel`` and ``EMSequenceModel``.
        weights : Tensor, shape (B,), optional
            Weight of each sequence, finite and >= 0; 1 if omitted.
        algorithm : {"baum_welch", "viterbi"}, default "baum_welch"
            Whether all paths count, each as it is likely, or the best path of each sequence alone; then
            ``log_likelihood`` is the score of these paths.

        Returns
        -------
        HMMStatistics
            In float64.

        Raises
        ------
        TypeError
            If EM cannot train the emission or the transitions.
        ValueError
            If shapes disagree, a value is out of range, or a frame that is read is not finite.

        Notes
        -----
        Sums are in float64 whatever the dtypes; densities and recursions too, unless the emission has a
        ``working_dtype``. A sequence that no path can produce adds nothing but its log-likelihood of
        ``-inf``. Memory beside ``x`` is O(B T K).
        """
        check_algorithm(algorithm)
        frames = self._frames(
            self._working(x),
            lengths,
            weights,
            observed=observed,
            allowed=allowed,
            frame_weights=frame_weights,
        )
        weight, valid = frames.weight, frames.valid
        shape = self._trainable_transition().shape
        log_emission, level = take_level(self._score(frames).to(self._counting_dtype(frames)), valid)
        arguments = self._describe(log_emission, lengths, context)
        score, expected = expected_counts(hmm_core, arguments, weight, algorithm)
        log_likelihood = score.double() + level
        share, transition = expected["log_emission"], expected["log_transition"]
        if context is not None:
            transition = context_counts(shape, expected, context, lengths)
        elif "log_final" in expected:
            transition = torch.cat([transition, expected["log_final"].unsqueeze(-1)], -1)
        return HMMStatistics(
            log_likelihood=torch.where(weight > 0.0, log_likelihood * weight, 0.0).sum(),
            num_frames=(valid.sum(1) * weight).sum(),
            emission=self._accumulate_emission(frames, share),
            initial=expected["log_initial"].double(),
            transition=transition.double(),
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
        zeros = partial(torch.zeros, dtype=torch.float64, device=device)
        emission = self._trainable().zero_statistics(device)
        shape = self._trainable_transition().shape
        return HMMStatistics(zeros(()), zeros(()), emission, zeros(self.num_states), zeros(shape))

    def _trainable_transition(self) -> TrainableTransition:
        """Return the transitions, if EM can train them."""
        if not isinstance(self.transition, TrainableTransition):
            raise TypeError(
                "transition must have shape, num_parameters, log_prob, log_prior and update for EM; "
                f"{type(self.transition).__name__} lacks some: train by gradient descent"
            )
        return self.transition

    def update(self, statistics: HMMStatistics, **options: Any) -> UpdateReport:  # noqa: ANN401
        """Replace the parameters by the most likely ones given the statistics (M-step).

        Parameters
        ----------
        statistics : HMMStatistics
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
        self._trainable_transition().update(statistics.transition)
        return self._trainable().update(statistics.emission, **options)

    def config(self) -> dict[str, Any]:
        """Describe the structure for ``save_model``.

        Returns
        -------
        dict
            The emission, whether sequences have ends, and tables that are more than plain.

        Raises
        ------
        TypeError
            If the class of the emission is not registered.
        """
        return {
            "emission": describe_model(self.emission),
            "has_final": self.has_final,
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
        HiddenMarkovModel
            With fresh parameters.
        """
        emission = build_model(config["emission"])
        topology = blank_topology(int(cast(Any, emission).num_densities), config["has_final"])
        model = cls(emission, topology, **build_tables(config))
        return model._restored()

    def _present(self) -> dict[str, Any]:
        """Arguments that make a model like this one."""
        return {"emission": self.emission, **self._present_chain()}


def blank_topology(num_states: int, has_final: bool) -> Topology:
    """Topology of a structure whose probabilities come from a file."""
    flat = torch.zeros(num_states)
    return Topology(flat, flat.expand(num_states, -1), flat if has_final else None)
