"""Maximum mutual information: the right paths against all paths."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

import hmm_core
from hmm_core import Graph
from hmm_models._numerics import logsumexp
from hmm_models.models._sequence_model import SequenceModel
from hmm_models.objectives._ngram import TokenNgram
from hmm_models.transitions._topology import Topology


def graph_log_likelihood(
    graph: Graph, log_emission: Tensor, lengths: Tensor | None = None, *, checkpoint: bool = False
) -> Tensor:
    """Log-likelihood of scores of frames under a graph, wherever it lives.

    Parameters
    ----------
    graph : hmm_core.Graph
        With a batch axis or without; moved to the device and dtype of the scores.
    log_emission : Tensor, shape (B, T, P)
        Score of each density. float16 and bfloat16, as autocast gives them, are computed in float32.
    lengths : Tensor of int64, shape (B,), optional
        Valid frames; all if omitted.
    checkpoint : bool, default False
        Compute forward messages again for the gradient instead of keeping them, see
        ``hmm_core.log_likelihood``.

    Returns
    -------
    Tensor, shape (B,)
        In nats, ``-inf`` without a path. Differentiable.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import phone_topology, transcript_graph
    >>> graph = transcript_graph(torch.tensor([[1, 0]]), topologies=phone_topology(1, 0.5))
    >>> graph_log_likelihood(graph, torch.zeros(1, 2, 2)).exp()
    tensor([0.2500])
    """
    if log_emission.dtype in {torch.float16, torch.bfloat16}:
        log_emission = log_emission.float()
    device, dtype = log_emission.device, log_emission.dtype
    return hmm_core.log_likelihood(
        graph.log_initial.to(log_emission),
        graph.log_transition.to(device, dtype),
        log_emission,
        lengths,
        log_final=graph.log_final.to(log_emission),
        emission_index=graph.emission_index.to(device),
        checkpoint=checkpoint,
    )


def mmi(
    log_emission: Tensor,
    numerator: Graph,
    denominator: Graph,
    lengths: Tensor | None = None,
    *,
    boost: float = 0.0,
    checkpoint: bool = False,
) -> Tensor:
    r"""Log-posterior of the right paths, to be maximised.

    .. math:: \log p(x, \text{numerator}) - \log p(x, \text{denominator})

    Parameters
    ----------
    log_emission : Tensor, shape (B, T, P)
        Score of each density in each frame, such as the output of a network.
    numerator : hmm_core.Graph
        The paths of the transcript, such as ``TokenNgram.transcript_graph``.
    denominator : hmm_core.Graph
        All paths, such as ``TokenNgram.graph``. Where it has those of the numerator with the same weights,
        the result is <= 0.
    lengths : Tensor of int64, shape (B,), optional
        Valid frames; all if omitted.
    boost : float, default 0.0
        b >= 0 of boosted MMI: in the denominator, each density loses b times its posterior in the numerator,
        so that a margin grows with the number of frames that a path has wrong [2]_. The result is then at
        most b T.
    checkpoint : bool, default False
        See ``graph_log_likelihood``.

    Returns
    -------
    Tensor, shape (B,)
        ``-inf`` with a zero gradient where the numerator has no path. Differentiable.

    Raises
    ------
    ValueError
        If shapes disagree or ``boost`` is out of range.

    Notes
    -----
    The gradient for a density in a frame is the difference of its two posteriors, within -1..1 however long
    the sequence is: nothing needs clipping, and the recursions, exact in log space, need no leaky states.

    References
    ----------
    .. [1] D. Povey et al., "Purely sequence-trained neural networks for ASR based on lattice-free MMI",
       Interspeech 2016.
    .. [2] D. Povey et al., "Boosted MMI for model and feature-space discriminative training", ICASSP 2008.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import TokenNgram, phone_topology
    >>> ngram, phone = TokenNgram([[0, 1], [1, 1, 0]], num_tokens=2, order=2), phone_topology(1)
    >>> tokens = torch.tensor([[0, 1]])
    >>> scores = torch.zeros(1, 6, 2, requires_grad=True)
    >>> numerator = ngram.transcript_graph(tokens, topologies=phone)
    >>> value = mmi(scores, numerator, ngram.graph(phone))
    >>> bool(value < 0)
    True
    >>> torch.autograd.grad(value.sum(), scores)[0].sum(
    ...     -1
    ... ).abs().max() < 1e-6  # posteriors against posteriors
    tensor(True)
    """
    if not 0.0 <= boost < float("inf"):
        raise ValueError(f"boost must be >= 0 and finite; got {boost}")
    right = graph_log_likelihood(numerator, log_emission, lengths, checkpoint=checkpoint)
    scores = log_emission
    if boost:
        scores = scores - boost * _posterior(numerator, log_emission, lengths)
    everything = graph_log_likelihood(denominator, scores, lengths, checkpoint=checkpoint)
    possible = (right > -torch.inf) & (everything > -torch.inf)
    gain = torch.where(possible, right, 0.0) - torch.where(possible, everything, 0.0)
    return torch.where(possible, gain, -torch.inf)


def _posterior(graph: Graph, log_emission: Tensor, lengths: Tensor | None) -> Tensor:
    """Probability (B, T, P) of each density in each frame, a constant: what would come of -inf stays 0."""
    with torch.enable_grad():
        leaf = log_emission.detach().requires_grad_()
        total = graph_log_likelihood(graph, leaf, lengths)
        return torch.autograd.grad(total.sum(), leaf)[0].to(log_emission)


class MMI:
    """Objective of ``fit_sgd``: lattice-free maximum mutual information against an n-gram of tokens.

    The model gives the densities of the states, ``ngram`` and ``topologies`` everything else: the model's own
    starts and steps are not used. ``fit_sgd`` is given ``tokens`` (B, N) and ``token_lengths`` (B,) beside
    the data.

    Parameters
    ----------
    ngram : TokenNgram
        Which tokens follow each other.
    topologies : Topology or sequence of Topology
        See ``transcript_graph``.
    boost : float, default 0.0
        See ``mmi``.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import GaussianHMM, TokenNgram, phone_topology
    >>> ngram = TokenNgram([[0, 1], [1, 0]], num_tokens=2, order=2)
    >>> objective = MMI(ngram, phone_topology(1))
    >>> model, x = GaussianHMM(2, 3), torch.randn(4, 20, 3)
    >>> tokens = torch.tensor([[0, 1], [1, 0], [0, 1], [1, 0]])
    >>> result = model.fit_sgd(x, objective=objective, tokens=tokens, max_epochs=5)
    >>> result.log_likelihood[0] < result.log_likelihood[-1] <= 0
    True
    """

    def __init__(
        self, ngram: TokenNgram, topologies: Topology | Sequence[Topology], boost: float = 0.0
    ) -> None:
        self.ngram = ngram
        self.topologies = topologies
        self.boost = boost
        self.denominator = ngram.graph(topologies, dtype=torch.float64)

    def __call__(
        self,
        model: SequenceModel,
        x: Tensor,
        lengths: Tensor | None = None,
        *,
        tokens: Tensor,
        token_lengths: Tensor | None = None,
        checkpoint: bool = False,
        **data: Tensor | None,
    ) -> Tensor:
        """Value (B,) to be maximised.

        Parameters
        ----------
        model : SequenceModel
            Whose ``log_emission`` gives the scores.
        x, lengths, **data
            The data, see ``SequenceModel``.
        tokens : Tensor of int64, shape (B, N)
            Transcripts.
        token_lengths : Tensor of int64, shape (B,), optional
            Tokens of each; N if omitted.
        checkpoint : bool, default False
            See ``mmi``.

        Returns
        -------
        Tensor, shape (B,)
            See ``mmi``.

        Raises
        ------
        ValueError
            If shapes disagree or a value is out of range.
        """
        numerator = self.ngram.transcript_graph(
            tokens, token_lengths, topologies=self.topologies, dtype=torch.float64
        )
        scores = model.log_emission(x, lengths, **data)
        return mmi(scores, numerator, self.denominator, lengths, boost=self.boost, checkpoint=checkpoint)


def conditional_log_likelihood(
    models: Sequence[SequenceModel],
    x: Tensor,
    labels: Tensor,
    lengths: Tensor | None = None,
    *,
    log_prior: Tensor | None = None,
    **data: Any,  # noqa: ANN401  (what log_likelihood takes)
) -> Tensor:
    r"""Log-probability that the right one of several models produced each sequence, to be maximised.

    .. math:: \log p(c \mid x) = \log p(x \mid c) p(c) - \log \sum_{c'} p(x \mid c') p(c')

    Parameters
    ----------
    models : sequence of SequenceModel
        One for each of C classes, such as words.
    x, lengths, **data
        The data, see ``SequenceModel``.
    labels : Tensor of int64, shape (B,)
        The right class of each sequence.
    log_prior : Tensor, shape (C,), optional
        Log-probability of each class; all alike if omitted.

    Returns
    -------
    Tensor, shape (B,)
        <= 0; ``-inf`` with a zero gradient where the right model has no path. Differentiable.

    Raises
    ------
    ValueError
        If there is no model, or shapes disagree.

    References
    ----------
    .. [1] L. R. Bahl et al., "Maximum mutual information estimation of hidden Markov model parameters for
       speech recognition", ICASSP 1986.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import GaussianHMM
    >>> words = torch.nn.ModuleList(GaussianHMM(2, 3) for _ in range(4))
    >>> x, labels = torch.randn(6, 15, 3), torch.tensor([0, 1, 2, 3, 0, 1])
    >>> loss = -conditional_log_likelihood(words, x, labels).mean()
    >>> loss.backward()
    """
    if not len(models):
        raise ValueError("models must hold one model at least; got none")
    scores = torch.stack([model.log_likelihood(x, lengths, **data) for model in models], -1)
    if labels.shape != scores.shape[:1]:
        raise ValueError(
            f"labels must have shape (B,) = {tuple(scores.shape[:1])}; got {tuple(labels.shape)}"
        )
    if log_prior is not None:
        scores = scores + log_prior.to(scores)
    right = scores.gather(-1, labels.to(scores.device).unsqueeze(-1)).squeeze(-1)
    possible = right > -torch.inf
    gain = torch.where(possible, right, 0.0) - torch.where(possible, logsumexp(scores), 0.0)
    return torch.where(possible, gain, -torch.inf)
