"""Backward messages."""

from typing import cast

from torch import Tensor

from hmm_core._dispatch import Backend
from hmm_core.backends.reference.backward import backward as reference_backward
from hmm_core.ops._library import prepare, register_recorded
from hmm_core.transitions import Sparse


def backward(
    log_initial: Tensor,
    log_transition: Tensor | Sparse,
    log_emission: Tensor,
    lengths: Tensor | None = None,
    *,
    log_final: Tensor | None = None,
    emission_index: Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Backward messages of each sequence.

    .. math::

        \log \beta_t(i) = \log p(y_{t+1:T} \mid z_t = i)
            = \log \sum_j p(j \mid i)\, p(y_{t+1} \mid j)\, \beta_{t+1}(j)

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
    Tensor, shape (B, T, K)
        :math:`\log \beta`; ``log_final`` in the last valid frame, ``-inf`` in padded frames.

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
    O(B T A) time for A arcs, O(B T K) memory; exactness and differentiability as for :func:`forward`. In
    every valid frame ``logsumexp(log_alpha + log_beta)`` is the log-likelihood.

    References
    ----------
    .. [1] L. R. Rabiner, "A tutorial on hidden Markov models and selected applications in speech
       recognition", Proc. IEEE 77(2), 1989, section III.A.

    Examples
    --------
    >>> import torch
    >>> half = torch.tensor([0.5, 0.5]).log()
    >>> log_emission = torch.tensor([[[0.9, 0.1], [0.2, 0.8]]]).log()
    >>> backward(half, half.expand(2, 2), log_emission).exp()
    tensor([[[0.5000, 0.5000],
             [1.0000, 1.0000]]])
    """
    problem, chosen = prepare(
        backend, log_initial, log_transition, log_emission, lengths, log_final, emission_index
    )
    if chosen == "reference":
        return reference_backward(*problem)
    return cast(Tensor, _backward_op(*problem, chosen, recorded=problem.requires_grad()))


def _fake(*arguments: Tensor) -> Tensor:
    """Shape of the messages."""
    B, T, _ = arguments[3].shape
    return arguments[3].new_empty((B, T, arguments[0].shape[-1]))


_backward_op = register_recorded("backward", "Tensor", _fake)
