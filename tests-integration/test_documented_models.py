"""The examples of models in the system's first documents, as they stand there but for what they print."""

from typing import Any

import pytest
import torch

MODEL_TYPES = """
import pytorch_hmm

model = pytorch_hmm.create_speech_hmm(
    num_states=12,
    feature_dim=80,
    model_type="mixture_gaussian",
    num_mixtures=4
)
hsmm = pytorch_hmm.create_speech_hmm(
    num_states=10,
    feature_dim=80,
    model_type="hsmm",
    max_duration=20
)
streaming = pytorch_hmm.create_speech_hmm(
    num_states=8,
    feature_dim=80,
    model_type="streaming",
    chunk_size=160
)
neural = pytorch_hmm.create_speech_hmm(
    num_states=15,
    feature_dim=80,
    model_type="neural",
    hidden_dim=256
)
model_of_question_1 = pytorch_hmm.MixtureGaussianHMM(num_states=10, feature_dim=80)
hsmm_of_question_2 = pytorch_hmm.SemiMarkovHMM(num_states=8, max_duration=20)
"""

SPEECH = """
import torch
from pytorch_hmm import HMMPyTorch, create_left_to_right_matrix

batch_size, seq_len, feature_dim = 4, 200, 80
mel_spectrogram = torch.randn(batch_size, seq_len, feature_dim)

num_phonemes = 10
transition_matrix = create_left_to_right_matrix(
    num_phonemes,
    self_loop_prob=0.7
)

hmm = HMMPyTorch(transition_matrix)
log_probs = hmm.forward(mel_spectrogram)
print(f"{log_probs.mean():.3f}")

# The question about forward-backward and Viterbi
observations = mel_spectrogram
posteriors, log_likelihood = hmm.forward_backward(observations)
best_path, score = hmm.viterbi_decode(observations)

# Long sequences
sequence = torch.randn(1, 2500, 80)
chunks = torch.split(sequence, 1000, dim=1)
results = [hmm(chunk) for chunk in chunks]

# Looking into a model
print(sum(p.numel() for p in hmm.parameters()))
for name, param in hmm.named_parameters():
    if param.grad is not None:
        print(f"{name}: grad_norm = {param.grad.norm().item()}")
"""

SYNTHESIS = """
import torch
from pytorch_hmm import create_speech_hmm


class TTSPipeline:
    def __init__(self):
        self.phoneme_models = {}
        phonemes = ['a', 'e', 'i', 'o', 'u', 'k', 't', 'p', 's', 'n']

        for phoneme in phonemes:
            self.phoneme_models[phoneme] = create_speech_hmm(
                num_states=5,
                feature_dim=80,
                model_type="mixture_gaussian"
            )

    def synthesize(self, phoneme_sequence, duration_targets):
        mel_outputs = []

        for phoneme, duration in zip(phoneme_sequence, duration_targets):
            if phoneme in self.phoneme_models:
                hmm = self.phoneme_models[phoneme]
                mel_segment = hmm.generate_sequence(duration)
                mel_outputs.append(mel_segment)

        return torch.cat(mel_outputs, dim=1)


tts = TTSPipeline()
phonemes = ['k', 'a', 't']
durations = [10, 15, 8]

mel_spectrogram = tts.synthesize(phonemes, durations)
"""

RECOGNITION = """
import torch
from pytorch_hmm import HMMPyTorch, create_left_to_right_matrix


class ASRDecoder:
    def __init__(self, vocabulary):
        self.vocabulary = vocabulary
        self.word_models = {}

        for word in vocabulary:
            num_states = len(word) * 3
            transition_matrix = create_left_to_right_matrix(
                num_states,
                self_loop_prob=0.6,
                skip_prob=0.1
            )
            self.word_models[word] = HMMPyTorch(transition_matrix)

    def decode(self, audio_features):
        word_scores = {}

        for word, hmm in self.word_models.items():
            log_prob = hmm.forward(audio_features.unsqueeze(0))
            word_scores[word] = log_prob.item()

        best_word = max(word_scores, key=word_scores.get)
        confidence = torch.softmax(torch.tensor(list(word_scores.values())), dim=0)

        return {
            'word': best_word,
            'confidence': confidence.max().item(),
            'all_scores': word_scores
        }


vocabulary = ['hello', 'world', 'pytorch', 'hmm']
asr = ASRDecoder(vocabulary)
audio_features = torch.randn(100, 39)
result = asr.decode(audio_features)
"""

FACTORY = """
from pytorch_hmm import ModelFactory

factory = ModelFactory()

asr_model = factory.create_asr_model(
    vocabulary_size=1000,
    feature_dim=39,
    acoustic_model_type="mixture_gaussian"
)

tts_model = factory.create_tts_model(
    num_phonemes=50,
    feature_dim=80,
    duration_model_type="neural"
)

realtime_model = factory.create_realtime_model(
    num_states=8,
    feature_dim=80,
    target_latency_ms=20
)
"""

