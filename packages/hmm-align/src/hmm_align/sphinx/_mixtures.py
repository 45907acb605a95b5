"""Tied mixtures: many states that weight the Gaussians of a few codebooks."""

import math

import numpy as np
import torch
from torch import Tensor

from ._files import SphinxFiles

# Frames that are scored at once: their densities of one codebook stay in the cache.
_BLOCK = 1024


class TiedMixtures:
    r"""Log densities of senones: products over streams of weighted sums of a codebook's Gaussians.

    .. math:: \log p(x | s) = \sum_f \log \sum_m w_{sfm} \mathcal{N}(x_f; \mu_{cfm}, \sigma_{cfm}^2),
        \quad c = \text{codebook of } s
    """

    def __init__(self, files: SphinxFiles) -> None:
        self.num_densities = files.definition.num_senones
        self._codebook = torch.from_numpy(files.codebook_of_senone.astype(np.int64))
        self._weights = [torch.from_numpy(item) for item in files.weights]
        self._dims = [item.shape[2] for item in files.means]
        # A Gaussian's exponent is linear in x and x squared: those of a codebook are a matrix product.
        self._linear, self._offset = [], []
        for means, variances in zip(files.means, files.variances, strict=True):
            mean, precision = (
                torch.from_numpy(means).double(),
                torch.from_numpy(variances).double().reciprocal(),
            )
            self._linear.append(torch.cat([-0.5 * precision, mean * precision], dim=2).float())
            quadratic = (mean.square() * precision + math.log(2 * math.pi) - precision.log()).sum(2)
            self._offset.append((-0.5 * quadratic).float())

    @torch.no_grad()
    def log_prob(self, features: Tensor, densities: Tensor) -> Tensor:
        """Return the log densities (T, N) of features (T, D) under the named senones (N,)."""
        # Senones of one codebook side by side, so that each codebook fills a block of columns.
        order = torch.argsort(self._codebook[densities], stable=True)
        senones = densities[order]
        codebooks, counts = torch.unique_consecutive(self._codebook[senones], return_counts=True)
        ends = [0, *counts.cumsum(0).tolist()]
        found = features.new_zeros(len(features), len(densities))
        first = 0
        for stream, dim in enumerate(self._dims):
            x = features[:, first : first + dim]
            x = torch.cat([x.square(), x], dim=1)
            weights = torch.split(self._weights[stream][senones], counts.tolist())
            for codebook, weight, begin, end in zip(
                codebooks.tolist(), weights, ends, ends[1:], strict=False
            ):
                linear, offset = self._linear[stream][codebook], self._offset[stream][codebook]
                for start in range(0, len(x), _BLOCK):
                    exponent = torch.addmm(offset, x[start : start + _BLOCK], linear.T)
                    largest = exponent.amax(dim=1, keepdim=True)
                    value = exponent.sub_(largest).exp_() @ weight.T
                    found[start : start + _BLOCK, begin:end] += value.log_().add_(largest)
            first += dim
        return found[:, torch.argsort(order)]
