"""Viterbi segmentation with explicit durations."""

from typing import cast

import torch
from torch import Tensor

from hmm_core._dispatch import Backend
from hmm_core._results import SemiMarkovPath
from hmm_core.backends.reference.semi_markov.viterbi import viterbi as reference_viterbi
from hmm_core.ops._library import needs_reference, register
from hmm_core.ops.semi_markov._problem import PROBLEM_SCHEMA, Censoring, SemiMarkovProblem, prepare
from hmm_core.transitions import Sparse


def viterbi(
    log_initial: Tensor,
    log_transition: Tensor | Sparse,
    log_duration: Tensor,
    log_emission: Tensor,
    lengths: Tensor | None = None,
    *,
    log_final: Tensor | None = None,
    emission_index: Tensor | None = None,
    censoring: Censoring = "none",
    backend: Backend = "auto",
) -> SemiMarkovPath:
    r"""Most likely segmentation of each sequence, and its joint log-probability with the observations.

    .. math:: \operatorname*{argmax}_{(j_1, d_1), \dots, (j_n, d_n)}
        \pi_{j_1} \prod_m \Big( p_{j_m}(d_m) \prod_t p(y_t \mid j_m) \Big) \prod_{m>1} p(j_m \mid j_{m-1})

    Parameters
    ----------
    log_initial : Tensor, shape (K,) or (B, K)
        Log-probability that the first segment is of state k, natural log; need not be normalised.
    log_transition : Tensor, shape (K, K) or (B, K, K), or Sparse
        :math:`\log p(j \mid i)` that a segment of state j follows one of i, at ``[..., i, j]``; ``-inf``
        forbids it. It does not vary in time. A state may follow itself where the weight is finite.
    log_duration : Tensor, shape (K, L) or (B, K, L)
        Log-probability that a segment of state k lasts d = 1..L frames, at ``[..., k, d - 1]``; ``-inf``
        forbids the length. Need not be normalised.
    log_emission : Tensor, shape (B, T, P)
        :math:`\log p(y_t \mid p)` of each density; P = K without ``emission_index``. Frames at or after
        ``lengths`` are never read.
    lengths : Tensor of int64, shape (B,), optional
        Valid frames, 0..T. All T frames if omitted.
    log_final : Tensor, shape (K,) or (B, K), optional
        Log weight of ending in each state, ``-inf`` where a sequence cannot end. 0 if omitted.
    emission_index : Tensor of int64, shape (K,) or (B, K), optional
        Density that each state reads, 0..P-1. State k reads density k if omitted.
    censoring : {"none", "left", "right", "both"}
        Which ends of the observations may lie inside a segment. With "none" the first segment begins with the
        first frame and the last one ends with the last frame. With "right" the last segment may go on: seen
        for d frames it weighs :math:`\sum_{d' \ge d} p(d')`. With "left" the first segment may have begun
        earlier, and weighs the same; ``log_initial`` is then the state that the first frame finds. With
        "both", a segment that is seen in all frames, d of them, weighs
        :math:`\sum_{d' \ge d} (d' - d + 1)\, p(d')`, once for each place that the frames may have in it.
    backend : {"auto", "reference", "cpu", "cuda"}
        Where to compute: the fastest that can, the plain torch definition, C++ kernels or CUDA kernels.

    Returns
    -------
    SemiMarkovPath
        ``states`` (B, T) int64, -1 in padded frames and in every frame of a sequence without a segmentation;
        ``durations`` (B, T) int64, the length of a segment at its first frame, 0 in its others, -1 where
        ``states`` is; ``log_score`` (B,), ``-inf`` without a segmentation and 0 for length 0.

    Raises
    ------
    TypeError
        If an argument is not a tensor, or has the wrong dtype.
    ValueError
        If shapes or devices disagree, a length or index is out of range, a value is NaN or ``+inf``, or
        ``censoring`` is none of the four.
    BackendUnavailableError
        If an explicitly named backend cannot take these arguments.

    Notes
    -----
    O(B T K (R + L)) time, R = K for dense transitions, and 4 bytes a state and frame of one sequence for each
    thread (8 where K or L exceeds 65,535), computed in float64. Ties go to the shortest length and the lowest
    predecessor and final state; all backends give the same segments. The best segmentation is found among
    the observed parts of cut segments. Only ``log_score`` is differentiable: its gradient counts how often
    the path uses each entry, and is 0 without a path.

    References
    ----------
    .. [1] S.-Z. Yu, "Hidden semi-Markov models", Artificial Intelligence 174(2), 2010, section 2.
    .. [2] M. J. Johnson and A. S. Willsky, "Bayesian nonparametric hidden semi-Markov models", J. Machine
       Learning Research 14, 2013; its program pyhsmm weighs a segment cut at the right as here.

    Examples
    --------
    Two states that take turns, each for one or two frames:

    >>> import torch
    >>> from hmm_core import semi_markov
    >>> half = torch.tensor([0.5, 0.5]).log()
    >>> turns = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).log()
    >>> log_emission = torch.tensor([[[0.9, 0.1], [0.8, 0.2], [0.2, 0.8]]]).log()
    >>> path = viterbi(half, turns, half.expand(2, 2), log_emission)
    >>> path.states, path.durations
    (tensor([[0, 0, 1]]), tensor([[2, 0, 1]]))
    >>> path.log_score.exp()
    tensor([0.0720])
    """
    problem, chosen = prepare(
        backend,
        *(log_initial, log_transition, log_duration, log_emission),
        *(lengths, log_final, emission_index, censoring),
    )
    constant = problem.detach()
    if needs_reference():
        states, durations = reference_viterbi(*constant)
    else:
        states, durations = cast(tuple[Tensor, Tensor], _viterbi_op(*constant, chosen))
    score = _score(problem, states, durations)
    if chosen == "cuda":
        score = torch.where(_unusable(constant), torch.nan, score)
    return SemiMarkovPath(states, durations, score)


