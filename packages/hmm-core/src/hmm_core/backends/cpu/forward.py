"""Forward messages in C++: allocates them and calls the kernels for the transitions."""

import torch
from torch import Tensor

from hmm_core.backends.cpu import _cpu
from hmm_core.backends.cpu._model import describe


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
    model, _keep = describe(
        log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index
    )
    B, T, _ = log_emission.shape
    log_alpha = log_emission.new_empty(B, T, log_initial.shape[-1])
    total = log_emission.new_empty(B)
    _cpu.forward(model, torch.get_num_threads(), log_alpha.data_ptr(), total.data_ptr())
    return log_alpha, total
