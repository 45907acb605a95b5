"""Neural hidden Markov models: networks say how each state emits and where it goes, frame by frame."""

import math
from collections.abc import Mapping
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import hmm_core
from hmm_core import Posterior, Sparse, ViterbiPath
from hmm_models._numerics import log_softmax, logsumexp
from hmm_models._serialization import register_model
from hmm_models.models._generating_model import Sample
from hmm_models.models._recurrence import Recurrence
from hmm_models.models._sequence_model import Frames, SequenceModel

# Frames whose states are computed at once where memory is to be saved.
_CHUNK = 128
# Variances (of features that should be standardised) do not fall below this.
_VARIANCE_FLOOR = 1e-3


@register_model
class NeuralHMM(SequenceModel):
    r"""Neural hidden Markov model.

    .. math::
        h_t = \mathrm{GRU}(x_{<t}, c_{\le t}), \quad
        p(x_t, z_{t+1} \mid z_t = k, x_{<t}, c) = p(x_t \mid h_t, s_k) \, p(z_{t+1} \mid h_t, s_k, k)

    A recurrent network sums up the past and the context; a network of one hidden layer turns that, and what
    it knows of state k, into a mixture of Gaussians over the frame and into the probabilities of where to go
    from there. The likelihood is exact: no attention, no alignment in advance.

    Parameters
    ----------
    num_states : int
        K, >= 1.
    feature_dim : int
        D, >= 1. Features should be standardised.
    hidden_dim : int, default 256
        Width of the networks.
    num_mixtures : int, default 1
        M, Gaussians in a mixture.
    obs_dim : int, optional
        Another name of ``feature_dim``; give one of them.
    context_dim : int, default 0
        C, features of the context.
    context_per : {"frame", "state"}, default "frame"
        Whether the context is (B, T, C), a row for each frame, which the history takes in; or (B, K, C), a
        row for each state, such as the phone that it belongs to.
    autoregressive : bool, default True
        Whether a frame depends on those before it, beside its state.
    topology : {"left_to_right", "ergodic"}, default "left_to_right"
        Start in the first state, stay or go on to the next, end anywhere; or everything.
    checkpoint : bool, default False
        Compute the states' networks again for the gradient instead of keeping their layers: a fraction of the
        memory, half as fast again.

    Raises
    ------
    ValueError
        If a size is out of range or the topology unknown.

    Notes
    -----
    Trains by ``fit_sgd``, or in a loop of your own on ``log_likelihood``. O(B T K H (H + M D)) time for H
    hidden units, and O(B T K (H + M D)) memory, or a part of it with ``checkpoint``.

    References
    ----------
    .. [1] S. Mehta et al., "Neural HMMs are all you need (for high-quality attention-free TTS)", ICASSP 2022.
    .. [2] K. Tran et al., "Unsupervised neural hidden Markov models", Workshop on Structured Prediction for
       NLP, 2016.

    Examples
    --------
    >>> import torch
    >>> model = NeuralHMM(3, 2, hidden_dim=16)
    >>> x = torch.randn(4, 20, 2, generator=torch.Generator().manual_seed(0)).cumsum(1) / 4
    >>> result = model.fit_sgd(x, max_epochs=5)
    >>> result.log_likelihood[-1] > result.log_likelihood[0]
    True
    >>> model.viterbi(x).states.shape
    torch.Size([4, 20])
    """

    def __init__(
        self,
        num_states: int,
        feature_dim: int | None = None,
        hidden_dim: int = 256,
        num_mixtures: int = 1,
        *,
        obs_dim: int | None = None,
        context_dim: int = 0,
        context_per: Literal["frame", "state"] = "frame",
        autoregressive: bool = True,
        topology: Literal["left_to_right", "ergodic"] = "left_to_right",
        checkpoint: bool = False,
    ) -> None:
        super().__init__()
        size = obs_dim if feature_dim is None else feature_dim
        if size is None or None not in (feature_dim, obs_dim):
            raise ValueError(
                f"give exactly one of feature_dim and its alias obs_dim; got {feature_dim} and {obs_dim}"
            )
        for name, value in (
            ("num_states", num_states),
            ("feature_dim", size),
            ("hidden_dim", hidden_dim),
            ("num_mixtures", num_mixtures),
        ):
            if value < 1:
                raise ValueError(f"{name} must be >= 1; got {value}")
        if context_dim < 0:
            raise ValueError(f"context_dim must be >= 0; got {context_dim}")
        if context_per not in {"frame", "state"}:
            raise ValueError(f'context_per must be "frame" or "state"; got {context_per!r}')
        if topology not in {"left_to_right", "ergodic"}:
            raise ValueError(f'topology must be "left_to_right" or "ergodic"; got {topology!r}')
        self.feature_dim = size
        self.hidden_dim = hidden_dim
        self.num_mixtures = num_mixtures
        self.context_dim = context_dim
        self.context_per = context_per
        self.autoregressive = autoregressive
        self.topology = topology
        self.checkpoint = checkpoint
        frame_context, state_context = (
            context_dim if context_per == kind else 0 for kind in ("frame", "state")
        )
        inputs = frame_context + (size if autoregressive else 0)
        self.history = Recurrence(inputs, hidden_dim) if inputs else None
        self.state_context = nn.Linear(state_context, hidden_dim) if state_context else None
        self.state_bias = nn.Parameter(torch.randn(num_states, hidden_dim) / 2.0)
        self.mix = nn.Linear(hidden_dim, hidden_dim)
        self.density = nn.Linear(hidden_dim, num_mixtures * (2 * size + 1))
        self.step = nn.Linear(hidden_dim, 2 if topology == "left_to_right" else num_states)
        self.initial_logits = nn.Parameter(torch.zeros(num_states)) if topology == "ergodic" else None

    @property
    def num_states(self) -> int:
        """K."""
        return self.state_bias.shape[0]

    def _feature_dim(self) -> int:
        """D."""
        return self.feature_dim

    def _materialize(self, x: Tensor, lengths: Tensor | None, observed: Tensor | None) -> None:
        """Nothing is open here."""

    def log_likelihood(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        *,
        context: Tensor | None = None,
        observed: Tensor | None = None,
        allowed: Tensor | None = None,
        frame_weights: Tensor | None = None,
    ) -> Tensor:
        """Log-likelihood of each sequence.

        Parameters
        ----------
        x, lengths, observed, allowed, frame_weights
            The data, see ``SequenceModel``. A frame that is missing enters the history as zeros.
        context : Tensor, shape (B, T, C) or (B, K, C), optional
            Context of each frame or state, see ``context_per``; needed if ``context_dim`` is not 0.

        Returns
        -------
        Tensor, shape (B,)
            In nats. Differentiable.

        Raises
        ------
        ValueError
            If shapes disagree, a value is out of range, or a frame that is read is not finite.
        """
        frames = self._frames(x, lengths, observed=observed, allowed=allowed, frame_weights=frame_weights)
        return hmm_core.log_likelihood(**self._arguments(frames, lengths, context))

    def forward(self, x: Tensor, lengths: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        """Compute ``log_likelihood``."""
        return self.log_likelihood(x, lengths, context=context)

    def posterior(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        *,
        context: Tensor | None = None,
        observed: Tensor | None = None,
        allowed: Tensor | None = None,
        frame_weights: Tensor | None = None,
    ) -> Posterior:
        """Probability of each state in each frame, given the whole sequence.

        Parameters
        ----------
        x, lengths, context, observed, allowed, frame_weights
            See ``log_likelihood``.

        Returns
        -------
        hmm_core.Posterior
            ``state`` (B, T, K), 0 behind the end; ``log_likelihood`` (B,).

        Raises
        ------
        ValueError
            As ``log_likelihood``.
        """
        frames = self._frames(x, lengths, observed=observed, allowed=allowed, frame_weights=frame_weights)
        return hmm_core.posterior(**self._arguments(frames, lengths, context))

    def viterbi(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        *,
        context: Tensor | None = None,
        observed: Tensor | None = None,
        allowed: Tensor | None = None,
        frame_weights: Tensor | None = None,
    ) -> ViterbiPath:
        """Most likely state path of each sequence.

        Parameters
        ----------
        x, lengths, context, observed, allowed, frame_weights
            See ``log_likelihood``.

        Returns
        -------
        hmm_core.ViterbiPath
            ``states`` (B, T), -1 behind the end; ``log_score`` (B,).

        Raises
        ------
        ValueError
            As ``log_likelihood``.
        """
        frames = self._frames(x, lengths, observed=observed, allowed=allowed, frame_weights=frame_weights)
        return hmm_core.viterbi(**self._arguments(frames, lengths, context))

    @torch.no_grad()
    def sample(
        self,
        num_frames: int,
        num_sequences: int = 1,
        *,
        context: Tensor | None = None,
        temperature: float = 1.0,
        quantile: float | None = None,
        generator: torch.Generator | None = None,
    ) -> Sample:
        """Generate sequences, frame by frame.

        Parameters
        ----------
        num_frames : int
            T, >= 1.
        num_sequences : int, default 1
            B, >= 1.
        context : Tensor, shape (B, T, C) or (B, K, C), optional
            Context of each frame or state, see ``context_per``; needed if ``context_dim`` is not 0.
        temperature : float, default 1.0
            Factor of the deviations of the Gaussians, >= 0; 0 gives their means, which sounds best where the
            history feeds on what was generated.
        quantile : float, optional
            In (0, 1), for ``"left_to_right"`` only: go on to the next state as soon as the probability of
            having left this one reaches it, instead of drawing. 0.5 gives the median durations, less of it
            faster speech.
        generator : torch.Generator, optional
            Source of randomness; torch's global one if omitted.

        Returns
        -------
        Sample
            ``states`` (B, T) and ``features`` (B, T, D).

        Raises
        ------
        ValueError
            If shapes disagree or a value is out of range.
        """
        if num_frames < 1 or num_sequences < 1:
            raise ValueError(
                f"num_frames and num_sequences must be >= 1; got {num_frames} and {num_sequences}"
            )
        if not temperature >= 0.0:
            raise ValueError(f"temperature must be >= 0; got {temperature}")
        if quantile is not None:
            if not 0.0 < quantile < 1.0:
                raise ValueError(f"quantile must be in (0, 1); got {quantile}")
            if self.topology != "left_to_right":
                raise ValueError(f'quantile needs topology="left_to_right"; got "{self.topology}"')
        B, D, bias = num_sequences, self.feature_dim, self.state_bias
        self._check_context(context, B, num_frames)
        known = self._states(context)
        previous = bias.new_zeros(B, 1, D)
        memory: Tensor | None = None
        state = torch.multinomial(self._log_initial().exp().expand(B, -1), 1, generator=generator).squeeze(-1)
        log_stayed = bias.new_zeros(B)
        states, features = [], []
        for t in range(num_frames):
            part = context[:, t : t + 1] if context is not None and self.context_per == "frame" else None
            summary, memory = self._summary(previous, part, memory)
            hidden = self._hidden(summary, known)[torch.arange(B), 0, state]
            weight, mean, log_variance = self._mixture(hidden)
            component = torch.multinomial(weight.exp(), 1, generator=generator).squeeze(-1)
            mean, log_variance = (value[torch.arange(B), component] for value in (mean, log_variance))
            noise = torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)
            frame = mean + temperature * (0.5 * log_variance).exp() * noise
            states.append(state)
            features.append(frame)
            step = log_softmax(self.step(hidden))
            if quantile is None:
                choice = torch.multinomial(step.exp(), 1, generator=generator).squeeze(-1)
            else:
                log_stayed = log_stayed + step[:, 0]
                choice = (log_stayed <= math.log1p(-quantile)).to(state)
                log_stayed = log_stayed.masked_fill(choice == 1, 0.0)
            if self.topology == "left_to_right":
                choice = (state + choice).clamp_max(self.num_states - 1)
            state, previous = choice, frame.unsqueeze(1)
        return Sample(torch.stack(states, 1), torch.stack(features, 1))

    def generate_sequence(
        self,
        num_frames: int,
        num_sequences: int = 1,
        *,
        context: Tensor | None = None,
        quantile: float = 0.5,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Generate the means of the features along a path.

        Parameters
        ----------
        num_frames : int
            n, >= 1.
        num_sequences : int, default 1
            B, >= 1.
        context : Tensor, shape (B, n, C) or (B, K, C), optional
            Context of each frame or state, see ``context_per``; needed if ``context_dim`` is not 0.
        quantile : float, default 0.5
            In (0, 1): how long the states last, see ``sample``. An ergodic model draws its states instead.
        generator : torch.Generator, optional
            Source of randomness for what is drawn: the states of an ergodic model, and the components of
            mixtures; torch's global one if omitted.

        Returns
        -------
        Tensor, shape (B, n, D)
            Of each frame's component.

        Raises
        ------
        ValueError
            If shapes disagree or a value is out of range.
        """
        return self.sample(
            num_frames,
            num_sequences,
            context=context,
            temperature=0.0,
            quantile=quantile if self.topology == "left_to_right" else None,
            generator=generator,
        ).features

    def _check_context(self, context: Tensor | None, B: int, T: int) -> None:
        """Refuse a context of another shape."""
        rows, letter = (T, "T") if self.context_per == "frame" else (self.num_states, "K")
        if self.context_dim == 0:
            if context is not None:
                raise ValueError(f"context must not be given: context_dim is 0; got {tuple(context.shape)}")
        elif context is None or context.shape != (B, rows, self.context_dim):
            found = None if context is None else tuple(context.shape)
            expected = (B, rows, self.context_dim)
            raise ValueError(f"context must have shape (B, {letter}, C) = {expected}; got {found}")

    def _states(self, context: Tensor | None) -> Tensor:
        """Sum up what is known of each state: (K, H) or (B, 1, K, H)."""
        if self.state_context is None or context is None:
            return self.state_bias
        known: Tensor = self.state_bias + self.state_context(context.to(self.state_bias))
        return known.unsqueeze(1)

    def _log_initial(self) -> Tensor:
        """Log-probabilities (K,) of starting."""
        if self.initial_logits is not None:
            return log_softmax(self.initial_logits)
        start = torch.full_like(self.state_bias[:, 0], -torch.inf)
        start[0] = 0.0
        return start.detach()

    def _summary(
        self, previous: Tensor, context: Tensor | None, memory: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Summary (B, T, H) of the frames before each frame and of the context; and the network's memory."""
        inputs = [previous] if self.autoregressive else []
        if context is not None:
            inputs.append(context.to(previous))
        if self.history is None or previous.shape[1] == 0:
            return previous.new_zeros((*previous.shape[:2], self.hidden_dim)), None
        summary, memory = self.history(torch.cat(inputs, -1), memory)
        return summary, memory

    def _hidden(self, summary: Tensor, known: Tensor) -> Tensor:
        """Hidden layer (B, T, K, H)."""
        return torch.tanh(self.mix(summary).unsqueeze(-2) + known)

    def _mixture(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-weights (..., M), means and log-variances (..., M, D)."""
        M, D = self.num_mixtures, self.feature_dim
        logits, mean, log_variance = self.density(hidden).split([M, M * D, M * D], -1)
        log_variance = nn.functional.softplus(log_variance).add(_VARIANCE_FLOOR).log()
        shape = (*logits.shape, D)
        return log_softmax(logits), mean.reshape(shape), log_variance.reshape(shape)

    def _emit_and_step(self, summary: Tensor, x: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Log-densities (B, T, K) of the frames, and log-probabilities (B, T, K, arcs) of the steps after."""
        hidden = self._hidden(summary, known)
        weight, mean, log_variance = self._mixture(hidden)
        distance = (x[:, :, None, None] - mean).square() * (-log_variance).exp()
        each = -0.5 * (distance + log_variance + math.log(2.0 * math.pi)).sum(-1)
        return logsumexp(weight + each), log_softmax(self.step(hidden))

    def _arguments(self, frames: Frames, lengths: Tensor | None, context: Tensor | None) -> dict[str, Any]:
        """Arguments of the recursions of hmm_core."""
        x = frames.x.to(self.state_bias)
        B, T, _ = x.shape
        self._check_context(context, B, T)
        if frames.observed is not None:
            raise TypeError("observed must have shape (B, T): NeuralHMM cannot marginalise single dimensions")
        known = self._states(context)
        per_frame = context if self.context_per == "frame" else None
        if per_frame is not None:
            per_frame = per_frame.masked_fill(~frames.valid.unsqueeze(-1), 0.0)
        previous = torch.cat([x.new_zeros(B, 1, self.feature_dim), x], 1)[:, :T]
        summary, _ = self._summary(previous, per_frame)
        if self.checkpoint and torch.is_grad_enabled():
            chunks = zip(torch.split(summary, _CHUNK, 1), torch.split(x, _CHUNK, 1), strict=True)
            parts = [checkpoint(self._emit_and_step, s, f, known, use_reentrant=False) for s, f in chunks]
            log_emission, step = (torch.cat(values, 1) for values in zip(*parts, strict=True))
        else:
            log_emission, step = self._emit_and_step(summary, x, known)
        return {
            "log_initial": self._log_initial(),
            "log_transition": self._transition(step[:, :-1]),
            "log_emission": self._weigh(log_emission, frames),
            "lengths": lengths,
        }

    def _transition(self, step: Tensor) -> Tensor | Sparse:
        """Weights of the steps (B, T-1, K, arcs) as hmm_core takes them."""
        if self.topology == "ergodic":
            return step
        K = self.num_states
        index = torch.arange(K, device=step.device)
        stay, onwards = step.unbind(-1)
        # From the last state there is nowhere to go on to.
        stay = torch.cat([stay[..., :-1], torch.zeros_like(stay[..., -1:])], -1)
        into = torch.cat([torch.full_like(onwards[..., :1], -torch.inf), onwards[..., :-1]], -1)
        if K == 1:
            return Sparse(index.unsqueeze(-1), stay.unsqueeze(-1))
        predecessors = torch.stack([(index - 1).clamp_min(0), index], -1)
        predecessors[0] = torch.tensor([0, -1], device=step.device)
        weight = torch.stack([into, stay], -1)
        first = torch.stack([stay[..., :1], into[..., :1]], -1)
        return Sparse(predecessors, torch.cat([first, weight[..., 1:, :]], -2))

    def config(self) -> dict[str, Any]:
        """Describe the structure for ``save_model``.

        Returns
        -------
        dict
            The arguments of the class.
        """
        return {
            "num_states": self.num_states,
            "feature_dim": self.feature_dim,
            "hidden_dim": self.hidden_dim,
            "num_mixtures": self.num_mixtures,
            "context_dim": self.context_dim,
            "context_per": self.context_per,
            "autoregressive": self.autoregressive,
            "topology": self.topology,
            "checkpoint": self.checkpoint,
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
        NeuralHMM
            With fresh parameters.
        """
        return cls(**config)


@register_model
class ContextualNeuralHMM(NeuralHMM):
    """A ``NeuralHMM`` that needs a context: phones, stress, position, prosody.

    Parameters
    ----------
    num_states : int
        K, >= 1.
    feature_dim : int
        D, >= 1.
    context_dim : int
        C, >= 1.
    hidden_dim : int, default 256
        Width of the networks.
    **options
        Further arguments of ``NeuralHMM``, such as ``context_per``.

    Raises
    ------
    ValueError
        If a size is out of range or a name unknown.

    Examples
    --------
    >>> import torch
    >>> phones = torch.nn.functional.one_hot(torch.tensor([[4, 0, 2]]), 5).float()  # (B, K, C)
    >>> model = ContextualNeuralHMM(3, 2, context_dim=5, hidden_dim=16, context_per="state")
    >>> model.log_likelihood(torch.randn(1, 12, 2), context=phones).shape
    torch.Size([1])
    """

    def __init__(
        self,
        num_states: int,
        feature_dim: int | None = None,
        context_dim: int = 0,
        hidden_dim: int = 256,
        **options: Any,  # noqa: ANN401  (of NeuralHMM)
    ) -> None:
        if context_dim < 1:
            raise ValueError(f"context_dim must be >= 1; got {context_dim}")
        super().__init__(num_states, feature_dim, hidden_dim, context_dim=context_dim, **options)
