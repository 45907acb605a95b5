"""CTC and a hidden Markov model over one encoder."""

from typing import NamedTuple

from torch import Tensor

from hmm_core import Graph, ctc_graph
from hmm_models.objectives._mmi import graph_log_likelihood


class JointLoss(NamedTuple):
    """Loss of each sequence, and what it is made of."""

    loss: Tensor
    """Shape (B,): the weighted sum."""
    ctc: Tensor
    """Shape (B,): minus the log-probability of the labels by CTC."""
    hmm: Tensor
    """Shape (B,): minus the log-likelihood of the transcript's graph."""


def ctc_hmm_loss(
    log_prob: Tensor,
    log_emission: Tensor,
    graph: Graph,
    targets: Tensor,
    lengths: Tensor | None = None,
    target_lengths: Tensor | None = None,
    *,
    ctc_weight: float = 0.5,
    blank: int = 0,
    checkpoint: bool = False,
) -> JointLoss:
    r"""Joint loss of CTC and of a hidden Markov model, for end-to-end training of one encoder.

    .. math:: -\lambda \log p_\text{CTC}(\text{labels} \mid x)
        - (1 - \lambda) \log \sum_{z \in \text{graph}} p(z) \prod_t s(x_t, z_t)

    CTC learns which labels there are, and gives them to few frames; the states of the graph cover every
    frame, and tell where the labels lie.

    Parameters
    ----------
    log_prob : Tensor, shape (B, T, V)
        Log-probability of each label and of blank in each frame: ``log_softmax`` of one head.
    log_emission : Tensor, shape (B, T, P)
        Log-score of each density in each frame: of another head, such as the ``log_softmax`` over the states,
        or that divided by priors (``ScaledPosterior``).
    graph : hmm_core.Graph
        States of each transcript, such as ``transcript_graph`` gives them.
    targets : Tensor of int64, shape (B, N)
        Labels of each sequence, none of them ``blank``.
    lengths : Tensor of int64, shape (B,), optional
        Valid frames; all if omitted.
    target_lengths : Tensor of int64, shape (B,), optional
        Labels of each sequence; N if omitted.
    ctc_weight : float, default 0.5
        :math:`\lambda`, in 0..1.
    blank : int, default 0
        The label that stands for no label.
    checkpoint : bool, default False
        See ``graph_log_likelihood``.

    Returns
    -------
    JointLoss
        In nats, ``+inf`` with a zero gradient where the frames are too few. Differentiable.

    Raises
    ------
    ValueError
        If shapes disagree or a value is out of range.

    Notes
    -----
    The CTC part is ``torch.nn.functional.ctc_loss`` with ``reduction="none"``. A part of weight 0 counts
    nothing, whatever it is.

    References
    ----------
    .. [1] A. Graves et al., "Connectionist temporal classification: labelling unsegmented sequence data with
       recurrent neural networks", ICML 2006.
    .. [2] A. Zeyer, E. Beck, R. Schlüter and H. Ney, "CTC in the context of generalized full-sum HMM
       training", Interspeech 2017.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import phone_topology, transcript_graph
    >>> encoder = torch.nn.Linear(5, 16)
    >>> labels, states = torch.nn.Linear(16, 4), torch.nn.Linear(16, 6)  # blank and 3 tokens; 2 states each
    >>> x, tokens = torch.randn(2, 12, 5), torch.tensor([[0, 2], [1, 1]])
    >>> hidden = encoder(x).tanh()
    >>> loss = ctc_hmm_loss(
    ...     labels(hidden).log_softmax(-1),
    ...     states(hidden).log_softmax(-1),
    ...     transcript_graph(tokens, topologies=phone_topology(2)),
    ...     tokens + 1,
    ... ).loss
    >>> loss.shape
    torch.Size([2])
    """
    if not 0.0 <= ctc_weight <= 1.0:
        raise ValueError(f"ctc_weight must be in 0..1; got {ctc_weight}")
    labels = ctc_graph(targets, target_lengths, blank=blank)
    ctc = -graph_log_likelihood(labels, log_prob, lengths, checkpoint=checkpoint)
    hmm = -graph_log_likelihood(graph, log_emission, lengths, checkpoint=checkpoint)
    parts = [weight * part for weight, part in ((ctc_weight, ctc), (1.0 - ctc_weight, hmm)) if weight]
    return JointLoss(sum(parts[1:], parts[0]), ctc, hmm)
