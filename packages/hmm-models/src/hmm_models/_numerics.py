"""Log-domain arithmetic whose gradients are zero, never NaN, where a probability is zero."""

import torch
from torch import Tensor


def logsumexp(value: Tensor, dim: int = -1) -> Tensor:
    """Log-sum-exp over an axis; a row of -inf gives -inf and no gradient."""
    maximum = value.detach().amax(dim, keepdim=True)
    maximum = torch.where(maximum == -torch.inf, 0.0, maximum)
    total = (value - maximum).exp().sum(dim)
    impossible = total == 0.0
    log_total = torch.where(impossible, 1.0, total).log()
    return torch.where(impossible, -torch.inf, log_total + maximum.squeeze(dim))


def log_softmax(logits: Tensor) -> Tensor:
    """Normalise the last axis in the log domain; -inf stays -inf, also where a whole row is."""
    normalizer = logsumexp(logits).unsqueeze(-1)
    return logits - torch.where(normalizer == -torch.inf, 0.0, normalizer)
