"""Posterior path samples."""

from typing import cast

import torch
from torch import Tensor

from hmm_core._dispatch import Backend
from hmm_core.backends.reference.sample import sample as reference_sample
from hmm_core.ops._library import PROBLEM_SCHEMA, prepare, register
from hmm_core.transitions import Sparse


def sample(
    log_initial: Tensor,
    log_transition: Tensor | Sparse,
    log_emission: Tensor,
    lengths: Tensor | None = None,
    *,
    log_final: Tensor | None = None,
    emission_index: Tensor | None = None,
    num_samples: int | None = None,
    generator: torch.Generator | None = None,
    backend: Backend = "auto",
) -> Tensor:
    r"""Draw state paths from their posterior distribution (forward filtering, backward sampling).

    .. math:: z_{1:T} \sim p(z_{1:T} \mid y_{1:T})

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
    num_samples : int, optional
        Paths to draw for each sequence; one, without the leading axis, if omitted.
    generator : torch.Generator, optional
        Source of randomness on the device of the tensors; torch's default one if omitted.
    backend : {"auto", "reference", "cpu", "cuda"}
        Where to compute: the fastest that can, the plain torch definition, C++ kernels or CUDA kernels.

    Returns
    -------
    Tensor of int64, shape (B, T), or (num_samples, B, T)
        States, -1 in padded frames and in every frame of a sequence without a path.

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
    O(B T A) time for A arcs once, and O(B T K) (dense) or O(B T R) (sparse) a sample. Beside the paths and
    one float64 number for each of their states, the C++ kernel holds the forward messages of one sequence a
    thread, O(T K). Not differentiable. The numbers are drawn as ``(num_samples, B, T)``, one a state: the
    same generator state gives the same paths, and so do all backends, unless a number falls within rounding
    of the boundary between two states.

    References
    ----------
    .. [1] S. L. Scott, "Bayesian methods for hidden Markov models", J. Am. Stat. Assoc. 97(457), 2002.

    Examples
    --------
    >>> import torch
    >>> half = torch.tensor([0.5, 0.5]).log()
    >>> log_emission = torch.tensor([[[0.9, 0.1], [0.2, 0.8]]]).log()
    >>> generator = torch.Generator().manual_seed(0)
    >>> paths = sample(half, half.expand(2, 2), log_emission, num_samples=1000, generator=generator)
    >>> bool((paths[:, 0, 0] == 0).float().mean() > 0.87)
    True
    """
    problem, chosen = prepare(
        backend, log_initial, log_transition, log_emission, lengths, log_final, emission_index
    )
    if num_samples is not None and num_samples < 0:
        raise ValueError(f"num_samples must be at least 0; got {num_samples}")
    B, T, _ = problem.log_emission.shape
    uniform = torch.rand(
        (1 if num_samples is None else num_samples, B, T),
        dtype=torch.float64,
        device=problem.log_emission.device,
        generator=generator,
    )
    constant = problem.detach()
    if chosen == "reference":
        states = reference_sample(*constant, uniform)
    else:
        states = cast(Tensor, _sample_op(*constant, uniform, chosen))
    return states[0] if num_samples is None else states


def _fake(*arguments: Tensor) -> Tensor:
    """Shape of the paths."""
    return arguments[4].new_empty(arguments[7].shape)


_sample_op = register("sample", f"({PROBLEM_SCHEMA}, Tensor uniform, str backend) -> Tensor", _fake)
