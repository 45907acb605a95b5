"""Entropy of the posterior distribution over paths (Hernando, Crespi and Cybenko 2005).

    p(i | j) = alpha[t-1, i] weight[t-1, i, j] / sum_i' alpha[t-1, i'] weight[t-1, i', j]
    H[t, j]  = sum_i p(i | j) (H[t-1, i] - log p(i | j))

As implemented, the entropies of a frame are relative to the least of its possible states, and these shifts
add up in float64. They count as constants in differentiation: they cancel, for p(i | j) sums to one.
"""

import torch
from torch import Tensor

from hmm_core.backends.reference._recursion import Arcs, finite_or_zero, logsumexp, valid_frames
from hmm_core.backends.reference.forward import relative_forward


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
    B, T, _ = log_emission.shape
    log_alpha, _, log_likelihood = relative_forward(
        log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index
    )
    if T == 0:
        return log_likelihood
    arcs = Arcs(predecessors, log_weight, B)
    valid = valid_frames(log_emission, lengths)
    rest = torch.zeros_like(log_alpha[:, 0])
    offset = torch.zeros(B, dtype=torch.float64, device=log_emission.device)
    for t in range(1, T):
        step = _entropy(arcs.at_source(log_alpha[:, t - 1]) + arcs.weight(t - 1), arcs.at_source(rest), 2)
        reached = log_alpha[:, t] > -torch.inf
        shift = -finite_or_zero(torch.where(reached, -step, -torch.inf).amax(1, keepdim=True))
        step = torch.where(reached, step - shift, 0.0)
        rest = torch.where(valid[:, t, None], step, rest)
        offset = offset + torch.where(valid[:, t], shift.double().squeeze(1), 0.0)
    end = (lengths - 1).clamp(min=0)[:, None, None].expand(-1, 1, log_alpha.shape[2])
    total = _entropy(log_alpha.gather(1, end).squeeze(1) + log_final, rest, 1) + offset
    possible = (lengths > 0) & (log_likelihood > -torch.inf)
    return torch.where(possible, total, 0.0).to(log_emission.dtype)


def _entropy(score: Tensor, rest: Tensor, dim: int) -> Tensor:
    """Entropy of the choice with probabilities proportional to exp(score), and of what is left after it."""
    total = logsumexp(score, dim).unsqueeze(dim)
    log_p = score - torch.where(total == -torch.inf, 0.0, total)
    impossible = log_p == -torch.inf
    # 0 log 0 is 0, with gradient 0.
    log_p = torch.where(impossible, 0.0, log_p)
    return torch.where(impossible, 0.0, log_p.exp() * (rest - log_p)).sum(dim)
