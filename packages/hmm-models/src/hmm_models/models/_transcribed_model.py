"""What models of transcribed speech share: embedded training, without times in the transcripts."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor

from hmm_models._report import UpdateReport
from hmm_models.emissions._mixture_emission import MixtureEmission
from hmm_models.models._sequence_model import Frames, SequenceModel, split_options
from hmm_models.training._em import FitResult, SequenceStatistics, run_em, sum_statistics

Transcripts = Tensor | Sequence[Sequence[int]]
S = TypeVar("S", bound=SequenceStatistics)


class TranscribedModel(SequenceModel, Generic[S]):
    """A model of utterances whose units (words, phonemes) are known, but not their times.

    ``num_states`` counts the states of all units, one for each density of ``emission``; ``allowed`` of the
    data is in terms of these. Transcripts are sequences of units, or a Tensor (B, N) of int64 with -1 last.
    """

    @property
    @abstractmethod
    def num_units(self) -> int:
        """Number of words or phonemes."""

    @abstractmethod
    def _flat_start(self, transcript: Sequence[int]) -> Tensor:
        """States that an utterance is cut into equal parts for, in order."""

    @torch.no_grad()
    def accumulate(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        weights: Tensor | None = None,
        *,
        transcripts: Transcripts,
        observed: Tensor | None = None,
        allowed: Tensor | None = None,
        frame_weights: Tensor | None = None,
    ) -> S:
        """Collect what ``update`` needs (E-step); the results of several calls add.

        Parameters
        ----------
        x, lengths, observed, allowed, frame_weights
            The data, see ``SequenceModel``.
        weights : Tensor, shape (B,), optional
            Weight of each sequence, finite and >= 0; 1 if omitted.
        transcripts : Tensor of int64, shape (B, N), or sequence of sequences of int
            The units of each utterance.

        Returns
        -------
        SequenceStatistics
            In float64, with what the class counts of its own.

        Raises
        ------
        TypeError
            If EM cannot train the emission.
        ValueError
            If shapes disagree, a value is out of range, or a frame that is read is not finite.
        """
        frames = self._frames(
            self._working(x),
            lengths,
            weights,
            observed=observed,
            allowed=allowed,
            frame_weights=frame_weights,
        )
        return self._count(frames, lengths, transcripts)

    @abstractmethod
    def _count(self, frames: Frames, lengths: Tensor | None, transcripts: Transcripts) -> S:
        """Collect the statistics of checked frames."""

    def update(self, statistics: S, **options: Any) -> UpdateReport:  # noqa: ANN401  (those of the emission)
        """Replace the parameters by the most likely ones given the statistics (M-step).

        Parameters
        ----------
        statistics : SequenceStatistics
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
        self._update_own(statistics)
        return self._trainable().update(statistics.emission, **options)

    @abstractmethod
    def _update_own(self, statistics: S) -> None:
        """Replace the parameters that are not the emission's."""

    @abstractmethod
    def zero_statistics(self, device: torch.device | None = None) -> S:
        """Statistics of no data, to add to."""

    def _units(self, transcripts: Transcripts, B: int) -> list[list[int]]:
        """Check transcripts, and list their units."""
        if isinstance(transcripts, Tensor):
            found = [[int(unit) for unit in row if unit >= 0] for row in transcripts.tolist()]
        else:
            found = [list(row) for row in transcripts]
        if len(found) != B:
            raise ValueError(f"transcripts must be B = {B} sequences, as many as in x; got {len(found)}")
        U = self.num_units
        for b, row in enumerate(found):
            if any(not 0 <= unit < U for unit in row):
                raise ValueError(f"transcripts must hold units in 0..{U - 1}; got {row} for sequence {b}")
        return found

    @torch.no_grad()
    def initialize(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        weights: Tensor | None = None,
        *,
        transcripts: Transcripts,
        seed: int = 0,
        **options: Any,  # noqa: ANN401  (those of the emission)
    ) -> None:
        """Start the emission from utterances cut into equal parts, one for each state of the transcript.

        Parameters
        ----------
        x, lengths
            The data, see ``SequenceModel``.
        weights : Tensor, shape (B,), optional
            Weight of each sequence, finite and >= 0; 1 if omitted.
        transcripts : Tensor of int64, shape (B, N), or sequence of sequences of int
            The units of each utterance, -1 behind the end of a row.
        seed : int, default 0
            Of whatever is drawn.
        **options
            Of the emission's ``initialize``.

        Raises
        ------
        TypeError
            If EM cannot train the emission, or an option is unknown.
        ValueError
            If shapes disagree, a value is out of range, or no frame is valid.
        """
        frames = self._frames(x, lengths, weights)
        state = torch.full(frames.valid.shape, -1)
        pairs = zip(frames.valid.sum(1).tolist(), self._units(transcripts, len(x)), strict=True)
        for b, (n, units) in enumerate(pairs):
            chain = self._flat_start(units)
            if len(chain):
                state[b, :n] = chain[torch.arange(n) * len(chain) // max(n, 1)]
        weight = frames.weight.unsqueeze(-1).expand_as(frames.valid)
        state = state.to(x.device)
        used = frames.valid & (weight > 0.0) & (state >= 0)
        if not bool(used.any()):
            raise ValueError("x must hold at least one valid frame of positive weight; got none")
        generator = torch.Generator().manual_seed(seed)
        self._trainable().initialize(frames.x[used], weight[used], state[used], generator, **options)

    def fit(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        transcripts: Transcripts = (),
        weights: Tensor | None = None,
        *,
        max_iterations: int = 20,
        tolerance: float = 1e-3,
        initialize: bool = True,
        seed: int = 0,
        batch_size: int | None = None,
        observed: Tensor | None = None,
        allowed: Tensor | None = None,
        frame_weights: Tensor | None = None,
        **options: Any,  # noqa: ANN401  (those of the emission)
    ) -> FitResult:
        """Train by expectation-maximisation through the graphs of the transcripts (embedded training).

        Parameters
        ----------
        x, lengths, observed, allowed, frame_weights
            The data, see ``SequenceModel``.
        transcripts : Tensor of int64, shape (B, N), or sequence of sequences of int
            The units of each utterance, -1 behind the end of a row.
        weights : Tensor, shape (B,), optional
            Weight of each sequence, finite and >= 0; 1 if omitted.
        max_iterations : int, default 20
            Updates, at most, with each number of components.
        tolerance : float, default 1e-3
            Stop when an update gains less, in nats per frame.
        initialize : bool, default True
            Call ``initialize`` first, with ``seed``; False continues from the present parameters.
        seed : int, default 0
            See ``initialize``.
        batch_size : int, optional
            Sequences per pass of the E-step, to bound memory; all if omitted. Changes nothing else.
        **options
            Of the emission's ``initialize`` and ``update``.

        Returns
        -------
        FitResult
            The likelihood, of transcripts and features together, at the start and after each update, number
            of components after number of components.

        Raises
        ------
        TypeError
            If EM cannot train the emission, or an option is unknown.
        ValueError
            If shapes disagree, a value is out of range, or an utterance is too short for its transcript.
        LikelihoodDecreaseError
            If an update lowers the likelihood by more than the rounding of the parameters explains.

        Notes
        -----
        Equal parts are a poor start for mixtures: those of Gaussians begin with one component, unless
        ``num_components`` says otherwise, and are split in two whenever training has come to rest, until they
        are full. The likelihood never falls but by a split.
        """
        emission = self._trainable()
        starting, updating = split_options(emission, options)
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size must be >= 1; got {batch_size}")
        units = self._units(transcripts, len(x))
        self._learn_language(units)
        data = {"observed": observed, "allowed": allowed, "frame_weights": frame_weights}
        components = [0]
        if isinstance(emission, MixtureEmission) and "num_components" not in options:
            M = emission.num_mixtures
            components = [*(2**power for power in range((M - 1).bit_length())), M]
            starting["num_components"] = 1
        if initialize:
            self.initialize(x, lengths, weights, transcripts=units, seed=seed, **starting)
        else:
            components = [0]
        step = batch_size or max(len(x), 1)

        def each() -> Iterator[SequenceStatistics]:
            for start in range(0, len(x), step):
                rows = slice(start, start + step)
                part = {name: None if value is None else value[rows] for name, value in data.items()}
                yield self.accumulate(
                    x[rows],
                    None if lengths is None else lengths[rows],
                    None if weights is None else weights[rows],
                    transcripts=units[rows],
                    **part,
                )

        padded = pad_transcripts(units)
        self._refuse_impossible(x, lengths, weights, {"transcripts": padded, **data})
        results = []
        for number in components:
            if number > 1:
                cast(MixtureEmission[Any], emission).split([number] * emission.num_densities)
            results.append(
                run_em(
                    lambda: sum_statistics(each(), self.zero_statistics),
                    lambda statistics: self.update(statistics, **updating),
                    emission.rounding,
                    max_iterations,
                    tolerance,
                )
            )
        return FitResult(
            tuple(value for result in results for value in result.log_likelihood),
            results[-1].converged,
            tuple(report for result in results for report in result.reports),
        )

    def _learn_language(self, transcripts: Sequence[Sequence[int]]) -> None:
        """Estimate what depends on the transcripts alone."""


def pad_transcripts(transcripts: Sequence[Sequence[int]]) -> Tensor:
    """Transcripts as a Tensor (B, N), -1 behind the end."""
    N = max((len(row) for row in transcripts), default=0)
    return (
        torch.tensor([[*row, *[-1] * (N - len(row))] for row in transcripts])
        .reshape(len(transcripts), N)
        .long()
    )
