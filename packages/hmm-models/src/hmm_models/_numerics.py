"""Log-domain arithmetic whose gradients are zero, never NaN, where a probability is zero."""

import math

import torch
from torch import Tensor

from hmm_models._tracing import is_recorded


def exp_(value: Tensor) -> Tensor:
    """Exponential in place, of values that need no gradient; 0 instead of numbers that are hardly any.

    Processors and libraries take ten times as long over a result that underflows.
    """
    tiny = torch.finfo(value.dtype).tiny
    value.clamp_(min=math.log(tiny) + 1.0).exp_()
    return torch.threshold_(value, 4.0 * tiny, 0.0)


def logsumexp(value: Tensor, dim: int = -1) -> Tensor:
    """Log-sum-exp over an axis; a row of -inf gives -inf and no gradient."""
    maximum = value.detach().amax(dim, keepdim=True)
    maximum = torch.where(maximum == -torch.inf, 0.0, maximum)
    below = value - maximum
    recorded = torch.is_grad_enabled() or is_recorded()
    total = (below.exp() if recorded else exp_(below)).sum(dim)
    impossible = total == 0.0
    log_total = torch.where(impossible, 1.0, total).log()
    return torch.where(impossible, -torch.inf, log_total + maximum.squeeze(dim))


def log_softmax(logits: Tensor) -> Tensor:
    """Normalise the last axis in the log domain; -inf stays -inf, also where a whole row is."""
    normalizer = logsumexp(logits).unsqueeze(-1)
    return logits - torch.where(normalizer == -torch.inf, 0.0, normalizer)
