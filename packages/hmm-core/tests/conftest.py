"""Backends to test, and problems that between them touch every form an argument can take."""

import itertools
import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch

import hmm_core
from hmm_core.testing import Arguments, random_hmm

# Two workers share a core; one thread each is fastest for small tensors.
torch.set_num_threads(1)


@pytest.fixture
def native() -> None:
    """The C++ kernels: required where HMM_REQUIRE_NATIVE=1, otherwise the test is skipped without them."""
    if hmm_core.HAVE_NATIVE:
        return
    reason = hmm_core.backends.available()["cpu"]
    if os.environ.get("HMM_REQUIRE_NATIVE") == "1":
        pytest.fail(f"HMM_REQUIRE_NATIVE=1, but: {reason}")
    pytest.skip(str(reason))


@pytest.fixture(params=hmm_core.backends.kernel_variants() or ["none"])
def variant(request: pytest.FixtureRequest, native: None) -> Iterator[str]:
    """Every instruction set that the kernels were built for and this machine runs, one after another."""
    assert native is None
    with hmm_core.backends.use_kernel_variant(request.param):
        yield request.param


@pytest.fixture
def variants(native: None) -> tuple[str, ...]:
    """All of them at once, for tests whose reference is dear."""
    assert native is None
    return hmm_core.backends.kernel_variants()


@pytest.fixture(params=["reference", "cpu"])
def any_backend(request: pytest.FixtureRequest) -> Any:
    """Every backend."""
    if request.param == "cpu":
        request.getfixturevalue("native")
    return request.param


FORMS = [
    {"sparse": sparse, "densities": densities, "per_sequence": per_sequence, "time_varying": time_varying}
    for sparse, densities, per_sequence, time_varying in itertools.product(
        (False, True), (None, 2), (False, True), (False, True)
    )
]


def _name(form: dict[str, Any]) -> str:
    """Test id of a form."""
    return "-".join(name for name, value in form.items() if value) or "plain"


@pytest.fixture(params=FORMS, ids=_name)
def form(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Which axes the arguments have."""
    return dict(request.param)


@pytest.fixture
def hmm(form: dict[str, Any]) -> Arguments:
    """A small float64 problem with some impossible entries, of every form."""
    return random_hmm(3, 4, 3, impossible=0.2, seed=5, **form)
