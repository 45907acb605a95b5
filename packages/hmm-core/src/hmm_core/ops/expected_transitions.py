"""Expected uses of each arc."""

from typing import cast

from torch import Tensor

from hmm_core._dispatch import Backend
from hmm_core.backends.reference.expected_transitions import (
    expected_transitions as reference_expected_transitions,
)
from hmm_core.ops._library import prepare, register_recorded
from hmm_core.transitions import Sparse


def expected_transitions(
    log_initial: Tensor,
    log_transition: Tensor | Sparse,
    log_emission: Tensor,
    lengths: Tensor | None = None,
    *,
    log_final: Tensor | None = None,
    emission_index: Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Count how often each sequence is expected to use each arc, given its observations.

    .. math::

        \sum_t p(z_t = i, z_{t+1} = j \mid y_{1:T})
            = \frac{\partial \log p(y_{1:T})}{\partial \log p(j \mid i)}

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
    backend : {"auto", "reference", "cpu", "cuda"}
        Where to compute: the fastest that can, the plain torch definition, C++ kernels or CUDA kernels.

    Returns
    -------
    Tensor, shape (B, K, K), or (B, K, R) for Sparse, or (B, T-1, ...) for time-varying transitions
        Expected counts in the layout of the weights: summed over the steps, or one entry a step where the
        weights vary in time. 0 in unused slots, in padding, and where no path exists.

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
    O(B T A) time for A arcs and O(B (T K + A)) memory; counts add up in float64. Over all arcs and steps
    the counts of a possible sequence sum to its length minus one. The derivative runs the torch
    definition again and records it.

    References
    ----------
    .. [1] L. R. Rabiner, "A tutorial on hidden Markov models and selected applications in speech
       recognition", Proc. IEEE 77(2), 1989, section III.C.

    Examples
    --------
    >>> import torch
    >>> half = torch.tensor([0.5, 0.5]).log()
    >>> log_emission = torch.tensor([[[0.9, 0.1], [0.2, 0.8]]]).log()
    >>> expected_transitions(half, half.expand(2, 2), log_emission)
    tensor([[[0.1800, 0.7200],
             [0.0200, 0.0800]]])
    """
    problem, chosen = prepare(
        backend,
        log_initial,
        log_transition,
        log_emission,
        lengths,
        log_final,
        emission_index,
    )
    if chosen == "reference":
        counts = reference_expected_transitions(*problem)
    else:
        problem = problem.canonical()  # the counts have all axes
        counts = cast(Tensor, _expected_transitions_op(*problem, chosen, recorded=problem.requires_grad()))
    weight = log_transition.log_weight if isinstance(log_transition, Sparse) else log_transition
    return counts if weight.ndim == 4 else counts.squeeze(1)


def _fake(*arguments: Tensor) -> Tensor:
    """Shape of the counts."""
    return arguments[3].new_empty((arguments[3].shape[0], *arguments[2].shape[1:]))


_expected_transitions_op = register_recorded("expected_transitions", "Tensor", _fake)
