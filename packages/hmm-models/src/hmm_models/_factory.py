"""Models of speech by name."""

import inspect
from collections.abc import Callable
from typing import Any, Literal

from hmm_models.models._gaussian_hmm import GaussianHMM
from hmm_models.models._neural_hmm import ContextualNeuralHMM, NeuralHMM
from hmm_models.models._semi_markov_hmm import SemiMarkovHMM
from hmm_models.models._sequence_model import SequenceModel
from hmm_models.models._streaming_hmm import StreamingHMM

SpeechModel = Literal["gaussian", "mixture_gaussian", "hsmm", "streaming", "neural", "contextual_neural"]

# Each with what differs from its class's own defaults: a unit of speech goes from left to right.
_CLASSES: dict[str, tuple[Callable[..., SequenceModel], dict[str, Any]]] = {
    "gaussian": (GaussianHMM, {"topology": "left_to_right"}),
    "mixture_gaussian": (GaussianHMM, {"topology": "left_to_right", "num_mixtures": 2}),
    "hsmm": (SemiMarkovHMM, {"topology": "left_to_right"}),
    "streaming": (StreamingHMM, {}),
    "neural": (NeuralHMM, {}),
    "contextual_neural": (ContextualNeuralHMM, {}),
}


def create_speech_hmm(
    num_states: int,
    feature_dim: int,
    model_type: SpeechModel = "mixture_gaussian",
    **options: Any,  # noqa: ANN401  (those of the model's class)
) -> SequenceModel:
    """Make a model of a unit of speech: a phone, a word, a phrase; from left to right but for streams.

    Parameters
    ----------
    num_states : int
        K, >= 1.
    feature_dim : int
        D, >= 1.
    model_type : str, default "mixture_gaussian"
        ``"gaussian"`` and ``"mixture_gaussian"`` (two components unless ``num_mixtures`` says otherwise):
        ``GaussianHMM``. ``"hsmm"``: ``SemiMarkovHMM``. ``"streaming"``: ``StreamingHMM``, whose states may
        follow each other in any order, because a stream has no end. ``"neural"``: ``NeuralHMM``.
        ``"contextual_neural"``: ``ContextualNeuralHMM``, which needs ``context_dim``.
    **options
        Further arguments of that class, such as ``num_mixtures``, ``max_duration`` or ``hidden_dim``.

    Returns
    -------
    SequenceModel
        Untrained.

    Raises
    ------
    TypeError
        If an option is unknown; the message lists the known ones.
    ValueError
        If the type is unknown, or an option out of range.

    Examples
    --------
    >>> create_speech_hmm(5, 39, num_mixtures=4)
    GaussianHMM(
      num_states=5, feature_dim=39, num_mixtures=4, covariance_type='diag', has_final=False
      (initial): ProbabilityTable()
      (transition): ProbabilityTable()
      (emission): GaussianMixtures(num_densities=5, num_mixtures=4, feature_dim=39)
    )
    >>> create_speech_hmm(8, 80, "hsmm", max_duration=20).max_duration
    20
    """
    if model_type not in _CLASSES:
        raise ValueError(f"model_type must be one of {list(_CLASSES)}; got {model_type!r}")
    make, defaults = _CLASSES[model_type]
    known = _options(make)
    unknown = sorted(options.keys() - known)
    if unknown:
        raise TypeError(f"options of model_type={model_type!r} are {sorted(known)}; got {unknown}")
    return make(num_states, feature_dim, **{**defaults, **options})


def _options(make: Callable[..., SequenceModel]) -> set[str]:
    """Names of the arguments beside the number of states and of features."""
    names = set()
    for cls in inspect.getmro(make) if isinstance(make, type) else ():
        parameters = inspect.signature(cls).parameters.values()
        names |= {p.name for p in parameters if p.kind in {p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY}}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names - {"num_states", "feature_dim", "obs_dim"}
