"""The dense C++ kernels give the reference's answers in float64, however the numbers are scaled."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from hmm_core import Sparse, backward, expected_transitions, forward, log_likelihood, posterior
from hmm_core.testing import Arguments, enumerate_paths, random_hmm

pytestmark = pytest.mark.usefixtures("native")

# Roundings of a message in each of at most 63 frames; log-likelihoods are kept to 1e-6 of themselves.
RELATIVE = {torch.float32: 1e-6, torch.float64: 1e-12}
ABSOLUTE = {torch.float32: 1e-5, torch.float64: 1e-10}


def _cast(hmm: Arguments, dtype: torch.dtype) -> Arguments:
    """Take the same numbers in another precision."""
    assert isinstance(hmm.log_transition, Tensor)
    return hmm._replace(
        log_initial=hmm.log_initial.to(dtype),
        log_transition=hmm.log_transition.to(dtype),
        log_emission=hmm.log_emission.to(dtype),
        log_final=None if hmm.log_final is None else hmm.log_final.to(dtype),
    )


def _results(hmm: Arguments, backend: Any, checkpoint: bool = False) -> dict[str, Tensor]:
    """Everything that the kernels compute."""
    forwards, states = hmm.apply(forward, backend=backend), hmm.apply(posterior, backend=backend)
    results = {
        "log_alpha": forwards.log_alpha,
        "forward": forwards.log_likelihood,
        "log_beta": hmm.apply(backward, backend=backend),
        "state": states.state,
        "posterior": states.log_likelihood,
        "counts": hmm.apply(expected_transitions, backend=backend),
    }
    return results | _gradients(hmm, backend, checkpoint)


def _gradients(hmm: Arguments, backend: Any, checkpoint: bool = False) -> dict[str, Tensor]:
    """Log-likelihood, and the derivatives of a weighted sum of those that are finite."""
    assert isinstance(hmm.log_transition, Tensor)
    names = ["log_initial", "log_transition", "log_emission", "log_final"]
    leaves = {
        name: value.detach().clone().requires_grad_()
        for name in names
        if (value := getattr(hmm, name)) is not None
    }
    total = hmm._replace(**leaves).apply(log_likelihood, backend=backend, checkpoint=checkpoint)
    upstream = torch.linspace(-1, 2, len(total), dtype=torch.float64).to(total.dtype)
    weighted = torch.where(total > -torch.inf, total, 0) @ upstream
    gradients = torch.autograd.grad(weighted, list(leaves.values()))
    return {"log_likelihood": total.detach()} | dict(
        zip((f"d_{name}" for name in leaves), gradients, strict=True)
    )


def _naming(name: str) -> Callable[[str], str]:
    """Say which result differs."""
    return lambda text: f"{name}: {text}"


def _assert_parity(hmm: Arguments, dtype: torch.dtype) -> None:
    """Compare with the float64 reference on the same rounded numbers."""
    hmm = _cast(hmm, dtype)
    actual = _results(hmm, "cpu")
    expected = _results(_cast(hmm, torch.float64), "reference")
    for name, value in expected.items():
        logs = name in {"log_alpha", "forward", "log_beta", "posterior", "log_likelihood"}
        # Gradients and counts sum over frames and sequences.
        torch.testing.assert_close(
            actual[name].double(),
            value,
            rtol=RELATIVE[dtype] if logs or dtype == torch.float64 else 2e-5,
            atol=ABSOLUTE[dtype] * (1 if name == "state" else 3),
            msg=_naming(name),
        )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("K", [1, 2, 3, 5, 8, 17, 33, 64, 100])
@pytest.mark.parametrize("impossible", [0.0, 0.5, 0.95])
def test_parity_at_every_size(dtype: torch.dtype, K: int, impossible: float) -> None:
    for T, scale in ((1, 1.0), (2, 1e4), (63, 1.0), (63, 30.0)):
        _assert_parity(random_hmm(5, T, K, impossible=impossible, scale=scale, seed=K + T), dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0, 1e4])
def test_parity_in_every_form(dtype: torch.dtype, scale: float) -> None:
    for densities, per_sequence, time_varying in itertools.product((None, 2), (False, True), (False, True)):
        for T, K in ((2, 9), (11, 3), (11, 20)):
            hmm = random_hmm(
                *(4, T, K),
                densities=densities,
                per_sequence=per_sequence,
                time_varying=time_varying,
                impossible=0.3,
                scale=scale,
                seed=T + K,
            )
            _assert_parity(hmm, dtype)


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_parity_on_every_instruction_set(dtype: torch.dtype) -> None:
    for K, scale in itertools.product((3, 10, 16, 21, 50, 70), (1.0, 200.0)):
        _assert_parity(random_hmm(9, 20, K, impossible=0.2, scale=scale, seed=K), dtype)


def test_all_paths_of_a_small_model() -> None:
    hmm = random_hmm(3, 5, 3, impossible=0.2, scale=3.0, seed=4)
    paths = enumerate_paths(hmm)
    total = hmm.apply(log_likelihood, backend="cpu")
    torch.testing.assert_close(total, paths.log_likelihood, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(hmm.apply(posterior, backend="cpu").state, paths.state, rtol=0, atol=1e-12)
    counts = hmm.apply(expected_transitions, backend="cpu")
    torch.testing.assert_close(counts, paths.transition.sum(1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_emissions_hundreds_of_nats_apart_in_a_frame(dtype: torch.dtype) -> None:
    for K, scale in itertools.product((4, 20, 70), (200.0, 2000.0)):
        hmm = random_hmm(4, 40, K, seed=K)
        _assert_parity(hmm._replace(log_emission=scale * hmm.log_emission), dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_only_path_may_run_far_below_the_best_state(dtype: torch.dtype) -> None:
    # Two chains that never meet; the likelier one, by e^460 (1e200) in every frame, may not end.
    generator = torch.Generator().manual_seed(0)
    K, T = 6, 1000
    log_transition = torch.full((K, K), -torch.inf, dtype=torch.float64)
    log_transition[:3, :3] = torch.rand((3, 3), dtype=torch.float64, generator=generator).log()
    log_transition[3:, 3:] = torch.rand((3, 3), dtype=torch.float64, generator=generator).log()
    log_emission = torch.randn((2, T, K), dtype=torch.float64, generator=generator)
    log_emission[:, :, 3:] -= 460.0
    log_final = torch.tensor([-torch.inf] * 3 + [0.0] * 3, dtype=torch.float64)
    hmm = Arguments(torch.zeros(K, dtype=torch.float64), log_transition, log_emission, None, log_final)
    hmm = _cast(hmm, dtype)
    exact = _cast(hmm, torch.float64)
    actual, expected = hmm.apply(posterior, backend="cpu"), exact.apply(posterior, backend="reference")
    torch.testing.assert_close(
        actual.log_likelihood.double(), expected.log_likelihood, rtol=RELATIVE[dtype], atol=0.0
    )
    torch.testing.assert_close(actual.state.double(), expected.state, rtol=0.0, atol=ABSOLUTE[dtype])
    assert actual.state[:, :, :3].eq(0).all()
    counts = hmm.apply(expected_transitions, backend="cpu").double()
    wanted = exact.apply(expected_transitions, backend="reference")
    torch.testing.assert_close(counts, wanted, rtol=2e-5, atol=ABSOLUTE[dtype])


def test_ragged_sequences_that_share_a_table_begin_and_end_each_in_its_own_way() -> None:
    hmm = random_hmm(37, 30, 10, seed=8, dtype=torch.float64)
    generator = torch.Generator().manual_seed(9)
    initial, final = torch.randn((2, 37, 10), generator=generator, dtype=torch.float64)
    hmm = hmm._replace(log_initial=initial, log_final=final)
    for op in (log_likelihood, posterior):
        actual, expected = (hmm.apply(op, backend=backend) for backend in ("cpu", "reference"))
        # Roundings of thirty frames.
        torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("state", [0, 70, 149])
def test_an_arc_may_lie_far_below_another_one_into_any_state(dtype: torch.dtype, state: int) -> None:
    # The weights into one state alone, in whichever part of the table, are further apart than numbers reach.
    transition = torch.zeros(150, 150, dtype=dtype)
    transition[1:, state] = -2000.0
    initial = torch.full((150,), -torch.inf, dtype=dtype)
    initial[1] = 0.0
    emission = torch.full((1, 2, 150), -torch.inf, dtype=dtype)
    emission[0, 0] = emission[0, 1, state] = 0.0
    total = log_likelihood(initial, transition, emission, backend="cpu")
    log_alpha = forward(initial, transition, emission, backend="cpu").log_alpha[:, 1, state]
    for value in (total, log_alpha):
        torch.testing.assert_close(value.double().tolist(), [-2000.0], rtol=RELATIVE[dtype], atol=0.0)
    probability = posterior(initial, transition, emission, backend="cpu").state[0, 1, state]
    assert float(probability) == pytest.approx(1.0, rel=RELATIVE[dtype])


@pytest.mark.parametrize("K", [8, 24])
def test_ten_thousand_frames_from_left_to_right(K: int) -> None:
    # A dense matrix of which only the diagonal and the next one are arcs, in float32.
    T = 10_000
    hmm = random_hmm(1, T, K, seed=1, dtype=torch.float32, ragged=False, final=False)
    inside = torch.ones(K, K).triu().tril(1)
    log_transition = torch.where(inside > 0, torch.tensor(0.5).log(), -torch.inf)
    log_initial = torch.full((K,), -torch.inf)
    log_initial[0] = 0.0
    log_final = torch.full((K,), -torch.inf)
    log_final[-1] = 0.0
    hmm = hmm._replace(log_initial=log_initial, log_transition=log_transition, log_final=log_final)
    exact = _cast(hmm, torch.float64)
    actual, expected = hmm.apply(posterior, backend="cpu"), exact.apply(posterior, backend="cpu")
    # The promise for ten thousand frames in float32.
    torch.testing.assert_close(actual.log_likelihood.double(), expected.log_likelihood, rtol=1e-6, atol=0.0)
    torch.testing.assert_close(actual.state.double(), expected.state, rtol=0.0, atol=1e-5)
    # Half of the paths leave a state in each frame; the definition is too slow for more than the end.
    reference = exact.apply(log_likelihood, backend="reference")
    torch.testing.assert_close(expected.log_likelihood, reference, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("K", [3, 10, 16, 40])
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_the_same_bits_in_any_company(dtype: torch.dtype, K: int, scale: float) -> None:
    hmm = random_hmm(19, 30, K, impossible=0.1, scale=scale, seed=2, dtype=dtype)
    assert isinstance(hmm.log_transition, Tensor)
    assert hmm.lengths is not None
    shared = ["d_log_initial", "d_log_transition", "d_log_final"]  # sums over the batch
    together = _results(hmm, "cpu")
    for rows in ([3], [18, 0, 7], list(range(5, 17))):
        alone = _results(hmm._replace(log_emission=hmm.log_emission[rows], lengths=hmm.lengths[rows]), "cpu")
        for name in together.keys() - {*shared, "d_log_emission"}:
            assert torch.equal(alone[name], together[name][rows]), name
    padded = torch.cat([hmm.log_emission, torch.full_like(hmm.log_emission[:, :7], torch.nan)], 1)
    poisoned = _results(hmm._replace(log_emission=padded), "cpu")
    frames = {"log_alpha", "log_beta", "state", "d_log_emission"}
    for name, value in together.items():
        assert torch.equal(poisoned[name][:, :30] if name in frames else poisoned[name], value), name


@pytest.mark.parametrize("form", [{}, {"per_sequence": True}, {"time_varying": True}], ids=str)
@pytest.mark.parametrize("K", [6, 40])
def test_the_same_bits_with_any_number_of_threads(form: dict[str, bool], K: int) -> None:
    hmm = random_hmm(21, 60, K, seed=3, dtype=torch.float32, **form)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(_results(hmm, "cpu"))
    finally:
        torch.set_num_threads(before)
    for name, value in results[0].items():
        for other in results[1:]:
            assert torch.equal(other[name], value), name


@pytest.mark.parametrize("scale", [1.0, 300.0])
@pytest.mark.parametrize("K", [5, 20])
def test_checkpoints_give_the_same_gradient(K: int, scale: float) -> None:
    for dtype, T in itertools.product((torch.float32, torch.float64), (1, 2, 16, 50)):
        hmm = random_hmm(5, T, K, impossible=0.1, scale=scale, seed=T, dtype=dtype)
        kept, again = _gradients(hmm, "cpu"), _gradients(hmm, "cpu", checkpoint=True)
        for name, value in kept.items():
            assert torch.equal(again[name], value), name


def test_a_sparse_model_without_absent_arcs_is_the_same_model() -> None:
    hmm = random_hmm(3, 20, 6, seed=8)
    assert isinstance(hmm.log_transition, Tensor)
    sparse = hmm._replace(log_transition=Sparse.from_dense(hmm.log_transition))
    torch.testing.assert_close(
        hmm.apply(log_likelihood, backend="cpu"),
        sparse.apply(log_likelihood, backend="reference"),
        rtol=1e-12,
        atol=1e-12,
    )
