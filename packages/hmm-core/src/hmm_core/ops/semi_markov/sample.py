"""Posterior samples with explicit durations."""

from typing import cast

import torch
from torch import Tensor

from hmm_core._dispatch import Backend
from hmm_core._results import SemiMarkovSample
from hmm_core.ops._library import implementation
from hmm_core.ops.semi_markov._problem import Censoring, prepare
from hmm_core.transitions import Sparse


def sample(
    log_initial: Tensor,
    log_transition: Tensor | Sparse,
    log_duration: Tensor,
    log_emission: Tensor,
    lengths: Tensor | None = None,
    *,
    log_final: Tensor | None = None,
    emission_index: Tensor | None = None,
    censoring: Censoring = "none",
    num_samples: int | None = None,
    generator: torch.Generator | None = None,
    backend: Backend = "auto",
) -> SemiMarkovSample:
    r"""Draw segmentations from their posterior distribution (forward filtering, backward sampling).

    .. math:: (j_1, d_1), \dots, (j_n, d_n) \sim p(j_1, d_1, \dots, j_n, d_n \mid y_{1:T})

    Parameters
    ----------
    log_initial : Tensor, shape (K,) or (B, K)
        Log-probability that the first segment is of state k, natural log; need not be normalised.
    log_transition : Tensor, shape (K, K) or (B, K, K), or Sparse
        :math:`\log p(j \mid i)` that a segment of state j follows one of i, at ``[..., i, j]``; ``-inf``
        forbids it. It does not vary in time. A state may follow itself where the weight is finite.
    log_duration : Tensor, shape (K, L) or (B, K, L)
        Log-probability that a segment of state k lasts d = 1..L frames, at ``[..., k, d - 1]``; ``-inf``
        forbids the length. Need not be normalised.
    log_emission : Tensor, shape (B, T, P)
        :math:`\log p(y_t \mid p)` of each density; P = K without ``emission_index``. Frames at or after
        ``lengths`` are never read.
    lengths : Tensor of int64, shape (B,), optional
        Valid frames, 0..T. All T frames if omitted.
    log_final : Tensor, shape (K,) or (B, K), optional
        Log weight of ending in each state, ``-inf`` where a sequence cannot end. 0 if omitted.
    emission_index : Tensor of int64, shape (K,) or (B, K), optional
        Density that each state reads, 0..P-1. State k reads density k if omitted.
    censoring : {"none", "left", "right", "both"}
        Which ends of the observations may lie inside a segment. With "none" the first segment begins with the
        first frame and the last one ends with the last frame. With "right" the last segment may go on: seen
        for d frames it weighs :math:`\sum_{d' \ge d} p(d')`. With "left" the first segment may have begun
        earlier, and weighs the same; ``log_initial`` is then the state that the first frame finds. With
        "both", a segment that is seen in all frames, d of them, weighs
        :math:`\sum_{d' \ge d} (d' - d + 1)\, p(d')`, once for each place that the frames may have in it.
    num_samples : int, optional
        Segmentations to draw for each sequence; one, without the leading axis, if omitted.
    generator : torch.Generator, optional
        Source of randomness on the device of the tensors; torch's default one if omitted.
    backend : {"auto", "reference", "cpu", "cuda"}
        Where to compute: the fastest that can, the plain torch definition, C++ kernels or CUDA kernels.

    Returns
    -------
    SemiMarkovSample
        ``states`` and ``durations``, int64, (B, T) or (num_samples, B, T), as in :func:`viterbi`. A segment
        that is cut has the length of its observed part.

    Raises
    ------
    TypeError
        If an argument is not a tensor, or has the wrong dtype.
    ValueError
        If shapes or devices disagree, a length or index is out of range, a value is NaN or ``+inf``, or
        ``censoring`` is none of the four.
    BackendUnavailableError
        If an explicitly named backend cannot take these arguments.

    Notes
    -----
    O(B T K (R + L)) time once, and O(R + L) a segment; O(T K) memory for each thread, and 16 bytes a frame
    and sample for random numbers. Computed in float64. Not differentiable. The same generator state gives the
    same segmentations, in all backends but for rounding.

    References
    ----------
    .. [1] S.-Z. Yu, "Hidden semi-Markov models", Artificial Intelligence 174(2), 2010, section 2.
    .. [2] M. J. Johnson and A. S. Willsky, "Bayesian nonparametric hidden semi-Markov models", J. Machine
       Learning Research 14, 2013; its program pyhsmm weighs a segment cut at the right as here.

    Examples
    --------
    Two states that take turns, each for one or two frames:

    >>> import torch
    >>> from hmm_core import semi_markov
    >>> half = torch.tensor([0.5, 0.5]).log()
    >>> turns = torch.tensor([[0.0, 1.0], [1.0, 0.0]]).log()
    >>> log_emission = torch.tensor([[[0.9, 0.1], [0.8, 0.2], [0.2, 0.8]]]).log()
    >>> drawn = sample(half, turns, half.expand(2, 2), log_emission, num_samples=1000)
    >>> drawn.durations.shape
    torch.Size([1000, 1, 3])
    """
    problem, chosen = prepare(
        backend,
        *(log_initial, log_transition, log_duration, log_emission),
        *(lengths, log_final, emission_index, censoring),
    )
    if num_samples is not None and num_samples < 0:
        raise ValueError(f"num_samples must be at least 0; got {num_samples}")
    B, T, _ = problem.log_emission.shape
    with torch.no_grad():
        uniform = torch.rand(
            (1 if num_samples is None else num_samples, B, T, 2),
            dtype=torch.float64,
            device=problem.log_emission.device,
            generator=generator,
        )
        drawn = implementation("semi_markov.sample.sample", chosen)(*problem, uniform)
    states, durations = cast(tuple[Tensor, Tensor], drawn)
    if num_samples is None:
        states, durations = states[0], durations[0]
    return SemiMarkovSample(states, durations)
