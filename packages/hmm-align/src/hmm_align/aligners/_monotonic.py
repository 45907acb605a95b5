"""Monotonic alignment search: every token in order, each at least one frame."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from hmm_core import Graph, Sparse, linear_graph, viterbi

from ._arguments import check_features, check_lengths, refuse, valid


class MonotonicAlignment(NamedTuple):
    """Which frames belong to which token.

    Attributes
    ----------
    alignment : Tensor, shape (B, T, N) or (B, N, T)
        1 where the frame belongs to the token, 0 elsewhere; axes as in the scores that were aligned.
    durations : Tensor of int64, shape (B, N)
        Frames of each token; they sum to the length of the sequence. 0 for padded tokens, and for all where
        there is no path.
    log_score : Tensor, shape (B,)
        Sum of the scores on the path, ``-inf`` where there is none. Differentiable.

    Examples
    --------
    >>> import torch
    >>> result = MonotonicAligner().align(torch.tensor([[[0.0, -9.0], [0.0, -9.0], [-9.0, 0.0]]]))
    >>> result.durations
    tensor([[2, 1]])
    """

    alignment: Tensor
    durations: Tensor
    log_score: Tensor


class MonotonicAligner:
    r"""Monotonic alignment search: the best way to give each frame to a token, all tokens in order.

    .. math:: \hat A = \operatorname*{argmax}_A \sum_t \log p(x_t \mid A(t)), \quad A(1) = 1, \;
        A(T) = N, \; A(t + 1) - A(t) \in \{0, 1\}

    Parameters
    ----------
    axes : {"BTN", "BNT"}
        Order of the axes of the scores and of the alignment: batch, frames, tokens, or batch, tokens, frames
        as in Glow-TTS. Nothing in a table says which of its axes is time; ask for what you have.

    Raises
    ------
    ValueError
        If ``axes`` is neither.

    Notes
    -----
    O(B T N) time; the path is :func:`hmm_core.viterbi`'s through :func:`hmm_core.linear_graph`. Where two
    paths score the same, the one that leaves a token later wins.

    References
    ----------
    .. [1] J. Kim, S. Kim, J. Kong and S. Yoon, "Glow-TTS: a generative flow for text-to-speech via monotonic
       alignment search", NeurIPS 2020, algorithm 1.

    Examples
    --------
    Three frames of the first token and one of the second:

    >>> import torch
    >>> log_prob = torch.tensor([[[-1.0, -5.0], [-1.0, -5.0], [-2.0, -3.0], [-6.0, -1.0]]])
    >>> alignment, durations, log_score = MonotonicAligner().align(log_prob)
    >>> durations, log_score
    (tensor([[3, 1]]), tensor([-5.]))
    """

    def __init__(self, axes: Literal["BTN", "BNT"] = "BTN") -> None:
        if axes not in {"BTN", "BNT"}:
            raise ValueError(f'axes must be "BTN" or "BNT"; got {axes!r}')
        self.axes = axes

    def align(
        self, log_prob: Tensor, lengths: Tensor | None = None, token_lengths: Tensor | None = None
    ) -> MonotonicAlignment:
        """Find the best monotonic alignment of each sequence.

        Parameters
        ----------
        log_prob : Tensor, shape (B, T, N), or (B, N, T) with ``axes="BNT"``
            Score of each frame under each token, such as its log-density; ``-inf`` forbids it.
        lengths : Tensor of int64, shape (B,), optional
            Frames of each sequence, 0..T. All if omitted.
        token_lengths : Tensor of int64, shape (B,), optional
            Tokens of each sequence, 0..N. All if omitted.

        Returns
        -------
        MonotonicAlignment
            ``alignment``, ``durations`` and ``log_score``.

        Raises
        ------
        TypeError
            If an argument has the wrong type.
        ValueError
            If shapes disagree, a length is out of range, a score that is read is NaN or ``+inf``, or a
            sequence has more tokens than frames, or frames and no token.
        """
        letters = f"({', '.join(self.axes)})"
        given = check_features("log_prob", log_prob, letters)
        shape = tuple(given.shape)
        log_prob = self._turned(given)
        B, T, N = log_prob.shape
        lengths = check_lengths("lengths", lengths, log_prob, T, "T")
        token_lengths = check_lengths("token_lengths", token_lengths, log_prob, N, "N")
        check_room(lengths, token_lengths, f"log_prob {letters} = {shape}")
        read = valid(lengths, T)[..., None] & valid(token_lengths, N)[:, None]
        wrong = self._turned(read & (log_prob.isnan() | (log_prob == torch.inf)))
        refuse("log_prob", wrong, given, "must be a number below +inf")
        if N == 0:
            return MonotonicAlignment(
                log_prob.new_zeros(shape), lengths.new_zeros(B, 0), log_prob.new_zeros(B)
            )
        graph = token_graph(token_lengths, N, log_prob.dtype)
        path = viterbi(
            graph.log_initial,
            graph.log_transition,
            torch.where(read, log_prob, -torch.inf),
            lengths,
            log_final=graph.log_final,
            emission_index=graph.emission_index,
        )
        # Frames without a token go to one more than there are, which is cut off.
        token = torch.where(path.states < 0, N, path.states)
        alignment = torch.nn.functional.one_hot(token, N + 1)[..., :N]
        durations = alignment.sum(1)
        return MonotonicAlignment(self._turned(alignment).to(log_prob.dtype), durations, path.log_score)

    def _turned(self, table: Tensor) -> Tensor:
        """Return a table in the given order of axes from one in (B, T, N), or back."""
        return table if self.axes == "BTN" else table.transpose(1, 2)


def token_graph(token_lengths: Tensor, N: int, dtype: torch.dtype) -> Graph:
    """Return the chain of each sequence's tokens, every arc of weight 1.

    A sequence without tokens gets one: it has no frames that could go through it.
    """
    tokens = torch.arange(N, device=token_lengths.device).expand(len(token_lengths), N)
    graph = linear_graph(tokens, token_lengths.clamp(min=1), dtype=dtype)
    arcs = graph.log_transition
    weight = torch.zeros_like(arcs.log_weight)
    final = torch.where(graph.log_final > -torch.inf, 0.0, graph.log_final)
    return Graph(graph.log_initial, Sparse(arcs.predecessors, weight), final, graph.emission_index)


def check_room(lengths: Tensor, token_lengths: Tensor, what: str) -> None:
    """Refuse a sequence whose tokens cannot all have a frame, or whose frames have no token."""
    for number, (frames, tokens) in enumerate(zip(lengths.tolist(), token_lengths.tolist(), strict=True)):
        if tokens > frames:
            raise ValueError(
                f"every token must have a frame, but item {number} of the batch has {tokens} tokens and "
                f"{frames} frames; got {what}: are its axes in this order?"
            )
        if frames and not tokens:
            raise ValueError(
                f"frames must belong to a token, but item {number} of the batch has {frames} frames and no "
                f"token; got {what}"
            )
