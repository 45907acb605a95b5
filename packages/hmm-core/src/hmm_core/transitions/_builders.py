"""Builders of common transition structures."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from hmm_core.transitions._sparse import Sparse


class Graph(NamedTuple):
    """A model without its emissions, ready for the operations: ``op(g.log_initial, g.log_transition, ...)``.

    Attributes
    ----------
    log_initial : Tensor, shape (K,) or (B, K)
        Log weight of starting in each state.
    log_transition : Sparse
        Arcs between the states.
    log_final : Tensor, shape (K,) or (B, K)
        Log weight of ending in each state; ``-inf`` where a sequence cannot end.
    emission_index : Tensor of int64, shape (K,) or (B, K)
        The density that each state reads.
    """

    log_initial: Tensor
    log_transition: Sparse
    log_final: Tensor
    emission_index: Tensor


def _log(probability: float) -> float:
    """Natural logarithm with log(0) = -inf."""
    return math.log(probability) if probability > 0 else -math.inf


def _check_num_states(num_states: int) -> None:
    """Refuse an empty model."""
    if num_states < 1:
        raise ValueError(f"num_states must be at least 1; got {num_states}")


def _check_probability(name: str, value: float) -> None:
    """Refuse what is not a probability."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie in 0..1; got {value}")


def left_to_right(
    num_states: int, self_loop_prob: float = 0.5, *, dtype: torch.dtype | None = None
) -> Sparse:
    r"""Chain in which each state repeats or moves on to the next one.

    .. math:: p(j \mid j) = q, \quad p(j + 1 \mid j) = 1 - q, \quad p(K \mid K) = 1

    Parameters
    ----------
    num_states : int
        Number of states K, at least 1.
    self_loop_prob : float
        Probability q of staying, in 0..1.
    dtype : torch.dtype, optional
        Of the weights; torch's default dtype if omitted.

    Returns
    -------
    Sparse
        K states with R = 2 slots (1 if K = 1); every row sums to one.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> left_to_right(3).to_dense().exp()
    tensor([[0.5000, 0.5000, 0.0000],
            [0.0000, 0.5000, 0.5000],
            [0.0000, 0.0000, 1.0000]])
    """
    _check_probability("self_loop_prob", self_loop_prob)
    return skip(num_states, self_loop_prob, 1 - self_loop_prob, 0.0, dtype=dtype)


def skip(
    num_states: int,
    self_loop_prob: float,
    next_prob: float,
    skip_prob: float,
    *,
    dtype: torch.dtype | None = None,
) -> Sparse:
    """Chain in which each state repeats, moves on, or skips the next one (a Bakis model).

    Parameters
    ----------
    num_states : int
        Number of states K, at least 1.
    self_loop_prob, next_prob, skip_prob : float
        Probabilities of staying, of moving to the next state and to the one after it; they sum to one. An arc
        of probability 0 is left out. At the end of the chain, where a target is missing, the rest is scaled
        to sum to one.

    dtype : torch.dtype, optional
        Of the weights; torch's default dtype if omitted.

    Returns
    -------
    Sparse
        K states with up to 3 slots.

    Raises
    ------
    ValueError
        If an argument is out of range or the probabilities do not sum to one.

    Examples
    --------
    >>> skip(3, 0.5, 0.25, 0.25).to_dense().exp()
    tensor([[0.5000, 0.2500, 0.2500],
            [0.0000, 0.6667, 0.3333],
            [0.0000, 0.0000, 1.0000]])
    """
    _check_num_states(num_states)
    steps = (self_loop_prob, next_prob, skip_prob)
    for name, value in zip(("self_loop_prob", "next_prob", "skip_prob"), steps, strict=True):
        _check_probability(name, value)
    if not math.isclose(sum(steps), 1.0, abs_tol=1e-6):
        raise ValueError(f"self_loop_prob + next_prob + skip_prob must be 1; got {sum(steps)}")
    source = torch.arange(num_states)[:, None].expand(-1, 3)
    target = source + torch.arange(3)
    probability = torch.tensor(steps, dtype=torch.float64) * (target < num_states)
    # A state that has lost all its targets stays where it is.
    probability[:, 0] += probability.sum(dim=1) == 0
    probability[-1, 0] = 1.0
    probability = probability / probability.sum(dim=1, keepdim=True)
    used = probability > 0
    log_weight = probability[used].log().to(dtype or torch.get_default_dtype())
    return from_arcs(num_states, source[used], target[used], log_weight)


