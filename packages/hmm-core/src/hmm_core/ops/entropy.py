"""Entropy of the posterior distribution over paths."""

from typing import cast

from torch import Tensor

from hmm_core._dispatch import Backend
from hmm_core.backends.reference.entropy import entropy as reference_entropy
from hmm_core.ops._library import prepare, register_recorded
from hmm_core.transitions import Sparse


def entropy(
    log_initial: Tensor,
    log_transition: Tensor | Sparse,
    log_emission: Tensor,
    lengths: Tensor | None = None,
    *,
    log_final: Tensor | None = None,
    emission_index: Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Entropy of the posterior distribution over the state paths of each sequence.

    .. math::

        H(z_{1:T} \mid y_{1:T}) = -\sum_{z_{1:T}} p(z_{1:T} \mid y_{1:T}) \log p(z_{1:T} \mid y_{1:T})

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
    Tensor, shape (B,)
        Entropy in nats, from 0 (one path only) to the logarithm of the number of paths. 0 for length 0, where
        the empty path is certain, and where no path exists: there is no distribution, and 0, like the
        posteriors, adds nothing to a sum over sequences. ``log_likelihood`` tells the two cases apart.

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
    One forward recursion: O(B T A) time for A arcs; the C++ kernel holds two messages, O(K), a thread, and
    two float64 tables, O(K^2), if one dense table serves all steps. The entropies of a frame are relative to
    the least of them, and these shifts add up in float64. The derivative runs the torch definition again and
    records it, O(B T A) memory; it is 0 at ``-inf``.

    References
    ----------
    .. [1] D. Hernando, V. Crespi and G. Cybenko, "Efficient computation of the hidden Markov model entropy
       for a given observation sequence", IEEE Trans. Inf. Theory 51(7), 2005, section III.

    Examples
    --------
    Two coins, of which the second is hidden altogether:

    >>> import torch
    >>> half = torch.tensor([0.5, 0.5]).log()
    >>> log_emission = torch.tensor([[[1.0, 0.0], [1.0, 1.0]]]).log()
    >>> entropy(half, half.expand(2, 2), log_emission)
    tensor([0.6931])
    """
    problem, chosen = prepare(
        backend, log_initial, log_transition, log_emission, lengths, log_final, emission_index
    )
    if chosen == "reference":
        return reference_entropy(*problem)
    return cast(Tensor, _entropy_op(*problem, chosen, recorded=problem.requires_grad()))


def _fake(*arguments: Tensor) -> Tensor:
    """Shape of the entropies."""
    return arguments[3].new_empty(arguments[3].shape[0])


_entropy_op = register_recorded("entropy", "Tensor", _fake)
