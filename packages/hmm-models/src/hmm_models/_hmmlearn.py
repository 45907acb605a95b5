"""Models from hmmlearn and back, number by number."""

import copy
import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hmm_models.emissions._categorical import CategoricalEmission
from hmm_models.emissions._full import FullGaussianMixtures
from hmm_models.emissions._mixture_emission import MixtureEmission
from hmm_models.emissions._mixtures import GaussianMixtures, SphericalGaussianMixtures
from hmm_models.emissions._poisson import PoissonEmission
from hmm_models.models._estimator import array
from hmm_models.models._gaussian_hmm import GaussianHMM
from hmm_models.models._hidden_markov_model import HiddenMarkovModel
from hmm_models.transitions._adaptive import AdaptiveTransitionMatrix
from hmm_models.transitions._topology import Topology

# No variance is raised to the floor of a model that is given ready made, unless it is smaller than this.
_FLOOR = 1e-10


def from_hmmlearn(model: Any) -> HiddenMarkovModel:  # noqa: ANN401  (of a package that need not be there)
    """Take over a model of hmmlearn.

    Parameters
    ----------
    model : hmmlearn.hmm.GaussianHMM, GMMHMM, CategoricalHMM or PoissonHMM
        With parameters, from ``fit`` or set by hand; of any covariance type.

    Returns
    -------
    HiddenMarkovModel
        In float64, with the same scores, posteriors and paths: a ``GaussianHMM``, or a ``HiddenMarkovModel``
        of ``CategoricalEmission``, ``PoissonEmission`` or, for the "tied" covariances of a ``GMMHMM``, which
        the components of a state share, ``FullGaussianMixtures``.

    Raises
    ------
    TypeError
        If the model is of another class.
    ValueError
        If it has no parameters yet, or its probabilities do not sum to 1.

    Notes
    -----
    hmmlearn's ``X``, sequences one behind the other, becomes the batch
    ``collate_variable_length(np.split(X, np.cumsum(lengths)[:-1]))``; symbols (N, 1) become int64 (B, T), so
    split ``X[:, 0]``; counts become floating-point. Its priors stay behind: ``fit`` here maximises the
    likelihood, unless it is given a ``MixturePrior``. Variances below 1e-10 are raised to that.

    Examples
    --------
    >>> import numpy as np
    >>> from hmmlearn.hmm import PoissonHMM
    >>> other = PoissonHMM(2)
    >>> other.startprob_, other.transmat_ = np.array([1.0, 0.0]), np.array([[0.5, 0.5], [0.0, 1.0]])
    >>> other.lambdas_ = np.array([[1.0], [9.0]])
    >>> from_hmmlearn(other).predict(np.array([[[0.0], [2.0], [8.0]]]))
    tensor([[0, 0, 1]])
    """
    name = next((cls.__name__ for cls in type(model).__mro__ if cls.__module__.startswith("hmmlearn.")), "")
    if name not in _TAKEN:
        raise TypeError(f"model must be one of hmmlearn's {sorted(_TAKEN)}; got {type(model).__name__}")
    if not hasattr(model, "startprob_"):
        raise ValueError("model must have parameters: call its fit first; got one without startprob_")
    chain = Topology.from_probabilities(_double(model.startprob_), _double(model.transmat_))
    with torch.no_grad():
        return _TAKEN[name](model, chain)


def _from_gaussian(model: Any, chain: Topology) -> HiddenMarkovModel:  # noqa: ANN401  (hmmlearn's)
    """Take single Gaussians; hmmlearn gives all covariances as matrices, spherical ones more than once."""
    kind, covariance = model.covariance_type, _double(model.covars_)
    covariance = {
        "spherical": lambda: covariance.reshape(len(model.startprob_), -1)[:, :1],
        "diag": lambda: covariance.diagonal(dim1=1, dim2=2).unsqueeze(1),
        "tied": lambda: covariance[:1].unsqueeze(1),
        "full": lambda: covariance.unsqueeze(1),
    }[kind]()
    mean = _double(model.means_)
    found = GaussianHMM(*mean.shape, covariance_type=kind, topology=chain).double()
    _fill(found.emission, torch.ones(len(mean), 1), mean.unsqueeze(1), covariance)
    return found


def _from_mixtures(model: Any, chain: Topology) -> HiddenMarkovModel:  # noqa: ANN401  (hmmlearn's)
    """Take mixtures, whose "tied" covariances belong to a state each."""
    kind, mean, covariance = model.covariance_type, _double(model.means_), _double(model.covars_)
    K, M, D = mean.shape
    if kind == "tied":
        emission = FullGaussianMixtures(K, M, D, shared="components").double()
        _fill(emission, _double(model.weights_), mean, covariance.unsqueeze(1))
        return HiddenMarkovModel(emission, chain)
    found = GaussianHMM(K, D, M, covariance_type=kind, topology=chain).double()
    _fill(found.emission, _double(model.weights_), mean, covariance)
    return found


def _from_categorical(model: Any, chain: Topology) -> HiddenMarkovModel:  # noqa: ANN401  (hmmlearn's)
    """Take symbols."""
    table = _double(model.emissionprob_)
    emission = CategoricalEmission(*table.shape).double()
    emission.logits.copy_(table.log())
    return HiddenMarkovModel(emission, chain)


