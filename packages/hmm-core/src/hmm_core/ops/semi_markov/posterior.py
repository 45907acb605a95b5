"""State posteriors and expected counts with explicit durations."""

from typing import cast

from torch import Tensor

from hmm_core._dispatch import Backend
from hmm_core._results import SemiMarkovPosterior
from hmm_core.backends.reference.semi_markov.posterior import posterior as reference_posterior
from hmm_core.ops._library import register
from hmm_core.ops.semi_markov._problem import PROBLEM_SCHEMA, Censoring, prepare, true_durations
from hmm_core.transitions import Sparse


def posterior(
    log_initial: Tensor,
    log_transition: Tensor | Sparse,
    log_duration: Tensor,
    log_emission: Tensor,
    lengths: Tensor | None = None,
    *,
    log_final: Tensor | None = None,
    emission_index: Tensor | None = None,
    censoring: Censoring = "none",
    backend: Backend = "auto",
) -> SemiMarkovPosterior:
    r"""Probability of each state in each frame, and expected counts of segments, given the whole sequence.

    .. math:: \gamma_t(k) = p(z_t = k \mid y_{1:T})
        = \sum_{s \le t} p(\text{a segment of } k \text{ starts at } s \mid y_{1:T})
        - \sum_{s < t} p(\text{a segment of } k \text{ ends at } s \mid y_{1:T})

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
    backend : {"auto", "reference", "cpu", "cuda"}
        Where to compute: the fastest that can, the plain torch definition, C++ kernels or CUDA kernels.

    Returns
    -------
    SemiMarkovPosterior
        ``state`` (B, T, K), probabilities that sum to one in every valid frame of a possible sequence and are
        0 elsewhere; ``log_likelihood`` (B,); expected counts ``initial`` (B, K), ``transition`` in the layout
        of the weights, ``duration`` (B, K, L) and ``final`` (B, K), as expectation-maximisation needs them.

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
    O(B T K (R + L)) time, R = K for dense transitions, and O(T K) memory for each thread beside the result;
    computed in float64 whatever the dtype, because a state's probability is a difference of two sums that
    grow with T. The counts are the derivatives of :func:`log_likelihood` by the log weights. Where a
    derivative of the posterior itself is asked for, the recorded reference computes it, in O(B T K L) memory.

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
    >>> result = posterior(half, turns, half.expand(2, 2), log_emission)
    >>> result.state
    tensor([[[0.9342, 0.0658],
             [0.7899, 0.2101],
             [0.0481, 0.9519]]])
    >>> result.duration
    tensor([[[0.2734, 0.7494],
             [0.8532, 0.1873]]])
    """
    problem, chosen = prepare(
        backend,
        *(log_initial, log_transition, log_duration, log_emission),
        *(lengths, log_final, emission_index, censoring),
    )
    if chosen == "reference" or problem.requires_grad():
        counts = reference_posterior(*problem)
    else:
        counts = cast(tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], _posterior_op(*problem, chosen))
    total, state, initial, transition, duration, final = counts
    duration = true_durations(duration, problem.log_duration, censoring)
    return SemiMarkovPosterior(state, total, initial, transition, duration, final)


def _fake(*arguments: Tensor) -> tuple[Tensor, ...]:
    """Shapes of the log-likelihood, the probabilities and the counts."""
    log_initial, _, log_weight, log_duration, log_emission = arguments[:5]
    B, T, _ = log_emission.shape
    K = log_initial.shape[1]
    shapes = [(B,), (B, T, K), (B, K), (B, *log_weight.shape[2:]), (B, *log_duration.shape[1:]), (B, K)]
    return tuple(log_emission.new_empty(shape) for shape in shapes)


_posterior_op = register(
    "semi_markov_posterior",
    f"({PROBLEM_SCHEMA}, str backend) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _fake,
    source="semi_markov.posterior.posterior",
)
