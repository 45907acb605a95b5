"""The search for the largest batch survives what does not fit."""

import sys
from collections.abc import Callable

import pytest
import torch

from hmm_models import GaussianHMM, find_optimal_batch_size

MEGABYTE = 1 << 20


def limited_to(largest: int, error: Exception) -> Callable[[int], None]:
    """A step that fails beyond a size."""

    def step(size: int) -> None:
        if size > largest:
            raise error

    return step


@pytest.mark.parametrize("largest", [1, 8, 37, 100])
def test_the_largest_that_fits_is_found(largest: int) -> None:
    found = find_optimal_batch_size(limited_to(largest, MemoryError()), max_batch_size=100)
    assert found.batch_size == largest
    assert all((used is None) == (size > largest) for size, used in found.peak_memory.items())
    assert len(found.peak_memory) <= 14


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:115] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_whatever_allocators_say_is_understood(error: Exception) -> None:
    assert find_optimal_batch_size(limited_to(3, error), max_batch_size=16).batch_size == 3


def test_other_errors_are_raised() -> None:
    with pytest.raises(RuntimeError, match="shapes disagree"):
        find_optimal_batch_size(limited_to(3, RuntimeError("shapes disagree")))
    with pytest.raises(ValueError, match="no number"):
        find_optimal_batch_size(limited_to(3, ValueError("no number")))


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="max_batch_size must be >= 1; got 0"):
        find_optimal_batch_size(lambda _: None, max_batch_size=0)
    with pytest.raises(ValueError, match="memory_limit must be >= 1; got 0"):
        find_optimal_batch_size(lambda _: None, memory_limit=0)
    with pytest.raises(MemoryError, match="a batch of one must fit into memory"):
        find_optimal_batch_size(limited_to(0, MemoryError()))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the memory of a process")
def test_memory_is_seen_and_limited_on_the_cpu() -> None:
    found = find_optimal_batch_size(
        lambda size: torch.ones(size, 10 * MEGABYTE, dtype=torch.uint8),
        max_batch_size=64,
        memory_limit=200 * MEGABYTE,
    )
    # Ten megabytes a sequence; what else the process allocates meanwhile takes a little.
    assert 15 <= found.batch_size <= 20
    used = found.peak_memory[16] if 16 in found.peak_memory else found.peak_memory[15]
    assert used is not None
    assert 140 * MEGABYTE <= used <= 200 * MEGABYTE


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
def test_more_than_the_computer_has_is_refused_and_the_limit_lifted() -> None:
    found = find_optimal_batch_size(
        lambda size: torch.empty((size - 1) << 32, dtype=torch.uint8),
        max_batch_size=4,
        memory_limit=MEGABYTE << 10,
    )
    assert found.batch_size == 1
    assert found.peak_memory[2] is None
    assert len(torch.empty(1 << 32, dtype=torch.uint8)) == 1 << 32  # reserved, not written to


def test_a_step_of_training_is_tried() -> None:
    model = GaussianHMM(3, 4)

    def step(size: int) -> None:
        (-model(torch.randn(size, 20, 4)).mean()).backward()

    assert find_optimal_batch_size(step, max_batch_size=32).batch_size == 32
