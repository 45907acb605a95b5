"""What training holds in memory, as Linux counts it."""

import ctypes
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hmm_models import GaussianHMM

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="only Linux tells what a process held at most"
)


def memory(name: str) -> float:
    """Memory that this process holds (VmRSS) or has held at most (VmHWM), in MB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def forget_peak() -> None:
    """From here on VmHWM is the peak of what follows."""
    ctypes.CDLL(None).malloc_trim(0)  # what is free already would hide what is taken
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def e_step(T: int, K: int, M: int, D: int) -> float:
    """MB that an E-step on T frames takes beyond its arguments."""
    model = GaussianHMM(K, D, M)
    x = torch.randn(4, T // 4, D)
    model.accumulate(x[:, :100])
    forget_peak()
    before = memory("VmRSS")
    model.accumulate(x)
    return memory("VmHWM") - before


def test_an_e_step_takes_frames_times_states_whatever_components_and_features() -> None:
    small = e_step(100_000, 10, 1, 8)
    array = 8 * 100_000 * 10 / 2**20
    # Log-densities, posteriors, both weighted, and messages: a few arrays (T, K) in float64.
    assert small < 8 * array
    # An array (T, K, M) would take 8 more MB for each component.
    assert e_step(100_000, 10, 16, 40) < small + 3 * array
    assert e_step(200_000, 10, 1, 8) < 2 * small + 2 * array


class Stream:
    """Batches drawn anew each pass, which remember what the process held at most between them."""

    def __init__(self, batches: int) -> None:
        self.batches = batches
        self.held: list[float] = []

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        generator = torch.Generator().manual_seed(0)
        for _ in range(self.batches):
            yield {"x": torch.randn(4, 2000, 20, generator=generator)}
            self.held.append(memory("VmHWM"))


def test_fitting_batch_by_batch_takes_one_batch_however_many_there_are() -> None:
    stream = Stream(60)
    GaussianHMM(5, 20).fit_batches(stream, max_iterations=1, tolerance=0.0)
    # All batches together are 37 MB.
    assert stream.held[-1] - stream.held[3] < 8.0
