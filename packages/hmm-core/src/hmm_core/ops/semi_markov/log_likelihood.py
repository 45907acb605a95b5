"""Log-likelihood with explicit durations, and its gradient."""

from typing import cast

import torch
from torch import Tensor

from hmm_core._dispatch import Backend
from hmm_core.backends.reference.semi_markov.log_likelihood import log_likelihood as reference_log_likelihood
from hmm_core.ops._library import Context, differentiate_twice, implementation, needs_reference, register
from hmm_core.ops.semi_markov._problem import DIFFERENTIABLE, PROBLEM_SCHEMA, Censoring, prepare
from hmm_core.transitions import Sparse


def log_likelihood(
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
) -> Tensor:
    r"""Log-likelihood of each sequence under a model with explicit durations.

    .. math:: \log p(y_{1:T}) = \log \sum_{(j_1, d_1), \dots, (j_n, d_n)}
        \pi_{j_1} \prod_m \Big( p_{j_m}(d_m) \prod_t p(y_t \mid j_m) \Big) \prod_{m>1} p(j_m \mid j_{m-1})

    summed over all ways to divide the T frames into segments of a state j and a length d.

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
    Tensor, shape (B,)
        :math:`\log p(y_{1:T})`; 0 for length 0 and ``-inf`` where no segmentation is possible.

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
    O(B T K (R + L)) time, R = K for dense transitions, and O(K L) memory for each thread. Weights are numbers
    with an exponent of their own, and the emissions of a segment are the ratio of two running products: the
    result is as exact for 10,000 frames as for ten. The gradient costs a forward and a backward pass in
    float64 and O(T K) memory for each thread; it is 0 where the result is ``-inf``. It can be differentiated
    again, through the recorded reference, in O(B T K L) memory. torch.func transforms and forward-mode
    differentiation use the reference; autocast, ``torch.compile(fullgraph=True)`` and ``torch.export`` work.

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
    >>> log_likelihood(half, turns, half.expand(2, 2), log_emission).exp()
    tensor([0.0988])
    >>> log_likelihood(half, turns, half.expand(2, 2), log_emission, censoring="both").exp()
    tensor([0.2100])
    """
    problem, chosen = prepare(
        backend,
        *(log_initial, log_transition, log_duration, log_emission),
        *(lengths, log_final, emission_index, censoring),
    )
    if chosen == "reference" and needs_reference():
        return reference_log_likelihood(*problem)
    return cast(Tensor, _log_likelihood_op(*problem, chosen, recorded=problem.requires_grad()))


def _compute_backward(*arguments: object) -> tuple[Tensor, ...]:
    """Differentiate ``gradient @ log_likelihood``: the expected counts of the chosen backend, added up."""
    *tensors, backend = arguments
    gradient, *problem = cast(list[Tensor], tensors)
    counts = implementation("semi_markov.posterior.posterior", cast(str, backend))(*problem)
    _, state, initial, transition, duration, final = cast(tuple[Tensor, ...], counts)
    state = state * gradient[:, None, None]
    log_emission, emission_index = problem[4], problem[7]
    if emission_index is not None:
        index = emission_index[:, None].expand_as(state)
        state = state.new_zeros(log_emission.shape).scatter_add(2, index, state)
    counts = (initial, transition[:, None], duration, state, final)
    results = []
    for position, count in zip(DIFFERENTIABLE, counts, strict=True):
        if position == 4:
            results.append(count)
            continue
        weighted = count * gradient.view(-1, *[1] * (count.ndim - 1))
        results.append(weighted.sum(0, keepdim=True) if problem[position].shape[0] == 1 else weighted)
    return tuple(results)


def _save(ctx: Context, inputs: tuple[object, ...], output: Tensor) -> None:
    """Keep the arguments for the derivative."""
    del output
    *tensors, backend = inputs
    ctx.save_for_backward(*cast(list[Tensor | None], tensors))
    ctx.options = (backend,)
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Context, gradient: Tensor | None) -> tuple[Tensor | None, ...]:
    """Differentiate by the canonical arguments."""
    results: list[Tensor | None] = [None] * 9
    if gradient is not None:
        recorded = torch.is_grad_enabled()
        derivatives = _derivative_op(gradient, *ctx.saved_tensors, *ctx.options, recorded=recorded)
        gradients = cast(tuple[Tensor, ...], derivatives)
        for position, value in zip(DIFFERENTIABLE, gradients, strict=True):
            if ctx.needs_input_grad[position]:
                results[position] = value
    return tuple(results)


def _differentiate_backward(ctx: Context, *outer: Tensor | None) -> tuple[Tensor | None, ...]:
    """Second derivatives, through the recorded reference recursion."""
    gradient, *problem = ctx.saved_tensors
    by_gradient, results = differentiate_twice(
        lambda arguments: reference_log_likelihood(*arguments), gradient, problem, DIFFERENTIABLE, outer
    )
    return by_gradient, *results, None


def _fake(*arguments: Tensor) -> Tensor:
    """Shape of the log-likelihood."""
    return arguments[4].new_empty(arguments[4].shape[0])


def _fake_backward(*arguments: Tensor) -> tuple[Tensor, ...]:
    """Shapes of the derivatives."""
    problem = arguments[1:]
    return tuple(problem[position].new_empty(problem[position].shape) for position in DIFFERENTIABLE)


_derivative_op = register(
    "semi_markov_log_likelihood_backward",
    f"(Tensor gradient, {PROBLEM_SCHEMA}, str backend) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    _fake_backward,
    compute=_compute_backward,
    save=_save,
    differentiate=_differentiate_backward,
)
_log_likelihood_op = register(
    "semi_markov_log_likelihood",
    f"({PROBLEM_SCHEMA}, str backend) -> Tensor",
    _fake,
    source="semi_markov.log_likelihood.log_likelihood",
    save=_save,
    differentiate=_differentiate,
)
