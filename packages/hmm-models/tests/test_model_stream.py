"""Streams: the whole recording's filter and path, however it is cut; bounded delay and memory."""

import math
import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hmm_core import forward
from hmm_models import (
    CategoricalEmission,
    GaussianHMM,
    HiddenMarkovModel,
    StreamingHMM,
    load_model,
    phone_topology,
    save_model,
)


@pytest.fixture
def model() -> GaussianHMM:
    """Make a model of five states that stay a while and are hard to tell apart."""
    model = GaussianHMM(5, 3, 2).double()
    with torch.no_grad():
        model.emission.mean.mul_(0.7)
        model.transition.logits.add_(2.0 * torch.eye(5))
    return model


def recording(model: GaussianHMM, frames: int) -> Tensor:
    """Draw a recording (T, D)."""
    return model.sample(frames, generator=torch.Generator().manual_seed(1)).features[0]


@pytest.mark.parametrize("cuts", [[400], [1] * 400, [0, 7, 93, 250, 50]])
@pytest.mark.parametrize("chunk_size", [1, 33, 1024])
def test_the_stream_gives_what_the_whole_recording_gives(
    model: GaussianHMM, cuts: list[int], chunk_size: int
) -> None:
    x = recording(model, 400)
    stream = model.stream(chunk_size=chunk_size)
    parts = [stream.push(part) for part in torch.split(x, cuts)]
    chain = model.topology
    whole = forward(chain.log_initial, chain.log_transition, model.emission.log_prob(x)[None])
    log_filter = whole.log_alpha[0] - whole.log_alpha[0].logsumexp(-1, keepdim=True)
    found = torch.cat([part.log_filter for part in parts])
    # Densities of another number of frames are rounded otherwise.
    torch.testing.assert_close(found, log_filter, rtol=1e-10, atol=1e-10)
    assert float(parts[-1].log_likelihood[-1]) == pytest.approx(model.score(x[None]), rel=1e-12)
    assert stream.num_decided >= 390
    path, rest = model.viterbi(x[None]), stream.flush()
    states = torch.cat([*[part.states for part in parts], rest.states])
    assert torch.equal(states, path.states[0])
    assert float(rest.log_score) == pytest.approx(float(path.log_score.detach()), rel=1e-12)
    assert stream.num_frames == stream.num_decided == 0


@pytest.mark.parametrize("lag", [0, 1, 4, 60])
def test_no_state_stays_open_longer_than_the_lag(model: GaussianHMM, lag: int) -> None:
    x = recording(model, 300)
    stream = model.stream(lag)
    decided = 0
    states = []
    for t, frame in enumerate(x):
        states.append(stream.push(frame[None]).states)
        decided += len(states[-1])
        assert decided == stream.num_decided >= t + 1 - lag
    assert (stream.num_forced == 0) == (lag == 60)
    states.append(stream.flush().states)
    same = torch.cat(states) == model.viterbi(x[None]).states[0]
    assert bool(same.all()) == (lag == 60)


def test_what_a_stream_holds_does_not_grow(model: GaussianHMM) -> None:
    stream = model.float().stream(lag=10)
    x = recording(model, 2000).float()
    sizes = set()
    for _ in range(50):
        for part in torch.split(x, 100):
            stream.push(part)
        open_frames = stream.num_frames - stream.num_decided
        assert open_frames <= 10
        sizes.add(len(pickle.dumps(stream._filter.state_dict())))
    assert stream.num_frames == 100_000
    assert len(sizes) == 1


def test_lost_frames_and_dimensions_are_marginalised(model: GaussianHMM) -> None:
    x = recording(model, 30)
    observed = torch.rand(30, 3, generator=torch.Generator().manual_seed(0)) > 0.3
    x[~observed] = torch.nan
    stream = model.stream(chunk_size=7)
    found = stream.push(x, observed=observed)
    expected = model.score(x[None], observed=observed[None])
    assert float(found.log_likelihood[-1]) == pytest.approx(expected, rel=1e-12)
    frames = torch.arange(30) % 3 > 0
    stream.reset()
    found = stream.push(x.nan_to_num(), observed=frames)
    assert float(found.log_likelihood[-1]) == pytest.approx(
        model.score(x.nan_to_num()[None], observed=frames[None]), rel=1e-12
    )


def test_a_stream_ends_where_the_model_may_end() -> None:
    model = GaussianHMM(3, 2, topology=phone_topology(3))
    x = torch.randn(8, 2)
    stream = model.stream()
    states = [stream.push(x).states, stream.flush().states]
    assert torch.equal(torch.cat(states), model.viterbi(x[None]).states[0])
    stream.push(x[:2])
    assert stream.flush().log_score == -torch.inf


def test_symbols_stream_too() -> None:
    model = HiddenMarkovModel(CategoricalEmission(2, 4))
    symbols = torch.tensor([0, 3, 2, 1, 1])
    stream = model.stream()
    found = stream.push(symbols)
    assert float(found.log_likelihood[-1]) == pytest.approx(model.score(symbols[None]), rel=1e-5)


def test_the_latency_is_what_lag_and_chunks_make_it(tmp_path: Path) -> None:
    model = StreamingHMM(4, 3, lag=5, chunk_size=4, frame_period_ms=12.5)
    assert model.latency_ms == 8 * 12.5
    assert math.isinf(StreamingHMM(4, 3).latency_ms)
    stream = model.stream()
    assert (stream.lag, stream.chunk_size) == (5, 4)
    assert model.stream(lag=2).lag == 2
    save_model(model, tmp_path / "model.safetensors")
    again = load_model(tmp_path / "model.safetensors")
    assert isinstance(again, StreamingHMM)
    assert again.latency_ms == model.latency_ms


def test_wrong_arguments_are_named(model: GaussianHMM) -> None:
    with pytest.raises(ValueError, match="lag must be >= 0; got -1"):
        model.stream(-1)
    with pytest.raises(ValueError, match="chunk_size must be >= 1; got 0"):
        model.stream(chunk_size=0)
    with pytest.raises(ValueError, match=r"x must have shape \(B, T, D\) = \(B, T, 3\)"):
        model.stream().push(torch.zeros(5, 4))
    with pytest.raises(ValueError, match="frame_period_ms must be finite and > 0; got 0"):
        StreamingHMM(2, 2, frame_period_ms=0.0)
    with pytest.raises(ValueError, match="lag must be >= 0; got -2"):
        StreamingHMM(2, 2, lag=-2)
    with pytest.raises(ValueError, match="chunk_size must be >= 1; got 0"):
        StreamingHMM(2, 2, chunk_size=0)
