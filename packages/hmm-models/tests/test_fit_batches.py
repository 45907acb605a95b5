"""EM over batches: out of core, stepwise, and spread over processes."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from hmm_models import (
    GaussianHMM,
    GaussianMixtures,
    MixtureStatistics,
    SemiMarkovHMM,
    all_reduce_statistics,
    broadcast_model,
)


def corpus(sequences: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two-dimensional sequences of two states that alternate slowly."""
    truth = GaussianHMM(2, 2)
    with torch.no_grad():
        truth.emission.mean.copy_(torch.tensor([[[-2.0, 0.0]], [[2.0, 1.0]]]))
        truth.transition.logits.copy_(torch.tensor([[0.9, 0.1], [0.2, 0.8]]).log())
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(10, 41, (sequences,), generator=generator)
    return truth.sample(40, sequences, generator=generator).features, lengths


class Batches:
    """Batches made anew in every pass, as from disk."""

    def __init__(self, x: Tensor, lengths: Tensor, size: int) -> None:
        self.parts = list(zip(torch.split(x, size), torch.split(lengths, size), strict=True))

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for x, lengths in self.parts:
            yield {"x": x, "lengths": lengths}


def test_batches_give_what_everything_at_once_gives() -> None:
    x, lengths = corpus()
    whole, parts = GaussianHMM(2, 2), GaussianHMM(2, 2)
    whole.initialize(x, lengths)
    parts.load_state_dict(whole.state_dict())
    expected = whole.fit(x, lengths, initialize=False, max_iterations=5)
    found = parts.fit_batches(Batches(x, lengths, 5), initialize=False, max_iterations=5)
    # Densities of float32 frames are computed in float32, in other blocks.
    assert found.log_likelihood == pytest.approx(expected.log_likelihood, rel=1e-6)
    torch.testing.assert_close(parts.emission.mean, whole.emission.mean, rtol=1e-5, atol=1e-5)


def test_the_best_of_several_starts_is_kept() -> None:
    x = torch.randn(6, 40, 2, generator=torch.Generator().manual_seed(3)).double()
    batches = Batches(x, torch.full((6,), 40), 2)
    model = GaussianHMM(4, 2).double()
    result = model.fit_batches(batches, restarts=5, seed=4, max_iterations=30)
    ends = [start.log_likelihood[-1] for start in result.restarts]
    assert max(ends) - min(ends) > 1.0
    assert result.log_likelihood[-1] == max(ends)
    assert model.score(x) == pytest.approx(max(ends), rel=1e-9)
    short = model.fit_batches(batches, restarts=3, restart_iterations=2, max_iterations=8, tolerance=-1.0)
    assert [len(start.reports) for start in short.restarts] == [2] * 3
    assert len(short.reports) == 8
    with pytest.raises(ValueError, match="restarts must be 1 with step_power; got 2"):
        model.fit_batches(batches, restarts=2, step_power=0.7)


def test_stepwise_em_gets_further_in_its_first_pass() -> None:
    x, lengths = corpus(200)
    start = GaussianHMM(2, 2)
    batches = Batches(x, lengths, 10)
    start.initialize(x[:10], lengths[:10])
    scores = []
    for power in (None, 0.7):
        model = GaussianHMM(2, 2)
        model.load_state_dict(start.state_dict())
        result = model.fit_batches(batches, initialize=False, max_iterations=1, step_power=power)
        assert len(result.reports) == (1 if power is None else 20)
        scores.append(float(model.log_likelihood(x, lengths).sum().detach()))
    assert scores[1] > scores[0]


def test_stepwise_em_stops_when_a_pass_gains_nothing() -> None:
    x, lengths = corpus(30)
    result = GaussianHMM(2, 2).fit_batches(Batches(x, lengths, 6), step_power=0.9, tolerance=1e-3)
    assert result.converged
    assert len(result.log_likelihood) < 100
    empty = {"x": x[:2], "lengths": torch.zeros(2, dtype=torch.int64)}
    some = [{"x": x, "lengths": lengths}, empty]
    assert len(GaussianHMM(2, 2).fit_batches(some, step_power=0.9, max_iterations=2).reports) == 2


def test_a_semi_markov_model_trains_in_batches_too() -> None:
    x, lengths = corpus()
    model = SemiMarkovHMM(2, 2, 30, censoring="right")
    result = model.fit_batches(Batches(x, lengths, 4), max_iterations=4)
    assert list(result.log_likelihood) == sorted(result.log_likelihood)


def test_wrong_arguments_are_named() -> None:
    x, _ = corpus(4)
    model = GaussianHMM(2, 2)
    with pytest.raises(TypeError, match=r"batches must be iterable more than once, .* got a generator"):
        model.fit_batches({"x": part} for part in torch.split(x, 2))
    with pytest.raises(ValueError, match="batches must hold at least one batch; got none"):
        model.fit_batches([])
    with pytest.raises(ValueError, match=r"step_power must be in \(0.5, 1\]; got 0.5"):
        model.fit_batches([{"x": x}], step_power=0.5)
    with pytest.raises(RuntimeError, match=r"torch\.distributed must be initialised"):
        model.fit_batches([{"x": x}], distributed=True)
    chain = SemiMarkovHMM(3, 2, 5, topology="left_to_right")
    with pytest.raises(ValueError, match="batch 1 holds a sequence that no path of the model can produce"):
        chain.fit_batches([{"x": x[:, :9]}, {"x": x[:, :2]}])
    assert model.fit_batches([], initialize=False, max_iterations=1).log_likelihood == (0.0, 0.0)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def work(rank: int, port: int, folder: str) -> None:
    """Train on every second sequence, together with another process."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2
    )
    x, lengths = corpus()
    torch.manual_seed(rank)
    model = GaussianHMM(2, 2)
    if rank == 0:
        model.load_state_dict(torch.load(Path(folder) / "start.pt", weights_only=True))
    mine = Batches(x[rank::2], lengths[rank::2], 4)
    full = model.fit_batches(mine, initialize=False, max_iterations=6, distributed=True)
    stepwise = model.fit_batches(mine, initialize=False, max_iterations=2, distributed=True, step_power=0.8)
    found = {"state": model.state_dict(), "full": full.log_likelihood, "step": stepwise.log_likelihood}
    torch.save(found, Path(folder) / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_give_the_result_of_one(tmp_path: Path) -> None:
    x, lengths = corpus()
    model = GaussianHMM(2, 2)
    model.initialize(x, lengths)
    torch.save(model.state_dict(), tmp_path / "start.pt")
    expected = model.fit(x, lengths, initialize=False, max_iterations=6)
    spawn(work, args=(free_port(), str(tmp_path)), nprocs=2)  # type: ignore[no-untyped-call]  # torch's
    ranks: list[dict[str, Any]] = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    for found in ranks:
        assert found["full"] == pytest.approx(expected.log_likelihood, rel=1e-6)
    for name, value in ranks[0]["state"].items():
        assert torch.equal(value, ranks[1]["state"][name])
    assert ranks[0]["step"] == ranks[1]["step"]


def test_without_processes_nothing_waits() -> None:
    with pytest.raises(RuntimeError, match=r"call torch\.distributed\.init_process_group first"):
        all_reduce_statistics(MixtureStatistics.zeros(1, 1, 1))
    with pytest.raises(RuntimeError, match=r"call torch\.distributed\.init_process_group first"):
        broadcast_model(GaussianMixtures(1, 1, 1))
