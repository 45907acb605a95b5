"""Samples follow the posterior distribution of paths, and are the same in all backends."""

from typing import Any

import pytest
import torch
from torch import Tensor

import hmm_core
from hmm_core import Sparse, backends, ergodic, left_to_right, sample
from hmm_core._validate import canonical
from hmm_core.backends.reference.sample import sample as reference_sample
from hmm_core.testing import Arguments, enumerate_paths, random_hmm


def draw(hmm: Arguments, count: int, backend: str, seed: int = 0) -> Tensor:
    """Paths from a generator of its own."""
    return hmm.apply(
        sample, num_samples=count, generator=torch.Generator().manual_seed(seed), backend=backend
    )


def test_frequencies_are_posterior_probabilities(form: dict[str, Any], any_backend: Any) -> None:
    for seed in range(100):
        hmm = random_hmm(3, 4, 3, impossible=0.1, seed=seed, **form)
        hmm = hmm._replace(lengths=torch.tensor([4, 2, 0]))
        exact = enumerate_paths(hmm)
        if exact.log_likelihood.isfinite().all():
            break
    count = 20_000
    states = draw(hmm, count, any_backend)
    assert states.shape == (count, 3, 4)
    share = torch.stack([(states == k).double().mean(0) for k in range(3)], dim=-1)
    # Five standard deviations of a share of 20,000 draws.
    torch.testing.assert_close(share, exact.state, rtol=0, atol=5 * 0.5 / count**0.5)
    pairs = states[:, :, :-1] * 3 + states[:, :, 1:]
    inside = (states[:, :, :-1] >= 0) & (states[:, :, 1:] >= 0)
    joint = torch.stack([((pairs == k) & inside).double().mean(0) for k in range(9)], dim=-1)
    torch.testing.assert_close(joint, exact.transition.flatten(2), rtol=0, atol=5 * 0.5 / count**0.5)
    assert (states[:, 1, 2:] == -1).all()


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_whole_paths_pass_a_chi_square_test(sparse: bool, dtype: torch.dtype, any_backend: Any) -> None:
    hmm = random_hmm(1, 4, 3, sparse=sparse, seed=0, ragged=False, dtype=dtype, scale=0.5)
    count = 50_000
    states = draw(hmm, count, any_backend)[:, 0]
    observed = torch.bincount(states @ torch.tensor([27, 9, 3, 1]), minlength=81).double()
    dense = hmm.log_transition.to_dense() if isinstance(hmm.log_transition, Sparse) else hmm.log_transition
    paths = torch.cartesian_prod(*[torch.arange(3)] * 4)
    assert hmm.log_final is not None
    score = hmm.log_initial[paths[:, 0]] + hmm.log_final[paths[:, -1]]
    score = score + hmm.log_emission[0, torch.arange(4), paths].sum(1)
    score = score + dense[paths[:, :-1], paths[:, 1:]].sum(1)
    expected = count * score.double().softmax(0)
    assert (observed[expected == 0] == 0).all()
    # Rare paths together, so that every cell expects at least 10.
    common = expected > 10
    observed = torch.cat((observed[common], observed[~common].sum()[None]))
    expected = torch.cat((expected[common], expected[~common].sum()[None]))
    observed, expected = observed[expected > 0], expected[expected > 0]
    statistic = ((observed - expected) ** 2 / expected).sum()
    freedom = len(expected) - 1
    assert freedom > 5
    # Mean and variance of chi-square are n and 2n; five standard deviations, and the seed is fixed.
    assert statistic < freedom + 5 * (2 * freedom) ** 0.5


@pytest.mark.parametrize("states", [1, 2, 3, 5, 8, 17, 33, 64])
@pytest.mark.parametrize("impossible", [0.0, 0.5, 0.95])
def test_backends_draw_the_same_paths(
    states: int, impossible: float, form: dict[str, Any], variants: tuple[str, ...]
) -> None:
    hmm = random_hmm(3, 9, states, impossible=impossible, seed=states, **form)
    expected = draw(hmm, 5, "reference")
    for variant in variants:
        with backends.use_kernel_variant(variant):
            # In float64 a uniform number has to be within 1e-15 of a boundary to make a difference.
            assert torch.equal(draw(hmm, 5, "cpu"), expected)


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("frames", [0, 1, 2, 63, 1000])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_backends_agree_at_every_length_and_scale(frames: int, scale: float) -> None:
    for sparse in (False, True):
        hmm = random_hmm(2, frames, 4, sparse=sparse, seed=3, scale=scale)
        assert torch.equal(draw(hmm, 2, "cpu"), draw(hmm, 2, "reference"))


