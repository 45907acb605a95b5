"""What is believed of mixture parameters before data is seen."""

from typing import NamedTuple

from torch import Tensor


class MixturePrior(NamedTuple):
    r"""Belief in mixture parameters, told in frames that count as if they had been seen.

    The penalty that ``update`` adds to the log-likelihood, with :math:`c, \tau, \nu` the three strengths, is,
    up to a constant,

    .. math::

        c \sum_{pm} \log w_{pm} - \frac12 \sum_{pm} \tau (\mu - m)^T \Sigma^{-1} (\mu - m)
            - \frac12 \sum_{\Sigma} \nu \left(\log |\Sigma| + \mathrm{tr}\, \Sigma^{-1} S\right),

    a Dirichlet and a normal-Wishart density [1]_. The estimate of a mean is then the average of *n* frames of
    its component and :math:`\tau` frames at *m*.

    Parameters
    ----------
    mean : Tensor, optional
        *m*, of a shape that broadcasts to (P, M, D): the means of a speaker-independent model, say.
    mean_strength : float, default 0.0
        :math:`\tau` frames, >= 0.
    covariance : Tensor, optional
        *S*, of a shape that broadcasts to that of the emission's ``covariance``.
    covariance_strength : float, default 0.0
        :math:`\nu` frames, >= 0; a shared covariance has them once.
    weight_strength : float, default 0.0
        *c* frames for each component in use, >= 0.

    References
    ----------
    .. [1] J.-L. Gauvain and C.-H. Lee, "Maximum a posteriori estimation for multivariate Gaussian mixture
       observations of Markov chains", IEEE Trans. Speech and Audio Processing 2(2), 1994.

    Examples
    --------
    One frame at 3 moves a mean from 1 halfway when the prior weighs as much:

    >>> import torch
    >>> from hmm_models import GaussianMixtures
    >>> densities = GaussianMixtures(1, 1, 1)
    >>> statistics = densities.accumulate(torch.full((1, 1), 3.0), torch.ones(1, 1))
    >>> report = densities.update(statistics, prior=MixturePrior(mean=torch.ones(1), mean_strength=1.0))
    >>> densities.mean.item()
    2.0
    """

    mean: Tensor | None = None
    mean_strength: float = 0.0
    covariance: Tensor | None = None
    covariance_strength: float = 0.0
    weight_strength: float = 0.0

    def checked(self, mean: Tensor, covariance: Tensor) -> "MixturePrior":
        """Broadcast, in float64, to the shapes of a model's parameters; refuse what does not fit.

        Parameters
        ----------
        mean, covariance : Tensor
            Of the model.

        Returns
        -------
        MixturePrior
            With both tensors; what was omitted has no strength.

        Raises
        ------
        ValueError
            If a strength is negative or not finite, lacks its tensor, or a shape does not broadcast.
        """
        for name in ("mean_strength", "covariance_strength", "weight_strength"):
            if not 0.0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be >= 0 and finite; got {getattr(self, name)}")
        return self._replace(
            mean=_fit("mean", self.mean, self.mean_strength, mean),
            covariance=_fit("covariance", self.covariance, self.covariance_strength, covariance),
        )


def _fit(name: str, value: Tensor | None, strength: float, parameter: Tensor) -> Tensor:
    """Broadcast a belief to the parameter it is about."""
    if value is None:
        if strength > 0.0:
            raise ValueError(f"prior.{name} must be given where {name}_strength > 0; got None")
        return parameter.detach().double()
    try:
        return value.to(parameter.device).double().expand(parameter.shape)
    except RuntimeError as error:
        raise ValueError(
            f"prior.{name} must broadcast to {tuple(parameter.shape)}; got {tuple(value.shape)}"
        ) from error
