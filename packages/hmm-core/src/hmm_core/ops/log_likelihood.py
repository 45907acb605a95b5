"""Log-likelihood with a cheap gradient."""

from typing import cast

import torch
from torch import Tensor

from hmm_core._dispatch import Backend, resolve
from hmm_core._validate import canonical
from hmm_core.backends.reference.log_likelihood import log_likelihood as reference_log_likelihood
from hmm_core.backends.reference.log_likelihood import log_likelihood_backward
from hmm_core.ops._library import PROBLEM_SCHEMA, Context, needs_reference, register
from hmm_core.transitions import Sparse


def log_likelihood(
    log_initial: Tensor,
    log_transition: Tensor | Sparse,
    log_emission: Tensor,
    lengths: Tensor | None = None,
    *,
    log_final: Tensor | None = None,
    emission_index: Tensor | None = None,
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
    backend : {"auto", "reference", "cpu"}
        Where to compute: the fastest that can, the plain torch definition, or the C++ kernels.

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
    O(B T A) time for A arcs. The gradient is one backward recursion over the stored forward messages,
    O(B T K) memory: posteriors for ``log_emission``, ``log_initial`` and ``log_final``, expected counts for
    the transitions; 0 where the result is ``-inf``. It can be differentiated again, and torch.func
    transforms, forward-mode differentiation, autocast, ``torch.compile(fullgraph=True)`` and
    ``torch.export`` work.

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
    problem = canonical(log_initial, log_transition, log_emission, lengths, log_final, emission_index)
    resolve("log_likelihood", backend, problem)
    if needs_reference():
        return reference_log_likelihood(*problem)[0]
    total, _ = cast(tuple[Tensor, Tensor], _log_likelihood_op(*problem))
    return total


# Positions of log_initial, log_weight, log_emission and log_final among the canonical arguments.
_DIFFERENTIABLE = (0, 2, 3, 5)


def _save(ctx: Context, inputs: tuple[Tensor | None, ...], output: tuple[Tensor, Tensor]) -> None:
    """Keep the arguments and the messages for the derivative."""
    ctx.save_for_backward(output[1], *inputs)
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Context, gradient: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
    """Differentiate by the canonical arguments."""
    results: list[Tensor | None] = [None] * 7
    if gradient is not None:
        gradients = _derivative_op(gradient, *ctx.saved_tensors)
        for position, value in zip(_DIFFERENTIABLE, cast(tuple[Tensor, ...], gradients), strict=True):
            results[position] = value
    return tuple(results)


def _save_backward(ctx: Context, inputs: tuple[Tensor | None, ...], output: tuple[Tensor, ...]) -> None:
    """Keep everything but the messages, which the second derivative computes again."""
    del output
    gradient, _, *problem = inputs
    ctx.save_for_backward(gradient, *problem)
    ctx.set_materialize_grads(False)


def _differentiate_backward(ctx: Context, *outer: Tensor | None) -> tuple[Tensor | None, ...]:
    """Second derivatives, through the recorded reference recursion."""
    gradient, *problem = ctx.saved_tensors
    recording = torch.is_grad_enabled()
    with torch.enable_grad():
        # Views: the derivatives stop here, and their own graph, if any, continues to the caller's tensors.
        gradient = gradient.view_as(gradient)
        inputs = []
        for position in _DIFFERENTIABLE:
            problem[position] = problem[position].view_as(problem[position])
            inputs.append(problem[position])
        leaves = [
            tensor if tensor.requires_grad else tensor.requires_grad_() for tensor in (gradient, *inputs)
        ]
        total = reference_log_likelihood(*problem)[0]
        inner = torch.autograd.grad(total, inputs, gradient, create_graph=True)
        pairs = [(value, factor) for value, factor in zip(inner, outer, strict=True) if factor is not None]
        results: list[Tensor | None] = [None] * 9
        second = torch.autograd.grad(
            [value for value, _ in pairs],
            leaves,
            [factor for _, factor in pairs],
            create_graph=recording,
            allow_unused=True,
        )
    results[0] = second[0]
    for position, value in zip(_DIFFERENTIABLE, second[1:], strict=True):
        results[position + 2] = value
    return tuple(results)


def _fake(*problem: Tensor) -> tuple[Tensor, Tensor]:
    """Shapes of the log-likelihood and the messages."""
    log_emission = problem[3]
    B, T, _ = log_emission.shape
    return log_emission.new_empty(B), log_emission.new_empty((B, T, problem[0].shape[1]))


def _fake_backward(_gradient: Tensor, _message: Tensor, *problem: Tensor) -> tuple[Tensor, ...]:
    """Shapes of the derivatives."""
    return tuple(problem[position].new_empty(problem[position].shape) for position in _DIFFERENTIABLE)


_derivative_op = register(
    "log_likelihood_backward",
    f"(Tensor gradient, Tensor log_alpha, {PROBLEM_SCHEMA}) -> (Tensor, Tensor, Tensor, Tensor)",
    log_likelihood_backward,
    _fake_backward,
    save=_save_backward,
    differentiate=_differentiate_backward,
)
_log_likelihood_op = register(
    "log_likelihood",
    f"({PROBLEM_SCHEMA}) -> (Tensor log_likelihood, Tensor log_alpha)",
    reference_log_likelihood,
    _fake,
    save=_save,
    differentiate=_differentiate,
)
