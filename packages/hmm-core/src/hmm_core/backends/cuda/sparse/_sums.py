"""Operations that sum over paths: allocate, and go through the frames forwards and back."""

import torch
from torch import Tensor

from hmm_core.backends.cuda._model import Model, describe
from hmm_core.backends.cuda.sparse import _ends, _plan
from hmm_core.backends.cuda.sparse._forward import Forward, forward_pass, keep_messages, kept_before
from hmm_core.backends.cuda.sparse._smooth import smooth


def forward(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Forward messages (B, T, K) and the log-likelihood (B,)."""
    model = describe(log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index)
    B, T, K, _ = model.sizes
    log_alpha = log_emission.new_full((B, T, K), -torch.inf)
    passed = forward_pass(Forward(model, _plan.plan(model)), T, rounded=log_alpha)
    return log_alpha, _ends.log_likelihood(model, passed.last, passed.wrong)


def log_likelihood(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    """Log-likelihood (B,), and if ``keep`` the forward messages (1, B, T, K) in float64."""
    model = describe(log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index)
    B, T, K, _ = model.sizes
    messages = log_emission.new_empty((int(keep), B, T, K), dtype=torch.float64)
    passed = forward_pass(Forward(model, _plan.plan(model)), T, messages=messages[0] if keep else None)
    return _ends.log_likelihood(model, passed.last, passed.wrong), messages


def log_likelihood_backward(
    gradient: Tensor,
    message: Tensor,
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
    count: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Differentiate ``gradient @ log_likelihood`` by log_initial, log_weight, log_emission and log_final.

    By log_weight only if ``count``; its derivative is empty otherwise.
    ``message`` is what log_likelihood kept; where it is empty, it is computed again, span by span.
    """
    model = describe(log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index)
    kept = kept_before(model, message[0]) if len(message) else keep_messages(model, checkpoint=True)
    state, _ = _ends.last_posterior(model, kept.passed.last, kept.passed.wrong, gradient.contiguous())
    last = state.clone()
    d_emission = log_emission.new_zeros(log_emission.shape)
    indexed = emission_index is not None
    counts = _room_for_counts(model, log_weight) if count and log_weight.shape[1] else None
    smooth(kept, state, None if indexed else d_emission, d_emission if indexed else None, counts)
    if counts is not None:
        d_weight = _sum_to(counts if counts.ndim == 4 else counts[:, None], log_weight)
    else:
        d_weight = log_weight.new_zeros(log_weight.shape if count else (0,))
    return _sum_to(state, log_initial), d_weight, d_emission, _sum_to(last, log_final)


def posterior(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """State probabilities (B, T, K) and the log-likelihood (B,)."""
    model = describe(log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index)
    B, T, K, _ = model.sizes
    kept = keep_messages(model)
    state, total = _ends.last_posterior(model, kept.passed.last, kept.passed.wrong, None)
    gamma = log_emission.new_zeros((B, T, K))
    smooth(kept, state, gamma)
    return gamma, total


def expected_transitions(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
) -> Tensor:
    """Count expected uses: (B, T-1, K, R) where the weights vary in time, else all steps together."""
    model = describe(log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index)
    if log_weight.shape[1] == 0:
        return log_weight.new_zeros((log_emission.shape[0], *log_weight.shape[1:]))
    kept = keep_messages(model)
    state, _ = _ends.last_posterior(model, kept.passed.last, kept.passed.wrong, None)
    counts = _room_for_counts(model, log_weight)
    smooth(kept, state, counts=counts)
    return counts if counts.ndim == 4 else counts[:, None].to(log_emission.dtype)


def entropy(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
) -> Tensor:
    """Entropy (B,) in nats; 0 for length 0 and where no path exists."""
    model = describe(log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index)
    passed = forward_pass(Forward(model, _plan.plan(model), entropy=True), model.sizes[1])
    return _ends.path_entropy(model, passed.last, passed.wrong)


def _room_for_counts(model: Model, log_weight: Tensor) -> Tensor:
    """Zeros for expected uses: (B, T-1, K, R) where the weights vary in time, else float64 (B, K, R)."""
    B, T, _, _ = model.sizes
    if log_weight.shape[1] > 1:
        return log_weight.new_zeros((B, T - 1, *log_weight.shape[2:]))
    return log_weight.new_zeros((B, *log_weight.shape[2:]), dtype=torch.float64)


def _sum_to(values: Tensor, like: Tensor) -> Tensor:
    """Sum over sequences that share one parameter."""
    return (values.sum(0, keepdim=True) if like.shape[0] == 1 else values).to(like.dtype)
