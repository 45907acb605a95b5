"""Gradient descent spread over processes."""

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from test_fit_batches import corpus, free_port
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn

from hmm_models import FitResult, GaussianHMM, NeuralHMM, SequenceModel, phone_topology

# Unequal parts of ragged sequences, so that neither numbers of sequences nor of frames are alike.
PARTS = (slice(0, 4), slice(4, 12))


def train(model: SequenceModel, rows: slice, **options: Any) -> FitResult:
    x, lengths = corpus()
    steps = partial(torch.optim.SGD, lr=0.3)
    return model.fit_sgd(x.double()[rows], lengths[rows], optimizer=steps, max_epochs=5, **options)


def models() -> dict[str, SequenceModel]:
    return {"gaussian": GaussianHMM(2, 2).double(), "neural": NeuralHMM(2, 2, hidden_dim=4).double()}


def own_loop(model: GaussianHMM, rows: slice) -> None:
    """Make a step of one's own on the log-likelihood per frame of all processes, as DDP is used elsewhere."""
    x, lengths = corpus()
    wrapped: Any = nn.parallel.DistributedDataParallel(model)
    frames = lengths[rows].sum()
    torch.distributed.all_reduce(frames)
    loss = -wrapped(x.double()[rows], lengths[rows]).sum() * (2 / frames)
    loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.3).step()


def work(rank: int, port: int, folder: str) -> None:
    """Train on a part, together with another process."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2
    )
    torch.manual_seed(rank)
    found: dict[str, Any] = {}
    for name, model in models().items():
        if rank == 0:
            model.load_state_dict(torch.load(Path(folder) / f"{name}.pt", weights_only=True))
        found[name] = train(model, PARTS[rank], distributed=True).log_likelihood
        found[f"{name}.state"] = copy.deepcopy(model.state_dict())
        found[f"{name}.batches"] = train(model, PARTS[rank], distributed=True, batch_size=3).log_likelihood
        found[f"{name}.batches.state"] = model.state_dict()
    model = GaussianHMM(2, 2).double()
    model.load_state_dict(torch.load(Path(folder) / "gaussian.pt", weights_only=True))
    own_loop(model, PARTS[rank])
    found["loop.state"] = model.state_dict()
    x = corpus()[0]
    try:
        chain = GaussianHMM(3, 2, topology=phone_topology(3))
        chain.fit_sgd(x[:, : 3 - rank], distributed=True)
    except ValueError as error:
        found["error"] = str(error)
    torch.save(found, Path(folder) / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def assert_equal(one: dict[str, Tensor], other: dict[str, Tensor], tolerance: float) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=tolerance, atol=tolerance)


def test_two_processes_give_the_gradients_of_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    alone = models()
    for name, model in alone.items():
        torch.save(model.state_dict(), tmp_path / f"{name}.pt")
    stepped = GaussianHMM(2, 2).double()
    stepped.load_state_dict(alone["gaussian"].state_dict())
    spawn(work, args=(free_port(), str(tmp_path)), nprocs=2)  # type: ignore[no-untyped-call]  # torch's
    ranks: list[dict[str, Any]] = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    # Sums of float64 in another order.
    tolerance = 1e-9
    for name, model in alone.items():
        expected = train(model, slice(None)).log_likelihood
        assert expected[-1] > expected[0]
        for found in ranks:
            assert found[name] == pytest.approx(expected, rel=1e-9)
            assert_equal(found[f"{name}.state"], model.state_dict(), tolerance)
        first, second = (found[f"{name}.batches.state"] for found in ranks)
        assert_equal(first, second, 0.0)
        assert max(ranks[0][f"{name}.batches"]) > ranks[0][f"{name}.batches"][0]

    x, lengths = corpus()
    loss = -stepped(x.double(), lengths).sum() / lengths.sum()
    torch.autograd.backward(loss)
    torch.optim.SGD(stepped.parameters(), lr=0.3).step()
    for found in ranks:
        assert_equal(found["loop.state"], stepped.state_dict(), tolerance)

    assert ranks[0]["error"] == "the data of another process were refused; see there"
    assert ranks[1]["error"].startswith("no path of the model can produce sequences [0, 1, 2")


def test_without_processes_nothing_waits() -> None:
    with pytest.raises(RuntimeError, match=r"call torch\.distributed\.init_process_group first"):
        train(GaussianHMM(2, 2), slice(None), distributed=True)
