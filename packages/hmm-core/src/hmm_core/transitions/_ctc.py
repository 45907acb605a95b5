"""The graph of connectionist temporal classification."""

import torch
from torch import Tensor

from hmm_core._tracing import values_are_readable
from hmm_core.transitions._builders import Graph
from hmm_core.transitions._sparse import Sparse


def ctc_graph(
    targets: Tensor,
    target_lengths: Tensor | None = None,
    *,
    blank: int = 0,
    dtype: torch.dtype | None = None,
) -> Graph:
    r"""Graph of all ways to spread labels over frames, with blanks between them (CTC).

    The states are blank, label 1, blank, label 2, ..., label N, blank. A state repeats, moves on to the
    next one, or skips a blank between two different labels; a path starts in one of the first two states
    and ends in one of the last two. All weights are 1, so that the log-likelihood is that of the labels,

    .. math:: \log p(\text{labels} \mid x) = \log \sum_{\pi \in \mathcal B^{-1}(\text{labels})}
        \prod_t p(\pi_t \mid x_t)

    Parameters
    ----------
    targets : Tensor of int64, shape (B, N) or (N,)
        Labels of each sequence, 0..P-1 and not ``blank``; N may be 0. What lies behind a length is never
        read.
    target_lengths : Tensor of int64, shape (B,), optional
        Labels of each sequence, 0..N; N if omitted. Only with a batch.
    blank : int
        The label that stands for no label, at least 0.
    dtype : torch.dtype, optional
        Of the weights; torch's default dtype if omitted.

    Returns
    -------
    Graph
        K = 2N + 1 states with R = 3 slots, with a batch axis if ``targets`` has one. Even states read
        ``blank``, odd ones a label.

    Raises
    ------
    TypeError
        If ``targets`` is not of an integer dtype.
    ValueError
        If the shapes disagree or a value is out of range.

    Notes
    -----
    The negative log-likelihood is ``torch.nn.functional.ctc_loss`` with ``reduction="none"``; a sequence with
    fewer frames than its labels need has ``-inf`` and a zero gradient. The gradient is that of the formula,
    with respect to any scores; the one of ``ctc_loss`` includes that of a ``log_softmax`` before it.

    An arc over a blank between two equal labels is there with weight ``-inf``, so that all states beyond the
    second have their predecessors at the same distances, which the kernels use. Building costs O(B N).

    References
    ----------
    .. [1] A. Graves, S. Fernández, F. Gomez and J. Schmidhuber, "Connectionist temporal classification:
       labelling unsegmented sequence data with recurrent neural networks", ICML 2006, section 4.1.

    Examples
    --------
    The loss of a transcript, and where its labels lie:

    >>> import torch
    >>> from hmm_core import log_likelihood, viterbi
    >>> log_prob = torch.randn(1, 6, 5, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    >>> graph = ctc_graph(torch.tensor([[3, 3, 1]]))
    >>> chain = (graph.log_initial, graph.log_transition, log_prob)
    >>> rest = {"log_final": graph.log_final, "emission_index": graph.emission_index}
    >>> loss = -log_likelihood(*chain, **rest)
    >>> torch.nn.functional.ctc_loss(
    ...     log_prob.transpose(0, 1), torch.tensor([[3, 3, 1]]), [6], [3], reduction="none"
    ... ).isclose(loss)
    tensor([True])
    >>> states = viterbi(*chain, **rest).states
    >>> graph.emission_index.gather(1, states)
    tensor([[3, 0, 3, 0, 1, 0]])
    """
    if targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool:
        raise TypeError(f"targets must have an integer dtype; got {targets.dtype}")
    if targets.ndim not in {1, 2}:
        raise ValueError(f"targets must have shape (B, N) or (N,); got {tuple(targets.shape)}")
    if blank < 0:
        raise ValueError(f"blank must be at least 0; got {blank}")
    if targets.ndim == 1:
        if target_lengths is not None:
            raise ValueError("target_lengths must be omitted where targets has shape (N,)")
        batch = ctc_graph(targets[None], blank=blank, dtype=dtype)
        transition = Sparse(batch.log_transition.predecessors[0], batch.log_transition.log_weight[0])
        return Graph(batch.log_initial[0], transition, batch.log_final[0], batch.emission_index[0])
    B, N = targets.shape
    if target_lengths is None:
        target_lengths = torch.full((B,), N, device=targets.device)
    if target_lengths.shape != (B,):
        raise ValueError(
            f"target_lengths must have shape (B,) = ({B},), with B from targets (B, N) = "
            f"{tuple(targets.shape)}; got {tuple(target_lengths.shape)}"
        )
    used_label = torch.arange(N, device=targets.device) < target_lengths[:, None]
    if values_are_readable():
        _check_values(targets, target_lengths, used_label, blank)
    label = torch.where(used_label, targets.to(torch.int64), blank)

    K = 2 * N + 1
    state = torch.arange(K, device=targets.device)
    last = 2 * target_lengths[:, None]  # the blank behind the last label
    used = state <= last
    emission_index = torch.full((B, K), blank, device=targets.device)
    emission_index[:, 1::2] = label
    # Slots are used from the left: states 0 and 1 have no state two before them, state 0 none before it.
    distance = state.new_tensor([[0, 0, 0], [1, 0, 0]] + [[2, 1, 0]] * (K - 2))[:K]
    slots = state.new_tensor([1, 2] + [3] * (K - 2))[:K]
    exists = torch.arange(3, device=targets.device) < slots[:, None]
    predecessors = torch.where(exists & used[..., None], state[:, None] - distance, -1)
    dtype = dtype or torch.get_default_dtype()
    log_weight = torch.zeros((B, K, 3), dtype=dtype, device=targets.device)
    log_weight[:, 2:, 0] = -torch.inf
    log_weight[:, 3::2, 0].masked_fill_(label[:, 1:] != label[:, :-1], 0.0)
    impossible = torch.full((B, K), -torch.inf, dtype=dtype, device=targets.device)
    return Graph(
        impossible.masked_fill((state <= 1) & used, 0.0),
        Sparse(predecessors, log_weight),
        impossible.masked_fill((state >= last - 1) & used, 0.0),
        emission_index,
    )


def _check_values(targets: Tensor, target_lengths: Tensor, used: Tensor, blank: int) -> None:
    """Refuse lengths and labels that are out of range."""
    N = targets.shape[1]
    outside = target_lengths[(target_lengths < 0) | (target_lengths > N)]
    if outside.numel():
        raise ValueError(f"target_lengths must lie in 0..N = 0..{N}; got {int(outside[0])}")
    labels = targets[used]
    wrong = labels[(labels < 0) | (labels == blank)]
    if wrong.numel():
        raise ValueError(f"targets must be at least 0 and not blank = {blank}; got {int(wrong[0])}")
