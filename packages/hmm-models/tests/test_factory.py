"""Models of speech by name."""

from typing import Any

import pytest
import torch

from hmm_models import (
    ContextualNeuralHMM,
    GaussianHMM,
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
