"""When the Triton kernels compute a call, and what is said when they cannot."""

from typing import NoReturn

import pytest
import torch
from gpu_calls import NAMES, make

from hmm_core import BackendUnavailableError, _dispatch
from hmm_core.backends import available, cuda
from hmm_core.backends.cuda._launch import recording
from hmm_core.transitions import _sparse


def test_the_backend_is_available(device: torch.device) -> None:
    assert available()["cuda"] is None
    assert _dispatch.resolve("cuda", device) == "cuda"


def test_auto_takes_it_for_cuda_tensors_only(device: torch.device) -> None:
    assert _dispatch.resolve("auto", device) == device.type


def test_it_cannot_run_under_function_transforms(device: torch.device) -> None:
    with pytest.raises(BackendUnavailableError, match="cannot run under torch\\.func"):
        _dispatch.resolve("cuda", device, transformed=True)
    assert _dispatch.resolve("auto", device, transformed=True) == "reference"


def test_without_an_interpreter_it_needs_cuda_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "INTERPRETED", False)
    with pytest.raises(BackendUnavailableError, match="needs CUDA tensors; these are on cpu"):
        _dispatch.resolve("cuda", torch.device("cpu"))


@pytest.mark.parametrize("name", NAMES)
def test_no_call_reads_a_number_which_would_wait_for_a_gpu(
    name: str, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> NoReturn:
        raise AssertionError("a number was read")

    monkeypatch.setattr(_sparse, "_waits", lambda _: True)
    call = make(name, device)
    x = call.draw(1)
    for method in ("item", "nonzero", "__bool__", "__float__", "__int__", "__index__"):
        monkeypatch.setattr(torch.Tensor, method, refused)
    with recording():
        call.run(x)
