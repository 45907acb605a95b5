"""N-gram models of tokens, as state graphs: the denominator of maximum mutual information."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from hmm_core import Graph, stack_graphs
from hmm_models.objectives._token_graph import TokenArcs, _chain, _rows, build_graph
from hmm_models.transitions._topology import Topology

_START, _END = -1, -2
_History = tuple[int, ...]


class TokenNgram:
    r"""N-gram model of token sequences, counted on transcripts.

    .. math:: p(v \mid h) = \frac{n(h, v) + s}{n(h) + s (V + 1)}

    for each token, or the end, after the longest history h of up to n - 1 tokens that the transcripts have.

    Parameters
    ----------
    sequences : sequence of sequences of int
        Transcripts in tokens 0..V-1, each of one token at least.
    num_tokens : int
        V, >= 1.
    order : int, default 3
        n, >= 1.
    smoothing : float, default 0.0
        s >= 0. With 0, only what the transcripts have is possible: the graph stays small, and the transcripts
        must be those that are trained on.

    Raises
    ------
    ValueError
        If a number is out of range or a sequence is empty.

    References
    ----------
    .. [1] D. Povey et al., "Purely sequence-trained neural networks for ASR based on lattice-free MMI",
       Interspeech 2016.

    Examples
    --------
    >>> from hmm_models import phone_topology
    >>> ngram = TokenNgram([[0, 1, 0], [0, 2]], num_tokens=3, order=2)
    >>> round(ngram.log_prob([0, 2]), 4)  # 0 starts; 2 follows one 0 of three; 2 ends
    -1.0986
    >>> graph = ngram.graph(phone_topology(2))
    >>> graph.log_transition.num_states, graph.emission_index
    (6, tensor([0, 1, 2, 3, 4, 5]))
    """

    def __init__(
        self, sequences: Sequence[Sequence[int]], num_tokens: int, order: int = 3, smoothing: float = 0.0
    ) -> None:
        if num_tokens < 1 or order < 1:
            raise ValueError(f"num_tokens and order must be >= 1; got {num_tokens} and {order}")
        if not 0.0 <= smoothing < math.inf:
            raise ValueError(f"smoothing must be >= 0 and finite; got {smoothing}")
        if not sequences or any(not len(row) or min(row) < 0 or max(row) >= num_tokens for row in sequences):
            raise ValueError(f"sequences must hold tokens 0..V-1 = 0..{num_tokens - 1}, one at least in each")
        self.num_tokens = num_tokens
        self.order = order
        self.smoothing = smoothing
        self._counts: dict[_History, Counter[int]] = defaultdict(Counter)
        for row in sequences:
            history: _History = (_START,)
            for token in [*map(int, row), _END]:
                for size in range(min(order, len(history) + 1)):
                    self._counts[history[len(history) - size :]][token] += 1
                history = (*history, token)[-max(order - 1, 1) :]
        self._start = self._longest((_START,))

    def _longest(self, history: _History) -> _History:
        """Return the longest end of a history, n - 1 tokens at most, that was seen."""
        for size in range(min(self.order - 1, len(history)), 0, -1):
            if history[-size:] in self._counts:
                return history[-size:]
        return ()

    def _log_weight(self, history: _History, token: int) -> float:
        """Log-probability of a token, or of the end, after a history that was seen."""
        counts = self._counts[history]
        share = counts[token] + self.smoothing
        total = counts.total() + self.smoothing * (self.num_tokens + 1)
        return math.log(share / total) if share > 0.0 else -math.inf

    def _weights(self, tokens: Sequence[int]) -> list[float]:
        """Log-probability of each token after those before it, and of the end."""
        history, weights = self._start, []
        for token in [*tokens, _END]:
            weights.append(self._log_weight(history, token))
            history = self._longest((*history, token))
        return weights

    def log_prob(self, tokens: Sequence[int]) -> float:
        """Log-probability of a sequence, its end included.

        Parameters
        ----------
        tokens : sequence of int
            0..V-1.

        Returns
        -------
        float
            In nats; ``-inf`` if the model does not have it.
        """
        return sum(self._weights(tokens))

    def graph(self, topologies: Topology | Sequence[Topology], *, dtype: torch.dtype | None = None) -> Graph:
        """Graph of all sequences: a copy of a token's states for each history that it ends.

        Parameters
        ----------
        topologies : Topology or sequence of V Topology
            See ``transcript_graph``.
        dtype : torch.dtype, optional
            Of the weights; torch's default dtype if omitted.

        Returns
        -------
        hmm_core.Graph
            Without a batch axis. Without smoothing it has a copy for each n-gram of n - 1 tokens that the
            transcripts have; with smoothing V arcs leave each copy.

        Raises
        ------
        ValueError
            If there are other topologies than tokens, or one has no ``log_final``.
        """
        self._check_topologies(topologies)
        copies = dict[tuple[int, _History], int]()
        start, step, end = dict[int, float](), dict[tuple[int, int], float](), dict[int, float]()

        def follow(history: _History) -> list[tuple[int, float]]:
            """List the copies that may come after a history; new ones get the next number."""
            found = []
            for token in range(self.num_tokens):
                weight = self._log_weight(history, token)
                if weight > -math.inf:
                    key = token, self._longest((*history, token))
                    found.append((copies.setdefault(key, len(copies)), weight))
            return found

        start.update(follow(self._start))
        here = 0
        while here < len(copies):
            history = list(copies)[here][1]
            step.update({(here, there): weight for there, weight in follow(history)})
            weight = self._log_weight(history, _END)
            if weight > -math.inf:
                end[here] = weight
            here += 1
        return build_graph(TokenArcs([token for token, _ in copies], start, step, end), topologies, dtype)

    def transcript_graph(
        self,
        tokens: Tensor,
        lengths: Tensor | None = None,
        *,
        topologies: Topology | Sequence[Topology],
        dtype: torch.dtype | None = None,
    ) -> Graph:
        """Graphs of some sequences, with the weights that ``graph`` gives to their paths.

        Parameters
        ----------
        tokens, lengths, topologies, dtype
            See ``transcript_graph``.

        Returns
        -------
        hmm_core.Graph
            With a batch axis; its paths are some of those of ``graph``.

        Raises
        ------
        ValueError
            If shapes disagree or a value is out of range.
        """
        self._check_topologies(topologies)
        rows = _rows(tokens, lengths)
        chains = [_chain(row, self._weights(row)) for row in rows]
        return stack_graphs([build_graph(arcs, topologies, dtype) for arcs in chains])

    def _check_topologies(self, topologies: Topology | Sequence[Topology]) -> None:
        """Refuse too many or too few."""
        if not isinstance(topologies, Topology) and len(topologies) != self.num_tokens:
            raise ValueError(
                f"topologies must be one, or V = {self.num_tokens} of them; got {len(topologies)}"
            )
