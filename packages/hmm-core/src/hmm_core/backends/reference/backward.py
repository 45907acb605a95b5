"""Backward recursion (Rabiner 1989, section III.A, in the log domain).

    log_beta[n, i] = log_final[i]                                             in the last frame n
    log_beta[t, i] = logsumexp_j (log_weight[t, i, j] + log_emission[t+1, j] + log_beta[t+1, j])

As implemented, relative to the maximum of each frame, like the forward recursion.
"""

import torch
from torch import Tensor

from hmm_core.backends.reference._recursion import (
    Arcs,
    finite_or_zero,
    scaled_emission,
    stack_frames,
    valid_frames,
)


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
    message, offset = relative_backward(
        log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index
    )
    return (message.double() + offset[..., None]).to(message.dtype)


def relative_backward(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Relative messages (B, T, K) and their float64 offsets (B, T)."""
    B, T, _ = log_emission.shape
    K = log_initial.shape[1]
    arcs = Arcs(predecessors, log_weight, B)
    valid = valid_frames(log_emission, lengths)
    message = log_final.expand(B, -1)
    offset = torch.zeros(B, dtype=torch.float64, device=log_emission.device)
    messages, offsets = [], []
    for t in reversed(range(T)):
        score, peak = message, torch.zeros_like(message[:, :1])
        if t + 1 < T:
            emission, next_peak = scaled_emission(log_emission, emission_index, valid[:, t + 1], t + 1)
            inner = valid[:, t + 1, None]
            step = arcs.reduce_to_source(arcs.weight(t) + (emission + message)[:, :, None])
            score = torch.where(inner, step, message)
            peak = torch.where(inner, next_peak, 0.0)
        shift = finite_or_zero(score.amax(1, keepdim=True))
        message = score - shift
        offset = offset + (shift.double() + peak.double()).squeeze(1)
        messages.append(torch.where(valid[:, t, None], message, -torch.inf))
        offsets.append(offset)
    return (
        stack_frames(messages[::-1], log_emission.new_empty((B, 0, K))),
        stack_frames(offsets[::-1], offset.new_empty((B, 0))),
    )
