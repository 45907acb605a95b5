"""A hidden Markov model from a matrix of transition probabilities."""

from typing import Any

import torch
from torch import Tensor, nn

from hmm_core import ViterbiPath
from hmm_models._serialization import register_model
from hmm_models.emissions._lazy import LazyGaussianMixtures
from hmm_models.emissions._mixtures import GaussianMixtures
from hmm_models.emissions._state_scores import StateScores
from hmm_models.models._hidden_markov_model import HiddenMarkovModel
from hmm_models.transitions._topology import Topology, is_left_to_right, named_topology


@register_model
class HMMPyTorch(HiddenMarkovModel):
    """Hidden Markov model from a matrix of transition probabilities.

    Parameters
    ----------
    transition_matrix : Tensor, shape (K, K), optional
        Probability of each step, row = from; rows sum to 1, and 0 stays forbidden. Every state after every
        state if omitted.
    num_states : int, optional
        K; only needed without a matrix.
    feature_dim : int, optional
        D: the states emit Gaussians with diagonal covariances over D features.
    initial_probs : Tensor, shape (K,), optional
        Probability of starting in each state. If omitted: the first state where the matrix leads forwards
        only, otherwise all states alike.
    emission : nn.Module, optional
        Any ``Emission`` of K densities. With neither this nor ``feature_dim`` the first batch tells: if its
        last axis is K, the observations are log-scores of the states; otherwise they are features, and the
        states emit Gaussians, flat-started on that batch like torch's lazy modules.

    Raises
    ------
    ValueError
        If sizes disagree, or rows are no distributions.

    Notes
    -----
    A first batch of K features is taken for scores: give ``feature_dim`` to have it otherwise.

    Examples
    --------
    >>> import torch
    >>> hmm = HMMPyTorch(torch.tensor([[0.5, 0.5], [0.0, 1.0]]))
    >>> scores = torch.tensor([[[0.9, 0.1], [0.6, 0.4], [0.1, 0.9]]]).log()
    >>> path, score = hmm.viterbi_decode(scores)
    >>> path
    tensor([[0, 1, 1]])
    >>> posteriors, log_likelihood = hmm.forward_backward(scores)
    >>> log_likelihood.exp().item() > score.exp().item()
    True
    """

    def __init__(
        self,
        transition_matrix: Tensor | None = None,
        *,
        num_states: int | None = None,
        feature_dim: int | None = None,
        initial_probs: Tensor | None = None,
        emission: nn.Module | None = None,
    ) -> None:
        if transition_matrix is None:
            if num_states is None:
                raise ValueError("give transition_matrix or num_states; got neither")
            if num_states < 1:
                raise ValueError(f"num_states must be >= 1; got {num_states}")
            transition_matrix = named_topology("ergodic", num_states).log_transition.exp()
        K = len(transition_matrix)
        if num_states is not None and num_states != K:
            raise ValueError(
                f"num_states must be the number of rows of transition_matrix = {K}; got {num_states}"
            )
        if initial_probs is None:
            first = torch.eye(K)[0]
            forwards = is_left_to_right(first.log(), transition_matrix.log())
            initial_probs = first if forwards else torch.full((K,), 1.0 / K)
        if emission is not None and feature_dim is not None:
            raise ValueError(f"give feature_dim or emission; got both, feature_dim = {feature_dim}")
        if emission is None:
            emission = LazyGaussianMixtures(K) if feature_dim is None else GaussianMixtures(K, 1, feature_dim)
        topology = Topology.from_probabilities(initial_probs.detach(), transition_matrix.detach())
        super().__init__(emission, topology)

    def _materialize(self, x: Tensor, lengths: Tensor | None, observed: Tensor | None) -> None:
        """Take observations of K numbers for scores."""
        if isinstance(self.emission, LazyGaussianMixtures) and x.ndim == 3 and x.shape[2] == self.num_states:
            self.emission = StateScores(self.num_states)
        super()._materialize(x, lengths, observed)

    def forward_backward(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Probability of each state in each frame, and the log-likelihood.

        Parameters
        ----------
        x : Tensor, shape (B, T, ...)
            Observations, or log-scores of the states.
        lengths : Tensor of int64, shape (B,), optional
            Valid frames of each sequence, 0..T; all if omitted.

        Returns
        -------
        posteriors : Tensor, shape (B, T, K)
            0 behind the end and where no path exists.
        log_likelihood : Tensor, shape (B,)
            In nats.
        """
        result = self.posterior(x, lengths)
        return result.state, result.log_likelihood

    def viterbi_decode(self, x: Tensor, lengths: Tensor | None = None) -> ViterbiPath:
        """Most likely state path of each sequence; the same as ``viterbi``.

        Parameters
        ----------
        x : Tensor, shape (B, T, ...)
            Observations, or log-scores of the states.
        lengths : Tensor of int64, shape (B,), optional
            Valid frames of each sequence, 0..T; all if omitted.

        Returns
        -------
        hmm_core.ViterbiPath
            ``states`` (B, T) and ``log_score`` (B,), also by unpacking.
        """
        return self.viterbi(x, lengths)

    def align(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """State of each frame on the most likely path.

        Parameters
        ----------
        x : Tensor, shape (B, T, ...)
            Observations, or log-scores of the states.
        lengths : Tensor of int64, shape (B,), optional
            Valid frames of each sequence, 0..T; all if omitted.

        Returns
        -------
        Tensor of int64, shape (B, T)
            -1 behind the end and where no path exists.
        """
        return self.viterbi(x, lengths).states

    @classmethod
    def from_config(cls, config: Any) -> "HMMPyTorch":  # noqa: ANN401  (as in the base class)
        """Build the structure that ``config`` described.

        Parameters
        ----------
        config : mapping
            What ``config`` returned.

        Returns
        -------
        HMMPyTorch
            With fresh parameters.
        """
        general = HiddenMarkovModel.from_config(config)
        model = cls(num_states=general.num_states, emission=general.emission)
        return model._restored()

    def _present(self) -> dict[str, Any]:
        """Arguments that make a model like this one."""
        chain = self._present_topology()
        return {
            "transition_matrix": chain.log_transition.exp(),
            "num_states": None,
            "feature_dim": None,
            "initial_probs": chain.log_initial.exp(),
            "emission": self.emission,
        }
