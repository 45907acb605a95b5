"""Log-likelihood with a cheap gradient."""

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor

from hmm_core._dispatch import Backend
from hmm_core._validate import Problem
from hmm_core.backends.reference.log_likelihood import log_likelihood as reference_log_likelihood
from hmm_core.ops._library import (
    DIFFERENTIABLE,
    PROBLEM_SCHEMA,
    Context,
    differentiate_twice,
    needs_reference,
    prepare,
    register,
)
from hmm_core.transitions import Sparse


def log_likelihood(
    log_initial: Tensor,
    log_transition: Tensor | Sparse,
    log_emission: Tensor,
    lengths: Tensor | None = None,
    *,
    log_final: Tensor | None = None,
    emission_index: Tensor | None = None,
    checkpoint: bool = False,
    backend: Backend = "auto",
) -> Tensor:
    r"""Log-likelihood of each sequence.

    .. math:: \log p(y_{1:T}) = \log \sum_{z_{1:T}} p(z_{1:T}, y_{1:T})

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
    checkpoint : bool, default False
        Whether the gradient computes the forward messages again instead of keeping all of them: O(sqrt(T) K)
        memory a sequence in work instead of O(B T K), for about one more forward recursion of time.
    backend : {"auto", "reference", "cpu", "cuda"}
        Where to compute: the fastest that can, the plain torch definition, C++ kernels or CUDA kernels.

    Returns
    -------
    Tensor, shape (B,)
        :math:`\log p(y_{1:T})`; 0 for length 0 and ``-inf`` where no path exists.

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
    O(B T A) time for A arcs; O(K) memory a sequence in work where no gradient is wanted. The gradient is one
    backward recursion over the stored forward messages, O(B T K) memory: posteriors for ``log_emission``,
    ``log_initial`` and ``log_final``, expected counts for the transitions; 0 where the result is ``-inf``. It
    can be differentiated again, and torch.func transforms, forward-mode differentiation, autocast,
    ``torch.compile(fullgraph=True)`` and ``torch.export`` work.

    References
    ----------
    .. [1] L. R. Rabiner, "A tutorial on hidden Markov models and selected applications in speech
       recognition", Proc. IEEE 77(2), 1989, section III.A.

    Examples
    --------
    >>> import torch
    >>> half = torch.tensor([0.5, 0.5]).log()
    >>> log_emission = torch.tensor([[[0.9, 0.1], [0.2, 0.8]]]).log().requires_grad_()
    >>> total = log_likelihood(half, half.expand(2, 2), log_emission)
    >>> total.exp()
    tensor([0.2500], grad_fn=<ExpBackward0>)
    >>> torch.autograd.grad(total.sum(), log_emission)[0]
    tensor([[[0.9000, 0.1000],
             [0.2000, 0.8000]]])
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
    if chosen == "reference" and needs_reference():
        return _reference(problem)
    recorded = problem.requires_grad()
    keep = recorded and not checkpoint
    return cast("tuple[Tensor, ...]", _log_likelihood_op(*problem, keep, chosen, recorded=recorded))[0]


def _save(ctx: Context, inputs: tuple[object, ...], output: tuple[Tensor, Tensor]) -> None:
    """Keep the arguments and the messages for the derivative."""
    ctx.save_for_backward(output[1], *cast("tuple[Tensor | None, ...]", inputs[:7]))
    ctx.options = inputs[8:]
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Context, gradient: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
    """Differentiate by the arguments."""
    if gradient is None:
        return (None,) * 9
    count = ctx.needs_input_grad[2]
    initial, weight, emission, final = cast(
        "tuple[Tensor, ...]",
        _derivative_op(gradient, *ctx.saved_tensors, count, *ctx.options, recorded=torch.is_grad_enabled()),
    )
    return initial, None, weight if count else None, emission, None, final, None, None, None


def _save_backward(ctx: Context, inputs: tuple[object, ...], output: tuple[Tensor, ...]) -> None:
    """Keep everything but the messages, which the second derivative computes again."""
    del output
    gradient, _, *problem = cast("tuple[Tensor | None, ...]", inputs[:-2])
    ctx.save_for_backward(gradient, *problem)
    ctx.options = (inputs[-2],)
    ctx.set_materialize_grads(False)


def _reference(problem: Iterable[Tensor | None]) -> Tensor:
    """Values by the definition."""
    return reference_log_likelihood(*Problem(*problem).canonical(), keep=False)[0]  # type: ignore[arg-type]  # each None stays in its place


def _differentiate_backward(ctx: Context, *outer: Tensor | None) -> tuple[Tensor | None, ...]:
    """Second derivatives, through the recorded reference recursion."""
    gradient, *problem = ctx.saved_tensors
    if not ctx.options[0]:  # the derivative by the weights was not computed
        outer = (outer[0], None, *outer[2:])
    by_gradient, results = differentiate_twice(_reference, gradient, problem, DIFFERENTIABLE, outer)
    return by_gradient, None, *results, None, None


def _fake(*arguments: object) -> tuple[Tensor, Tensor]:
    """Shapes of the log-likelihood and of what is kept."""
    log_initial, log_emission = cast(Tensor, arguments[0]), cast(Tensor, arguments[3])
    keep, backend = arguments[7:]
    B, T, _ = log_emission.shape
    parts = (2 if backend == "cpu" else 1) if keep else 0
    # The CUDA kernels for sparse transitions keep messages in double.
    double = backend == "cuda" and arguments[1] is not None
    dtype = torch.float64 if double else log_emission.dtype
    message = log_emission.new_empty((parts, B, T, log_initial.shape[-1]), dtype=dtype)
    return log_emission.new_empty(B), message


def _fake_backward(*arguments: object) -> tuple[Tensor, ...]:
    """Shapes of the derivatives."""
    problem, count = cast(tuple[Tensor, ...], arguments[2:9]), arguments[-2]
    return tuple(
        problem[position].new_empty(problem[position].shape if count or position != 2 else (0,))
        for position in DIFFERENTIABLE
    )


_derivative_op = register(
    "log_likelihood_backward",
    f"(Tensor gradient, Tensor message, {PROBLEM_SCHEMA}, bool count, str backend) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
    _fake_backward,
    source="log_likelihood.log_likelihood_backward",
    save=_save_backward,
    differentiate=_differentiate_backward,
)
_log_likelihood_op = register(
    "log_likelihood",
    f"({PROBLEM_SCHEMA}, bool keep, str backend) -> (Tensor log_likelihood, Tensor message)",
    _fake,
    save=_save,
    differentiate=_differentiate,
)
