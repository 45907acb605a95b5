"""Path entropy in C++: allocates it and calls ``csrc/include/hmm/entropy.hpp``."""

import torch
from torch import Tensor

from hmm_core.backends.cpu import _cpu
from hmm_core.backends.cpu._model import describe


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
    model, _keep = describe(
        log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index
    )
    result = log_emission.new_empty(log_emission.shape[0])
    _cpu.entropy(model, torch.get_num_threads(), result.data_ptr())
    return result
