"""What models that EM trains share: scoring, decoding, training, and what they pay for their parameters."""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup

from hmm_core import Posterior, ViterbiPath
from hmm_core.semi_markov import SemiMarkovPath, SemiMarkovPosterior
from hmm_models._batches import PaddedBatch, Sequences, as_batch
from hmm_models._report import UpdateReport
from hmm_models.models._estimator import FittedChain
from hmm_models.models._generating_model import GeneratingModel
from hmm_models.models._sequence_model import Frames, keywords, split_options, valid_frames
from hmm_models.training._counts import Algorithm, check_algorithm
from hmm_models.training._distributed import all_reduce_statistics, broadcast_model
from hmm_models.training._em import FitResult, SequenceStatistics, run_em, sum_statistics
from hmm_models.training._restarts import check_restarts, run_restarts
from hmm_models.training._stepwise import run_stepwise_em
from hmm_models.transitions._parts import describe_tables
from hmm_models.transitions._topology import Topology

_Posterior = TypeVar("_Posterior", bound=Posterior | SemiMarkovPosterior)
_Path = TypeVar("_Path", bound=ViterbiPath | SemiMarkovPath)


class EMSequenceModel(FittedChain, GeneratingModel, Generic[_Posterior, _Path]):
    """A model of sequences that expectation-maximisation can train, if its emission can be.

    The recursions are those of ``hmm_core`` or of ``hmm_core.semi_markov``. Beside the data that
    ``SequenceModel`` lists, a ``HiddenMarkovModel`` whose transitions depend on it takes:

    Parameters
    ----------
    context : Tensor, shape (B,), (B, T), (B, C) or (B, T, C), optional
        For transitions with a matrix for each class: the class (int64) of each sequence or frame. For an
        ``AdaptiveTransitionMatrix``: C features of each. What a frame has tells the step that leaves it.
    """

    @abstractmethod
    def _arguments(
        self, frames: Frames, lengths: Tensor | None, context: Tensor | None = None
    ) -> dict[str, Any]:
        """Arguments of the recursions: this model and its scores of the valid frames."""

    @abstractmethod
    def with_emission(self, emission: nn.Module) -> "EMSequenceModel[_Posterior, _Path]":
        """Put other densities in the place of these."""

    def log_likelihood(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        *,
        observed: Tensor | None = None,
        allowed: Tensor | None = None,
        frame_weights: Tensor | None = None,
        context: Tensor | None = None,
        checkpoint: bool = False,
    ) -> Tensor:
        """Log-likelihood of each sequence.

        Parameters
        ----------
        x, lengths, observed, allowed, frame_weights, context
            The data, see ``SequenceModel`` and ``EMSequenceModel``.
        checkpoint : bool, default False
            Compute forward messages again for the gradient instead of keeping them, see
            ``hmm_core.log_likelihood``.

        Returns
        -------
        Tensor, shape (B,)
            In nats, ``-inf`` for a sequence that no path can produce. Differentiable.

        Raises
        ------
        TypeError
            If ``checkpoint`` is asked of a model with explicit durations, which keeps no more than it must.
        ValueError
            If shapes disagree, a value is out of range, or a frame that is read is not finite.
        """
        frames = self._frames(x, lengths, observed=observed, allowed=allowed, frame_weights=frame_weights)
        recursion = self._recursions.log_likelihood
        if checkpoint and "checkpoint" not in keywords(recursion):
            raise TypeError("checkpoint must be False for a model with explicit durations; got True")
        options = {"checkpoint": True} if checkpoint else {}
        return cast(Tensor, recursion(**self._arguments(frames, lengths, context), **options))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Compute ``log_likelihood``."""
        return self.log_likelihood(x, lengths)

    def posterior(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        *,
        observed: Tensor | None = None,
        allowed: Tensor | None = None,
        frame_weights: Tensor | None = None,
        context: Tensor | None = None,
    ) -> _Posterior:
        """Probability of each state in each frame, given the whole sequence.

        Parameters
        ----------
        x, lengths, observed, allowed, frame_weights, context
            The data, see ``SequenceModel`` and ``EMSequenceModel``.

        Returns
        -------
        hmm_core.Posterior or hmm_core.semi_markov.SemiMarkovPosterior
            ``state`` (B, T, K), 0 behind the end and where no path exists; ``log_likelihood`` (B,); with
            explicit durations the expected counts of starts, changes, durations and ends as well.

        Raises
        ------
        ValueError
            If shapes disagree, a value is out of range, or a frame that is read is not finite.
        """
        frames = self._frames(x, lengths, observed=observed, allowed=allowed, frame_weights=frame_weights)
        return cast(_Posterior, self._recursions.posterior(**self._arguments(frames, lengths, context)))

    def viterbi(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        *,
        observed: Tensor | None = None,
        allowed: Tensor | None = None,
        frame_weights: Tensor | None = None,
        context: Tensor | None = None,
    ) -> _Path:
        """Most likely state path of each sequence.

        Parameters
        ----------
        x, lengths, observed, allowed, frame_weights, context
            The data, see ``SequenceModel`` and ``EMSequenceModel``.

        Returns
        -------
        hmm_core.ViterbiPath or hmm_core.semi_markov.SemiMarkovPath
            ``states`` (B, T), -1 behind the end and where no path exists; ``log_score`` (B,); with explicit
            durations also ``durations`` (B, T), a segment's length at its first frame and 0 after it.

        Raises
        ------
        ValueError
            If shapes disagree, a value is out of range, or a frame that is read is not finite.
        """
        frames = self._frames(x, lengths, observed=observed, allowed=allowed, frame_weights=frame_weights)
        return cast(_Path, self._recursions.viterbi(**self._arguments(frames, lengths, context)))

    @abstractmethod
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
    ) -> SequenceStatistics:
        """Collect what ``update`` needs (E-step)."""

    @abstractmethod
    def update(self, statistics: Any, **options: Any) -> UpdateReport:  # noqa: ANN401  (of the subclass)
        """Replace the parameters by the most likely ones given the statistics (M-step)."""

    @abstractmethod
    def zero_statistics(self, device: torch.device | None = None) -> SequenceStatistics:
        """Statistics of no data, to add to."""

    def _present_topology(self) -> Topology:
        """Present log-probabilities as an argument for another model."""
        with torch.no_grad():
            return self.topology

    def _present_chain(self) -> dict[str, Any]:
        """Arguments of starts and steps for a model like this one."""
        parts: dict[str, Any] = {"initial": self.initial, "transition": self.transition}
        special = describe_tables(**parts).get("tables", {})
        tables = {name: part if name in special else None for name, part in parts.items()}
        return {"topology": self._present_topology(), **tables}

    @property
    def num_parameters(self) -> int:
        """Free parameters of all parts: what is forbidden, or follows from the rest, does not count.

        Raises
        ------
        TypeError
            If the emission does not say how many it has (``num_parameters``).
        """
        parts = dict(self.named_children())
        if not hasattr(self.emission, "num_parameters"):
            raise TypeError(f"emission must have num_parameters; {type(self.emission).__name__} does not")
        return sum(int(cast(Any, part).num_parameters) for part in parts.values())

    def aic(self, x: Tensor, lengths: Tensor | None = None, **data: Tensor | None) -> float:
        r"""Akaike's information criterion, :math:`2 k - 2 \log L`; the lower the better.

        Parameters
        ----------
        x, lengths, **data
            The data, see ``SequenceModel``.

        Returns
        -------
        float
            With k free parameters.

        References
        ----------
        .. [1] H. Akaike, "A new look at the statistical model identification", IEEE Transactions on Automatic
           Control 19(6), 1974.
        """
        return self._criterion(x, lengths, lambda _: 2.0, data)

    def bic(self, x: Tensor, lengths: Tensor | None = None, **data: Tensor | None) -> float:
        r"""Bayesian information criterion, :math:`k \log n - 2 \log L`; the lower the better.

        Parameters
        ----------
        x, lengths, **data
            The data, see ``SequenceModel``.

        Returns
        -------
        float
            With k free parameters and n frames.

        References
        ----------
        .. [1] G. Schwarz, "Estimating the dimension of a model", Annals of Statistics 6(2), 1978.
        """
        return self._criterion(x, lengths, math.log, data)

    def hqc(self, x: Tensor, lengths: Tensor | None = None, **data: Tensor | None) -> float:
        r"""Hannan and Quinn's criterion, :math:`2 k \log \log n - 2 \log L`; the lower the better.

        Parameters
        ----------
        x, lengths, **data
            The data, see ``SequenceModel``.

        Returns
        -------
        float
            With k free parameters and n frames, 3 at least.

        References
        ----------
        .. [1] E. J. Hannan and B. G. Quinn, "The determination of the order of an autoregression", J. Royal
           Statistical Society B 41(2), 1979.
        """
        return self._criterion(x, lengths, lambda frames: 2.0 * math.log(math.log(max(frames, 3.0))), data)

    @torch.no_grad()
    def _criterion(
        self,
        x: Tensor,
        lengths: Tensor | None,
        price: Callable[[float], float],
        data: dict[str, Tensor | None],
    ) -> float:
        """Price of the parameters, given the number of frames, minus twice the log-likelihood."""
        total = self.score(x, lengths, **data)
        frames = float(valid_frames(x, lengths).sum())
        return self.num_parameters * price(max(frames, 1.0)) - 2.0 * total

    @torch.no_grad()
    def initialize(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        weights: Tensor | None = None,
        *,
        seed: int = 0,
        random_segments: bool = False,
        observed: Tensor | None = None,
        allowed: Tensor | None = None,
        frame_weights: Tensor | None = None,
        **options: Any,  # noqa: ANN401  (those of the emission)
    ) -> None:
        """Start the emissions from data; the probabilities of starts and steps stay as they are.

        Parameters
        ----------
        x, lengths, observed, allowed, frame_weights
            The data, see ``SequenceModel``.
        weights : Tensor, shape (B,), optional
            Weight of each sequence, finite and >= 0; 1 if omitted.
        seed : int, default 0
            Of whatever is drawn; the same seed gives the same start.
        random_segments : bool, default False
            Cut the sequences of a left-to-right model in random places instead of into equal parts.
        **options
            Of the emission's ``initialize``, such as ``variance_floor`` of Gaussians.

        Raises
        ------
        TypeError
            If EM cannot train the emission, or an option is unknown.
        ValueError
            If shapes disagree, a value is out of range, or no frame is valid.

        Notes
        -----
        A left-to-right model cuts each sequence into equal parts, one per state; in any other the emission
        groups the frames itself (Gaussians: k-means++ on standardised features). Frames whose label names
        one state start in that state.
        """
        frames = self._frames(
            x, lengths, weights, observed=observed, allowed=allowed, frame_weights=frame_weights
        )
        share = frames.weight.unsqueeze(-1).expand_as(frames.valid)
        if frames.frame_weight is not None:
            share = share * frames.frame_weight
        used = frames.valid & (share > 0.0)
        if not bool(used.any()):
            raise ValueError("x must hold at least one valid frame of positive weight; got none")
        generator = torch.Generator().manual_seed(seed)
        state = None
        if self.is_left_to_right():
            state = torch.zeros_like(frames.valid, dtype=torch.int64)
            lengths = frames.valid.sum(1)
            state[frames.valid] = _segment(lengths, self.num_states, generator if random_segments else None)
            state = state[used]
        if frames.allowed is not None:
            labels = frames.allowed.to(used.device)[used]
            if bool((labels.sum(-1) == 1).all()):
                state = labels.int().argmax(-1)
        emission = self._trainable()
        if frames.observed is not None:
            options["observed"] = frames.observed[used]
        emission.initialize(frames.x[used], share[used], state, generator, **options)

    def fit(
        self,
        x: Sequences,
        lengths: Tensor | None = None,
        weights: Tensor | None = None,
        *,
        max_iterations: int = 100,
        tolerance: float = 1e-4,
        algorithm: Algorithm = "baum_welch",
        initialize: bool = True,
        seed: int = 0,
        restarts: int = 1,
        restart_iterations: int | None = None,
        batch_size: int | None = None,
        observed: Tensor | None = None,
        allowed: Tensor | None = None,
        frame_weights: Tensor | None = None,
        context: Tensor | None = None,
        **options: Any,  # noqa: ANN401  (those of the emission)
    ) -> FitResult:
        """Train by expectation-maximisation, over all paths (Baum-Welch) or over the best ones (Viterbi).

        Parameters
        ----------
        x, lengths, observed, allowed, frame_weights, context
            The data, see ``SequenceModel`` and ``EMSequenceModel``.
        weights : Tensor, shape (B,), optional
            Weight of each sequence, finite and >= 0; 1 if omitted.
        max_iterations : int, default 100
            Updates, at most.
        tolerance : float, default 1e-4
            Stop when an update gains less, in nats per frame.
        algorithm : {"baum_welch", "viterbi"}, default "baum_welch"
            Whether the E-step counts all paths, each as it is likely, or the best path of each sequence
            alone: then it is the score of these paths that never falls, and what
            ``FitResult.log_likelihood`` holds.
        initialize : bool, default True
            Call ``initialize`` first, with ``seed``; False continues from the present parameters.
        seed : int, default 0
            See ``initialize``.
        restarts : int, default 1
            Starts, with seeds ``seed``, ``seed + 1``, ...; the model becomes the likeliest. A left-to-right
            model is cut in equal parts in the first start, in random places in the others.
        restart_iterations : int, optional
            Updates after which the starts are compared; only the best goes on. If omitted, all go to the end.
        batch_size : int, optional
            Sequences per pass of the E-step, to bound memory; all if omitted. Changes nothing else.
        **options
            Of the emission's ``initialize`` and ``update``, such as ``variance_floor`` and ``min_occupancy``
            of Gaussians.

        Returns
        -------
        FitResult
            The likelihood after each update, and what the updates reported.

        Raises
        ------
        TypeError
            If EM cannot train the emission, or an option is unknown.
        ValueError
            If shapes disagree, a value is out of range, or no path can produce one of the sequences.
        LikelihoodDecreaseError
            If an update lowers the likelihood by more than the rounding of the parameters explains.

        Notes
        -----
        The likelihood never falls, floored variances included; only an update that removes components may
        lower it, and reports them. With a ``prior`` it is the sum of both logarithms that never falls.

        Viterbi training needs fewer iterations, ends in a lower likelihood, and makes the starts and steps
        that no best path takes impossible.

        References
        ----------
        .. [1] L. R. Rabiner, "A tutorial on hidden Markov models and selected applications in speech
           recognition", Proc. IEEE 77(2), 1989.
        .. [2] B.-H. Juang and L. R. Rabiner, "The segmental K-means algorithm for estimating parameters of
           hidden Markov models", IEEE Trans. Acoustics, Speech, and Signal Processing 38(9), 1990.
        """
        x, lengths = as_batch(x, lengths)
        emission = self._trainable()
        starting, updating = split_options(emission, options)
        check_algorithm(algorithm)
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size must be >= 1; got {batch_size}")
        check_restarts(restarts, restart_iterations, initialize)
        data: dict[str, Tensor | None] = {
            "observed": observed,
            "allowed": allowed,
            "frame_weights": frame_weights,
            "context": context,
        }
        step = batch_size or max(len(x), 1)

        def start(index: int) -> None:
            self.initialize(
                x,
                lengths,
                weights,
                seed=seed + index,
                random_segments=index > 0,
                observed=observed,
                allowed=allowed,
                frame_weights=frame_weights,
                **starting,
            )

        def each() -> Iterator[SequenceStatistics]:
            for first in range(0, len(x), step):
                part = [
                    None if value is None else value[first : first + step]
                    for value in (lengths, weights, *data.values())
                ]
                yield self.accumulate(
                    x[first : first + step],
                    part[0],
                    part[1],
                    **dict(zip(data, part[2:], strict=True)),
                    algorithm=algorithm,
                )

        def penalty() -> float:
            return self._log_prior(updating)

        def train(iterations: int) -> FitResult:
            self._refuse_impossible(x, lengths, weights, data)
            return run_em(
                lambda: sum_statistics(each(), self.zero_statistics),
                lambda statistics: self.update(statistics, **updating),
                emission.rounding,
                iterations,
                tolerance,
                penalty,
            )

        if restarts > 1:
            self._materialize(x, lengths, observed)
            result = run_restarts(self, start, train, penalty, restarts, max_iterations, restart_iterations)
        else:
            if initialize:
                start(0)
            result = train(max_iterations)
        return self._recorded(result)

    def fit_batches(
        self,
        batches: Iterable[Mapping[str, Tensor] | PaddedBatch],
        *,
        max_iterations: int = 100,
        tolerance: float = 1e-4,
        algorithm: Algorithm = "baum_welch",
        initialize: bool = True,
        seed: int = 0,
        restarts: int = 1,
        restart_iterations: int | None = None,
        step_power: float | None = None,
        process_group: ProcessGroup | None = None,
        distributed: bool = False,
        **options: Any,  # noqa: ANN401  (those of the emission)
    ) -> FitResult:
        r"""Train by EM on data that need not fit into memory, and may be spread over processes.

        Parameters
        ----------
        batches : iterable of mappings
            Each holds the arguments of ``accumulate``: ``x``, and where needed ``lengths``, ``weights``,
            ``observed``, ``allowed``, ``frame_weights``, ``context``; or is a ``PaddedBatch``. They are gone
            through once an iteration: a list or a ``DataLoader``, not a generator.
        max_iterations : int, default 100
            Passes over the data, at most.
        tolerance : float, default 1e-4
            Stop when a pass gains less, in nats per frame.
        algorithm : {"baum_welch", "viterbi"}, default "baum_welch"
            See ``fit``.
        initialize : bool, default True
            Call ``initialize`` first, on the first batch; False continues from the present parameters.
        seed : int, default 0
            See ``initialize``.
        restarts, restart_iterations
            See ``fit``; starts, all on the first batch, are compared on all of them. Not with ``step_power``.
        step_power : float, optional
            In (0.5, 1]: update after every batch (stepwise EM), which gets further in the first passes. Batch
            t enters the running average of the statistics with weight :math:`(t + 2)^{-power}`. Then the
            likelihood may fall. If omitted, one update a pass, on all statistics.
        process_group : torch.distributed.ProcessGroup, optional
            The processes whose statistics are added; all of them if omitted.
        distributed : bool, default False
            Whether ``batches`` are this process's part of the data: statistics add up over the processes of
            ``torch.distributed``, and all start from the parameters of the first. With ``step_power``, all
            must have equally many batches.
        **options
            Of the emission's ``initialize`` and ``update``.

        Returns
        -------
        FitResult
            As ``fit``; with ``step_power``, ``log_likelihood`` of each pass as it went, and one report for
            each batch.

        Raises
        ------
        RuntimeError
            If ``distributed`` without ``torch.distributed``.
        TypeError
            If EM cannot train the emission, an option is unknown, or ``batches`` is a generator.
        ValueError
            If ``batches`` is empty, a number out of range, a batch holds a sequence that no path can produce,
            or as ``accumulate``.
        LikelihoodDecreaseError
            As ``fit``, without ``step_power``.

        Notes
        -----
        Memory for one batch and two sets of statistics, however many batches there are. Spread over processes
        or not, the result is the same to rounding.

        References
        ----------
        .. [1] O. Cappe and E. Moulines, "On-line expectation-maximization algorithm for latent data models",
           J. Royal Statistical Society B 71(3), 2009.
        """
        emission = self._trainable()
        starting, updating = split_options(emission, options)
        check_algorithm(algorithm)
        check_restarts(restarts, restart_iterations, initialize)
        _check_batches(batches, step_power, restarts)
        known = _first_of(batches) if initialize else {}

        def start(index: int) -> None:
            if initialize:
                self.initialize(**known, seed=seed + index, random_segments=index > 0, **starting)
            if distributed:
                broadcast_model(self, process_group)

        def collect(found: SequenceStatistics) -> SequenceStatistics:
            if distributed:
                all_reduce_statistics(found, process_group)
            return found

        def update(statistics: SequenceStatistics) -> UpdateReport:
            return self.update(statistics, **updating)

        def train(iterations: int) -> FitResult:
            if step_power is not None:
                return run_stepwise_em(
                    lambda: map(collect, self._each_statistics(batches, algorithm)),
                    update,
                    iterations,
                    tolerance,
                    step_power,
                )
            return run_em(
                lambda: collect(
                    sum_statistics(self._each_statistics(batches, algorithm), self.zero_statistics)
                ),
                update,
                emission.rounding,
                iterations,
                tolerance,
                lambda: self._log_prior(updating),
            )

        if restarts > 1:
            self._materialize(known["x"], known.get("lengths"), known.get("observed"))
            result = run_restarts(
                self,
                start,
                train,
                lambda: self._log_prior(updating),
                restarts,
                max_iterations,
                restart_iterations,
            )
        else:
            start(0)
            result = train(max_iterations)
        return self._recorded(result, stepwise=step_power is not None)

    @torch.no_grad()
    def _log_prior(self, options: Mapping[str, Any]) -> float:
        """Log-density of the parameters under the priors of the tables, and of the emission's ``update``."""
        prior, total = options.get("prior"), float(self._log_prior_of_tables())
        return total if prior is None else total + float(cast(Any, self.emission).log_prior(prior))

    def _each_statistics(
        self, batches: Iterable[Mapping[str, Tensor] | PaddedBatch], algorithm: Algorithm
    ) -> Iterator[SequenceStatistics]:
        """E-step, batch by batch."""
        for index, batch in enumerate(batches):
            found = self.accumulate(**_named(batch), algorithm=algorithm)
            if float(found.log_likelihood) == -torch.inf:
                raise ValueError(f"batch {index} holds a sequence that no path of the model can produce")
            yield found


