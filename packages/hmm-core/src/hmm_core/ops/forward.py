"""Forward messages."""

from typing import cast

from torch import Tensor

from hmm_core._dispatch import Backend
from hmm_core._results import ForwardResult
from hmm_core.backends.reference.forward import forward as reference_forward
from hmm_core.ops._library import prepare, register_recorded
from hmm_core.transitions import Sparse


def forward(
    log_initial: Tensor,
    log_transition: Tensor | Sparse,
    log_emission: Tensor,
    lengths: Tensor | None = None,
    *,
    log_final: Tensor | None = None,
    emission_index: Tensor | None = None,
    backend: Backend = "auto",
) -> ForwardResult:
    r"""Forward messages and log-likelihood of each sequence.

    .. math::

        \log \alpha_t(j) = \log p(y_{1:t}, z_t = j)
            = \log p(y_t \mid j) + \log \sum_i \alpha_{t-1}(i)\, p(j \mid i)

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
    ForwardResult
        ``log_alpha`` (B, T, K), ``-inf`` in padded frames; ``log_likelihood`` (B,), 0 for length 0 and
        ``-inf`` where no path exists.

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
    O(B T A) time for A arcs, O(B T K) memory. The messages of each frame are computed relative to their
    maximum, the maxima add up in float64, and the sum is rounded once: ``log_alpha`` of a long sequence is as
    exact as its dtype can hold it. Differentiable any number of times, with gradient 0 at ``-inf``: the
    derivative runs the torch definition again and records it; :func:`log_likelihood` has the cheaper one.

    References
    ----------
    .. [1] L. R. Rabiner, "A tutorial on hidden Markov models and selected applications in speech
       recognition", Proc. IEEE 77(2), 1989, section III.A.

    Examples
    --------
    >>> import torch
    >>> half = torch.tensor([0.5, 0.5]).log()
    >>> log_emission = torch.tensor([[[0.9, 0.1], [0.2, 0.8]]]).log()
    >>> result = forward(half, half.expand(2, 2), log_emission)
    >>> result.log_alpha.exp()
    tensor([[[0.4500, 0.0500],
             [0.0500, 0.2000]]])
    >>> result.log_likelihood.exp()
    tensor([0.2500])
    """
    problem, chosen = prepare(
        backend, log_initial, log_transition, log_emission, lengths, log_final, emission_index
    )
    if chosen == "reference":
        return ForwardResult(*reference_forward(*problem))
    return ForwardResult(
        *cast("tuple[Tensor, Tensor]", _forward_op(*problem, chosen, recorded=problem.requires_grad()))
    )


def _fake(*arguments: Tensor) -> tuple[Tensor, Tensor]:
    """Shapes of the messages and the log-likelihood."""
    B, T, _ = arguments[3].shape
    return arguments[3].new_empty((B, T, arguments[0].shape[-1])), arguments[3].new_empty(B)


_forward_op = register_recorded("forward", "(Tensor log_alpha, Tensor log_likelihood)", _fake)