def ergodic(
    num_states: int, self_loop_prob: float | None = None, *, dtype: torch.dtype | None = None
) -> Tensor:
    """Fully connected transitions: uniform, or with a given probability of staying.

    Parameters
    ----------
    num_states : int
        Number of states K, at least 1.
    self_loop_prob : float, optional
        Probability of staying, in 0..1; the rest is spread evenly over the other states. 1/K if omitted.
    dtype : torch.dtype, optional
        Of the matrix; torch's default dtype if omitted.

    Returns
    -------
    Tensor, shape (K, K)
        Log probabilities; every row sums to one in the probability domain.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> ergodic(3, 0.8).exp()
    tensor([[0.8000, 0.1000, 0.1000],
            [0.1000, 0.8000, 0.1000],
            [0.1000, 0.1000, 0.8000]])
    """
    _check_num_states(num_states)
    stay = 1 / num_states if self_loop_prob is None else self_loop_prob
    _check_probability("self_loop_prob", stay)
    if num_states == 1:
        return torch.zeros(1, 1, dtype=dtype)
    matrix = torch.full((num_states, num_states), _log((1 - stay) / (num_states - 1)), dtype=dtype)
    return matrix.fill_diagonal_(_log(stay))


def from_arcs(
    num_states: int,
    sources: Tensor | Sequence[int],
    targets: Tensor | Sequence[int],
    log_weight: Tensor | Sequence[float],
) -> Sparse:
    """Transitions from a list of arcs, in any order.

    Parameters
    ----------
    num_states : int
        Number of states K, at least 1.
    sources, targets : Tensor of int64 or sequence of int, shape (A,)
        The state each arc leaves and the one it enters, 0..K-1.
    log_weight : Tensor or sequence of float, shape (A,)
        Natural log of the weight of each arc.

    Returns
    -------
    Sparse
        With R the largest number of arcs into one state; gradients flow back to ``log_weight``.

    Raises
    ------
    ValueError
        If the lists differ in length, a state is out of range, or an arc is given twice.

    Examples
    --------
    >>> graph = from_arcs(3, [0, 0, 1, 0], [1, 2, 2, 0], [-1.0, -2.0, 0.0, -3.0])
    >>> graph.predecessors
    tensor([[ 0, -1],
            [ 0, -1],
            [ 0,  1]])
    """
    _check_num_states(num_states)
    weight = torch.as_tensor(log_weight)
    source = torch.as_tensor(sources, dtype=torch.int64, device=weight.device)
    target = torch.as_tensor(targets, dtype=torch.int64, device=weight.device)
    if not weight.ndim == 1 or not source.shape == target.shape == weight.shape:
        raise ValueError(
            "sources, targets and log_weight must have one shape (A,); got "
            f"{tuple(source.shape)}, {tuple(target.shape)} and {tuple(weight.shape)}"
        )
    for name, states in (("sources", source), ("targets", target)):
        outside = states[(states < 0) | (states >= num_states)]
        if outside.numel():
            raise ValueError(f"{name} must lie in 0..K-1 = 0..{num_states - 1}; got {int(outside[0])}")
    key, order = torch.sort(target * num_states + source)
    repeated = key[1:][key[1:] == key[:-1]]
    if repeated.numel():
        to, origin = divmod(int(repeated[0]), num_states)
        raise ValueError(f"an arc must be given once; got ({origin}, {to}) twice")
    target, source, weight = target[order], source[order], weight[order]
    counts = torch.bincount(target, minlength=num_states)
    slot = torch.arange(len(target), device=weight.device) - (counts.cumsum(0) - counts)[target]
    R = max(1, int(counts.max()))
    predecessors = source.new_full((num_states, R), -1).index_put((target, slot), source)
    table = weight.new_full((num_states, R), -torch.inf).index_put((target, slot), weight)
    return Sparse(predecessors, table)