def _check_batches(batches: object, step_power: float | None, restarts: int) -> None:
    """Refuse steps out of range, and what cannot be gone through again."""
    if step_power is not None and not 0.5 < step_power <= 1.0:
        raise ValueError(f"step_power must be in (0.5, 1]; got {step_power}")
    if restarts > 1 and step_power is not None:
        raise ValueError(f"restarts must be 1 with step_power; got {restarts}")
    if isinstance(batches, Iterator):
        raise TypeError(
            f"batches must be iterable more than once, as a list is; got a {type(batches).__name__}"
        )


def _first_of(batches: Iterable[Mapping[str, Tensor] | PaddedBatch]) -> dict[str, Any]:
    """Arguments of ``initialize`` that the first batch holds."""
    first = next(iter(batches), None)
    if first is None:
        raise ValueError("batches must hold at least one batch; got none")
    return {name: value for name, value in _named(first).items() if name != "context"}


def _named(batch: Mapping[str, Tensor] | PaddedBatch) -> Mapping[str, Tensor]:
    """Name the arguments that a batch holds."""
    return batch._asdict() if isinstance(batch, PaddedBatch) else batch


def _segment(lengths: Tensor, num_states: int, generator: torch.Generator | None) -> Tensor:
    """States of the frames of all sequences, one after the other: in equal parts, or cut at random."""
    parts = []
    for n in lengths.tolist():
        state = torch.arange(n) * num_states // max(n, 1)
        if generator is not None and n >= num_states:
            state = torch.zeros(n, dtype=torch.int64)
            cuts = 1 + torch.randperm(n - 1, generator=generator)[: num_states - 1]
            state[cuts] = 1
            state = state.cumsum(0)
        parts.append(state)
    return torch.cat(parts).to(lengths.device)
