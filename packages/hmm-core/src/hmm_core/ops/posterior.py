"""State posteriors."""

from typing import cast

from torch import Tensor

from hmm_core._dispatch import Backend
from hmm_core._results import Posterior
from hmm_core.backends.reference.posterior import posterior as reference_posterior
from hmm_core.ops._library import prepare, register_recorded
from hmm_core.transitions import Sparse


def posterior(
    log_initial: Tensor,
    log_transition: Tensor | Sparse,
    log_emission: Tensor,
    lengths: Tensor | None = None,
    *,
    log_final: Tensor | None = None,
    emission_index: Tensor | None = None,
    backend: Backend = "auto",
) -> Posterior:
    r"""Probability of each state in each frame, given the whole sequence.

    .. math:: \gamma_t(k) = p(z_t = k \mid y_{1:T}) = \alpha_t(k)\, \beta_t(k) / p(y_{1:T})

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
    Posterior
        ``state`` (B, T, K), probabilities that sum to one in every valid frame of a possible sequence and are
        0 elsewhere; ``log_likelihood`` (B,).

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
    O(B T A) time for A arcs, O(B T K) memory. The messages are relative to the maximum of their frame, so
    that posteriors do not lose precision with the length of the sequence. The gradient of
    :func:`log_likelihood` by ``log_emission`` is the same quantity. The derivative runs the torch
    definition again and records it.

    References
    ----------
    .. [1] L. R. Rabiner, "A tutorial on hidden Markov models and selected applications in speech
       recognition", Proc. IEEE 77(2), 1989, section III.B.

    Examples
    --------
    >>> import torch
    >>> half = torch.tensor([0.5, 0.5]).log()
    >>> log_emission = torch.tensor([[[0.9, 0.1], [0.2, 0.8]]]).log()
    >>> posterior(half, half.expand(2, 2), log_emission).state
    tensor([[[0.9000, 0.1000],
             [0.2000, 0.8000]]])
    """
    problem, chosen = prepare(
        backend, log_initial, log_transition, log_emission, lengths, log_final, emission_index
    )
    if chosen == "reference":
        return Posterior(*reference_posterior(*problem))
    return Posterior(
        *cast("tuple[Tensor, Tensor]", _posterior_op(*problem, chosen, recorded=problem.requires_grad()))
    )


def _fake(*arguments: Tensor) -> tuple[Tensor, Tensor]:
    """Shapes of the probabilities and the log-likelihood."""
    B, T, _ = arguments[3].shape
    return arguments[3].new_empty((B, T, arguments[0].shape[-1])), arguments[3].new_empty(B)


_posterior_op = register_recorded("posterior", "(Tensor state, Tensor log_likelihood)", _fake)
