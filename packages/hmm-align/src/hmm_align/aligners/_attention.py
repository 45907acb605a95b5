"""Attention that aligns: several heads, aware of where they were, and bound to go forwards."""

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn

from hmm_core import forward as forward_recursion

from ._arguments import check_count, check_positive, valid
from ._encoder import Encoder, check_pair
from ._monotonic import MonotonicAligner, MonotonicAlignment, token_graph

Monotonic = Literal["forward", "stepwise"]

# Stands for a probability of 0 whose logarithm is taken: no energy makes up for it.
_NOTHING = 1e-20


class AttentionResult(NamedTuple):
    """Weights of an attention, and what it makes of the text.

    Attributes
    ----------
    attention : Tensor, shape (B, T, N)
        Weight of each token at each frame, the mean over the heads; sums to 1 over the tokens, 0 in padding.
    heads : Tensor, shape (B, H, T, N)
        The same for each head.
    reconstruction : Tensor, shape (B, T, audio_dim)
        What the attended tokens say the frame is.

    Examples
    --------
    >>> import torch
    >>> result = AttentionAligner(text_dim=4, audio_dim=6)(torch.randn(1, 3, 4), torch.randn(1, 8, 6))
    >>> result.attention.shape, result.reconstruction.shape
    (torch.Size([1, 8, 3]), torch.Size([1, 8, 6]))
    """

    attention: Tensor
    heads: Tensor
    reconstruction: Tensor


def guided_attention_loss(
    attention: Tensor,
    lengths: Tensor,
    token_lengths: Tensor,
    *,
    sigma: float = 0.2,
) -> Tensor:
    r"""Attention far from the diagonal.

    .. math:: \frac{1}{BT} \sum_{t, n} A_{tn} \Bigl(1 -
        \exp\bigl(-(n / N - t / T)^2 / (2 \sigma^2) \bigr) \Bigr)

    Parameters
    ----------
    attention : Tensor, shape (B, T, N)
        Weights of the tokens at each frame, 0 in padding.
    lengths, token_lengths : Tensor of int64, shape (B,)
        Frames and tokens of each sequence.
    sigma : float
        Width of the diagonal, above 0, as a share of the sequence.

    Returns
    -------
    Tensor, shape ()
        Mean over the frames of all sequences, 0..1; 0 without frames. Differentiable.

    Raises
    ------
    ValueError
        If ``sigma`` is not above 0.

    References
    ----------
    .. [1] H. Tachibana, K. Uenoyama and S. Aihara, "Efficiently trainable text-to-speech system based on deep
       convolutional networks with guided attention", ICASSP 2018.

    Examples
    --------
    >>> import torch
    >>> lengths = torch.tensor([4])
    >>> guided_attention_loss(torch.eye(4)[None], lengths, lengths)
    tensor(0.)
    >>> guided_attention_loss(torch.eye(4).flip(0)[None], lengths, lengths) > 0.5
    tensor(True)
    """
    sigma = check_positive("sigma", sigma)
    _, T, N = attention.shape
    t = torch.arange(T, device=attention.device) / lengths.clamp(min=1)[:, None]
    n = torch.arange(N, device=attention.device) / token_lengths.clamp(min=1)[:, None]
    far = 1 - torch.exp(-(n[:, None] - t[..., None]).square() / (2 * sigma * sigma))
    used = valid(lengths, T)[..., None] & valid(token_lengths, N)[:, None]
    return torch.where(used, attention * far.to(attention.dtype), 0.0).sum() / lengths.sum().clamp(min=1)


