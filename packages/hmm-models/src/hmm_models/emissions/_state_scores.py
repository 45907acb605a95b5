"""Observations that are log-scores of the states already."""

from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor, nn

from hmm_models._serialization import register_model


@register_model
class StateScores(nn.Module):
    """Log-scores of P densities, computed elsewhere, passed on as they are.

    Parameters
    ----------
    num_densities : int
        P, >= 1.

    Examples
    --------
    >>> import torch
    >>> from hmm_models import HiddenMarkovModel
    >>> model = HiddenMarkovModel(StateScores(3))
    >>> scores = torch.tensor([[[0.9, 0.05, 0.05], [0.1, 0.1, 0.8]]]).log()
    >>> model.viterbi(scores).states
    tensor([[0, 2]])
    """

    def __init__(self, num_densities: int) -> None:
        super().__init__()
        if num_densities < 1:
            raise ValueError(f"num_densities must be >= 1; got {num_densities}")
        self.num_densities = num_densities

    @property
    def feature_dim(self) -> int:
        """P: a score for each density."""
        return self.num_densities

    @property
    def num_parameters(self) -> int:
        """None to estimate."""
        return 0

    def log_prob(self, x: Tensor) -> Tensor:
        """Return the scores.

        Parameters
        ----------
        x : Tensor, shape (..., P)
            Natural logarithms, up to a constant in each frame; ``-inf`` forbids.

        Returns
        -------
        Tensor, shape (..., P)
            The same.

        Raises
        ------
        ValueError
            If the last axis is not P.
        """
        if x.shape[-1] != self.num_densities:
            raise ValueError(
                f"x must have shape (..., P) = (..., {self.num_densities}); got {tuple(x.shape)}"
            )
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Compute ``log_prob``."""
        return self.log_prob(x)

    def config(self) -> dict[str, Any]:
        """Describe the structure for ``save_model``.

        Returns
        -------
        dict
            The arguments of the class.
        """
        return {"num_densities": self.num_densities}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the structure that ``config`` described.

        Parameters
        ----------
        config : mapping
            The arguments of the class.

        Returns
        -------
        StateScores
            The same.
        """
        return cls(**config)

    def extra_repr(self) -> str:
        """Size, for ``repr``."""
        return f"num_densities={self.num_densities}"
