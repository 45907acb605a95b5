"""Sums of exponentials, where most of the terms are next to nothing."""

import pytest
import torch

from hmm_models._numerics import exp_, logsumexp

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@DTYPES
def test_what_would_underflow_is_nothing_and_the_rest_is_the_exponential(dtype: torch.dtype) -> None:
    values = torch.tensor([0.0, -1.0, -80.0, -1e4, -torch.inf, torch.nan], dtype=dtype)
    found = exp_(values.clone())
    torch.testing.assert_close(found[:3], values[:3].exp())
    assert found[3:5].tolist() == [0.0, 0.0]
    assert found[5].isnan()


@DTYPES
def test_a_log_sum_is_the_same_whether_gradients_are_recorded_or_not(dtype: torch.dtype) -> None:
    values = torch.randn(40, 5, 30, generator=torch.Generator().manual_seed(0)).to(dtype) * 300
    values[3, 2] = -torch.inf
    values[4] = -torch.inf
    recorded = logsumexp(values, 1)
    with torch.no_grad():
        found = logsumexp(values, 1)
    assert torch.equal(found, recorded)
    assert (found[4] == -torch.inf).all()
    torch.testing.assert_close(found, torch.logsumexp(values, 1))
