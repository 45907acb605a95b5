"""Viterbi decoding with a beam."""

from typing import Literal, cast

import torch
from torch import Tensor

from hmm_core._dispatch import Backend
from hmm_core._results import BeamPath
from hmm_core.backends import BackendUnavailableError
from hmm_core.backends.reference.beam_viterbi import beam_viterbi as reference_beam_viterbi
from hmm_core.backends.reference.viterbi import path_score
from hmm_core.ops._library import PROBLEM_SCHEMA, needs_reference, prepare, register
from hmm_core.ops.viterbi import check_memory
from hmm_core.transitions import Sparse


def beam_viterbi(
    log_initial: Tensor,
    log_transition: Sparse,
    log_emission: Tensor,
    lengths: Tensor | None = None,
    *,
    beam: float,
    log_final: Tensor | None = None,
    emission_index: Tensor | None = None,
    memory: Literal["auto", "full", "linear"] = "auto",
    backend: Backend = "auto",
) -> BeamPath:
    r"""Return the best state path among the states that stay near the best one of their frame.

    .. math:: \delta_t(j) < \max_i \delta_t(i) - \text{beam} \implies \delta_t(j) := -\infty

    where :math:`\delta_t(j)` is the score of the best path to state j. In a graph whose arcs lead forwards
    only the range of states that are left is computed: a long recording against its whole transcript costs
    what its beam holds, not what its transcript does.

    Parameters
    ----------
    log_initial : Tensor, shape (K,) or (B, K)
        :math:`\log p(z_1 = k)`, natural log; need not be normalised.
    log_transition : Sparse
        Arcs and their log weights. A dense matrix gains nothing from a beam: use ``viterbi``.
    log_emission : Tensor, shape (B, T, P)
        :math:`\log p(y_t \mid p)` of each density; P = K without ``emission_index``. Frames at or after
        ``lengths`` are never read.
    lengths : Tensor of int64, shape (B,), optional
        Valid frames, 0..T. All T frames if omitted.
    beam : float
        How far below the best score of a frame, in log units, a state may lie; greater than 0. ``inf``
        drops nothing.
    log_final : Tensor, shape (K,) or (B, K), optional
        Log weight of ending in each state, ``-inf`` where a sequence cannot end. 0 if omitted.
    emission_index : Tensor of int64, shape (K,) or (B, K), optional
        Density that each state reads, 0..P-1. State k reads density k if omitted.
    memory : {"auto", "full", "linear"}
        What the C++ kernel keeps, as in ``viterbi``.
    backend : {"auto", "reference", "cpu", "cuda"}
        Where to compute: the fastest that can, the plain torch definition or C++ kernels;
        there is no CUDA kernel.

    Returns
    -------
    BeamPath
        ``states`` (B, T) int64 and ``log_score`` (B,) as from ``viterbi``; ``exact`` (B,) bool, whether
        this is certainly the best path of all; ``depth`` (B,), how far below the best state that was left of
        a frame it ever lay.

    Raises
    ------
    TypeError
        If an argument is not a tensor, or has the wrong dtype, or ``log_transition`` is not Sparse.
    ValueError
        If shapes or devices disagree, a length or index is out of range, a value is NaN or ``+inf``,
        ``beam`` is not greater than 0, or ``memory`` is unknown.
    BackendUnavailableError
        If an explicitly named backend cannot take these arguments.

    Notes
    -----
    A path that is better than the one found lies more than ``beam`` below the best state of some frame; the
    one found lies ``depth`` below at most. So a ``depth`` near ``beam`` says that the beam was touched and a
    wider one may find better; far below it, that is unlikely, but no proof. Where ``exact`` is true there is
    nothing to doubt.

    A sequence whose paths to the end were all dropped is decoded again without a beam, at the cost of
    ``viterbi``; its ``exact`` is true and its ``depth`` greater than ``beam``, unless it has no path at all.

    O(A) time a frame for the A arcs into the range of states that are left. Ties as in ``viterbi``; all
    backends give the same path. Only ``log_score`` is differentiable.

    References
    ----------
    .. [1] B. T. Lowerre, "The HARPY speech recognition system", Carnegie Mellon University, 1976.

    Examples
    --------
    >>> import torch
    >>> from hmm_core import left_to_right
    >>> log_emission = torch.tensor([[[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]]]).log()
    >>> start = torch.tensor([0.0, -torch.inf])
    >>> path = beam_viterbi(start, left_to_right(2), log_emission, beam=5.0)
    >>> path.states
    tensor([[0, 1, 1]])
    >>> path.exact, path.depth
    (tensor([True]), tensor([0.]))
    """
    check_memory(memory)
    if not isinstance(log_transition, Sparse):
        raise TypeError(f"log_transition must be Sparse; got {type(log_transition).__name__}")
    if not beam > 0:
        raise ValueError(f"beam must be greater than 0; got {beam}")
    problem, chosen = prepare(
        backend, log_initial, log_transition, log_emission, lengths, log_final, emission_index
    )
    if chosen == "cuda":
        if backend == "cuda":
            raise BackendUnavailableError('backend="cuda" has no beam; viterbi is exact there')
        problem, chosen = problem.canonical(), "reference"
    detached = (*problem.detach(), float(beam), memory)
    if needs_reference():
        path = BeamPath(*reference_beam_viterbi(*detached))
    else:
        path = BeamPath(*cast("tuple[Tensor, ...]", _beam_viterbi_op(*detached, chosen)))
    if needs_reference() or problem.requires_grad():
        path = path._replace(log_score=path_score(*problem.canonical(), path.states))
    return path


def _fake(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    *_: object,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Shapes of the results."""
    del log_initial, predecessors, log_weight
    B = log_emission.shape[:1]
    return (
        lengths.new_empty(log_emission.shape[:2]),
        log_emission.new_empty(B),
        lengths.new_empty(B, dtype=torch.bool),
        log_emission.new_empty(B),
    )


_beam_viterbi_op = register(
    "beam_viterbi",
    f"({PROBLEM_SCHEMA}, float beam, str memory, str backend) -> (Tensor, Tensor, Tensor, Tensor)",
    _fake,
)
