"""Synthesis of features from phonemes: explicit durations, embedded training, a rate of speaking."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from hmm_core import Sparse, semi_markov
from hmm_core.semi_markov import SemiMarkovPath
from hmm_models._serialization import build_model, describe_model, register_model
from hmm_models.durations._duration_model import DurationFamily, DurationModel
from hmm_models.emissions._emission import GeneratingEmission
from hmm_models.generation._durations import repeat_states, state_durations
from hmm_models.models._generating_model import Generated
from hmm_models.models._sequence_model import Frames
from hmm_models.models._transcribed_model import TranscribedModel, Transcripts, pad_transcripts
from hmm_models.training._em import SequenceStatistics


@dataclass(frozen=True, eq=False)
class SynthesizerStatistics(SequenceStatistics):
    """What the M-step of a ``PhonemeSynthesizer`` needs to know of the data; adds over sequences.

    Parameters
    ----------
    log_likelihood : Tensor of float64, shape ()
        Sum over the sequences.
    num_frames : Tensor of float64, shape ()
        Sum over the sequences.
    emission : Statistics
        Of the states' densities.
    duration : Tensor of float64, shape (P, L)
        Expected number of times that each state lasted so long.
    """

    duration: Tensor


@register_model
class PhonemeSynthesizer(TranscribedModel[SynthesizerStatistics]):
    r"""Features from phonemes: a chain of states for each, with explicit durations (HSMM).

    Trains on utterances and their phonemes, without times, by EM (``fit``); ``generate`` then gives the most
    likely features of phonemes, at any rate of speaking. Times that are known help as ``allowed``. Whatever
    differs between phonemes should be one: pauses, stressed vowels.

    Parameters
    ----------
    emission : nn.Module
        Any ``Emission`` of P = U S densities: S states for each of U phonemes, one after the other. With
        ``windows`` what is generated is smooth.
    states_per_phoneme : int, default 5
        S, >= 1; HTS has 5.
    duration : str or DurationModel, default "gamma"
        A family of ``DurationModel``, or one of P states.
    max_duration : int, default 50
        L, frames that a state lasts at most; of a family by name.

    Raises
    ------
    ValueError
        If sizes are out of range or disagree, or a name is unknown.

    Notes
    -----
    ``num_states`` is P. O(B T N S L) time for transcripts of N phonemes. An utterance shorter than the states
    of its phonemes has log-likelihood ``-inf``.

    References
    ----------
    .. [1] H. Zen et al., "A hidden semi-Markov model-based speech synthesis system", IEICE Transactions
       E90-D(5), 2007.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import GaussianMixtures
    >>> model = PhonemeSynthesizer(GaussianMixtures(6, 1, 2), states_per_phoneme=2, max_duration=9)
    >>> x = torch.randn(4, 30, 2, generator=torch.Generator().manual_seed(0)).cumsum(1)
    >>> result = model.fit(x, None, [[0, 1, 2], [2, 1], [0, 2, 1], [1, 0]], max_iterations=5)
    >>> result.log_likelihood[-1] > result.log_likelihood[0]
    True
    >>> model.generate([[2, 0, 1], [1]], num_frames=torch.tensor([20, 8])).features.shape
    torch.Size([2, 20, 2])
    """

    def __init__(
        self,
        emission: nn.Module,
        *,
        states_per_phoneme: int = 5,
        duration: DurationFamily | DurationModel = "gamma",
        max_duration: int = 50,
    ) -> None:
        super().__init__()
        P = int(cast(Any, emission).num_densities)
        if states_per_phoneme < 1 or P % states_per_phoneme:
            raise ValueError(
                "emission must have states_per_phoneme >= 1 densities for each phoneme; "
                f"got {P} densities and {states_per_phoneme}"
            )
        if not isinstance(duration, DurationModel):
            duration = DurationModel(P, max_duration, duration)
        if duration.num_states != P:
            raise ValueError(f"duration must have P = {P} states; got {duration.num_states}")
        self.emission = emission
        self.duration = duration
        self.states_per_phoneme = states_per_phoneme

    @property
    def num_states(self) -> int:
        """P, the states of all phonemes."""
        return self.duration.num_states

    @property
    def num_units(self) -> int:
        """U, the phonemes."""
        return self.num_states // self.states_per_phoneme

    @property
    def max_duration(self) -> int:
        """L."""
        return self.duration.max_duration

    def _flat_start(self, transcript: Sequence[int]) -> Tensor:
        """States of the phonemes."""
        S = self.states_per_phoneme
        return (torch.tensor(list(transcript)).reshape(-1, 1).long() * S + torch.arange(S)).flatten()

    def _chains(self, transcripts: Transcripts, B: int) -> Tensor:
        """States (B, K) of phonemes one after the other, -1 behind the end."""
        units = self._units(transcripts, B)
        chains = pad_transcripts([self._flat_start(row).tolist() for row in units])
        # A chain of no states, for a batch of nothing.
        return torch.nn.functional.pad(chains, (0, max(0, 1 - chains.shape[1])), value=-1)

    def _arguments(self, frames: Frames, lengths: Tensor | None, chains: Tensor) -> dict[str, Any]:
        """Arguments of the recursions of hmm_core on chains."""
        return self._describe(self._score(frames), lengths, chains)

    def _describe(self, log_emission: Tensor, lengths: Tensor | None, chains: Tensor) -> dict[str, Any]:
        """Arguments of the recursions for these scores of frames."""
        chains = chains.to(log_emission.device)
        B, K = chains.shape
        used = chains >= 0
        place = torch.arange(K, device=chains.device)
        impossible = log_emission.new_full((B, K), -torch.inf)
        index = chains.clamp_min(0)
        before = (place - 1).masked_fill(place == 0, -1).expand(B, K).masked_fill(~used, -1)
        return {
            "log_initial": impossible.masked_fill(used & (place == 0), 0.0),
            "log_transition": Sparse(before.unsqueeze(-1), log_emission.new_zeros(B, K, 1)),
            "log_duration": self.duration.log_prob().to(log_emission)[index],
            "log_emission": log_emission,
            "lengths": lengths,
            "log_final": impossible.masked_fill(used & (place == used.sum(1, keepdim=True) - 1), 0.0),
            "emission_index": index,
        }

    def log_likelihood(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        *,
        transcripts: Transcripts = (),
        observed: Tensor | None = None,
        allowed: Tensor | None = None,
        frame_weights: Tensor | None = None,
    ) -> Tensor:
        """Log-likelihood of each utterance given its phonemes.

        Parameters
        ----------
        x, lengths, observed, allowed, frame_weights
            The data, see ``SequenceModel``; ``allowed`` is (B, T, P).
        transcripts : Tensor of int64, shape (B, N), or sequence of sequences of int
            The phonemes of each utterance, -1 behind the end of a row.

        Returns
        -------
        Tensor, shape (B,)
            In nats, ``-inf`` where no path exists. Differentiable.

        Raises
        ------
        ValueError
            If shapes disagree or a value is out of range.
        """
        frames = self._frames(x, lengths, observed=observed, allowed=allowed, frame_weights=frame_weights)
        return semi_markov.log_likelihood(
            **self._arguments(frames, lengths, self._chains(transcripts, len(x)))
        )

    def forward(self, x: Tensor, lengths: Tensor | None = None, transcripts: Transcripts = ()) -> Tensor:
        """Compute ``log_likelihood``."""
        return self.log_likelihood(x, lengths, transcripts=transcripts)

    def viterbi(
        self, x: Tensor, lengths: Tensor | None = None, *, transcripts: Transcripts
    ) -> SemiMarkovPath:
        """Most likely times of the phonemes of utterances (forced alignment).

        Parameters
        ----------
        x, lengths, transcripts
            See ``log_likelihood``.

        Returns
        -------
        hmm_core.semi_markov.SemiMarkovPath
            ``states`` (B, T), places in the chain of states: place k belongs to phoneme k // S of the
            transcript; -1 behind the end and where no path exists. ``durations`` (B, T), ``log_score`` (B,).

        Raises
        ------
        ValueError
            As ``log_likelihood``.
        """
        frames = self._frames(x, lengths)
        return semi_markov.viterbi(**self._arguments(frames, lengths, self._chains(transcripts, len(x))))

    @torch.no_grad()
    def generate(
        self,
        transcripts: Transcripts,
        *,
        rate: float | Tensor = 1.0,
        num_frames: int | Tensor | None = None,
        durations: Tensor | None = None,
    ) -> Generated:
        """Generate the most likely features of phonemes.

        Parameters
        ----------
        transcripts : Tensor of int64, shape (B, N), or sequence of sequences of int
            The phonemes of each utterance, -1 behind the end of a row.
        rate : float or Tensor, shape (B,), default 1.0
            Rate of speaking: 2.0 is twice as fast, see ``state_durations``.
        num_frames : int or Tensor of int64, shape (B,), optional
            Frames of each utterance, instead of a rate.
        durations : Tensor of int64, shape (B, N), optional
            Frames of each phoneme, at least S, instead of both; 0 behind the end.

        Returns
        -------
        Generated
            ``features`` (B, T, S'), smooth where the emission has ``windows``; ``states`` (B, T) in 0..P-1,
            -1 behind the end; ``lengths`` (B,).

        Raises
        ------
        TypeError
            If the emission has no ``generate``.
        ValueError
            If a value is out of range, or the states cannot last so short or so long.
        """
        if not isinstance(self.emission, GeneratingEmission):
            raise TypeError(f"emission must have generate; {type(self.emission).__name__} does not")
        chains = self._chains(transcripts, len(transcripts)).to(self.duration.mean.device)
        frames = self._state_frames(chains, rate, num_frames, durations)
        path = repeat_states(chains, frames)
        return Generated(self.emission.generate(path), path, (path >= 0).sum(1))

    @torch.no_grad()
    def durations(
        self,
        transcripts: Transcripts,
        *,
        rate: float | Tensor = 1.0,
        num_frames: int | Tensor | None = None,
    ) -> Tensor:
        """Frames that phonemes last.

        Parameters
        ----------
        transcripts, rate, num_frames
            See ``generate``.

        Returns
        -------
        Tensor of int64, shape (B, N)
            0 behind the end.

        Raises
        ------
        ValueError
            As ``generate``.
        """
        chains = self._chains(transcripts, len(transcripts)).to(self.duration.mean.device)
        S = self.states_per_phoneme
        frames = self._state_frames(chains, rate, num_frames, None)
        B, K = frames.shape
        return frames[:, : K // S * S].view(B, K // S, S).sum(-1)

    def _state_frames(
        self,
        chains: Tensor,
        rate: float | Tensor,
        num_frames: int | Tensor | None,
        durations: Tensor | None,
    ) -> Tensor:
        """Frames (B, K) of the states."""
        S, L = self.states_per_phoneme, self.max_duration
        index = chains.clamp_min(0)
        mean, variance = self.duration.mean[index], self.duration.variance[index]
        count = (chains >= 0).sum(1)
        if durations is None:
            return state_durations(mean, variance, count, rate=rate, num_frames=num_frames, max_duration=L)
        B, K = chains.shape
        used = chains[:, ::S] >= 0
        if durations.shape != used.shape or bool((durations[~used] != 0).any()):
            raise ValueError(
                f"durations must have shape (B, N) = {tuple(used.shape)}, with 0 behind the end; "
                f"got {durations.tolist()}"
            )
        # Each phoneme is a sequence of its own.
        each = state_durations(
            mean.reshape(-1, S),
            variance.reshape(-1, S),
            used.flatten() * S,
            num_frames=durations.flatten(),
            max_duration=L,
        )
        return each.reshape(B, K)

    def _count(
        self, frames: Frames, lengths: Tensor | None, transcripts: Transcripts
    ) -> SynthesizerStatistics:
        """Collect the statistics of checked frames."""
        weight = frames.weight
        chains = self._chains(transcripts, len(frames.x))
        arguments = self._describe(self._score(frames).double(), lengths, chains)
        found = semi_markov.posterior(**arguments)
        index = arguments["emission_index"]
        state = found.state.new_zeros((*found.state.shape[:2], self.num_states))
        state.scatter_add_(-1, index.unsqueeze(1).expand_as(found.state), found.state)
        duration = weight.new_zeros(self.num_states, self.max_duration)
        counts = weight[:, None, None] * found.duration
        return SynthesizerStatistics(
            log_likelihood=torch.where(weight > 0.0, found.log_likelihood * weight, 0.0).sum(),
            num_frames=(frames.valid.sum(1) * weight).sum(),
            emission=self._accumulate_emission(frames, state * weight[:, None, None]),
            duration=duration.index_add_(0, index.flatten(), counts.flatten(0, 1)),
        )

    def zero_statistics(self, device: torch.device | None = None) -> SynthesizerStatistics:
        """Statistics of no data, to add to.

        Parameters
        ----------
        device : torch.device, optional
            Where the sums live.

        Returns
        -------
        SynthesizerStatistics
            Zeros in float64.
        """
        zeros = partial(torch.zeros, dtype=torch.float64, device=device)
        emission = self._trainable().zero_statistics(device)
        return SynthesizerStatistics(
            zeros(()), zeros(()), emission, zeros(self.num_states, self.max_duration)
        )

    def _update_own(self, statistics: SynthesizerStatistics) -> None:
        """Estimate how long states last."""
        self.duration.update(statistics.duration)

    def config(self) -> dict[str, Any]:
        """Describe the structure for ``save_model``.

        Returns
        -------
        dict
            The parts and the states of a phoneme.

        Raises
        ------
        TypeError
            If the class of the emission is not registered.
        """
        return {
            "emission": describe_model(self.emission),
            "states_per_phoneme": self.states_per_phoneme,
            "duration": describe_model(self.duration),
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
        PhonemeSynthesizer
            With fresh parameters.
        """
        return cls(
            build_model(config["emission"]),
            states_per_phoneme=config["states_per_phoneme"],
            duration=cast(DurationModel, build_model(config["duration"])),
        )
