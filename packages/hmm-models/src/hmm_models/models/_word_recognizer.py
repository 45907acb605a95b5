"""Recognition of connected words: one acoustic model, a graph of words, embedded training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, Self, cast

import torch
from torch import Tensor, nn

import hmm_core
from hmm_core import Graph, ViterbiPath, stack_graphs
from hmm_models._serialization import build_model, describe_model, register_model
from hmm_models.models._sequence_model import Frames
from hmm_models.models._transcribed_model import TranscribedModel, Transcripts
from hmm_models.models._word_graph import WordGraph, WordGraphBuilder
from hmm_models.training._counts import count, take_level
from hmm_models.training._em import SequenceStatistics
from hmm_models.transitions._table import ProbabilityTable

LanguageModel = Literal["uniform", "unigram", "bigram"]
_LANGUAGES = ("uniform", "unigram", "bigram")


class RecognizedWords(NamedTuple):
    """What was said."""

    words: tuple[int, ...]
    """Numbers of the words, in order."""
    starts: tuple[int, ...]
    """Frame in which each word begins."""
    log_score: float
    """Of the best path, in nats, language model included; ``-inf`` if there is none."""


@dataclass(frozen=True, eq=False)
class RecognizerStatistics(SequenceStatistics):
    """What the M-step of a ``WordRecognizer`` needs to know of the data; adds over sequences.

    Parameters
    ----------
    log_likelihood : Tensor of float64, shape ()
        Sum over the sequences.
    num_frames : Tensor of float64, shape ()
        Sum over the sequences.
    emission : Statistics
        Of the states' densities.
    transition : Tensor of float64, shape (P, 2)
        Expected number of times that each state was stayed in, and left.
    """

    transition: Tensor


@register_model
class WordRecognizer(TranscribedModel[RecognizerStatistics]):
    r"""Recogniser of connected words, each a chain of states of its units.

    .. math::
        p(x, w_{1:N}) = p(w_{1:N}) \prod_n p(x^{(n)} \mid w_n)

    Words are joined to a graph in which any word follows any other, with a silence between them or not, and
    the language model says how likely. A word is a unit of its own, or a sequence of units that words share
    (phones). Trains on utterances and their transcripts, without times, by EM (``fit``) or by gradient
    descent (``fit_sgd(x, lengths, transcripts=...)``).

    Parameters
    ----------
    emission : nn.Module
        Any ``Emission`` of P = U S + Z densities: S states for each of U units, one after the other, then Z
        of silence.
    lexicon : sequence of sequences of int
        The units, 0..U-1, of each word.
    states_per_unit : int, default 3
        S, >= 1. Every word needs at least two states.
    silence_states : int, default 1
        Z, >= 0: without any, there is no silence.
    language_model : {"uniform", "unigram", "bigram"}, default "unigram"
        What ``fit`` learns from the transcripts; uniform until then. ``"unigram"``: how often words and ends
        are, each counted once more than it occurs. ``"bigram"``: how often they are after each word, drawn
        towards the unigram as by one more observation.
    silence_prob : float, default 0.5
        In (0, 1): probability of a silence at both ends and between any two words.

    Raises
    ------
    ValueError
        If sizes are out of range or disagree, or the language model is unknown.

    Notes
    -----
    ``num_states`` is P. Decoding takes O(T (W^2 + W S)) time for W words; the states of a word follow each
    other without skips.

    References
    ----------
    .. [1] S. Young et al., "The HTK book", version 3.4, 2006, sections 1.6 (embedded training) and 12
       (networks of words).

    Examples
    --------
    >>> import torch
    >>> from hmm_models import GaussianMixtures
    >>> model = WordRecognizer(GaussianMixtures(7, 1, 2), [[0], [1], [2]], states_per_unit=2)
    >>> with torch.no_grad():  # three words around a circle, silence in its middle
    ...     angle = torch.arange(6) * torch.pi / 3
    ...     circle = 4 * torch.stack([angle.cos(), angle.sin()], 1)
    ...     _ = model.emission.mean.copy_(torch.cat([circle, torch.zeros(1, 2)]).unsqueeze(1))
    >>> said = torch.tensor([[6, 2, 2, 3, 3, 6, 4, 5, 0, 0, 1, 6]])  # silence, 1, silence, 2, 0, silence
    >>> model.decode(model.emission.mean.detach()[said, 0])
    [[1, 2, 0]]
    """

    log_language: Tensor

    def __init__(
        self,
        emission: nn.Module,
        lexicon: Sequence[Sequence[int]],
        *,
        states_per_unit: int = 3,
        silence_states: int = 1,
        language_model: LanguageModel = "unigram",
        silence_prob: float = 0.5,
    ) -> None:
        super().__init__()
        P, S, Z = int(cast(Any, emission).num_densities), states_per_unit, silence_states
        units = {unit for word in lexicon for unit in word}
        if not lexicon or S < 1 or Z < 0:
            raise ValueError(
                "lexicon must hold at least one word, states_per_unit be >= 1 and silence_states >= 0; "
                f"got {len(lexicon)} words, {S} and {Z}"
            )
        if (P - Z) % S or P - Z < S or min(units, default=0) < 0 or max(units, default=0) >= (P - Z) // S:
            raise ValueError(
                f"emission must have states_per_unit * units + silence_states = {S} * U + {Z} densities, "
                f"with the units of lexicon in 0..U-1; got {P} densities and units {min(units)}..{max(units)}"
            )
        short = [w for w, word in enumerate(lexicon) if len(word) * S < 2]
        if short:
            raise ValueError(f"lexicon must give each word at least two states; got less for words {short}")
        if language_model not in _LANGUAGES:
            raise ValueError(f"language_model must be one of {_LANGUAGES}; got {language_model!r}")
        if not 0.0 < silence_prob < 1.0:
            raise ValueError(f"silence_prob must be in (0, 1); got {silence_prob}")
        self.emission = emission
        self.lexicon = [list(word) for word in lexicon]
        self.states_per_unit = S
        self.silence_states = Z
        self.language_model = language_model
        self.silence_prob = silence_prob
        # Kaldi's starting value: four frames a state.
        self.transition = ProbabilityTable(torch.tensor([0.75, 0.25]).log().expand(P, 2))
        W = len(self.lexicon)
        self.register_buffer("log_language", torch.full((W + 1, W + 1), 1.0 / (W + 1)).log())
        states = torch.arange(S)
        densities = [(torch.tensor(word).unsqueeze(-1) * S + states).flatten() for word in self.lexicon]
        self._builder = WordGraphBuilder(densities, torch.arange(P - Z, P), silence_prob)
        self._loop: WordGraph | None = None

    @property
    def num_states(self) -> int:
        """P, the states of all units and of the silence."""
        return self.transition.logits.shape[0]

    @property
    def num_units(self) -> int:
        """W, the words that can be told apart."""
        return len(self.lexicon)

    def _graph(self, language: Tensor | None = None) -> Graph:
        """Graph of all sequences of words."""
        if self._loop is None:
            self._loop = self._builder.loop(words_differ=self.language_model == "bigram")
        return self._loop.weigh(
            self.transition.log_prob(), self.log_language if language is None else language
        )

    def _chains(self, transcripts: Transcripts, B: int) -> Graph:
        """Graphs of transcripts, as a batch."""
        return self._weigh_chains(self._layouts(transcripts, B), self.transition.log_prob())

    def _layouts(self, transcripts: Transcripts, B: int) -> list[WordGraph]:
        """Graphs of transcripts, whose arcs have no weights yet."""
        return [self._builder.chain(words) for words in self._units(transcripts, B)]

    def _weigh_chains(self, layouts: Sequence[WordGraph], table: Tensor) -> Graph:
        """Give the arcs their weights, from the log-probabilities (P, 2) of staying and leaving."""
        return stack_graphs([layout.weigh(table, self.log_language) for layout in layouts])

    def _flat_start(self, transcript: Sequence[int]) -> Tensor:
        """States of the words, with a silence at both ends."""
        words = [self._builder.words[word] for word in transcript]
        return torch.cat([self._builder.silence, *words, self._builder.silence])

    def _arguments(self, frames: Frames, lengths: Tensor | None, graph: Graph) -> dict[str, Any]:
        """Arguments of the recursions of hmm_core on a graph of words."""
        return self._describe(self._score(frames), lengths, graph)

    @staticmethod
    def _describe(log_emission: Tensor, lengths: Tensor | None, graph: Graph) -> dict[str, Any]:
        """Arguments of the recursions for these scores of frames."""
        return {
            "log_initial": graph.log_initial.to(log_emission),
            "log_transition": graph.log_transition.to(dtype=log_emission.dtype),
            "log_emission": log_emission,
            "lengths": lengths,
            "log_final": graph.log_final.to(log_emission),
            "emission_index": graph.emission_index,
        }

    def log_likelihood(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        *,
        transcripts: Transcripts | None = None,
        observed: Tensor | None = None,
        allowed: Tensor | None = None,
        frame_weights: Tensor | None = None,
    ) -> Tensor:
        """Log-likelihood of each utterance, whatever was said, or together with what was said.

        Parameters
        ----------
        x, lengths, observed, allowed, frame_weights
            The data, see ``SequenceModel``; ``allowed`` is (B, T, P).
        transcripts : Tensor of int64, shape (B, N), or sequence of sequences of int, optional
            The words of each utterance, -1 behind the end of a row.

        Returns
        -------
        Tensor, shape (B,)
            log p(x), or log p(x, words): their difference is the log-probability of the words given the
            features. In nats, ``-inf`` where no path exists. Differentiable.

        Raises
        ------
        ValueError
            If shapes disagree or a value is out of range.
        """
        frames = self._frames(x, lengths, observed=observed, allowed=allowed, frame_weights=frame_weights)
        graph = self._graph() if transcripts is None else self._chains(transcripts, len(x))
        return hmm_core.log_likelihood(**self._arguments(frames, lengths, graph))

    def forward(self, x: Tensor, lengths: Tensor | None = None, transcripts: Tensor | None = None) -> Tensor:
        """Compute ``log_likelihood``."""
        return self.log_likelihood(x, lengths, transcripts=transcripts)

    def posterior(
        self, x: Tensor, lengths: Tensor | None = None, *, transcripts: Transcripts | None = None
    ) -> hmm_core.Posterior:
        """Probability of each state of the units in each frame.

        Parameters
        ----------
        x, lengths, transcripts
            See ``log_likelihood``.

        Returns
        -------
        hmm_core.Posterior
            ``state`` (B, T, P), 0 behind the end and where no path exists; ``log_likelihood`` (B,).

        Raises
        ------
        ValueError
            As ``log_likelihood``.
        """
        graph = self._graph() if transcripts is None else self._chains(transcripts, len(x))
        frames = self._frames(x, lengths)
        state, total = hmm_core.posterior(**self._arguments(frames, lengths, graph))
        return hmm_core.Posterior(self._of_densities(state, graph), total)

    def _of_densities(self, state: Tensor, graph: Graph) -> Tensor:
        """Probabilities (B, T, P) of densities from those (B, T, K) of a graph's states."""
        index = graph.emission_index
        index = index.expand(len(state), -1) if index.ndim == 1 else index
        empty = state.new_zeros((*state.shape[:2], self.num_states))
        return empty.scatter_add(-1, index.unsqueeze(1).expand_as(state), state)

    def viterbi(
        self, x: Tensor, lengths: Tensor | None = None, *, transcripts: Transcripts | None = None
    ) -> ViterbiPath:
        """Most likely path, as the density of each frame.

        Parameters
        ----------
        x, lengths, transcripts
            See ``log_likelihood``; with transcripts this is a forced alignment.

        Returns
        -------
        hmm_core.ViterbiPath
            ``states`` (B, T) in 0..P-1, -1 behind the end and where no path exists; ``log_score`` (B,).

        Raises
        ------
        ValueError
            As ``log_likelihood``.
        """
        graph = self._graph() if transcripts is None else self._chains(transcripts, len(x))
        path = hmm_core.viterbi(**self._arguments(self._frames(x, lengths), lengths, graph))
        index = graph.emission_index.expand(len(x), -1)
        density = index.gather(1, path.states.clamp_min(0)).masked_fill(path.states < 0, -1)
        return ViterbiPath(density, path.log_score)

    @torch.no_grad()
    def recognize(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        *,
        language_weight: float = 1.0,
        word_penalty: float = 0.0,
        beam: float | None = None,
    ) -> list[RecognizedWords]:
        """Find the words of the most likely path, and when they begin.

        Parameters
        ----------
        x, lengths
            The data, see ``SequenceModel``.
        language_weight : float, default 1.0
            Factor of the logarithms of the language model, >= 0.
        word_penalty : float, default 0.0
            Nats that each word costs: more of it leaves short words out.
        beam : float, optional
            Nats below the best state beyond which states are left out; none are if omitted. Faster where
            there are many words.

        Returns
        -------
        list of RecognizedWords
            One for each sequence.

        Raises
        ------
        ValueError
            If shapes disagree or a value is out of range.
        """
        if not 0.0 <= language_weight < torch.inf:
            raise ValueError(f"language_weight must be finite and >= 0; got {language_weight}")
        language = language_weight * self.log_language
        if language_weight == 0.0:
            language = torch.zeros_like(language)
        language[:, :-1] -= word_penalty
        graph = self._graph(language)
        arguments = self._arguments(self._frames(x, lengths), lengths, graph)
        if beam is None:
            path = hmm_core.viterbi(**arguments)
            states, scores = path.states, path.log_score
        else:
            pruned = hmm_core.beam_viterbi(**arguments, beam=beam)
            states, scores = pruned.states, pruned.log_score
        assert self._loop is not None  # noqa: S101  (made by _graph)
        word = self._loop.word.to(states.device)[states.clamp_min(0)]
        before = torch.nn.functional.pad(states, (1, 0), value=-1)[:, :-1]
        begins = (word >= 0) & (states >= 0) & (states != before)
        return [
            RecognizedWords(tuple(word[b, at].tolist()), tuple(at.tolist()), float(scores[b]))
            for b, at in ((b, row.nonzero().flatten()) for b, row in enumerate(begins))
        ]

    def decode(
        self,
        x: Tensor,
        lengths: Tensor | None = None,
        **options: Any,  # noqa: ANN401  (those of recognize)
    ) -> list[list[int]]:
        """Find the words of the most likely path.

        Parameters
        ----------
        x, lengths
            The data, see ``SequenceModel``.
        **options
            Of ``recognize``.

        Returns
        -------
        list of list of int
            The words of each sequence.
        """
        return [list(found.words) for found in self.recognize(x, lengths, **options)]

    def _count(
        self, frames: Frames, lengths: Tensor | None, transcripts: Transcripts
    ) -> RecognizerStatistics:
        """Collect the statistics of checked frames."""
        weight = frames.weight
        layouts = self._layouts(transcripts, len(frames.x))
        log_emission, level = take_level(self._score(frames).to(self._counting_dtype(frames)), frames.valid)

        def score(leaves: Mapping[str, Tensor]) -> Tensor:
            graph = self._weigh_chains(layouts, leaves["table"])
            return hmm_core.log_likelihood(**self._describe(leaves["log_emission"], lengths, graph))

        table = self.transition.log_prob().double()
        found, counts = count(score, {"table": table, "log_emission": log_emission}, weight)
        return RecognizerStatistics(
            log_likelihood=torch.where(weight > 0.0, (found.double() + level) * weight, 0.0).sum(),
            num_frames=(frames.valid.sum(1) * weight).sum(),
            emission=self._accumulate_emission(frames, counts["log_emission"]),
            transition=counts["table"],
        )

    def zero_statistics(self, device: torch.device | None = None) -> RecognizerStatistics:
        """Statistics of no data, to add to.

        Parameters
        ----------
        device : torch.device, optional
            Where the sums live.

        Returns
        -------
        RecognizerStatistics
            Zeros in float64.
        """
        zeros = partial(torch.zeros, dtype=torch.float64, device=device)
        emission = self._trainable().zero_statistics(device)
        return RecognizerStatistics(zeros(()), zeros(()), emission, zeros(self.num_states, 2))

    def _update_own(self, statistics: RecognizerStatistics) -> None:
        """Estimate how long states last."""
        self.transition.update(statistics.transition)

    @torch.no_grad()
    def _learn_language(self, transcripts: Sequence[Sequence[int]]) -> None:
        """Count words."""
        if self.language_model == "uniform":
            return
        W = self.num_units
        counts = torch.zeros(W + 1, W + 1, dtype=torch.float64)
        for words in transcripts:
            rows = torch.tensor([0, *(word + 1 for word in words)])
            counts.index_put_((rows, torch.tensor([*words, W])), torch.ones(()).double(), accumulate=True)
        unigram = counts.sum(0) + 1.0
        unigram /= unigram.sum()
        if self.language_model == "bigram":
            table = (counts + unigram) / (counts.sum(1, keepdim=True) + 1.0)
        else:
            table = unigram.expand(W + 1, -1)
        self.log_language.copy_(table.log())

    def config(self) -> dict[str, Any]:
        """Describe the structure for ``save_model``.

        Returns
        -------
        dict
            The emission, the lexicon and the sizes.

        Raises
        ------
        TypeError
            If the class of the emission is not registered.
        """
        return {
            "emission": describe_model(self.emission),
            "lexicon": self.lexicon,
            "states_per_unit": self.states_per_unit,
            "silence_states": self.silence_states,
            "language_model": self.language_model,
            "silence_prob": self.silence_prob,
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
        WordRecognizer
            With fresh parameters.
        """
        arguments = dict(config)
        return cls(build_model(arguments.pop("emission")), arguments.pop("lexicon"), **arguments)
