"""Forward recursion (Rabiner 1989, section III.A, in the log domain).

    log_alpha[1, j] = log_initial[j] + log_emission[1, j]
    log_alpha[t, j] = logsumexp_i (log_alpha[t-1, i] + log_weight[t-1, i, j]) + log_emission[t, j]

As implemented, the messages of a frame are relative to their maximum, and the maxima add up in float64. The
maxima count as constants in differentiation: they cancel.
"""

import torch
from torch import Tensor

from hmm_core.backends.reference._recursion import (
    Arcs,
    finite_or_zero,
    logsumexp,
    scaled_emission,
    stack_frames,
    valid_frames,
)


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
    message, offset, log_likelihood = relative_forward(
        log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index
    )
    return (message.double() + offset[..., None]).to(message.dtype), log_likelihood


def relative_forward(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Relative messages (B, T, K), their float64 offsets (B, T), and the log-likelihood (B,)."""
    B, T, _ = log_emission.shape
    arcs = Arcs(predecessors, log_weight, B)
    valid = valid_frames(log_emission, lengths)
    message = log_initial.expand(B, -1)
    offset = torch.zeros(B, dtype=torch.float64, device=log_emission.device)
    messages, offsets = [], []
    for t in range(T):
        inside = message if t == 0 else logsumexp(arcs.at_source(message) + arcs.weight(t - 1), 2)
        emission, peak = scaled_emission(log_emission, emission_index, valid[:, t], t)
        score = inside + emission
        shift = finite_or_zero(score.amax(1, keepdim=True))
        message = torch.where(valid[:, t, None], score - shift, message)
        offset = offset + torch.where(valid[:, t], (shift.double() + peak.double()).squeeze(1), 0.0)
        messages.append(torch.where(valid[:, t, None], message, -torch.inf))
        offsets.append(offset)

    total = logsumexp(message + log_final, 1) + offset
    log_likelihood = torch.where(lengths > 0, total, 0.0).to(log_emission.dtype)
    return (
        stack_frames(messages, log_emission.new_empty((B, 0, message.shape[1]))),
        stack_frames(offsets, offset.new_empty((B, 0))),
        log_likelihood,
    )
