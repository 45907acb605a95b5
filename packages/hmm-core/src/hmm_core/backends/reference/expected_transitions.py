"""Expected uses of every arc: the derivative of the log-likelihood by its log weight.

xi[t, i, j] = p(z_t = i, z_{t+1} = j | y) ~ alpha[t, i] weight[t, i, j] emission[t+1, j] beta[t+1, j]
"""

from torch import Tensor

from hmm_core.backends.reference._recursion import (
    Arcs,
    normalized_exp,
    scaled_emission,
    stack_frames,
    valid_frames,
)
from hmm_core.backends.reference.backward import relative_backward
from hmm_core.backends.reference.forward import relative_forward


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
    problem = (log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index)
    log_alpha, log_beta = relative_forward(*problem)[0], relative_backward(*problem)[0]
    return count_arcs(log_alpha, log_beta, predecessors, log_weight, log_emission, lengths, emission_index)


def count_arcs(
    log_alpha: Tensor,
    log_beta: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    emission_index: Tensor | None,
) -> Tensor:
    """Count expected uses from the relative messages of both directions."""
    B, T, _ = log_emission.shape
    arcs = Arcs(predecessors, log_weight, B)
    valid = valid_frames(log_emission, lengths)
    empty = log_weight.new_zeros((B, *log_weight.shape[1:]))
    # Counts of many frames add up in float64.
    total = empty[:, 0].double() if log_weight.shape[1] else empty
    steps = []
    for t in range(T - 1):
        emission, _ = scaled_emission(log_emission, emission_index, valid[:, t + 1], t + 1)
        after = emission + log_beta[:, t + 1]
        score = arcs.at_source(log_alpha[:, t]) + arcs.weight(t) + after[:, :, None]
        step = arcs.user_layout(normalized_exp(score, (1, 2)))
        if log_weight.shape[1] == 1:
            total = total + step
        else:
            steps.append(step)
    if log_weight.shape[1] == 1:
        return total[:, None].to(log_emission.dtype)
    return stack_frames(steps, empty)
