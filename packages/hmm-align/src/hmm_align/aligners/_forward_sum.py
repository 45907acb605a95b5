"""Alignment learned by summing over all monotonic alignments."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hmm_core import ctc_graph, log_likelihood

from ._arguments import (
    Reduction,
    check_count,
    check_features,
    check_lengths,
    check_positive,
    check_reduction,
    valid,
)
from ._encoder import Encoder, check_pair
from ._monotonic import MonotonicAligner, check_room, token_graph


def beta_binomial_prior(lengths: Tensor, token_lengths: Tensor, scale: float = 1.0) -> Tensor:
    r"""Log-probability of each token at each frame if tokens took about equal times.

    .. math:: \log p(n \mid t) = \log \mathrm{BetaBinomial}
        \bigl(n;\, N - 1,\, \omega (t + 1),\, \omega (T - t) \bigr), \quad n = 0..N-1, \; t = 0..T-1

    Parameters
    ----------
    lengths : Tensor of int64, shape (B,)
        Frames of each sequence.
    token_lengths : Tensor of int64, shape (B,)
        Tokens of each sequence.
    scale : float
        :math:`\omega`, above 0: the larger, the closer to the diagonal.

    Returns
    -------
    Tensor, shape (B, T, N)
        float32, T and N the largest lengths; each frame's probabilities sum to one over its tokens. ``-inf``
        in padding.

    Raises
    ------
    ValueError
        If the shapes disagree, a length is negative or ``scale`` is not above 0.

    References
    ----------
    .. [1] R. Badlani et al., "One TTS alignment to rule them all", ICASSP 2022.

    Examples
    --------
    >>> import torch
    >>> beta_binomial_prior(torch.tensor([3]), torch.tensor([2])).exp()
    tensor([[[0.7500, 0.2500],
             [0.5000, 0.5000],
             [0.2500, 0.7500]]])
    """
    scale = check_positive("scale", scale)
    if lengths.ndim != 1 or lengths.shape != token_lengths.shape:
        raise ValueError(
            "lengths and token_lengths must have one shape (B,); got "
            f"{tuple(lengths.shape)} and {tuple(token_lengths.shape)}"
        )
    if bool((lengths < 0).any()) or bool((token_lengths < 0).any()):
        raise ValueError("lengths and token_lengths must be 0 or more; got a negative one")
    T, N = (int(item.max()) if len(item) else 0 for item in (lengths, token_lengths))
    t = torch.arange(T, device=lengths.device, dtype=torch.float64)[:, None]
    n = torch.arange(N, device=lengths.device, dtype=torch.float64)
    frames, last = lengths.double()[:, None, None], token_lengths.double()[:, None, None] - 1
    used = valid(lengths, T)[..., None] & valid(token_lengths, N)[:, None]
    # Arguments of padding are replaced by ones that the function has.
    a, b = scale * (t + 1), torch.where(used, scale * (frames - t), 1.0)
    rest = torch.where(used, last - n, 0.0)
    choose = torch.lgamma(last.clamp(min=0) + 1) - torch.lgamma(n + 1) - torch.lgamma(rest + 1)
    log_prob = choose + _log_beta(n + a, rest + b) - _log_beta(a, b)
    return torch.where(used, log_prob, -torch.inf).float()


def _log_beta(a: Tensor, b: Tensor) -> Tensor:
    """Logarithm of the beta function."""
    return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)


def forward_sum_loss(
    log_prob: Tensor,
    lengths: Tensor | None = None,
    token_lengths: Tensor | None = None,
    *,
    blank_log_prob: float | None = -1.0,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Negative log-likelihood of all monotonic alignments of tokens and frames.

    .. math:: -\log \sum_A \prod_t p(A(t) \mid x_t)

    over the ways to pass through the tokens in order, each for at least one frame.

    Parameters
    ----------
    log_prob : Tensor, shape (B, T, N)
        Scores of the tokens at each frame, such as log-probabilities.
    lengths, token_lengths : Tensor of int64, shape (B,), optional
        Frames and tokens of each sequence. All if omitted.
    blank_log_prob : float or None
        Score of a blank that may stand before, between and behind the tokens. With it scores are normalised
        at each frame over the tokens and the blank, and the loss is the CTC loss of the paper's code. Without
        it (None) every frame belongs to a token, and scores are taken as they are.
    reduction : {"mean", "sum", "none"}
        Over the sequences; "mean" divides each by its tokens first, as torch's CTC loss does.

    Returns
    -------
    Tensor, shape () or (B,)
        The loss; ``+inf`` with gradient 0 where no path is possible. Differentiable.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If shapes disagree, a length is out of range, or a sequence has more tokens than frames.

    Notes
    -----
    O(B T N) time, by :func:`hmm_core.log_likelihood`.

    References
    ----------
    .. [1] K. J. Shih et al., "RAD-TTS: parallel flow-based TTS with robust alignment learning and diverse
       synthesis", INNF+ 2021.
    .. [2] R. Badlani et al., "One TTS alignment to rule them all", ICASSP 2022.

    Examples
    --------
    Two tokens in three frames, without a blank: the border is after the first frame or after the second.

    >>> import torch
    >>> log_prob = torch.tensor([[[0.9, 0.1], [0.5, 0.5], [0.1, 0.9]]]).log()
    >>> forward_sum_loss(log_prob, blank_log_prob=None, reduction="none").neg().exp()
    tensor([0.8100])
    """
    check_reduction(reduction)
    log_prob = check_features("log_prob", log_prob, "(B, T, N)")
    _, T, N = log_prob.shape
    lengths = check_lengths("lengths", lengths, log_prob, T, "T")
    token_lengths = check_lengths("token_lengths", token_lengths, log_prob, N, "N")
    check_room(lengths, token_lengths, f"log_prob (B, T, N) = {tuple(log_prob.shape)}")
    if N == 0:
        loss = log_prob.sum((1, 2))
    else:
        graph = token_graph(token_lengths, N, log_prob.dtype)
        used = valid(lengths, T)[..., None] & valid(token_lengths, N)[:, None]
        log_prob = torch.where(used, log_prob, -torch.inf)
        if blank_log_prob is not None:
            log_prob = torch.nn.functional.pad(log_prob, (1, 0), value=blank_log_prob).log_softmax(-1)
            tokens = torch.arange(1, N + 1, device=log_prob.device).expand(len(log_prob), N)
            graph = ctc_graph(tokens, token_lengths, dtype=log_prob.dtype)
        loss = -log_likelihood(
            graph.log_initial,
            graph.log_transition,
            log_prob,
            lengths,
            log_final=graph.log_final,
            emission_index=graph.emission_index,
        )
    if reduction == "none":
        return loss
    return (loss / token_lengths.clamp(min=1)).mean() if reduction == "mean" else loss.sum()


