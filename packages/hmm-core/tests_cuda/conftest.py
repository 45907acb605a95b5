"""Where the Triton kernels are tested: on a GPU, or in Triton's interpreter (TRITON_INTERPRET=1)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from hmm_core.backends import cuda

torch.set_num_threads(1)

# Without a GPU, compilation is checked in another process: one process interprets or compiles, never both.
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def pytest_configure(config: pytest.Config) -> None:
    """Name the marks; let the interpreter take the logarithm of zero, and compute with infinity and NaN."""
    config.addinivalue_line("markers", "gpu: needs a GPU, and is skipped without")
    for message in ("divide by zero encountered", "invalid value encountered", "All-NaN slice encountered"):
        config.addinivalue_line("filterwarnings", f"ignore:{message}:RuntimeWarning")
    if cuda.INTERPRETED:
        count_as_triton_3_9_does()


def count_as_triton_3_9_does() -> None:
    """Let the interpreter of Triton 3.6 take bounds of loops from arrays of one number, with any NumPy."""
    from triton.runtime import interpreter  # noqa: PLC0415  (only where it interprets)

    patch = interpreter._patch_lang_tensor

    def patched(tensor: Any, scope: Any) -> None:
        patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda number: int(number.handle.data.squeeze()))

    interpreter._patch_lang_tensor = patched


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that rewrites registers.json."""
    parser.addoption(
        "--record-registers", action="store_true", help="write what the kernels take to registers.json"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse to test results where nothing can run a kernel, instead of skipping everything."""
    compiling = [item for item in items if Path(item.path).name.startswith("test_compilation")]
    if len(compiling) < len(items) and cuda.problem() is not None:
        raise pytest.UsageError(
            f"these tests need a GPU, or TRITON_INTERPRET=1: the backend {cuda.problem()}"
        )
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a GPU"))
    if compiling and cuda.INTERPRETED:
        raise pytest.UsageError("tests of compilation cannot run with TRITON_INTERPRET=1")


@pytest.fixture
def device() -> torch.device:
    """Where the tensors of a test are."""
    return DEVICE


@pytest.fixture(autouse=True)
def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fill every fresh tensor with NaN (integers with 77), so that whatever is not written shows."""

    def poisoned(original: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def make(*arguments: Any, **options: Any) -> Tensor:
            tensor = original(*arguments, **options)
            return tensor.fill_(torch.nan if tensor.is_floating_point() else 77)

        return make

    for owner, name in ((torch, "empty"), (torch, "empty_like"), (torch.Tensor, "new_empty")):
        monkeypatch.setattr(owner, name, poisoned(getattr(owner, name)))