def _score(problem: SemiMarkovProblem, states: Tensor, durations: Tensor) -> Tensor:
    """Joint log-probability (B,) of each path, summed in float64; ``-inf`` with gradient 0 without a path."""
    B, T = states.shape
    lengths = problem.lengths
    if T == 0:
        return problem.log_emission.new_zeros(B)
    frame = torch.arange(T, device=states.device)
    row = torch.arange(B, device=states.device)[:, None]
    state = states.clamp(min=0)
    density = state
    if problem.emission_index is not None:
        density = problem.emission_index.expand(B, -1).gather(1, state)
    emission = problem.log_emission.gather(2, density[..., None]).squeeze(2)

    starts = durations > 0
    length = durations.clamp(min=1)
    kind = torch.zeros_like(state)
    if problem.log_duration.shape[1] == 4:
        first, last = frame == 0, frame + length == lengths[:, None]
        kind = torch.where(first, torch.where(last, 0, 1), torch.where(last, 3, 2))
    shared = problem.log_duration.shape[0] == 1
    duration = problem.log_duration[torch.zeros_like(row) if shared else row, kind, state, length - 1]

    # The first frame has a made-up arc that is masked below.
    source = state.roll(1, dims=1)
    weight = problem.log_weight[:, 0]
    weight_row = row if weight.shape[0] > 1 else torch.zeros_like(row)
    if problem.predecessors is None:
        arc = weight[weight_row, source, state]
    else:
        predecessors = problem.predecessors.expand(B, -1, -1)[row, state]
        slot = (predecessors == source[..., None]).to(torch.uint8).argmax(-1)
        arc = weight[weight_row, state, slot]
    end = state.gather(1, (lengths - 1).clamp(0, T - 1)[:, None])
    ends = torch.cat(
        (
            problem.log_initial.expand(B, -1).gather(1, state[:, :1]),
            problem.log_final.expand(B, -1).gather(1, end),
        ),
        dim=1,
    )
    used = states >= 0
    total = (
        _in_order(torch.where(used, emission, 0.0))
        + _in_order(torch.where(starts, duration, 0.0))
        + _in_order(torch.where(starts & (frame > 0), arc, 0.0))
        + _in_order(torch.where(used[:, :1], ends, 0.0))
    )
    nothing = torch.where(lengths > 0, -torch.inf, 0.0)
    return torch.where(used[:, 0], total, nothing).to(problem.log_emission.dtype)


def _unusable(problem: SemiMarkovProblem) -> Tensor:
    """Which sequences (B,) read a value or have a length that CUDA kernels, unlike others, do not refuse."""
    lengths, log_emission, weight = problem.lengths, problem.log_emission, problem.log_weight
    T = log_emission.shape[1]
    padding = (torch.arange(T, device=lengths.device) >= lengths[:, None])[..., None]
    if problem.predecessors is not None:
        weight = torch.where(problem.predecessors[:, None] < 0, 0.0, weight)
    wrong = (lengths < 0) | (lengths > T)
    for values in (
        *(problem.log_initial, weight, problem.log_duration, problem.log_final),
        torch.where(padding, 0.0, log_emission),
    ):
        wrong = wrong | ~(values < torch.inf).flatten(1).all(1)
    return wrong


def _in_order(values: Tensor) -> Tensor:
    """Sum over frames in float64, one after another: the bits do not depend on how much padding follows."""
    return values.cumsum(1, dtype=torch.float64)[:, -1]


def _fake(*arguments: Tensor) -> tuple[Tensor, Tensor]:
    """Shapes of the states and the durations."""
    log_emission, lengths = arguments[4:6]
    return lengths.new_empty(log_emission.shape[:2]), lengths.new_empty(log_emission.shape[:2])


_viterbi_op = register(
    "semi_markov_viterbi",
    f"({PROBLEM_SCHEMA}, str backend) -> (Tensor states, Tensor durations)",
    _fake,
    source="semi_markov.viterbi.viterbi",
)