class AttentionAligner(nn.Module):
    r"""Learns to attend to the token that each frame is about, by predicting the frame from it.

    The energy of token n at frame t is, in each head,

    .. math:: e_{tn} = v^\top \tanh(W q_t + V k_n + U f_{tn} + b),

    where :math:`f_t` are convolutions of the weights at the frame before and of their sum over all frames
    before (location-sensitive attention [1]_). The weights :math:`\alpha_t` follow from the energies and from
    where attention was:

    ==============  ==================================================================================
    ``"forward"``   :math:`\alpha_{tn} \propto (\alpha_{t-1,n} + \alpha_{t-1,n-1})
                    \operatorname{softmax}_n(e_t)`: forward attention [2]_, the forward recursion of a
                    chain of tokens
    ``"stepwise"``  :math:`\alpha_{tn} = \alpha_{t-1,n} \, p_{tn} + \alpha_{t-1,n-1} (1 - p_{t,n-1})`
                    with :math:`p = \sigma(e)`, the chance to stay [3]_
    None            :math:`\alpha_{tn} = \operatorname{softmax}_n(e_t)`
    ==============  ==================================================================================

    The first two start at the first token. A hard alignment is the best monotonic path through the weights
    (:class:`MonotonicAligner`).

    Parameters
    ----------
    text_dim, audio_dim : int
        Features of a token and of a frame.
    num_heads : int
        Attentions side by side, each with parameters of its own; their mean is what aligns.
    attention_dim : int
        Size of the vectors of which energies are made, in each head.
    location_channels : int
        Convolutions of earlier weights; 0 for an attention that does not know where it was.
    location_kernel : int
        Tokens that such a convolution sees, an odd number.
    monotonic : {"forward", "stepwise"} or None
        How weights follow each other.

    Raises
    ------
    ValueError
        If an argument is unknown or out of range.

    Notes
    -----
    A frame depends on the one before: T steps of O(B H N attention_dim) in Python. Without location the
    energies of all frames are computed at once, and forward attention is :func:`hmm_core.forward`.

    References
    ----------
    .. [1] J. Chorowski, D. Bahdanau, D. Serdyuk, K. Cho and Y. Bengio, "Attention-based models for speech
       recognition", NeurIPS 2015.
    .. [2] J.-X. Zhang, Z.-H. Ling and L.-R. Dai, "Forward attention in sequence-to-sequence acoustic modeling
       for speech synthesis", ICASSP 2018.
    .. [3] M. He, Y. Deng and L. He, "Robust sequence-to-sequence acoustic modeling with stepwise monotonic
       attention for neural TTS", Interspeech 2019.
    .. [4] A. Vaswani et al., "Attention is all you need", NeurIPS 2017 (several heads).

    Examples
    --------
    >>> import torch
    >>> aligner = AttentionAligner(text_dim=4, audio_dim=6)
    >>> text, audio = torch.randn(2, 5, 4), torch.randn(2, 12, 6)
    >>> aligner.loss(text, audio).backward()
    >>> aligner.align(text, audio).durations.sum(1)
    tensor([12, 12])
    """

    def __init__(
        self,
        text_dim: int,
        audio_dim: int,
        *,
        num_heads: int = 2,
        attention_dim: int = 16,
        location_channels: int = 4,
        location_kernel: int = 11,
        monotonic: Monotonic | None = "forward",
    ) -> None:
        super().__init__()
        text_dim, audio_dim = check_count("text_dim", text_dim), check_count("audio_dim", audio_dim)
        self.num_heads = check_count("num_heads", num_heads)
        size = self.num_heads * check_count("attention_dim", attention_dim)
        if type(location_channels) is not int or location_channels < 0:
            raise ValueError(f"location_channels must be an integer of 0 or more; got {location_channels!r}")
        if check_count("location_kernel", location_kernel) % 2 == 0:
            raise ValueError(f"location_kernel must be odd; got {location_kernel}")
        if monotonic is not None and monotonic not in get_args(Monotonic):
            raise ValueError(f'monotonic must be "forward", "stepwise" or None; got {monotonic!r}')
        self.monotonic = monotonic
        self.text_encoder = Encoder(text_dim, size)
        self.audio_encoder = Encoder(audio_dim, size)
        self.bias = nn.Parameter(torch.zeros(size))
        self.energy = nn.Parameter(torch.randn(self.num_heads, attention_dim) / attention_dim**0.5)
        self.location: nn.Sequential | None = None
        if location_channels:
            self.location = nn.Sequential(
                nn.Conv1d(2, location_channels, location_kernel, padding=location_kernel // 2, bias=False),
                nn.Conv1d(location_channels, attention_dim, 1, bias=False),
            )
        self.speak = nn.Linear(size, audio_dim)
        self._search = MonotonicAligner()

    def forward(
        self,
        text: Tensor,
        audio: Tensor,
        text_lengths: Tensor | None = None,
        audio_lengths: Tensor | None = None,
    ) -> AttentionResult:
        """Attend to the tokens, frame by frame.

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
        AttentionResult
            ``attention``, ``heads`` and ``reconstruction``.

        Raises
        ------
        TypeError
            If an argument has the wrong type.
        ValueError
            If shapes disagree, a length is out of range, or a sequence has more tokens than frames.
        """
        text, audio, text_lengths, audio_lengths = check_pair(text, audio, text_lengths, audio_lengths)
        (B, N, _), T, (H, A) = text.shape, audio.shape[1], self.energy.shape
        encoded = self.text_encoder(text, text_lengths)
        keys = encoded.view(B, N, H, A).transpose(1, 2)
        queries = (self.audio_encoder(audio, audio_lengths) + self.bias).view(B, T, H, A)
        queries = queries.transpose(1, 2)
        tokens = valid(text_lengths, N)[:, None]
        # Every row needs a token for its softmax; rows of nothing are dropped below.
        tokens = tokens | (torch.arange(N, device=text.device) == 0)
        if N == 0 or T == 0:
            heads = queries.new_zeros(B, H, T, N)
        elif self.location is None:
            heads = self._all_at_once(queries, keys, tokens, text_lengths)
        else:
            heads = self._step_by_step(queries, keys, tokens, text_lengths)
        used = valid(audio_lengths, T)[:, None, :, None] & valid(text_lengths, N)[:, None, None]
        heads = torch.where(used, heads, 0.0)
        attention = heads.mean(1)
        return AttentionResult(attention, heads, attention @ self.speak(encoded))

    def _energies(self, summed: Tensor, tokens: Tensor) -> Tensor:
        """Energies (..., N) of what is inside the tanh, (..., N, A); ``-inf`` in padding."""
        energy = torch.einsum("bh...a,ha->bh...", torch.tanh(summed), self.energy)
        return torch.where(tokens, energy, -torch.inf)

    def _all_at_once(self, queries: Tensor, keys: Tensor, tokens: Tensor, text_lengths: Tensor) -> Tensor:
        """Weights (B, H, T, N) of an attention that does not know where it was."""
        B, H, T, _ = queries.shape
        N = keys.shape[2]
        energy = self._energies(queries[:, :, :, None] + keys[:, :, None], tokens[:, None])
        if self.monotonic is None:
            return energy.softmax(-1)
        if self.monotonic == "stepwise":
            return torch.stack(self._stepwise(energy.unbind(2), text_lengths), 2)
        graph = token_graph(text_lengths.repeat_interleave(H), N, energy.dtype)
        found = forward_recursion(
            graph.log_initial,
            graph.log_transition,
            energy.log_softmax(-1).reshape(B * H, T, N),
            emission_index=graph.emission_index,
        )
        return found.log_alpha.softmax(-1).view(B, H, T, N)

    def _step_by_step(self, queries: Tensor, keys: Tensor, tokens: Tensor, text_lengths: Tensor) -> Tensor:
        """Weights (B, H, T, N) of an attention that knows where it was."""
        assert self.location is not None  # noqa: S101  (for mypy: the caller asks)
        B, H, N, A = keys.shape
        weight = self._start(keys)
        total = torch.zeros_like(weight)
        found: list[Tensor] = []
        for query in queries.unbind(2):
            before = torch.stack((weight, total), 2).view(B * H, 2, N)
            place = self.location(before).view(B, H, A, N).transpose(2, 3)
            energy = self._energies(query[:, :, None] + keys + place, tokens)
            if self.monotonic is None:
                weight = energy.softmax(-1)
            elif found and self.monotonic == "stepwise":
                weight = self._advance(weight, energy, text_lengths)
            elif found:
                reached = weight + torch.nn.functional.pad(weight[..., :-1], (1, 0))
                weight = (energy + reached.clamp(min=_NOTHING).log()).softmax(-1)
            total = total + weight
            found.append(weight)
        return torch.stack(found, 2)

    @staticmethod
    def _start(keys: Tensor) -> Tensor:
        """All weight (B, H, N) on the first token."""
        return torch.nn.functional.pad(keys.new_ones(*keys.shape[:2], 1), (0, keys.shape[2] - 1))

    def _stepwise(self, energies: tuple[Tensor, ...], text_lengths: Tensor) -> list[Tensor]:
        """Weights of every frame, of energies that are known beforehand."""
        weight = self._start(energies[0][..., None])
        found = [weight]
        for energy in energies[1:]:
            weight = self._advance(weight, energy, text_lengths)
            found.append(weight)
        return found

    @staticmethod
    def _advance(weight: Tensor, energy: Tensor, text_lengths: Tensor) -> Tensor:
        """Stay with the chance that the energies say, or move on; nothing leaves the last token."""
        last = torch.arange(energy.shape[-1], device=energy.device) >= (text_lengths - 1)[:, None, None]
        stay = torch.where(last, 1.0, energy.sigmoid())
        moved = weight * (1 - stay)
        return weight * stay + torch.nn.functional.pad(moved[..., :-1], (1, 0))

    def loss(
        self,
        text: Tensor,
        audio: Tensor,
        text_lengths: Tensor | None = None,
        audio_lengths: Tensor | None = None,
        *,
        guided_weight: float = 1.0,
        sigma: float = 0.2,
    ) -> Tensor:
        """Compute what training minimises: how far reconstruction and diagonal are missed.

        Parameters
        ----------
        text, audio : Tensor, shape (B, N, text_dim) and (B, T, audio_dim)
            Features of tokens and frames; the latter of about unit variance, for the weights to fit.
        text_lengths, audio_lengths : Tensor of int64, shape (B,), optional
            Tokens and frames of each sequence. All if omitted.
        guided_weight : float
            Weight of :func:`guided_attention_loss`; 0 leaves it out.
        sigma : float
            Width of its diagonal.

        Returns
        -------
        Tensor, shape ()
            Mean squared error of the reconstruction, and the weighted loss of the heads. Differentiable.

        Raises
        ------
        TypeError, ValueError
            As calling the module does.
        """
        text, audio, text_lengths, audio_lengths = check_pair(text, audio, text_lengths, audio_lengths)
        result = self(text, audio, text_lengths, audio_lengths)
        read = valid(audio_lengths, audio.shape[1])[..., None]
        error = torch.where(read, result.reconstruction - audio, 0.0).square().sum()
        loss = error / (audio_lengths.sum().clamp(min=1) * audio.shape[2])
        if guided_weight:
            H = self.num_heads
            guided = guided_attention_loss(
                result.heads.flatten(0, 1),
                audio_lengths.repeat_interleave(H),
                text_lengths.repeat_interleave(H),
                sigma=sigma,
            )
            loss = loss + guided_weight * guided
        return loss

    def align(
        self,
        text: Tensor,
        audio: Tensor,
        text_lengths: Tensor | None = None,
        audio_lengths: Tensor | None = None,
    ) -> MonotonicAlignment:
        """Find the best monotonic path through the attention's weights.

        Parameters
        ----------
        text, audio : Tensor, shape (B, N, text_dim) and (B, T, audio_dim)
            Features of tokens and frames.
        text_lengths, audio_lengths : Tensor of int64, shape (B,), optional
            Tokens and frames of each sequence. All if omitted.

        Returns
        -------
        MonotonicAlignment
            ``alignment`` (B, T, N), ``durations`` and ``log_score``.

        Raises
        ------
        TypeError, ValueError
            As calling the module does.
        """
        attention = self(text, audio, text_lengths, audio_lengths).attention.detach()
        # A token without any weight can still be passed through.
        return self._search.align(attention.clamp(min=_NOTHING).log(), audio_lengths, text_lengths)
