"""Which form of the dense kernels a call takes."""

import pytest
import torch

from hmm_core.backends.cuda._model import Model, describe
from hmm_core.backends.cuda.dense import _narrow, _wide

H200 = 132


def model(B: int, T: int, K: int, dtype: torch.dtype = torch.float32, *, varying: bool = False) -> Model:
    """A model that holds no numbers."""
    weight = torch.empty((1, T - 1 if varying else 1, K, K), device="meta", dtype=dtype)
    vector = torch.empty((1, K), device="meta", dtype=dtype)
    emission = torch.empty((B, T, K), device="meta", dtype=dtype)
    lengths = torch.empty(B, device="meta", dtype=torch.int64)
    return describe(vector, None, weight, emission, lengths, vector, None)


@pytest.fixture
def _h200(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device with as many multiprocessors as an H200."""
    monkeypatch.setattr(_narrow, "processors", lambda _: H200)
    monkeypatch.setattr(_wide, "processors", lambda _: H200)


@pytest.mark.usefixtures("_h200")
def test_few_long_sequences_of_few_states_are_cut_into_chunks() -> None:
    assert _narrow.chunk_count(model(1, 20000, 32), 2) == 33
    assert _narrow.chunk_count(model(1, 20000, 2), 1) == 312  # of 64 frames at least


@pytest.mark.usefixtures("_h200")
@pytest.mark.parametrize("sizes", [(1, 2047, 8), (1, 20000, 33), (1, 20000, 1), (17, 20000, 8)])
def test_other_sequences_stay_whole(sizes: tuple[int, int, int]) -> None:
    assert _narrow.chunk_count(model(*sizes), 2) == 1


@pytest.mark.usefixtures("_h200")
@pytest.mark.parametrize(
    ("B", "K", "programs"), [(1, 4096, 132), (2, 1000, 63), (100, 1000, 1), (0, 500, 32)]
)
def test_programs_share_a_sequence_where_all_run_at_once(B: int, K: int, programs: int) -> None:
    assert _wide.programs_per_sequence(model(B, 3, K)) == programs
    assert B * programs <= H200


def test_the_interpreter_takes_the_plain_forms() -> None:
    assert _narrow.chunk_count(model(1, 20000, 8), 2) == 1
    assert _wide.programs_per_sequence(model(1, 3, 4096)) == 1


@pytest.mark.parametrize(
    ("K", "dtype", "varying", "block"),
    [
        (1, torch.float32, False, 16),
        (17, torch.float64, False, 32),
        (65, torch.float32, False, 128),
        (65, torch.float64, False, None),
        (33, torch.float32, True, 64),
        (33, torch.float64, True, None),
        (129, torch.float32, False, None),
    ],
)
def test_a_matrix_that_fits_the_registers_stays_there(
    K: int, dtype: torch.dtype, block: int | None, *, varying: bool
) -> None:
    assert _narrow.block_size(model(2, 5, K, dtype, varying=varying)) == block
