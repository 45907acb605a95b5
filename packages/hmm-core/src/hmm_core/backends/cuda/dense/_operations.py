"""Forward, backward, log-likelihood, posteriors and expected counts from one recursion in both directions."""

import math

import torch
from torch import Tensor

from hmm_core.backends.cuda._model import Model, describe
from hmm_core.backends.cuda.dense._narrow import Messages, block_size, narrow_messages
from hmm_core.backends.cuda.dense._smooth import by_density, combine, count
from hmm_core.backends.cuda.dense._wide import wide_messages

# Frames that are recomputed at a time, if more than the square root of all.
_SEGMENT = 256


def messages(model: Model, *directions: int, every: int = 1, absolute: bool = False) -> Messages:
    """Run the recursion forwards (0) and backwards (1); keep the messages of every so many frames, 0 none."""
    block = block_size(model)
    if block is None:
        return wide_messages(model, directions=directions, every=every, absolute=absolute)
    return narrow_messages(model, block, directions=directions, every=every, absolute=absolute)


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
    found = messages(model, 0, absolute=True)
    return found.alpha, found.total


def backward(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
) -> Tensor:
    """Backward messages (B, T, K)."""
    model = describe(log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index)
    return messages(model, 1, absolute=True).beta


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
    """Log-likelihood (B,), and if ``keep`` the relative forward messages (1, B, T, K)."""
    model = describe(log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index)
    found = messages(model, 0, every=int(keep))
    B, T, K, _ = model.sizes
    return found.total, found.alpha[None] if keep else found.alpha.new_empty((0, B, T, K))


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
    ``message`` is what log_likelihood kept; where it is empty, it is computed again.
    """
    gradient = gradient.contiguous()
    if len(message):
        model = describe(
            log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index
        )
        found = messages(model, 1)._replace(alpha=message[0])
        state, d_weight = _smooth(model, found, log_weight, gradient, count=count)
    else:
        state, d_weight = _smooth_in_segments(
            log_initial, log_weight, log_emission, lengths, log_final, emission_index, gradient, count=count
        )
    first, last = ends(state, lengths)
    return (
        sum_to(first, log_initial),
        d_weight,
        by_density(state, emission_index, log_emission),
        sum_to(last, log_final),
    )


def _smooth(
    model: Model, found: Messages, log_weight: Tensor, gradient: Tensor, *, count: bool
) -> tuple[Tensor, Tensor]:
    """Posteriors times the gradient (B, T, K), and if ``count`` the expected uses of the weights."""
    if not count:
        combine(model, found.alpha, found.beta, found.beta, gradient)
        return found.beta, log_weight.new_empty(0)
    state = torch.empty_like(found.beta)
    norm = combine(model, found.alpha, found.beta, state, gradient)
    return state, _counts(model, found, norm, log_weight, per_sequence=log_weight.shape[0] > 1, by=gradient)


def _smooth_in_segments(
    log_initial: Tensor,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
    gradient: Tensor,
    *,
    count: bool,
) -> tuple[Tensor, Tensor]:
    """Do the same in memory for one segment of frames at a time and one message a segment.

    A segment is a model of its own: it starts with the forward message of its first frame, and ends with the
    backward message of the frame that it shares with the next segment. A few launches a segment.
    """
    B, T, _ = log_emission.shape
    segment = max(math.isqrt(T), _SEGMENT)
    model = describe(log_initial, None, log_weight, log_emission, lengths, log_final, emission_index)
    if segment >= T:
        return _smooth(model, messages(model, 0, 1), log_weight, gradient, count=count)
    start = messages(model, 0, every=segment).alpha
    state = log_emission.new_empty((B, T, start.shape[2]))
    varying = log_weight.shape[1] > 1
    d_weight = log_weight.new_zeros(log_weight.shape if count else 0, dtype=torch.float64)
    beta = log_final
    for part in reversed(range(start.shape[1])):
        first, last = part * segment, min((part + 1) * segment, T - 1)
        emission = log_emission[:, first : last + 1].clone()
        emission[:, 0] = 0.0  # the message contains it
        final = torch.where((lengths <= last + 1)[:, None], log_final, beta)
        weight = log_weight[:, first:last] if varying else log_weight
        here = (lengths - first).clamp(0, last + 1 - first)
        model = describe(start[:, part], None, weight, emission, here, final, emission_index)
        found = messages(model, 0, 1)
        beta = found.beta[:, 0].clone()
        state[:, first : last + 1], counts = _smooth(model, found, weight, gradient, count=count)
        if count:
            d_weight[:, slice(first, last) if varying else slice(None)] += counts
    return state, d_weight.to(log_weight.dtype)


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
    found = messages(model, 0, 1)
    combine(model, found.alpha, found.beta, found.beta)
    return found.beta, found.total


def expected_transitions(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
) -> Tensor:
    """Count expected uses: (B, T-1, K, K) where the weights vary in time, else all steps together."""
    model = describe(log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index)
    found = messages(model, 0, 1)
    norm = combine(model, found.alpha, found.beta, None)
    return _counts(model, found, norm, log_weight, per_sequence=True)


def _counts(
    model: Model,
    found: Messages,
    norm: Tensor,
    log_weight: Tensor,
    *,
    per_sequence: bool,
    by: Tensor | None = None,
) -> Tensor:
    """Count expected uses of the weights as they were given."""
    B, K = len(norm), log_weight.shape[2]
    if log_weight.shape[1] == 0 or B == 0:
        return log_weight.new_zeros((B if per_sequence else 1, log_weight.shape[1], K, K))
    return count(
        model,
        found.alpha,
        found.beta,
        found.scale,
        norm,
        per_sequence=per_sequence,
        varying=log_weight.shape[1] > 1,
        gradient=by,
    )


def ends(state: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Values of the first and of the last frame of each sequence (B, K); 0 for length 0."""
    B, T, K = state.shape
    if T == 0:
        return state.new_zeros((B, K)), state.new_zeros((B, K))
    last = (lengths - 1).clamp(0, T - 1)[:, None, None].expand(-1, 1, K)
    return state[:, 0].clone(), state.gather(1, last).squeeze(1)


def sum_to(values: Tensor, like: Tensor) -> Tensor:
    """Sum over sequences that share one parameter."""
    return values.sum(0, keepdim=True) if like.shape[0] == 1 else values
