"""Hidden Markov model whose states emit Gaussian mixtures."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Self

from torch import nn

from hmm_models._serialization import register_model
from hmm_models.emissions._full import FullGaussianMixtures
from hmm_models.emissions._mixture_emission import MixtureEmission
from hmm_models.emissions._mixture_parameters import Windows
from hmm_models.emissions._mixtures import GaussianMixtures, SphericalGaussianMixtures
from hmm_models.models._hidden_markov_model import HiddenMarkovModel, blank_topology
from hmm_models.transitions._parts import build_tables, describe_tables
from hmm_models.transitions._table import ProbabilityTable
from hmm_models.transitions._topology import Topology

COVARIANCE_TYPES: dict[str, Callable[..., MixtureEmission[Any]]] = {
    "spherical": SphericalGaussianMixtures,
    "diag": GaussianMixtures,
    "tied": partial(FullGaussianMixtures, shared="all"),
    "full": FullGaussianMixtures,
}


@register_model
class GaussianHMM(HiddenMarkovModel):
    """Hidden Markov model with a mixture of Gaussians in each state.

    A ``HiddenMarkovModel`` whose ``emission`` is a ``GaussianMixtures`` or one of its sisters.

    Parameters
    ----------
    num_states : int
        K, >= 1.
    feature_dim : int
        D, >= 1.
    num_mixtures : int, default 1
        M, components per state, >= 1.
    obs_dim : int, optional
        Another name of ``feature_dim``; give one of them.
    covariance_type : {"spherical", "diag", "tied", "full"}, default "diag"
        One variance for each component, a variance for each dimension, one full covariance for all components
        of all states, or a full covariance for each component. (Where the components of a state share one,
        give ``HiddenMarkovModel`` a ``FullGaussianMixtures(..., shared="components")``.)
    topology : {"ergodic", "left_to_right"} or Topology, default "ergodic"
        See ``HiddenMarkovModel``.
    initial, transition : optional
        See ``HiddenMarkovModel``.
    windows : sequence of sequences of float, optional
        The features are static ones and their differences by these windows, as ``mlpg`` takes them: what the
        model generates is smooth.

    Raises
    ------
    ValueError
        If a size is < 1, a name unknown, the windows do not fit, or the topology has another number of
        states.

    Notes
    -----
    Means start at random; ``fit`` and ``initialize`` start them from data. An iteration of ``fit`` costs
    O(B T K (K + M D)), O(B T K (K + M D^2)) with full covariances, and O(B T K) memory beside the data.
    ``MixtureGaussianHMM`` and ``MixtureGaussianHMMLayer`` are other names of this class.

    Examples
    --------
    >>> import torch
    >>> truth = GaussianHMM(2, 1)
    >>> with torch.no_grad():
    ...     _ = truth.emission.mean.copy_(torch.tensor([[[-3.0]], [[3.0]]]))
    >>> x = truth.sample(200, generator=torch.Generator().manual_seed(0)).features
    >>> model = GaussianHMM(2, 1)
    >>> result = model.fit(x)
    >>> result.converged, model.emission.mean.flatten().sort().values.round(decimals=0)
    (True, tensor([-3.,  3.], grad_fn=<RoundBackward1>))
    >>> model.viterbi(x).states.shape
    torch.Size([1, 200])
    """

    emission: MixtureEmission[Any]

    def __init__(
        self,
        num_states: int,
        feature_dim: int | None = None,
        num_mixtures: int = 1,
        *,
        obs_dim: int | None = None,
        covariance_type: str = "diag",
        topology: str | Topology = "ergodic",
        initial: ProbabilityTable | None = None,
        transition: nn.Module | None = None,
        windows: Windows | None = None,
    ) -> None:
        size = obs_dim if feature_dim is None else feature_dim
        if size is None or None not in (feature_dim, obs_dim):
            raise ValueError(
                f"give exactly one of feature_dim and its alias obs_dim; got {feature_dim} and {obs_dim}"
            )
        if covariance_type not in COVARIANCE_TYPES:
            raise ValueError(
                f"covariance_type must be one of {tuple(COVARIANCE_TYPES)}; got {covariance_type!r}"
            )
        if num_states < 1:
            raise ValueError(f"num_states must be >= 1; got {num_states}")
        emission = COVARIANCE_TYPES[covariance_type](num_states, num_mixtures, size, windows=windows)
        super().__init__(emission, topology, initial=initial, transition=transition)
        self.covariance_type = covariance_type

    @property
    def feature_dim(self) -> int:
        """D."""
        return self.emission.feature_dim

    @property
    def num_mixtures(self) -> int:
        """M."""
        return self.emission.num_mixtures

    def config(self) -> dict[str, Any]:
        """Describe the structure for ``save_model``.

        Returns
        -------
        dict
            Sizes, the covariance type, the windows if there are any, whether sequences have ends, and tables
            that are more than plain.
        """
        return {
            **self._sizes(),
            **describe_tables(initial=self.initial, transition=self.transition),
        }

    def _sizes(self) -> dict[str, Any]:
        """Arguments of the class, as far as they are numbers and names."""
        windows = {} if self.emission.windows is None else {"windows": self.emission.windows}
        return {
            "num_states": self.num_states,
            "feature_dim": self.feature_dim,
            "num_mixtures": self.num_mixtures,
            "covariance_type": self.covariance_type,
            **windows,
            "has_final": self.has_final,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Build the structure that ``config`` described.

        Parameters
        ----------
        config : mapping
            What ``config`` returned.

        Returns
        -------
        GaussianHMM
            With fresh parameters.
        """
        arguments = {name: value for name, value in config.items() if name != "tables"}
        topology = blank_topology(arguments["num_states"], arguments.pop("has_final"))
        model = cls(**arguments, topology=topology, **build_tables(config))
        return model._restored()

    def _present(self) -> dict[str, Any]:
        """Arguments that make a model like this one."""
        sizes = {name: value for name, value in self._sizes().items() if name != "has_final"}
        return {"windows": None, **sizes, "obs_dim": None, **self._present_chain()}

    def extra_repr(self) -> str:
        """Sizes, for ``repr``."""
        return ", ".join(f"{name}={value!r}" for name, value in self._sizes().items())


MixtureGaussianHMM = GaussianHMM
MixtureGaussianHMMLayer = GaussianHMM