QUESTIONS = """
import torch
from pytorch_hmm import HMMPyTorch, MixtureGaussianHMM, SemiMarkovHMM

num_phonemes = 50
hmm = HMMPyTorch(num_states=num_phonemes)


def find_optimal_states(data, state_range=(5, 20)):
    best_score = float('-inf')
    best_states = 5

    for num_states in range(*state_range):
        hmm = HMMPyTorch(num_states=num_states)
        score = hmm.score(data)

        if score > best_score:
            best_score = score
            best_states = num_states

    return best_states


def find_optimal_mixtures(data, max_mixtures=8):
    bic_scores = []

    for n_mix in range(1, max_mixtures + 1):
        hmm = MixtureGaussianHMM(
            num_states=5,
            obs_dim=data.size(-1),
            num_mixtures=n_mix
        )

        for _ in range(10):
            hmm.forward(data)

        log_likelihood = hmm.forward(data).sum()
        n_params = n_mix * data.size(-1) * 2
        bic = -2 * log_likelihood + n_params * torch.log(torch.tensor(data.numel()))
        bic_scores.append(bic.item())

    optimal_mixtures = bic_scores.index(min(bic_scores)) + 1
    return optimal_mixtures


def create_constrained_transitions(num_states, self_loop_prob=0.8):
    P = torch.zeros(num_states, num_states)

    for i in range(num_states):
        if i == num_states - 1:
            P[i, i] = 1.0
        else:
            P[i, i] = self_loop_prob
            P[i, i + 1] = 1 - self_loop_prob

    return P


data = torch.randn(1, 60, 24)
states = find_optimal_states(data)
mixtures = find_optimal_mixtures(data)
constrained = HMMPyTorch(create_constrained_transitions(6))

duration_hmm = SemiMarkovHMM(
    num_states=num_phonemes,
    obs_dim=80,
    max_duration=10
)

with torch.no_grad():
    result = constrained.forward(data)
"""

CUSTOM_EMISSION = """
import torch
import torch.nn as nn
from pytorch_hmm import HMMPyTorch


class CustomEmissionModel(nn.Module):
    def __init__(self, num_states, obs_dim, hidden_dim=256):
        super().__init__()
        self.num_states = num_states
        self.obs_dim = obs_dim

        self.state_networks = nn.ModuleList([
            nn.Sequential(
                nn.Linear(obs_dim, hidden_dim),
                nn.ReLU(),
                nn.Linear(hidden_dim, hidden_dim),
                nn.ReLU(),
                nn.Linear(hidden_dim, 1)
            ) for _ in range(num_states)
        ])

    def forward(self, observations):
        batch_size, seq_len, _ = observations.shape
        log_probs = torch.zeros(batch_size, seq_len, self.num_states)

        for state in range(self.num_states):
            state_log_probs = self.state_networks[state](observations)
            log_probs[:, :, state] = state_log_probs.squeeze(-1)

        return log_probs


# What makes it an emission
class Emission(CustomEmissionModel):
    @property
    def num_densities(self):
        return self.num_states

    def log_prob(self, observations):
        return self(observations)


hmm = HMMPyTorch(num_states=4, emission=Emission(4, 13, hidden_dim=16))
"""


def run(example: str) -> dict[str, Any]:
    """Run a text, and return what it made."""
    torch.manual_seed(0)
    found: dict[str, Any] = {}
    exec(example, found)  # noqa: S102 - the example is a text
    return found


def test_every_type_of_model_scores_and_decodes() -> None:
    found = run(MODEL_TYPES)
    x = torch.randn(2, 30, 80)
    for name in ("model", "hsmm", "streaming", "neural", "model_of_question_1"):
        assert torch.isfinite(found[name](x)).all(), name
        assert found[name].predict(x).shape == (2, 30)
    assert type(found["streaming"]).__name__ == "StreamingHMM"
    assert found["hsmm_of_question_2"](torch.randn(2, 30, 13)).shape == (2,)


def test_speech_is_scored_and_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    found = run(SPEECH)
    assert found["posteriors"].shape == (4, 200, 10)
    torch.testing.assert_close(found["log_likelihood"], found["log_probs"])
    assert bool((found["best_path"].diff() >= 0).all())
    assert bool((found["score"] <= found["log_likelihood"]).all())
    assert len(found["results"]) == 3
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_phonemes_become_a_spectrogram() -> None:
    found = run(SYNTHESIS)["mel_spectrogram"]
    assert found.shape == (1, 33, 80)
    # Five states each, from the first to the last.
    assert len(set(found[0, :, 0].tolist())) == 15


def test_a_word_is_chosen_by_its_model() -> None:
    result = run(RECOGNITION)["result"]
    assert result["word"] in {"hello", "world", "pytorch", "hmm"}
    assert 0.25 <= result["confidence"] <= 1.0


def test_the_factory_makes_models_that_work() -> None:
    found = run(FACTORY)
    x = torch.randn(1, 40, 39)
    said = found["asr_model"].decode(x)[0]
    assert all(0 <= word < 1000 for word in said)
    assert found["tts_model"].generate([[3, 49, 0]], rate=1.5).features.shape[2] == 80
    assert found["realtime_model"].latency_ms == 20.0
    states = found["realtime_model"].stream().push(torch.randn(10, 80)).states
    assert len(states) >= 8


def test_the_answers_to_questions_run() -> None:
    found = run(QUESTIONS)
    assert 5 <= found["states"] < 20
    assert 1 <= found["mixtures"] <= 8
    assert found["result"].shape == (1,)
    assert found["duration_hmm"].max_duration == 10


def test_an_emission_of_ones_own_takes_part() -> None:
    hmm = run(CUSTOM_EMISSION)["hmm"]
    x = torch.randn(2, 20, 13)
    assert hmm.viterbi_decode(x).states.shape == (2, 20)
    before = hmm.score(x)
    hmm.fit_sgd(x, max_epochs=2)
    assert hmm.score(x) > before
