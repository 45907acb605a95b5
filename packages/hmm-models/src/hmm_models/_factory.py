"""Models of speech by name."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal

from torch import nn

from hmm_models.durations._duration_model import DurationFamily
from hmm_models.emissions._mixtures import GaussianMixtures
from hmm_models.emissions._semi_continuous import SemiContinuousMixtures
from hmm_models.emissions._student_t import StudentTEmission
from hmm_models.models._gaussian_hmm import COVARIANCE_TYPES, GaussianHMM
from hmm_models.models._neural_hmm import ContextualNeuralHMM, NeuralHMM
from hmm_models.models._phoneme_synthesizer import PhonemeSynthesizer
from hmm_models.models._semi_markov_hmm import SemiMarkovHMM
from hmm_models.models._sequence_model import SequenceModel
from hmm_models.models._streaming_hmm import StreamingHMM
from hmm_models.models._word_recognizer import LanguageModel, WordRecognizer

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


AcousticModel = Literal["gaussian", "mixture_gaussian", "semi_continuous", "student_t"]


def _mixtures(
    num_densities: int, feature_dim: int, num_mixtures: int = 4, covariance_type: str = "diag"
) -> nn.Module:
    """Gaussian mixtures for units of speech."""
    if covariance_type not in COVARIANCE_TYPES:
        raise ValueError(f"covariance_type must be one of {tuple(COVARIANCE_TYPES)}; got {covariance_type!r}")
    return COVARIANCE_TYPES[covariance_type](num_densities, num_mixtures, feature_dim)


def _gaussians(num_densities: int, feature_dim: int, covariance_type: str = "diag") -> nn.Module:
    """One Gaussian a state."""
    return _mixtures(num_densities, feature_dim, 1, covariance_type)


def _semi_continuous(num_densities: int, feature_dim: int, codebook_size: int = 256) -> nn.Module:
    """One codebook of Gaussians for all states."""
    return SemiContinuousMixtures(num_densities, GaussianMixtures(codebook_size, 1, feature_dim))


_ACOUSTIC: dict[str, Callable[..., nn.Module]] = {
    "gaussian": _gaussians,
    "mixture_gaussian": _mixtures,
    "semi_continuous": _semi_continuous,
    "student_t": StudentTEmission,
}


class ModelFactory:
    """Models for whole tasks: recognition, synthesis, streams.

    Examples
    --------
    >>> factory = ModelFactory()
    >>> factory.create_asr_model(10, 39).num_states
    81
    >>> factory.create_tts_model(50, 80, duration_model_type="neural").duration.family
    'neural'
    >>> factory.create_realtime_model(8, 80, target_latency_ms=20).lag
    2
    """

    @staticmethod
    def create_asr_model(
        vocabulary_size: int,
        feature_dim: int,
        acoustic_model_type: AcousticModel = "mixture_gaussian",
        *,
        lexicon: Sequence[Sequence[int]] | None = None,
        states_per_unit: int | None = None,
        silence_states: int = 1,
        language_model: LanguageModel = "unigram",
        silence_prob: float = 0.5,
        **options: Any,  # noqa: ANN401  (those of the acoustic model)
    ) -> WordRecognizer:
        """Make a recogniser of connected words.

        Parameters
        ----------
        vocabulary_size : int
            W, >= 1.
        feature_dim : int
            D, >= 1.
        acoustic_model_type : str, default "mixture_gaussian"
            ``"gaussian"`` and ``"mixture_gaussian"`` (options ``num_mixtures``, 4 unless said otherwise, and
            ``covariance_type``), ``"semi_continuous"`` (``codebook_size``, 256), ``"student_t"``.
        lexicon : sequence of sequences of int, optional
            The units (phones), counted from 0, of each word. Each word is a unit of its own if omitted.
        states_per_unit : int, optional
            3 with a lexicon, 8 without, if omitted.
        silence_states, language_model, silence_prob
            See ``WordRecognizer``.
        **options
            Of the acoustic model.

        Returns
        -------
        WordRecognizer
            Untrained: ``fit`` takes features and transcripts, ``decode`` gives words.

        Raises
        ------
        TypeError
            If an option is unknown; the message lists the known ones.
        ValueError
            If the type is unknown, the lexicon of another size, or a value out of range.
        """
        if vocabulary_size < 1:
            raise ValueError(f"vocabulary_size must be >= 1; got {vocabulary_size}")
        if states_per_unit is None:
            states_per_unit = 8 if lexicon is None else 3
        words = [[word] for word in range(vocabulary_size)] if lexicon is None else lexicon
        if len(words) != vocabulary_size:
            raise ValueError(f"lexicon must have vocabulary_size = {vocabulary_size} words; got {len(words)}")
        units = 1 + max((unit for word in words for unit in word), default=0)
        make = _known(_ACOUSTIC, "acoustic_model_type", acoustic_model_type, options)
        return WordRecognizer(
            make(units * states_per_unit + silence_states, feature_dim=feature_dim, **options),
            words,
            states_per_unit=states_per_unit,
            silence_states=silence_states,
            language_model=language_model,
            silence_prob=silence_prob,
        )

    @staticmethod
    def create_tts_model(
        num_phonemes: int,
        feature_dim: int,
        duration_model_type: DurationFamily = "gamma",
        *,
        states_per_phoneme: int = 5,
        max_duration: int = 50,
        **options: Any,  # noqa: ANN401  (those of GaussianMixtures)
    ) -> PhonemeSynthesizer:
        """Make a model that generates features from phonemes.

        Parameters
        ----------
        num_phonemes : int
            U, >= 1.
        feature_dim : int
            D, >= 1.
        duration_model_type : str, default "gamma"
            ``"categorical"``, ``"gaussian"``, ``"gamma"``, ``"lognormal"``, ``"poisson"``,
            ``"negative_binomial"`` or ``"neural"``, see ``DurationModel``.
        states_per_phoneme : int, default 5
            S, >= 1.
        max_duration : int, default 50
            Frames that a state lasts at most.
        **options
            ``windows`` of ``GaussianMixtures``, where the features hold their differences.

        Returns
        -------
        PhonemeSynthesizer
            Untrained: ``fit`` takes features and phonemes, ``generate`` gives features.

        Raises
        ------
        TypeError
            If an option is unknown; the message lists the known ones.
        ValueError
            If the type is unknown, or a value out of range.
        """
        if num_phonemes < 1 or states_per_phoneme < 1:
            raise ValueError(
                "num_phonemes and states_per_phoneme must be >= 1; "
                f"got {num_phonemes} and {states_per_phoneme}"
            )
        unknown = sorted(options.keys() - {"windows"})
        if unknown:
            raise TypeError(f"options are ['windows']; got {unknown}")
        P = num_phonemes * states_per_phoneme
        return PhonemeSynthesizer(
            GaussianMixtures(P, 1, feature_dim, **options),
            states_per_phoneme=states_per_phoneme,
            duration=duration_model_type,
            max_duration=max_duration,
        )

    @staticmethod
    def create_realtime_model(
        num_states: int,
        feature_dim: int,
        target_latency_ms: float,
        *,
        frame_period_ms: float = 10.0,
        chunk_size: int = 1,
        **options: Any,  # noqa: ANN401  (those of StreamingHMM)
    ) -> StreamingHMM:
        """Make a model whose stream decides in time.

        Parameters
        ----------
        num_states : int
            K, >= 1.
        feature_dim : int
            D, >= 1.
        target_latency_ms : float
            How long after the end of a frame its state may still be open, computing not counted.
        frame_period_ms : float, default 10.0
            Time between two frames, > 0.
        chunk_size : int, default 1
            Frames, >= 1, that are pushed at once: the first of them waits for the others.
        **options
            Further arguments of ``StreamingHMM``.

        Returns
        -------
        StreamingHMM
            With the largest ``lag`` whose ``latency_ms`` is at most the target.

        Raises
        ------
        TypeError
            If an option is unknown; the message lists the known ones.
        ValueError
            If a value is out of range, or the chunks alone take longer than the target.
        """
        if not frame_period_ms > 0.0 or chunk_size < 1:
            raise ValueError(
                f"frame_period_ms must be > 0 and chunk_size >= 1; got {frame_period_ms} and {chunk_size}"
            )
        waiting = (chunk_size - 1) * frame_period_ms
        if not waiting <= target_latency_ms < float("inf"):
            raise ValueError(
                f"target_latency_ms must be finite and at least (chunk_size - 1) * frame_period_ms = "
                f"{waiting:g}; got {target_latency_ms}"
            )
        known = _options(StreamingHMM) - {"lag"}
        unknown = sorted(options.keys() - known)
        if unknown:
            raise TypeError(f"options are {sorted(known)}; got {unknown}")
        # Room for the rounding of a target that is a multiple of the period.
        lag = int((target_latency_ms - waiting) / frame_period_ms * (1.0 + 1e-12))
        return StreamingHMM(
            num_states,
            feature_dim,
            lag=lag,
            chunk_size=chunk_size,
            frame_period_ms=frame_period_ms,
            **options,
        )


def _known(
    makers: dict[str, Callable[..., nn.Module]], name: str, value: str, options: dict[str, Any]
) -> Callable[..., nn.Module]:
    """Find what makes a part, and refuse options that it does not have."""
    if value not in makers:
        raise ValueError(f"{name} must be one of {list(makers)}; got {value!r}")
    known = set(inspect.signature(makers[value]).parameters) - {"num_densities", "feature_dim"}
    unknown = sorted(options.keys() - known)
    if unknown:
        raise TypeError(f"options of {name}={value!r} are {sorted(known)}; got {unknown}")
    return makers[value]
