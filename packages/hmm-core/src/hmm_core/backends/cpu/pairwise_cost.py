"""Costs of frames in C++: allocates them and calls ``csrc/include/hmm/frame_cost.hpp``."""

import torch
from torch import Tensor

from hmm_core.backends.cpu import _cpu
from hmm_core.backends.cpu._warping import describe_frames


def pairwise_cost(x: Tensor, y: Tensor, lengths_x: Tensor, lengths_y: Tensor, metric: str) -> Tensor:
    """Costs (B, N, M), ``+inf`` in padding; the derivative of a distance of 0 is 0."""
    pairs, _keep = describe_frames(x, y, lengths_x, lengths_y, None, None, metric)
    cost = x.new_empty((x.shape[0], x.shape[1], y.shape[1]))
    _cpu.frame_cost(pairs, torch.get_num_threads(), cost.data_ptr())
    return cost
