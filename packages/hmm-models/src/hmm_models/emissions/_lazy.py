"""Gaussian mixtures that learn the width of the features from the first batch."""

from typing import cast

import torch
from torch import Tensor, nn

from hmm_models.emissions._mixtures import GaussianMixtures


class LazyGaussianMixtures(GaussianMixtures):
    """Gaussian mixtures of features whose width shows with the first batch, like torch's lazy modules.

    Until then the means and variances are ``nn.UninitializedParameter``. The first batch makes them, all
    densities alike with its mean and variance (a flat start), and the module a ``GaussianMixtures``.

    Parameters
    ----------
    num_densities : int
        P, >= 1.
    num_mixtures : int, default 1
        M, >= 1.

    Examples
    --------
    >>> import torch
    >>> emission = LazyGaussianMixtures(3, 2)
    >>> emission.materialize(torch.randn(100, 13))
    >>> emission
    GaussianMixtures(num_densities=3, num_mixtures=2, feature_dim=13)
    """

    def __init__(self, num_densities: int, num_mixtures: int = 1) -> None:
        super().__init__(num_densities, num_mixtures, 1)
        for name in ("mean", "log_variance"):
            # torch annotates it as no Parameter, which it is.
            self.register_parameter(name, cast(nn.Parameter, nn.UninitializedParameter()))
        self.register_buffer("variance_floor", nn.UninitializedBuffer())

    @property
    def num_densities(self) -> int:
        """P."""
        return self.weight_logits.shape[0]

    @property
    def num_mixtures(self) -> int:
        """M."""
        return self.weight_logits.shape[1]

    @property
    def feature_dim(self) -> int:
        """Not known before the first batch."""
        raise RuntimeError("feature_dim is not known before the first batch; give it to the model")

    def extra_repr(self) -> str:
        """Tell what is known, for ``repr``."""
        return f"num_densities={self.num_densities}, num_mixtures={self.num_mixtures}"

    @torch.no_grad()
    def materialize(self, x: Tensor) -> None:
        """Make the parameters, all densities alike, with the mean and variance of the frames given.

        Parameters
        ----------
        x : Tensor, shape (N, D)
            Features, finite, at least one frame.

        Raises
        ------
        ValueError
            If there is no frame, or a feature is NaN or infinite.
        """
        if x.ndim != 2 or not len(x):
            raise ValueError(f"x must have shape (N, D) with N at least 1; got {tuple(x.shape)}")
        P, M = self.weight_logits.shape
        D = x.shape[1]
        dtype, device = self.weight_logits.dtype, self.weight_logits.device
        for name, shape in (("mean", (P, M, D)), ("log_variance", (P, M, D)), ("variance_floor", (D,))):
            lazy = cast(nn.UninitializedParameter, getattr(self, name))
            lazy.materialize(shape, dtype=dtype, device=device)
        # It is one from here on, as torch's lazy modules become what they stand for.
        self.__class__ = GaussianMixtures  # type: ignore[assignment]  # the base class, without new attributes
        self._check_values(x)
        frames = x.double()
        self.reset_flat(frames.mean(0), frames.var(0, unbiased=False), variance_floor=1e-3)
        self.split([M] * P)
