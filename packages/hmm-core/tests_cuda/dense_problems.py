"""Problems with dense transitions, and how their results are compared with the definition."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hmm_core.testing import Arguments

FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "densities": {"densities": 3},
    "per sequence": {"per_sequence": True},
    "varying": {"time_varying": True},
    "all": {"densities": 2, "per_sequence": True, "time_varying": True},
}


def convert(hmm: Arguments, change: Callable[[Tensor], Tensor]) -> Arguments:
    """Convert every tensor."""
    values: list[Any] = [change(value) if isinstance(value, Tensor) else value for value in hmm]
    return Arguments(*values)


def single(hmm: Arguments) -> Arguments:
    """Round all scores to float32."""
    return convert(hmm, lambda value: value.float() if value.is_floating_point() else value)


def poisoned(hmm: Arguments, device: torch.device) -> Arguments:
    """Put NaN into the padding, and all of it where the kernels run."""
    B, T, _ = hmm.log_emission.shape
    lengths = torch.full((B,), T) if hmm.lengths is None else hmm.lengths
    past = torch.arange(T) >= lengths[:, None]
    hmm = hmm._replace(log_emission=hmm.log_emission.masked_fill(past[..., None], torch.nan))
    return convert(hmm, lambda value: value.to(device))


def clean(hmm: Arguments) -> Arguments:
    """Replace the padding, which the definition checks, and compute in float64."""
    hmm = hmm._replace(log_emission=hmm.log_emission.nan_to_num(0.0, neginf=-torch.inf))
    return convert(hmm, lambda value: value.double() if value.is_floating_point() else value)


def assert_agrees(
    op: Callable[..., Any], hmm: Arguments, *, rtol: float = 1e-10, atol: float = 1e-11, **options: Any
) -> None:
    """Compare a kernel with the definition; by default, up to what a few frames round differently."""
    found, expected = (
        problem.apply(op, backend=backend, **options)
        for problem, backend in ((hmm, "cuda"), (clean(hmm), "reference"))
    )
    if isinstance(found, Tensor):
        found, expected = (found,), (expected,)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == (hmm.log_emission.dtype if one.is_floating_point() else torch.int64)
        torch.testing.assert_close(one.to(other.dtype), other, rtol=rtol, atol=atol)
