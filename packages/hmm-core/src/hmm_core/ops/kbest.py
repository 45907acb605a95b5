"""The N best paths."""

from typing import cast

import torch
from torch import Tensor

from hmm_core._dispatch import Backend
from hmm_core._results import KBestPaths
from hmm_core.backends.reference.kbest import kbest as reference_kbest
from hmm_core.backends.reference.viterbi import path_score
from hmm_core.ops._library import PROBLEM_SCHEMA, needs_reference, prepare, register
from hmm_core.transitions import Sparse


def kbest(
    log_initial: Tensor,
    log_transition: Tensor | Sparse,
    log_emission: Tensor,
    lengths: Tensor | None = None,
    *,
    num_paths: int,
    log_final: Tensor | None = None,
    emission_index: Tensor | None = None,
    backend: Backend = "auto",
) -> KBestPaths:
    r"""Return the N most likely state paths of each sequence, the best first, and their scores.

    .. math:: \hat z^{(n)}_{1:T} = \operatorname*{argmax}_{z_{1:T} \ne \hat z^{(1)}, \dots, \hat z^{(n-1)}}
        \log p(z_{1:T}, y_{1:T})

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
    num_paths : int
        How many paths N, at least 1.
    log_final : Tensor, shape (K,) or (B, K), optional
        Log weight of ending in each state, ``-inf`` where a sequence cannot end. 0 if omitted.
    emission_index : Tensor of int64, shape (K,) or (B, K), optional
        Density that each state reads, 0..P-1. State k reads density k if omitted.
    backend : {"auto", "reference", "cpu", "cuda"}
        Where to compute: the fastest that can, the plain torch definition, C++ kernels or CUDA kernels.

    Returns
    -------
    KBestPaths
        ``states`` (N, B, T) int64, no two paths of a sequence equal, -1 in padded frames and where a
        sequence has fewer than N paths; ``log_score`` (N, B), ``-inf`` where there are fewer. A sequence of
        length 0 has one path, the empty one, with score 0.

    Raises
    ------
    TypeError
        If an argument is not a tensor, or has the wrong dtype, or ``num_paths`` is not an integer.
    ValueError
        If shapes or devices disagree, a length or index is out of range, a value is NaN or ``+inf``, or
        ``num_paths`` is below 1.
    BackendUnavailableError
        If an explicitly named backend cannot take these arguments.

    Notes
    -----
    O(B T A N) time for A arcs (K\ :sup:`2` dense, at most K R sparse), and 8 T K N bytes for one sequence a
    thread in the C++ kernel. The lists of a state's predecessors are merged, which is exact. Equal scores are
    ordered by the lowest predecessor and then by the rank there, in all backends alike. The order is that of
    the search, whose sums are rounded in the dtype of ``log_emission``; ``log_score`` is summed in float64,
    and may differ from that order by such a rounding. Only ``log_score`` is differentiable, as in
    :func:`hmm_core.viterbi`.

    References
    ----------
    .. [1] N. Seshadri and C.-E. W. Sundberg, "List Viterbi decoding algorithms with applications", IEEE
       Transactions on Communications 42(2/3/4), 1994, section II (parallel list Viterbi).

    Examples
    --------
    >>> import torch
    >>> from hmm_core import left_to_right
    >>> log_emission = torch.tensor([[[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]]]).log()
    >>> paths = kbest(torch.tensor([0.0, -torch.inf]), left_to_right(2), log_emission, num_paths=2)
    >>> paths.states[:, 0]
    tensor([[0, 1, 1],
            [0, 0, 1]])
    >>> paths.log_score.exp()
    tensor([[0.2160],
            [0.0720]])
    """
    if not isinstance(num_paths, int):
        raise TypeError(f"num_paths must be an int; got {type(num_paths).__name__}")
    if num_paths < 1:
        raise ValueError(f"num_paths must be at least 1; got {num_paths}")
    problem, chosen = prepare(
        backend, log_initial, log_transition, log_emission, lengths, log_final, emission_index
    )
    constant = problem.detach()
    if needs_reference():
        states, log_score = reference_kbest(*constant, num_paths)
    else:
        states, log_score = cast(tuple[Tensor, Tensor], _kbest_op(*constant, num_paths, chosen))
    if needs_reference() or problem.requires_grad():
        problem = problem.canonical()
        scores = torch.stack([path_score(*problem, path) for path in states.unbind()])
        log_score = torch.where(log_score > -torch.inf, scores, log_score)
    return KBestPaths(states, log_score)


def _fake(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
    num_paths: int,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """Shapes of the results."""
    del log_initial, predecessors, log_weight, log_final, emission_index, backend
    B, T, _ = log_emission.shape
    return lengths.new_empty((num_paths, B, T)), log_emission.new_empty((num_paths, B))


_kbest_op = register("kbest", f"({PROBLEM_SCHEMA}, int num_paths, str backend) -> (Tensor, Tensor)", _fake)
