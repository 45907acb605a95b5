"""Transition matrices that a network adapts to a context."""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from hmm_models._numerics import log_softmax
from hmm_models._serialization import register_model
from hmm_models.transitions._topology import check_distribution, check_shape


@register_model
class AdaptiveTransitionMatrix(nn.Module):
    r"""Transition probabilities that depend on a context: prosody, speaking style, the words.

    .. math:: p(j \mid i, c) \propto a_{ij} \exp f_{ij}(c)

    with a matrix :math:`a` and a network :math:`f` of two layers, which starts at 0. What the matrix forbids
    stays forbidden.

    Parameters
    ----------
    num_states : int
        K, >= 1.
    context_dim : int
        C, >= 1.
    hidden_dim : int, default 64
        Width of the network.
    transition_matrix : Tensor, shape (K, K), optional
        Probabilities to start from, row = from; rows sum to 1. All alike if omitted.

    Raises
    ------
    ValueError
        If a size is < 1, or the matrix is not row-stochastic.

    References
    ----------
    .. [1] Y. Bengio and P. Frasconi, "Input-output HMMs for sequence processing", IEEE Transactions on Neural
       Networks 7(5), 1996.

    Examples
    --------
    >>> import torch
    >>> from hmm_core import log_likelihood
    >>> adaptive = AdaptiveTransitionMatrix(2, 3, transition_matrix=torch.tensor([[0.5, 0.5], [0.0, 1.0]]))
    >>> context = torch.randn(4, 10, 3)  # (B, T, C)
    >>> adaptive(context).shape
    torch.Size([4, 10, 2, 2])
    >>> steps = adaptive.log_prob(context[:, :-1])  # from each frame to the next
    >>> log_likelihood(torch.tensor([0.0, -torch.inf]), steps, torch.randn(4, 10, 2)).shape
    torch.Size([4])

    As the transitions of a model, which ``fit_sgd`` trains:

    >>> from hmm_models import GaussianHMM
    >>> model = GaussianHMM(2, 5, transition=adaptive)
    >>> x = torch.randn(4, 10, 5)
    >>> result = model.fit_sgd(x, context=context, max_epochs=3)
    >>> model.viterbi(x, context=context).states.shape
    torch.Size([4, 10])
    """

    def __init__(
        self,
        num_states: int,
        context_dim: int,
        hidden_dim: int = 64,
        *,
        transition_matrix: Tensor | None = None,
    ) -> None:
        super().__init__()
        sizes = {"num_states": num_states, "context_dim": context_dim, "hidden_dim": hidden_dim}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} must be >= 1; got {size}")
        if transition_matrix is None:
            transition_matrix = torch.full((num_states, num_states), 1.0 / num_states)
        check_shape("transition_matrix", transition_matrix, "(K, K)", (num_states, num_states))
        check_distribution("transition_matrix", transition_matrix)
        self.num_states = num_states
        self.context_dim = context_dim
        self.hidden_dim = hidden_dim
        self.logits = nn.Parameter(transition_matrix.detach().float().log())
        self.network = nn.Sequential(
            nn.Linear(context_dim, hidden_dim), nn.Tanh(), nn.Linear(hidden_dim, num_states**2)
        )
        nn.init.zeros_(self.network[-1].weight)  # type: ignore[arg-type]  # torch types submodules loosely
        nn.init.zeros_(self.network[-1].bias)  # type: ignore[arg-type]

    @property
    def shape(self) -> torch.Size:
        """(K, K)."""
        return self.logits.shape

    @property
    def num_parameters(self) -> int:
        """Free parameters: of the matrix, and all of the network."""
        possible = int((self.logits > -torch.inf).sum())
        return possible - self.num_states + sum(p.numel() for p in self.network.parameters())

    def log_prob(self, context: Tensor) -> Tensor:
        """Log-probabilities of the steps.

        Parameters
        ----------
        context : Tensor, shape (..., C)
            Features of the context.

        Returns
        -------
        Tensor, shape (..., K, K)
            Row = from, column = to; ``-inf`` where forbidden. Differentiable.

        Raises
        ------
        ValueError
            If the last axis is not C.
        """
        if context.shape[-1] != self.context_dim:
            raise ValueError(
                f"context must have shape (..., C) = (..., {self.context_dim}); got {tuple(context.shape)}"
            )
        change: Tensor = self.network(context)
        return log_softmax(self.logits + change.reshape(*change.shape[:-1], *self.logits.shape))

    def forward(self, context: Tensor) -> Tensor:
        """Probabilities of the steps.

        Parameters
        ----------
        context : Tensor, shape (..., C)
            Features of the context.

        Returns
        -------
        Tensor, shape (..., K, K)
            Row-stochastic.
        """
        return self.log_prob(context).exp()

    def config(self) -> dict[str, Any]:
        """Describe the structure for ``save_model``.

        Returns
        -------
        dict
            The sizes.
        """
        return {
            "num_states": self.num_states,
            "context_dim": self.context_dim,
            "hidden_dim": self.hidden_dim,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the structure that ``config`` described.

        Parameters
        ----------
        config : mapping
            The sizes.

        Returns
        -------
        AdaptiveTransitionMatrix
            With fresh parameters.
        """
        return cls(**config)