def binarization_loss(log_soft: Tensor, hard: Tensor) -> Tensor:
    r"""Divergence of a soft alignment from a hard one: the mean of :math:`-\log` soft where hard is 1.

    Parameters
    ----------
    log_soft : Tensor, shape (B, T, N)
        Log-probabilities of the tokens at each frame.
    hard : Tensor, shape (B, T, N)
        1 where a frame belongs to a token, 0 elsewhere, in padding too.

    Returns
    -------
    Tensor, shape ()
        Kullback-Leibler divergence of the soft distributions from the hard ones, a frame; 0 without frames.

    Raises
    ------
    ValueError
        If the shapes differ.

    References
    ----------
    .. [1] R. Badlani et al., "One TTS alignment to rule them all", ICASSP 2022.

    Examples
    --------
    >>> import torch
    >>> binarization_loss(torch.tensor([[[0.5, 0.5]]]).log(), torch.tensor([[[1.0, 0.0]]]))
    tensor(0.6931)
    """
    if log_soft.shape != hard.shape:
        raise ValueError(
            f"hard must have shape (B, T, N) = {tuple(log_soft.shape)} like log_soft; got {tuple(hard.shape)}"
        )
    chosen = hard > 0
    return -torch.where(chosen, log_soft, 0.0).sum() / chosen.sum().clamp(min=1)


