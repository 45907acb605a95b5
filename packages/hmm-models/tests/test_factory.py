"""Models of speech by name."""

from typing import Any

import pytest
import torch

from hmm_models import (
    ContextualNeuralHMM,
    GaussianHMM,
    GaussianMixtures,
    ModelFactory,
    NeuralHMM,
    SemiMarkovHMM,
    StreamingHMM,
    create_speech_hmm,
)

TYPES: dict[Any, tuple[type, dict[str, Any]]] = {
    "gaussian": (GaussianHMM, {"covariance_type": "full"}),
    "mixture_gaussian": (GaussianHMM, {"num_mixtures": 3}),
    "hsmm": (SemiMarkovHMM, {"max_duration": 12, "duration": "poisson"}),
    "neural": (NeuralHMM, {"hidden_dim": 8}),
    "contextual_neural": (ContextualNeuralHMM, {"context_dim": 2, "hidden_dim": 8, "context_per": "state"}),
}


@pytest.mark.parametrize("model_type", TYPES)
def test_each_type_scores_and_decodes_from_left_to_right(model_type: Any) -> None:
    cls, options = TYPES[model_type]
    model = create_speech_hmm(4, 5, model_type, **options)
    assert type(model) is cls
    x = torch.randn(2, 20, 5, generator=torch.Generator().manual_seed(0))
    data = {"context": torch.randn(2, 4, 2)} if model_type == "contextual_neural" else {}
    assert torch.isfinite(model.log_likelihood(x, **data)).all()
    states = model.predict(x, **data)
    assert states[:, 0].tolist() == [0, 0]
    assert bool((states.diff() >= 0).all())


def test_a_stream_may_go_anywhere_and_decides_in_time() -> None:
    model = create_speech_hmm(8, 80, "streaming", chunk_size=160, lag=20)
    assert isinstance(model, StreamingHMM)
    assert not model.is_left_to_right()
    stream = model.stream()
    stream.push(torch.randn(160, 80))
    assert stream.num_decided >= 140


def test_mixtures_have_two_components_unless_said_otherwise() -> None:
    model = create_speech_hmm(3, 2)
    assert isinstance(model, GaussianHMM)
    assert model.num_mixtures == 2


def test_what_is_unknown_is_named_with_what_is_known() -> None:
    with pytest.raises(ValueError, match=r"model_type must be one of \['gaussian', .*\]; got 'transformer'"):
        create_speech_hmm(3, 2, "transformer")  # type: ignore[arg-type]
    with pytest.raises(
        TypeError, match=r"options of model_type='hsmm' are \[.*'max_duration'.*\]; got \['size'\]"
    ):
        create_speech_hmm(3, 2, "hsmm", size=3)
    with pytest.raises(TypeError, match=r"are \[.*'autoregressive'.*'context_per'.*\]; got \['num_heads'\]"):
        create_speech_hmm(3, 2, "contextual_neural", num_heads=3)


@pytest.mark.parametrize("acoustic", ["gaussian", "mixture_gaussian", "semi_continuous", "student_t"])
def test_a_recogniser_of_every_type_trains_and_decodes(acoustic: Any) -> None:
    options: dict[str, Any] = {
        "semi_continuous": {"codebook_size": 4},
        "mixture_gaussian": {"num_mixtures": 2},
    }
    model = ModelFactory().create_asr_model(
        3, 2, acoustic_model_type=acoustic, states_per_unit=2, **options.get(acoustic, {})
    )
    x = torch.randn(4, 15, 2, generator=torch.Generator().manual_seed(0))
    result = model.fit(x, None, [[0, 1], [2], [1, 2, 0], [0]], max_iterations=2)
    assert result.log_likelihood[2] > result.log_likelihood[0]
    assert all(0 <= word < 3 for words in model.decode(x) for word in words)


def test_a_recogniser_takes_a_lexicon() -> None:
    model = ModelFactory.create_asr_model(3, 4, "gaussian", lexicon=[[0, 1], [1, 2, 0], [4]])
    assert model.num_states == 5 * 3 + 1
    assert isinstance(model.emission, GaussianMixtures)
    assert model.emission.feature_dim == 4


@pytest.mark.parametrize(
    "family", ["categorical", "gaussian", "gamma", "lognormal", "poisson", "negative_binomial", "neural"]
)
def test_a_synthesizer_of_every_duration_family_trains_and_generates(family: Any) -> None:
    model = ModelFactory().create_tts_model(
        3, 6, family, states_per_phoneme=2, windows=((1.0,), (-0.5, 0, 0.5))
    )
    x = torch.randn(3, 25, 6, generator=torch.Generator().manual_seed(0))
    result = model.fit(x, None, [[0, 1], [2, 1, 0], [1]], max_iterations=2)
    assert result.log_likelihood[-1] > result.log_likelihood[0]
    assert model.generate([[2, 0]], num_frames=20).features.shape == (1, 20, 3)


@pytest.mark.parametrize(
    ("target", "period", "chunk", "lag"),
    [(20, 10.0, 1, 2), (19.9, 10.0, 1, 1), (0, 10.0, 1, 0), (50, 5.0, 4, 7)],
)
def test_a_realtime_model_is_as_late_as_it_may_be_and_no_later(
    target: float, period: float, chunk: int, lag: int
) -> None:
    model = ModelFactory().create_realtime_model(
        4, 3, target_latency_ms=target, frame_period_ms=period, chunk_size=chunk
    )
    assert model.lag == lag
    assert model.latency_ms <= target < model.latency_ms + period
    stream = model.stream()
    for frames in range(chunk, 40 + chunk, chunk):
        stream.push(torch.randn(chunk, 3))
        # The oldest open frame ended (frames - decided - 1) periods ago.
        assert (frames - stream.num_decided - 1) * period <= target


def test_factories_name_what_they_do_not_know() -> None:
    factory = ModelFactory()
    with pytest.raises(ValueError, match=r"acoustic_model_type must be one of \['gaussian', .*\]; got 'dnn'"):
        factory.create_asr_model(3, 2, "dnn")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"='gaussian' are \['covariance_type'\]; got \['num_mixtures'\]"):
        factory.create_asr_model(3, 2, "gaussian", num_mixtures=3)
    with pytest.raises(ValueError, match=r"covariance_type must be one of .*; got 'round'"):
        factory.create_asr_model(3, 2, covariance_type="round")
    with pytest.raises(ValueError, match="lexicon must have vocabulary_size = 3 words; got 1"):
        factory.create_asr_model(3, 2, lexicon=[[0]])
    with pytest.raises(ValueError, match="vocabulary_size must be >= 1; got 0"):
        factory.create_asr_model(0, 2)
    with pytest.raises(ValueError, match=r"family must be one of \('categorical', .*; got 'lstm'"):
        factory.create_tts_model(3, 2, "lstm")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"options are \['windows'\]; got \['window'\]"):
        factory.create_tts_model(3, 2, window=())
    with pytest.raises(ValueError, match="num_phonemes and states_per_phoneme must be >= 1; got 0 and 5"):
        factory.create_tts_model(0, 2)
    with pytest.raises(ValueError, match=r"frame_period_ms = 30; got 20"):
        factory.create_realtime_model(3, 2, 20, chunk_size=4)
    with pytest.raises(ValueError, match=r"frame_period_ms must be > 0 and chunk_size >= 1; got 0.0 and 1"):
        factory.create_realtime_model(3, 2, 20, frame_period_ms=0.0)
    with pytest.raises(TypeError, match=r"options are \[.*'num_mixtures'.*\]; got \['delay'\]"):
        factory.create_realtime_model(3, 2, 20, delay=1)
