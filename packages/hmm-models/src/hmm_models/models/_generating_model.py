"""What models of sequences generate: random sequences, and the most likely ones at a rate of speaking."""

from abc import abstractmethod
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hmm_models.emissions._emission import GeneratingEmission, SamplingEmission
from hmm_models.generation._durations import repeat_states, state_durations
from hmm_models.models._sequence_model import SequenceModel
from hmm_models.transitions._topology import Topology, is_left_to_right


class Sample(NamedTuple):
    """What a model generated."""

    states: Tensor
    """Shape (B, T), int64."""
    features: Tensor
    """Shape (B, T, ...), (B, T, D) in most models."""


class Generated(NamedTuple):
    """Most likely observations of a succession of states."""

    features: Tensor
    """Shape (B, T, S), 0 behind the end; S = D but for dynamic windows, which leave the static features."""
    states: Tensor
    """Shape (B, T), int64; -1 behind the end."""
    lengths: Tensor
    """Frames of each sequence, shape (B,), int64."""


class GeneratingModel(SequenceModel):
    """A model of sequences that generates: a chain, a distribution of how long states last, an emission."""

    _recursions: ModuleType

    @abstractmethod
    def _describe(
        self, log_emission: Tensor, lengths: Tensor | None = None, context: Tensor | None = None
    ) -> dict[str, Any]:
        """Arguments of the recursions for these scores of frames."""

    @property
    @abstractmethod
    def topology(self) -> Topology:
        """Present log-probabilities of starts, steps and ends; differentiable."""

    @abstractmethod
    def _durations(self) -> tuple[Tensor, Tensor, int | None]:
        """Mean and variance (K,) of the states' durations, infinite where there is no exit; the longest."""

    @property
    @abstractmethod
    def _ends_anywhere(self) -> bool:
        """Whether a sequence may stop in any state at any time."""

    def is_left_to_right(self) -> bool:
        """Whether every sequence starts in the first state and never goes back.

        Returns
        -------
        bool
            By what is possible, not by what is likely.
        """
        chain = self.topology
        return is_left_to_right(chain.log_initial, chain.log_transition)

    def sample(
        self,
        num_frames: int,
        num_sequences: int = 1,
        *,
        context: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Sample:
        """Generate sequences.

        Parameters
        ----------
        num_frames : int
            T, >= 1, of each sequence.
        num_sequences : int, default 1
            B, >= 1.
        context : Tensor, optional
            See ``EMSequenceModel``.
        generator : torch.Generator, optional
            Source of randomness; torch's global one if omitted.

        Returns
        -------
        Sample
            ``states`` (B, T) and ``features`` (B, T, ...).

        Raises
        ------
        TypeError
            If the emission has no ``sample``.
        ValueError
            If no path is ``num_frames`` long.

        Notes
        -----
        Where sequences have ends, the paths are drawn given that they end after ``num_frames`` (as far as
        ``censoring`` asks for that).
        """
        if not isinstance(self.emission, SamplingEmission):
            raise TypeError(f"emission must have sample; {type(self.emission).__name__} does not")
        states = self._sample_states(torch.full((num_sequences,), num_frames), context, generator)
        with torch.no_grad():
            return Sample(states, self.emission.sample(states, generator))

    @torch.no_grad()
    def _sample_states(
        self, lengths: Tensor, context: Tensor | None, generator: torch.Generator | None
    ) -> Tensor:
        """Draw paths (B, T) of these lengths, -1 behind the end."""
        T = int(lengths.max()) if len(lengths) else 0
        flat = self.topology.log_initial.new_zeros(len(lengths), T, self.num_states)
        lengths = lengths.to(flat.device)
        drawn = self._recursions.sample(**self._describe(flat, lengths, context), generator=generator)
        # With explicit durations the states come with the segments.
        states: Tensor = drawn if isinstance(drawn, Tensor) else drawn.states
        impossible = (states < 0) & (torch.arange(T, device=states.device) < lengths.unsqueeze(-1))
        if bool(impossible.any()):
            wrong = int(lengths[impossible.any(1)][0])
            raise ValueError(f"num_frames must be the length of a possible path; got {wrong}")
        return states

    @torch.no_grad()
    def generate(
        self,
        num_frames: int | Tensor | None = None,
        states: Tensor | None = None,
        *,
        num_sequences: int = 1,
        rate: float | Tensor = 1.0,
        draw_states: bool | None = None,
        generator: torch.Generator | None = None,
    ) -> Generated:
        """Generate the most likely observations of a succession of states, each as long as it should be.

        Parameters
        ----------
        num_frames : int or Tensor of int64, shape (B,), optional
            Frames of each sequence. If omitted, the durations of the states and ``rate`` tell.
        states : Tensor of int64, shape (B, N), optional
            The states to go through, in this order, -1 behind the end; each lasts at least a frame. If
            omitted, a left-to-right model goes through its own, as is most likely, and any other draws a
            path.
        num_sequences : int, default 1
            B, where neither ``states`` nor ``num_frames`` tells.
        rate : float or Tensor, shape (B,), default 1.0
            Rate of speaking, see ``state_durations``; does not matter where ``num_frames`` is given.
        draw_states : bool, optional
            Whether the path is drawn, from ``generator``, instead. Whatever the model allows, where omitted.
        generator : torch.Generator, optional
            Source of randomness for paths that are drawn; torch's global one if omitted.

        Returns
        -------
        Generated
            ``features`` (B, T, S), smooth where the emission has ``windows``; ``states`` (B, T) and
            ``lengths`` (B,).

        Raises
        ------
        TypeError
            If the emission has no ``generate``.
        ValueError
            If shapes disagree, a state or number is out of range, ``num_frames`` is too small or too large
            for the states, or a path can only be drawn and ``num_frames`` is missing.

        Notes
        -----
        Durations are ``state_durations`` of the means and variances of the duration model, or of the
        geometric distributions of a model without one. A state without an exit counts as lasting as long
        as the others do on average. Where a sequence may stop in any state, ``num_frames`` less than the
        states of a left-to-right model gives the first ones.

        Examples
        --------
        >>> import torch
        >>> from hmm_models import GaussianHMM, phone_topology
        >>> model = GaussianHMM(3, 2, topology=phone_topology(3, 0.75))  # 4 frames a state
        >>> model.generate().states
        tensor([[0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]])
        >>> model.generate(rate=2.0).states
        tensor([[0, 0, 1, 1, 2, 2]])
        >>> model.generate(num_frames=5, states=torch.tensor([[2, 0]])).states
        tensor([[2, 2, 2, 0, 0]])
        """
        if not isinstance(self.emission, GeneratingEmission):
            raise TypeError(f"emission must have generate; {type(self.emission).__name__} does not")
        chain = self.topology
        total = None if num_frames is None else torch.as_tensor(num_frames, dtype=torch.int64)
        if total is not None and bool((total < 1).any()):
            raise ValueError(f"num_frames must be >= 1; got {int(total.min())}")
        if total is not None and total.ndim:
            num_sequences = len(total)
        if draw_states is None:
            draw_states = states is None and not is_left_to_right(chain.log_initial, chain.log_transition)
        if draw_states:
            if states is not None or total is None:
                raise ValueError("a path that is drawn needs num_frames, and no states")
            path = self._sample_states(total.expand(num_sequences), None, generator)
        else:
            may_stop = states is None and total is not None and self._ends_anywhere
            if states is None:
                states = succession(chain).expand(num_sequences, -1)
            states = states.to(chain.log_initial.device)
            path = self._timed(states, total, rate, may_stop=may_stop)
        return Generated(self.emission.generate(path), path, (path >= 0).sum(1))

    def _timed(
        self, states: Tensor, num_frames: Tensor | None, rate: float | Tensor, *, may_stop: bool
    ) -> Tensor:
        """Path (B, T) through states (B, N), each as long as it should be."""
        K = self.num_states
        if states.ndim != 2 or states.dtype != torch.int64:
            raise ValueError(
                f"states must be int64 of shape (B, N); got {states.dtype} of shape {tuple(states.shape)}"
            )
        used = states >= 0
        lengths = used.sum(1)
        if bool((states >= K).any()) or bool((used[:, 1:] & ~used[:, :-1]).any()):
            raise ValueError(f"states must lie in 0..K-1 = 0..{K - 1}, with -1 last; got {states.tolist()}")
        if may_stop and num_frames is not None:
            lengths = lengths.minimum(num_frames.to(lengths))
            used = torch.arange(states.shape[1], device=states.device) < lengths.unsqueeze(-1)
        mean, variance, longest = self._durations()
        mean, variance = (value.double()[states.clamp_min(0)] for value in (mean, variance))
        left = used & mean.isfinite()
        count = left.sum(1, keepdim=True)
        for value in (mean, variance):
            others = value.masked_fill(~left, 0.0).sum(1, keepdim=True) / count.clamp_min(1)
            value.copy_(torch.where(left, value, torch.where(count > 0, others, 1.0)))
        durations = state_durations(
            mean, variance, lengths, rate=rate, num_frames=num_frames, max_duration=longest
        )
        return repeat_states(states, durations)

    def generate_sequence(
        self,
        num_frames: int,
        num_sequences: int = 1,
        *,
        draw_states: bool | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Generate the most likely features: what ``generate`` gives, without the states.

        Parameters
        ----------
        num_frames : int
            n, >= 1.
        num_sequences : int, default 1
            B, >= 1.
        draw_states : bool, optional
            See ``generate``.
        generator : torch.Generator, optional
            Source of randomness for paths that are drawn; torch's global one if omitted.

        Returns
        -------
        Tensor, shape (B, n, S)
            Smooth where the emission has ``windows``.

        Raises
        ------
        TypeError
            If the emission has no ``generate``.
        ValueError
            If no path is ``num_frames`` long.
        """
        return self.generate(
            num_frames, num_sequences=num_sequences, draw_states=draw_states, generator=generator
        ).features


def succession(chain: Topology) -> Tensor:
    """States (1, N) that a left-to-right model most likely goes through, whatever they last."""
    log_step = chain.log_transition.detach().clone()
    log_step.fill_diagonal_(-torch.inf)
    if chain.log_final is not None:
        log_step = torch.cat([log_step, chain.log_final.detach().unsqueeze(-1)], -1)
    best, following = log_step.max(-1)
    states = [int(chain.log_initial.argmax())]
    while best[states[-1]] > -torch.inf and following[states[-1]] < len(best):
        states.append(int(following[states[-1]]))
    return torch.tensor([states], device=log_step.device)