class ForwardSumAlignment(NamedTuple):
    """Soft and hard alignment of a batch.

    Attributes
    ----------
    log_soft : Tensor, shape (B, T, N)
        Log-probability of each token at each frame, prior included; ``-inf`` in padding. Differentiable.
    hard : Tensor, shape (B, T, N)
        The most likely monotonic alignment.
    durations : Tensor of int64, shape (B, N)
        Its frames of each token; they sum to the length of the sequence.
    log_similarity : Tensor, shape (B, T, N)
        Log-probability of each token at each frame without the prior; ``-inf`` in padding. Differentiable.

    Examples
    --------
    >>> import torch
    >>> aligner = ForwardSumAligner(text_dim=4, audio_dim=6)
    >>> result = aligner.align(torch.randn(1, 3, 4), torch.randn(1, 7, 6))
    >>> int(result.durations.sum())
    7
    """

    log_soft: Tensor
    hard: Tensor
    durations: Tensor
    log_similarity: Tensor


class ForwardSumAligner(nn.Module):
    r"""Learns to align text with speech from the pairs alone.

    Convolutions encode tokens and frames; the distribution over tokens at a frame is

    .. math:: \log p(n \mid t) = \log \operatorname{softmax}_n \bigl( -\tau
        \lVert f(x_n) - g(y_t) \rVert^2 \bigr) + \log \mathrm{prior}(n \mid t)

    and the loss sums over all monotonic alignments (:func:`forward_sum_loss`). The hard alignment is the best
    monotonic path (:class:`MonotonicAligner`).

    Parameters
    ----------
    text_dim, audio_dim : int
        Features of a token and of a frame.
    hidden_dim : int
        Features in which they are compared.
    temperature : float
        :math:`\tau`, above 0. The encoders' outputs are normalised to unit variance, so that squared
        distances are about ``2 * hidden_dim``.
    prior_scale : float or None
        Scale of the :func:`beta_binomial_prior`; None for no prior.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    O(B T N) time and memory besides the convolutions. Train with :meth:`loss`; the binarisation term should
    join once the soft alignment has found its shape.

    References
    ----------
    .. [1] R. Badlani et al., "One TTS alignment to rule them all", ICASSP 2022.
    .. [2] K. J. Shih et al., "RAD-TTS: parallel flow-based TTS with robust alignment learning and diverse
       synthesis", INNF+ 2021.

    Examples
    --------
    >>> import torch
    >>> aligner = ForwardSumAligner(text_dim=4, audio_dim=6)
    >>> text, audio = torch.randn(2, 5, 4), torch.randn(2, 12, 6)
    >>> aligner.loss(text, audio).backward()
    >>> aligner.align(text, audio).hard.sum(2).unique()
    tensor([1.])
    """

    def __init__(
        self,
        text_dim: int,
        audio_dim: int,
        *,
        hidden_dim: int = 64,
        temperature: float = 0.1,
        prior_scale: float | None = 1.0,
    ) -> None:
        super().__init__()
        text_dim, audio_dim = check_count("text_dim", text_dim), check_count("audio_dim", audio_dim)
        hidden_dim = check_count("hidden_dim", hidden_dim)
        self.temperature = check_positive("temperature", temperature)
        self.prior_scale = None if prior_scale is None else check_positive("prior_scale", prior_scale)
        self.text_encoder = Encoder(text_dim, hidden_dim)
        self.audio_encoder = Encoder(audio_dim, hidden_dim)
        self._search = MonotonicAligner()

    def forward(
        self,
        text: Tensor,
        audio: Tensor,
        text_lengths: Tensor | None = None,
        audio_lengths: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Compute the distributions over tokens.

        Parameters
        ----------
        text : Tensor, shape (B, N, text_dim)
            Features of the tokens, such as embeddings.
        audio : Tensor, shape (B, T, audio_dim)
            Features of the frames.
        text_lengths, audio_lengths : Tensor of int64, shape (B,), optional
            Tokens and frames of each sequence; what lies behind is never read. All if omitted.

        Returns
        -------
        log_soft, log_similarity : Tensor, shape (B, T, N)
            Log-probabilities with and without the prior; ``-inf`` in padding.

        Raises
        ------
        TypeError
            If an argument has the wrong type.
        ValueError
            If shapes disagree, a length is out of range, or a sequence has more tokens than frames.
        """
        text, audio, text_lengths, audio_lengths = check_pair(text, audio, text_lengths, audio_lengths)
        a = self.text_encoder(text, text_lengths)
        b = self.audio_encoder(audio, audio_lengths)
        distance = a.square().sum(2)[:, None] + b.square().sum(2)[..., None] - 2 * b @ a.transpose(1, 2)
        tokens = valid(text_lengths, text.shape[1])[:, None]
        frames = valid(audio_lengths, audio.shape[1])[..., None]
        used = tokens & frames
        similarity = torch.where(tokens, -self.temperature * distance, -torch.inf)
        # A row of -inf has no softmax.
        log_similarity = torch.where(frames, similarity, 0.0).log_softmax(-1)
        log_soft = log_similarity
        if self.prior_scale is not None and used.numel():
            prior = beta_binomial_prior(audio_lengths, text_lengths, self.prior_scale)
            missing = (0, text.shape[1] - prior.shape[2], 0, audio.shape[1] - prior.shape[1])
            prior = torch.nn.functional.pad(prior, missing).to(log_soft.dtype)
            log_soft = log_similarity + torch.where(used, prior, 0.0)
        return torch.where(used, log_soft, -torch.inf), torch.where(used, log_similarity, -torch.inf)

    def align(
        self,
        text: Tensor,
        audio: Tensor,
        text_lengths: Tensor | None = None,
        audio_lengths: Tensor | None = None,
    ) -> ForwardSumAlignment:
        """Align tokens and frames, softly and hard.

        Parameters
        ----------
        text, audio : Tensor, shape (B, N, text_dim) and (B, T, audio_dim)
            Features of tokens and frames.
        text_lengths, audio_lengths : Tensor of int64, shape (B,), optional
            Tokens and frames of each sequence. All if omitted.

        Returns
        -------
        ForwardSumAlignment
            ``log_soft``, ``hard``, ``durations`` and ``log_similarity``.

        Raises
        ------
        TypeError, ValueError
            As calling the module does.
        """
        log_soft, log_similarity = self(text, audio, text_lengths, audio_lengths)
        hard, durations, _ = self._search.align(log_soft.detach(), audio_lengths, text_lengths)
        return ForwardSumAlignment(log_soft, hard, durations, log_similarity)

    def loss(
        self,
        text: Tensor,
        audio: Tensor,
        text_lengths: Tensor | None = None,
        audio_lengths: Tensor | None = None,
        *,
        binarization_weight: float = 0.0,
        reduction: Reduction = "mean",
    ) -> Tensor:
        """Compute what training minimises: the forward sum, and the divergence from the hard alignment.

        Parameters
        ----------
        text, audio : Tensor, shape (B, N, text_dim) and (B, T, audio_dim)
            Features of tokens and frames.
        text_lengths, audio_lengths : Tensor of int64, shape (B,), optional
            Tokens and frames of each sequence. All if omitted.
        binarization_weight : float
            Weight of :func:`binarization_loss`; 0 leaves it out.
        reduction : {"mean", "sum", "none"}
            Of the forward sum, as in :func:`forward_sum_loss`.

        Returns
        -------
        Tensor, shape () or (B,)
            The loss. Differentiable.

        Raises
        ------
        TypeError, ValueError
            As calling the module does.
        """
        if binarization_weight == 0:
            log_soft, _ = self(text, audio, text_lengths, audio_lengths)
            return forward_sum_loss(log_soft, audio_lengths, text_lengths, reduction=reduction)
        result = self.align(text, audio, text_lengths, audio_lengths)
        loss = forward_sum_loss(result.log_soft, audio_lengths, text_lengths, reduction=reduction)
        return loss + binarization_weight * binarization_loss(result.log_soft, result.hard)
