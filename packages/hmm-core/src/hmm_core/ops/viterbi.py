"""Viterbi decoding."""

from importlib import import_module
from typing import cast

import torch
from torch import Tensor

from hmm_core import backends
from hmm_core._dispatch import Backend
from hmm_core._results import ViterbiPath
from hmm_core._validate import Problem
from hmm_core.backends.reference.viterbi import viterbi as reference_viterbi
from hmm_core.ops._library import PROBLEM_SCHEMA, needs_reference, prepare, register
from hmm_core.transitions import Sparse


def viterbi(
    log_initial: Tensor,
    log_transition: Tensor | Sparse,
    log_emission: Tensor,
    lengths: Tensor | None = None,
    *,
    log_final: Tensor | None = None,
    emission_index: Tensor | None = None,
    backend: Backend = "auto",
) -> ViterbiPath:
    r"""Most likely state path of each sequence, and its joint log-probability with the observations.

    .. math:: \hat z_{1:T} = \operatorname*{argmax}_{z_{1:T}} \log p(z_{1:T}, y_{1:T})

    Parameters
    ----------
    log_initial : Tensor, shape (K,) or (B, K)
        :math:`\log p(z_1 = k)`, natural log; need not be normalised.
    log_transition : Tensor, shape (K, K), (B, K, K) or (B or 1, T-1, K, K), or Sparse
        :math:`\log p(z_{t+1} = j \mid z_t = i)` at ``[..., i, j]``; ``-inf`` forbids the arc. With four
        axes, entry ``[b, t]`` is the step from frame ``t`` to frame ``t + 1``.
    log_emission : Tensor, shape (B, T, P)
        :math:`\log p(y_t \mid p)` of each density; P = K without ``emission_index``. Frames at or after
        ``lengths`` are never read.
    lengths : Tensor of int64, shape (B,), optional
        Valid frames, 0..T. All T frames if omitted.
    log_final : Tensor, shape (K,) or (B, K), optional
        Log weight of ending in each state, ``-inf`` where a sequence cannot end. 0 if omitted.
    emission_index : Tensor of int64, shape (K,) or (B, K), optional
        Density that each state reads, 0..P-1. State k reads density k if omitted.
    backend : {"auto", "reference", "cpu"}
        Where to compute: the fastest that can, the plain torch definition, or the C++ kernels.

    Returns
    -------
    ViterbiPath
        ``states`` (B, T) int64, -1 in padded frames and in every frame of a sequence without a path;
        ``log_score`` (B,), ``-inf`` without a path and 0 for length 0.

    Raises
    ------
    TypeError
        If an argument is not a tensor, or has the wrong dtype.
    ValueError
        If shapes or devices disagree, a length or index is out of range, or a value is NaN or ``+inf``.
    BackendUnavailableError
        If an explicitly named backend cannot take these arguments.

    Notes
    -----
    O(B T A) time for A arcs (K\ :sup:`2` dense, at most K R sparse) and O(B T K) memory: one byte a state and
    frame in the C++ kernel when R is at most 255. Ties go to the lowest predecessor and the lowest final
    state; all backends give the same path. Only ``log_score`` is differentiable: its gradient counts how
    often the path uses each entry, and is 0 without a path. The score of the path is summed in float64.

    References
    ----------
    .. [1] L. R. Rabiner, "A tutorial on hidden Markov models and selected applications in speech
       recognition", Proc. IEEE 77(2), 1989, section III.B.

    Examples
    --------
    >>> import torch
    >>> from hmm_core import left_to_right
    >>> log_emission = torch.tensor([[[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]]]).log()
    >>> path = viterbi(torch.tensor([0.0, -torch.inf]), left_to_right(2), log_emission)
    >>> path.states
    tensor([[0, 1, 1]])
    >>> path.log_score.exp()
    tensor([0.2160])
    """
    problem, chosen = prepare(
        "viterbi", backend, log_initial, log_transition, log_emission, lengths, log_final, emission_index
    )
    if problem.predecessors is None:
        chosen = "reference"
    constant = problem.detach()
    if needs_reference():
        states = reference_viterbi(*constant)
    else:
        states = cast(Tensor, _viterbi_op(*constant, chosen))
    return ViterbiPath(states, _score(problem, states))


def _score(problem: Problem, states: Tensor) -> Tensor:
    """Joint log-probability (B,) of each path, summed in float64; ``-inf`` with gradient 0 without a path."""
    B, T = states.shape
    lengths = problem.lengths
    if T == 0:
        return problem.log_emission.new_zeros(B)
    state = states.clamp(min=0)
    density = state
    if problem.emission_index is not None:
        density = problem.emission_index.expand(B, -1).gather(1, state)
    emission = problem.log_emission.gather(2, density[..., None]).squeeze(2)
    # Every frame has an arc that enters it, the first one a made-up arc that is masked below: shapes of T
    # instead of T - 1 let torch.export keep T symbolic.
    row = torch.arange(B, device=states.device)[:, None]
    source = state.roll(1, dims=1)
    weight = problem.log_weight
    weight_row = row if weight.shape[0] > 1 else torch.zeros_like(row)
    step = torch.zeros_like(state)
    if weight.shape[1] > 1:
        step = (torch.arange(T, device=states.device) - 1).clamp(min=0).expand(B, T)
    if weight.shape[1] == 0:
        arc = torch.zeros_like(emission)
    elif problem.predecessors is None:
        arc = weight[weight_row, step, source, state]
    else:
        predecessors = problem.predecessors.expand(B, -1, -1)[row, state]
        slot = (predecessors == source[..., None]).to(torch.uint8).argmax(-1)
        arc = weight[weight_row, step, state, slot]
    end = states.gather(1, (lengths - 1).clamp(min=0)[:, None])
    ends = torch.cat(
        (
            problem.log_initial.expand(B, -1).gather(1, state[:, :1]),
            problem.log_final.expand(B, -1).gather(1, end.clamp(min=0)),
        ),
        dim=1,
    )
    used = states >= 0
    entered = used & (torch.arange(T, device=states.device) > 0)
    total = (
        torch.where(used, emission, 0.0).sum(1, dtype=torch.float64)
        + torch.where(entered, arc, 0.0).sum(1, dtype=torch.float64)
        + torch.where(used[:, :1], ends, 0.0).sum(1, dtype=torch.float64)
    )
    nothing = torch.where(lengths > 0, -torch.inf, 0.0)
    return torch.where(used[:, 0], total, nothing).to(problem.log_emission.dtype)


def _compute(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
    backend: str,
) -> Tensor:
    """Run the chosen backend."""
    module = import_module(f"{backends.__name__}.{backend}.viterbi")
    states = module.viterbi(
        log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index
    )
    return cast(Tensor, states)


_viterbi_op = register(
    "viterbi",
    f"({PROBLEM_SCHEMA}, str backend) -> Tensor",
    _compute,
    lambda _a, _b, _c, log_emission, lengths, _d, _e, _f: lengths.new_empty(log_emission.shape[:2]),
)
