"""Forward filtering, backward sampling: paths drawn from their posterior distribution.

z_n ~ alpha[n, i] final[i],    z_t | z_{t+1} = j ~ alpha[t, i] weight[t, i, j]

Each state is the inverse of the cumulative distribution at one uniform number.
"""

import torch
from torch import Tensor

from hmm_core.backends.reference._recursion import (
    Arcs,
    normalized_exp,
    valid_frames,
)
from hmm_core.backends.reference.forward import relative_forward


def sample(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
    uniform: Tensor,
) -> Tensor:
    """States (S, B, T), -1 in padding and where no path exists, from uniform numbers (S, B, T) in float64."""
    B, T, _ = log_emission.shape
    log_alpha, _, log_likelihood = relative_forward(
        log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index
    )
    arcs = Arcs(predecessors, log_weight, B)
    valid = valid_frames(log_emission, lengths)
    possible = log_likelihood > -torch.inf
    row = torch.arange(B, device=lengths.device)
    state = lengths.new_zeros((len(uniform), B))
    states = []
    for t in reversed(range(T)):
        choice = _draw((log_alpha[:, t] + log_final).expand(len(uniform), -1, -1), uniform[:, :, t])
        if t + 1 < T:
            source, log_weight_in = arcs.into(state, t)
            slot = _draw(log_alpha[:, t][row[:, None], source] + log_weight_in, uniform[:, :, t])
            inner = source.gather(2, slot[..., None]).squeeze(2)
            choice = torch.where(valid[:, t + 1], inner, choice)
        state = choice
        states.append(torch.where(valid[:, t] & possible, state, -1))
    if not states:
        return lengths.new_empty((len(uniform), B, 0))
    return torch.stack(states[::-1], dim=2)


def _draw(score: Tensor, uniform: Tensor) -> Tensor:
    """Index along the last axis, with probability proportional to exp(score)."""
    # In float64 a uniform number below 1 times the total stays below the total.
    cumulative = normalized_exp(score.double(), -1).cumsum(-1)
    choice = (cumulative <= (uniform * cumulative[..., -1])[..., None]).sum(-1)
    return choice.clamp(max=score.shape[-1] - 1)
