"""Viterbi decoding."""

from typing import Literal, cast

from torch import Tensor

from hmm_core._dispatch import Backend
from hmm_core._results import ViterbiPath
from hmm_core.backends.reference.viterbi import path_score
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
    memory: Literal["auto", "full", "linear"] = "auto",
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
    memory : {"auto", "full", "linear"}
        What the kernels keep: back-pointers of all frames, or the scores of every few frames, from which the
        rest is computed a second time in O(sqrt(T) K) memory. The path is the same. ``"auto"`` is ``"full"``
        up to 1 GiB, and on a GPU up to a quarter of its memory.
    backend : {"auto", "reference", "cpu", "cuda"}
        Where to compute: the fastest that can, the plain torch definition, C++ kernels or CUDA kernels.

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
        If shapes or devices disagree, a length or index is out of range, a value is NaN or ``+inf``, or
        ``memory`` is unknown.
    BackendUnavailableError
        If an explicitly named backend cannot take these arguments.

    Notes
    -----
    O(B T A) time for A arcs (K\ :sup:`2` dense, at most K R sparse). With ``memory="full"`` the C++ kernel
    keeps log2(R) bits for each state and frame of up to four sequences a thread, and with dense transitions
    their scores, from which the path finds its arcs again. States that no path has reached yet cost nothing
    in a graph whose arcs lead forwards. Ties go to the lowest predecessor and the lowest final state; all
    backends give the same path. Only ``log_score`` is differentiable: its gradient counts how often the path
    uses each entry, and is 0 without a path. The score of the path is summed in float64. For graphs of a
    whole recording see ``beam_viterbi``.

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
    check_memory(memory)
    problem, chosen = prepare(
        backend, log_initial, log_transition, log_emission, lengths, log_final, emission_index
    )
    if needs_reference():
        states, _ = reference_viterbi(*problem.detach(), memory)
        return ViterbiPath(states, path_score(*problem, states))
    recorded = problem.requires_grad()
    constant = problem.detach() if recorded else problem
    states, log_score = cast("tuple[Tensor, Tensor]", _viterbi_op(*constant, memory, chosen))
    return ViterbiPath(states, path_score(*problem.canonical(), states) if recorded else log_score)


def check_memory(memory: str) -> None:
    """Refuse an unknown plan of memory."""
    if memory not in {"auto", "full", "linear"}:
        raise ValueError(f'memory must be "auto", "full" or "linear"; got {memory!r}')


def _fake(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    *_: object,
) -> tuple[Tensor, Tensor]:
    """Shapes of the results."""
    del log_initial, predecessors, log_weight
    return lengths.new_empty(log_emission.shape[:2]), log_emission.new_empty(log_emission.shape[:1])


_viterbi_op = register("viterbi", f"({PROBLEM_SCHEMA}, str memory, str backend) -> (Tensor, Tensor)", _fake)