def linear_graph(
    tokens: Tensor,
    lengths: Tensor | None = None,
    *,
    self_loop_prob: float = 0.5,
    dtype: torch.dtype | None = None,
) -> Graph:
    """Graph that passes through a sequence of tokens from the first to the last, one state a token.

    Each state repeats with ``self_loop_prob`` and moves on otherwise; the last one leaves through
    ``log_final`` with the same weight, so that the weights of all durations sum to one.

    Parameters
    ----------
    tokens : Tensor of int64, shape (B, N)
        Density that each state reads.
    lengths : Tensor of int64, shape (B,), optional
        Tokens of each sequence, 1..N; the rest is padding, which cannot be reached. N if omitted.
    self_loop_prob : float
        Probability of staying, in 0..1.
    dtype : torch.dtype, optional
        Of the weights; torch's default dtype if omitted.

    Returns
    -------
    Graph
        With a batch axis and K = N states.

    Raises
    ------
    ValueError
        If the shapes disagree or a value is out of range.

    Examples
    --------
    Align two frames of class 7 and one of class 4 with the tokens 7, 4:

    >>> import torch
    >>> from hmm_core import viterbi
    >>> graph = linear_graph(torch.tensor([[7, 4]]))
    >>> log_emission = torch.nn.functional.one_hot(torch.tensor([[7, 7, 4]]), 10).float()
    >>> path = viterbi(
    ...     graph.log_initial,
    ...     graph.log_transition,
    ...     log_emission,
    ...     log_final=graph.log_final,
    ...     emission_index=graph.emission_index,
    ... )
    >>> path.states
    tensor([[0, 0, 1]])
    """
    if tokens.ndim != 2 or tokens.shape[1] == 0:
        raise ValueError(f"tokens must have shape (B, N) with N at least 1; got {tuple(tokens.shape)}")
    _check_probability("self_loop_prob", self_loop_prob)
    B, N = tokens.shape
    if lengths is None:
        lengths = torch.full((B,), N, device=tokens.device)
    if lengths.shape != (B,):
        raise ValueError(f"lengths must have shape (B,) = ({B},); got {tuple(lengths.shape)}")
    outside = lengths[(lengths < 1) | (lengths > N)]
    if outside.numel():
        raise ValueError(f"lengths must lie in 1..N = 1..{N}; got {int(outside[0])}")
    dtype = dtype or torch.get_default_dtype()
    position = torch.arange(N, device=tokens.device)
    stay, leave = _log(self_loop_prob), _log(1 - self_loop_prob)
    impossible = torch.full((B, N), -torch.inf, dtype=dtype, device=tokens.device)
    previous = (position - 1).expand(B, N)
    used = position < lengths[:, None]
    # The first state has no predecessor but itself, and slots are used from the left.
    predecessors = torch.where(used[..., None], torch.stack((previous, position.expand(B, N)), dim=-1), -1)
    predecessors[:, 0] = predecessors.new_tensor((0, -1))
    log_weight = torch.tensor((leave, stay), dtype=dtype, device=tokens.device).expand(B, N, 2).clone()
    log_weight[:, 0, 0] = stay
    return Graph(
        impossible.masked_fill(position == 0, 0.0),
        Sparse(predecessors, log_weight),
        impossible.masked_fill(position == lengths[:, None] - 1, leave),
        torch.where(used, tokens.to(torch.int64), 0),
    )


def stack_graphs(graphs: Sequence[Graph]) -> Graph:
    """Batch of graphs of different sizes, padded with states that cannot be reached.

    Parameters
    ----------
    graphs : sequence of Graph
        Graphs without a batch axis: vectors of shape (K,) and weights of shape (K, R), K and R their own.

    Returns
    -------
    Graph
        With a batch axis, K and R the largest ones. Padded states have no arcs, ``log_initial`` and
        ``log_final`` of ``-inf``, and read density 0.

    Raises
    ------
    ValueError
        If there is no graph, or one has a batch axis.

    Examples
    --------
    >>> import torch
    >>> small = Graph(torch.zeros(1), left_to_right(1), torch.zeros(1), torch.tensor([5]))
    >>> large = Graph(torch.zeros(2), left_to_right(2), torch.zeros(2), torch.tensor([3, 4]))
    >>> batch = stack_graphs([small, large])
    >>> batch.emission_index
    tensor([[5, 0],
            [3, 4]])
    >>> batch.log_transition.predecessors[0]
    tensor([[ 0, -1],
            [-1, -1]])
    """
    if not graphs:
        raise ValueError("graphs must hold at least one graph; got none")
    for index, graph in enumerate(graphs):
        shapes = [
            tuple(tensor.shape) for tensor in (graph.log_initial, graph.log_final, graph.emission_index)
        ]
        K = graph.log_transition.num_states
        if shapes != [(K,)] * 3 or graph.log_transition.log_weight.ndim != 2:
            raise ValueError(
                f"graphs must have no batch axis; got log_initial, log_final, emission_index {shapes} and "
                f"log_weight {tuple(graph.log_transition.log_weight.shape)} in graph {index}"
            )
    K = max(graph.log_transition.num_states for graph in graphs)
    R = max(graph.log_transition.num_slots for graph in graphs)

    def stack(tensors: Sequence[Tensor], shape: tuple[int, ...], value: float) -> Tensor:
        """Stack tensors padded at their ends to one shape."""
        pad = torch.nn.functional.pad
        rows = []
        for tensor in tensors:
            missing = [want - have for want, have in zip(shape, tensor.shape, strict=True)]
            # pad counts from the last axis, both sides of each.
            rows.append(pad(tensor, [side for size in reversed(missing) for side in (0, size)], value=value))
        return torch.stack(rows)

    return Graph(
        stack([graph.log_initial for graph in graphs], (K,), -torch.inf),
        Sparse(
            stack([graph.log_transition.predecessors for graph in graphs], (K, R), -1),
            stack([graph.log_transition.log_weight for graph in graphs], (K, R), -torch.inf),
        ),
        stack([graph.log_final for graph in graphs], (K,), -torch.inf),
        stack([graph.emission_index for graph in graphs], (K,), 0),
    )