def _from_poisson(model: Any, chain: Topology) -> HiddenMarkovModel:  # noqa: ANN401  (hmmlearn's)
    """Take counts."""
    rate = _double(model.lambdas_)
    emission = PoissonEmission(*rate.shape).double()
    emission.log_rate.copy_(rate.log())
    return HiddenMarkovModel(emission, chain)


_TAKEN: dict[str, Callable[[Any, Topology], HiddenMarkovModel]] = {
    "GaussianHMM": _from_gaussian,
    "GMMHMM": _from_mixtures,
    "CategoricalHMM": _from_categorical,
    "PoissonHMM": _from_poisson,
}


def _double(value: Any) -> Tensor:  # noqa: ANN401  (an array)
    """Copy an array in float64."""
    return torch.tensor(value, dtype=torch.float64)


def _fill(emission: MixtureEmission[Any], weight: Tensor, mean: Tensor, covariance: Tensor) -> None:
    """Set the parameters of Gaussian mixtures."""
    emission.variance_floor.fill_(_FLOOR)
    emission.weight_logits.copy_(weight.log())
    emission.mean.copy_(mean)
    emission.set_covariance(covariance)


def to_hmmlearn(model: HiddenMarkovModel) -> Any:  # noqa: ANN401  (of a package that need not be there)
    """Hand a model over to hmmlearn, which must be installed.

    Parameters
    ----------
    model : HiddenMarkovModel
        With states that emit Gaussians or mixtures of them, symbols or counts.

    Returns
    -------
    hmmlearn.hmm.GaussianHMM, GMMHMM, CategoricalHMM or PoissonHMM
        With the same scores, posteriors and paths. Its ``fit`` goes on from these parameters
        (``init_params=""``).

    Raises
    ------
    ImportError
        If hmmlearn is not installed.
    TypeError
        If hmmlearn has no such states.
    ValueError
        If the model says where sequences end (``log_final``), or its steps depend on a context, which
        hmmlearn cannot.

    Notes
    -----
    One covariance for all components of all states, with more than one of them, becomes one for each state
    ("tied"): hmmlearn's mixtures have no other. The scores are the same, but training there tells them apart.

    Examples
    --------
    >>> from hmm_models import GaussianHMM
    >>> to_hmmlearn(GaussianHMM(3, 13, num_mixtures=2)).weights_.tolist()
    [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]
    """
    try:
        hmmlearn = importlib.import_module("hmmlearn.hmm")
    except ImportError as error:
        raise ImportError("to_hmmlearn needs hmmlearn: pip install hmmlearn") from error
    if model.topology.log_final is not None:
        raise ValueError("model must be without log_final: hmmlearn does not know where sequences end")
    if isinstance(model.transition, AdaptiveTransitionMatrix) or len(model.transition.shape) > 2:
        kind = type(model.transition).__name__
        raise ValueError(
            f"transition must not depend on a context, unknown to hmmlearn; got {kind} that does"
        )
    K, emission = model.num_states, copy.deepcopy(model.emission).double()
    if isinstance(emission, CategoricalEmission):
        other = hmmlearn.CategoricalHMM(K, n_features=emission.num_symbols, init_params="")
        other.emissionprob_ = _rows(emission.logits)
    elif isinstance(emission, PoissonEmission):
        other = hmmlearn.PoissonHMM(K, init_params="")
        other.n_features = emission.feature_dim
        other.lambdas_ = array(emission.log_rate.exp())
    elif isinstance(emission, GaussianMixtures | FullGaussianMixtures):
        other = _to_gaussians(hmmlearn, K, emission)
    else:
        raise TypeError(
            "the states of model must emit Gaussian mixtures, symbols or counts, which hmmlearn knows; "
            f"got {type(emission).__name__}"
        )
    chain = model.topology
    other.startprob_, other.transmat_ = _rows(chain.log_initial), _rows(chain.log_transition)
    return other


def _to_gaussians(
    hmmlearn: Any,  # noqa: ANN401  (a module)
    num_states: int,
    emission: GaussianMixtures | FullGaussianMixtures,
) -> Any:  # noqa: ANN401  (hmmlearn's)
    """Give single Gaussians, or mixtures where there are several components."""
    kind = "full"
    if isinstance(emission, GaussianMixtures):
        kind = "spherical" if isinstance(emission, SphericalGaussianMixtures) else "diag"
    mixtures = emission.num_mixtures > 1
    shared = getattr(emission, "shared", "none")
    if shared == "all" or (shared == "components" and mixtures):
        kind = "tied"
    covariance = emission.covariance.detach()
    if kind == "tied":
        covariance = covariance.expand(num_states, -1, -1, -1)[:, 0] if mixtures else covariance[0, 0]
    elif not mixtures:
        covariance = covariance[:, 0]
    mean = array(emission.mean)
    if mixtures:
        other = hmmlearn.GMMHMM(num_states, emission.num_mixtures, covariance_type=kind, init_params="")
        other.weights_ = _rows(emission.weight_logits)
    else:
        other = hmmlearn.GaussianHMM(num_states, covariance_type=kind, init_params="")
    other.n_features = emission.feature_dim
    other.means_ = mean if mixtures else mean[:, 0]
    other.covars_ = array(covariance)
    return other


def _rows(logits: Tensor) -> Any:  # noqa: ANN401  (an array)
    """Give probabilities in float64, which sum to 1 more exactly than those of float32."""
    return array(logits.double().softmax(-1))