def test_a_state_that_is_far_behind_is_drawn_where_it_is_the_only_way_on(any_backend: Any) -> None:
    # After 50 frames the second state is e^-1000 times less likely, and the last frame needs it.
    frames = 50
    log_emission = torch.zeros(1, frames, 2)
    log_emission[0, :, 1] = -20.0
    log_emission[0, -1, 0] = -torch.inf
    for transition in (torch.tensor([[0.0, -torch.inf], [-torch.inf, 0.0]]), left_to_right(2).to_dense()):
        hmm = Arguments(torch.zeros(2), transition, log_emission)
        states = draw(hmm, 20, any_backend)[:, 0]
        assert (states[:, -1] == 1).all()
        assert (states.diff(dim=1) >= 0).all()
    assert (states >= 0).all()


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sparse", [False, True])
def test_a_path_depends_on_neither_batch_nor_threads_nor_padding(sparse: bool, dtype: torch.dtype) -> None:
    hmm = random_hmm(6, 300, 20, sparse=sparse, seed=8, dtype=dtype)
    assert hmm.lengths is not None
    problem = canonical(*hmm).detach()
    uniform = torch.rand((3, 6, 300), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    op = torch.ops.hmm_core.sample.default
    expected = op(*problem, uniform, "cpu")
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        assert torch.equal(op(*problem, uniform, "cpu"), expected)
    finally:
        torch.set_num_threads(threads)
    padding = torch.arange(300) >= hmm.lengths[:, None]
    poisoned = problem._replace(log_emission=problem.log_emission.masked_fill(padding[..., None], torch.nan))
    noise = uniform.masked_fill(padding, torch.nan)
    assert torch.equal(op(*poisoned, noise, "cpu"), expected)
    for b in range(6):
        alone = problem._replace(
            log_emission=problem.log_emission[b : b + 1], lengths=problem.lengths[b : b + 1]
        )
        assert torch.equal(op(*alone, uniform[:, b : b + 1], "cpu"), expected[:, b : b + 1])


def test_the_numbers_at_the_ends_of_the_unit_interval_choose_possible_states(any_backend: Any) -> None:
    hmm = random_hmm(4, 6, 5, impossible=0.4, seed=2, ragged=False)
    problem = canonical(*hmm).detach()
    ends = torch.tensor([0.0, 1 - 2.0**-53], dtype=torch.float64)[:, None, None].expand(2, 4, 6)
    states = torch.ops.hmm_core.sample.default(*problem, ends, any_backend)
    probability = hmm.apply(hmm_core.posterior).state
    for path in states:
        possible = path[:, 0] >= 0
        chosen = probability.gather(2, path.clamp(min=0)[..., None]).squeeze(2)
        assert (chosen[possible] > 0).all()
    assert torch.equal(states, reference_sample(*problem, ends))


def test_without_a_path_there_are_no_states(any_backend: Any) -> None:
    assert (draw(random_hmm(2, 4, 3, impossible=1.0), 3, any_backend) == -1).all()
    blocked = random_hmm(2, 4, 3, ragged=False, final=False)._replace(
        log_final=torch.full((3,), -torch.inf).double()
    )
    assert (draw(blocked, 3, any_backend) == -1).all()


def test_the_same_generator_state_gives_the_same_paths(any_backend: Any) -> None:
    hmm = random_hmm(2, 5, 3, ragged=False)
    one, two = (
        hmm.apply(sample, generator=torch.Generator().manual_seed(1), backend=any_backend) for _ in range(2)
    )
    assert one.shape == (2, 5)
    assert torch.equal(one, two)
    generator = torch.Generator().manual_seed(1)
    drawn = [hmm.apply(sample, num_samples=4, generator=generator, backend=any_backend) for _ in range(2)]
    assert not torch.equal(*drawn)


def test_the_default_generator_is_that_of_torch(any_backend: Any) -> None:
    hmm = random_hmm(2, 5, 3)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        one = hmm.apply(sample, backend=any_backend)
        torch.manual_seed(3)
        assert torch.equal(hmm.apply(sample, backend=any_backend), one)


@pytest.mark.parametrize("count", [0, 1, 100])
@pytest.mark.parametrize(("batch", "frames"), [(2, 0), (0, 3), (2, 3)])
def test_any_number_of_samples_of_any_batch(count: int, batch: int, frames: int, any_backend: Any) -> None:
    states = draw(random_hmm(batch, frames, 3), count, any_backend)
    assert states.shape == (count, batch, frames)
    assert states.dtype == torch.int64


def test_a_negative_number_of_samples_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^num_samples must be at least 0; got -1$"):
        random_hmm().apply(sample, num_samples=-1)


def test_paths_of_differentiable_weights_are_not_differentiable(any_backend: Any) -> None:
    hmm = random_hmm(2, 4, 3)
    emission = hmm.log_emission.clone().requires_grad_()
    assert not hmm._replace(log_emission=emission).apply(sample, backend=any_backend).requires_grad


@pytest.mark.parametrize("sparse", [False, True])
def test_the_registered_operation_passes_opcheck_and_compiles(sparse: bool, any_backend: Any) -> None:
    hmm = random_hmm(2, 2, 3, sparse=sparse)
    uniform = torch.rand((2, 2, 2), dtype=torch.float64)
    torch.library.opcheck(
        torch.ops.hmm_core.sample.default, (*canonical(*hmm).detach(), uniform, any_backend)
    )
    half = torch.tensor([0.5, 0.5]).log()
    compiled = torch.compile(
        lambda x: sample(half, ergodic(2, self_loop_prob=0.5), x, num_samples=3, backend=any_backend),
        fullgraph=True,
        backend="aot_eager",
    )
    assert compiled(torch.zeros(2, 5, 2)).shape == (3, 2, 5)
