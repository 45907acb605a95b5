"""Log-domain arithmetic whose gradients are zero, never NaN, where a probability is zero."""

import torch
from torch import Tensor


def logsumexp(value: Tensor) -> Tensor:
    """Log-sum-exp over the last axis; a row of -inf gives -inf and no gradient."""
    maximum = value.detach().amax(-1, keepdim=True)
    maximum = torch.where(maximum == -torch.inf, 0.0, maximum)
    total = (value - maximum).exp().sum(-1)
    impossible = total == 0.0
    return torch.where(
        impossible, -torch.inf, torch.where(impossible, 1.0, total).log() + maximum.squeeze(-1)
    )


def log_softmax(logits: Tensor) -> Tensor:
    """Normalise the last axis in the log domain; -inf stays -inf, also where a whole row is."""
    normalizer = logsumexp(logits).unsqueeze(-1)
    return logits - torch.where(normalizer == -torch.inf, 0.0, normalizer)
