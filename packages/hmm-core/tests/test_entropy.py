"""Path entropies equal those of enumeration, in all backends, with their derivatives."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from hmm_core import Sparse, backends, entropy, expected_transitions, left_to_right, log_likelihood, posterior
from hmm_core._validate import canonical
from hmm_core.testing import Arguments, random_hmm


def enumerated(hmm: Arguments) -> Tensor:
    """The definition: minus the mean of log p over all K ** T paths."""
    B, T, _ = hmm.log_emission.shape
    K = hmm.log_initial.shape[-1]
    transition = hmm.log_transition
    matrix = transition.to_dense() if isinstance(transition, Sparse) else transition
    matrix = matrix if matrix.ndim == 4 else matrix.reshape(-1, 1, K, K)
    matrix = matrix.expand(B, T - 1 if matrix.shape[1] == 1 else -1, K, K)
    index = torch.arange(K) if hmm.emission_index is None else hmm.emission_index
    emission = hmm.log_emission.gather(2, index.expand(B, K)[:, None].expand(B, T, K))
    initial = hmm.log_initial.expand(B, K)
    final = torch.zeros(B, K) if hmm.log_final is None else hmm.log_final.expand(B, K)
    result = []
    for b in range(B):
        length = T if hmm.lengths is None else int(hmm.lengths[b])
        if length == 0:
            result.append(0.0)
            continue
        paths = torch.tensor(list(itertools.product(range(K), repeat=length)))
        score = initial[b, paths[:, 0]] + final[b, paths[:, -1]]
        for t in range(length):
            score = score + emission[b, t, paths[:, t]]
        for t in range(length - 1):
            score = score + matrix[b, t, paths[:, t], paths[:, t + 1]]
        score = score[score > -torch.inf]
        log_p = score.log_softmax(0)
        result.append(-float((log_p.exp() * log_p).sum()) if len(score) else 0.0)
    return torch.tensor(result, dtype=torch.float64)


@pytest.mark.parametrize("impossible", [0.0, 0.3, 0.6])
def test_it_is_the_entropy_of_all_paths(impossible: float, form: dict[str, Any], any_backend: Any) -> None:
    for seed in range(4):
        hmm = random_hmm(3, 5, 3, impossible=impossible, seed=seed, **form)
        # A few roundings of a sum of some thousand terms.
        torch.testing.assert_close(
            hmm.apply(entropy, backend=any_backend), enumerated(hmm), rtol=1e-12, atol=1e-12
        )


def test_it_is_the_log_likelihood_minus_the_mean_score(form: dict[str, Any], any_backend: Any) -> None:
    # H = log p(y) - E[log p(z, y)]: the mean score is a sum over posteriors and expected transitions.
    hmm = random_hmm(3, 40, 5, seed=1, **form)
    assert hmm.lengths is not None
    state, total = hmm.apply(posterior)
    counts = hmm.apply(expected_transitions)
    weight = hmm.log_transition
    if isinstance(weight, Sparse):
        unused = weight.predecessors < 0
        if weight.log_weight.ndim == 4 and unused.ndim == 3:
            unused = unused[:, None]
        weight = weight.log_weight.masked_fill(unused, 0.0)
    index = torch.arange(5) if hmm.emission_index is None else hmm.emission_index
    emission = hmm.log_emission.gather(2, index.expand(3, 5)[:, None].expand(3, 40, 5))
    score = (state * emission).sum((1, 2)) + (counts * weight).flatten(1).sum(1)
    assert hmm.log_final is not None
    ends = state.gather(1, (hmm.lengths - 1).clamp(min=0)[:, None, None].expand(-1, 1, 5)).squeeze(1)
    score = score + (state[:, 0] * hmm.log_initial).sum(1) + (ends * hmm.log_final).sum(1)
    expected = torch.where((hmm.lengths > 0) & (total > -torch.inf), total - score, 0.0)
    # Differences of numbers of size 100, in float64.
    torch.testing.assert_close(hmm.apply(entropy, backend=any_backend), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("states", [1, 2, 3, 5, 8, 17, 33, 64, 100])
@pytest.mark.parametrize("impossible", [0.0, 0.5, 0.95])
def test_the_kernels_give_the_reference(
    states: int, impossible: float, form: dict[str, Any], variants: tuple[str, ...]
) -> None:
    hmm = random_hmm(2, 6, states, impossible=impossible, seed=states, **form)
    expected = hmm.apply(entropy, backend="reference")
    for variant in variants:
        with backends.use_kernel_variant(variant):
            found = hmm.apply(entropy, backend="cpu")
        # Rounding of sums over a hundred states.
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("frames", [0, 1, 2, 63, 1000])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("states", [4, 20])
def test_the_kernels_give_the_reference_at_every_length_and_scale(
    frames: int, scale: float, sparse: bool, states: int
) -> None:
    hmm = random_hmm(2, frames, states, sparse=sparse, seed=3, scale=scale, ragged=False)
    expected = hmm.apply(entropy, backend="reference")
    # Scores of size 1e7 (scale 1e4) leave 1e-9 in float64.
    torch.testing.assert_close(hmm.apply(entropy, backend="cpu"), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("sparse", [False, True])
def test_float32_keeps_its_precision_over_ten_thousand_frames(sparse: bool, native: None) -> None:
    assert native is None
    hmm = random_hmm(1, 10_000, 6, sparse=sparse, seed=2, ragged=False, dtype=torch.float32)
    transition = hmm.log_transition
    wide = hmm._replace(
        log_initial=hmm.log_initial.double(),
        log_transition=transition.to(dtype=torch.float64),
        log_emission=hmm.log_emission.double(),
        log_final=None if hmm.log_final is None else hmm.log_final.double(),
    )
    exact = wide.apply(entropy, backend="cpu")
    assert exact > 100
    # Each frame adds a rounding of 1e-7 to entropies of size 1.
    torch.testing.assert_close(hmm.apply(entropy, backend="cpu").double(), exact, rtol=2e-6, atol=0)


def test_known_values(any_backend: Any) -> None:
    def of(log_transition: Tensor | Sparse, frames: int) -> float:
        K = log_transition.shape[0] if isinstance(log_transition, Tensor) else log_transition.num_states
        zeros = torch.zeros(K, dtype=torch.float64)
        return float(
            entropy(
                zeros, log_transition, torch.zeros(1, frames, K, dtype=torch.float64), backend=any_backend
            )
        )

    # Every path is as likely. With no way back there are seven from state 0, and one that stays in state 1.
    assert of(torch.zeros(3, 3, dtype=torch.float64), 7) == pytest.approx(7 * math.log(3), rel=1e-12)
    chain = left_to_right(2, 0.5)
    weights = torch.where(chain.predecessors < 0, -torch.inf, 0.0).double()
    assert of(Sparse(chain.predecessors, weights), 7) == pytest.approx(math.log(8), rel=1e-12)
    stay = torch.full((2, 2), -torch.inf).double().fill_diagonal_(0.0)
    assert of(stay, 5) == pytest.approx(math.log(2), rel=1e-12)


def test_a_certain_path_has_no_entropy(any_backend: Any) -> None:
    first = torch.tensor([0.0, -torch.inf])
    swap = torch.tensor([[-torch.inf, 0.0], [0.0, -torch.inf]])
    log_emission = torch.randn(2, 50, 2, generator=torch.Generator().manual_seed(0))
    assert (entropy(first, swap, log_emission, backend=any_backend) == 0).all()


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_cancels_on_a_certain_path_of_many_states_leaves_nothing(dtype: torch.dtype) -> None:
    first = torch.full((20,), -torch.inf, dtype=dtype)
    first[0] = 0.0
    around = torch.full((20, 20), -torch.inf, dtype=dtype)
    around[torch.arange(20), (torch.arange(20) + 1) % 20] = -1.0
    generator = torch.Generator().manual_seed(0)
    log_emission = 10 * torch.randn(2, 500, 20, generator=generator, dtype=dtype)
    result = entropy(first, around, log_emission, backend="cpu")
    # A rounding of logarithms of size 1 for each frame, in float64.
    assert ((result >= 0) & (result < 1e-12)).all()


def test_no_frames_and_no_path_give_zero(any_backend: Any) -> None:
    hmm = random_hmm(3, 4, 2, ragged=False)
    lengths = torch.tensor([0, 4, 2])
    impossible = hmm.log_emission.clone()
    impossible[1, 2] = -torch.inf
    both = hmm._replace(lengths=lengths, log_emission=impossible)
    assert (both.apply(log_likelihood) == -torch.inf).tolist() == [False, True, False]
    result = both.apply(entropy, backend=any_backend)
    assert result[:2].tolist() == [0.0, 0.0]
    assert result[2] > 0
    blocked = hmm._replace(log_final=torch.full((2,), -torch.inf, dtype=torch.float64))
    assert (blocked.apply(entropy, backend=any_backend) == 0).all()
    assert random_hmm(0, 4, 2).apply(entropy, backend=any_backend).shape == (0,)


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sparse", [False, True])
def test_it_depends_on_neither_batch_nor_threads_nor_padding(sparse: bool, dtype: torch.dtype) -> None:
    hmm = random_hmm(6, 200, 20, sparse=sparse, seed=8, dtype=dtype)
    assert hmm.lengths is not None
    expected = hmm.apply(entropy, backend="cpu")
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        assert torch.equal(hmm.apply(entropy, backend="cpu"), expected)
    finally:
        torch.set_num_threads(threads)
    padding = (torch.arange(200) >= hmm.lengths[:, None])[..., None]
    poisoned = hmm._replace(log_emission=hmm.log_emission.masked_fill(padding, torch.nan))
    assert torch.equal(poisoned.apply(entropy, backend="cpu"), expected)
    longer = torch.cat((hmm.log_emission, torch.full((6, 9, 20), torch.nan, dtype=dtype)), dim=1)
    assert torch.equal(hmm._replace(log_emission=longer).apply(entropy, backend="cpu"), expected)
    for b in range(6):
        alone = hmm._replace(log_emission=hmm.log_emission[b : b + 1], lengths=hmm.lengths[b : b + 1])
        assert torch.equal(alone.apply(entropy, backend="cpu"), expected[b : b + 1])


def leaves(hmm: Arguments) -> list[Tensor]:
    """The differentiable arguments, as leaves."""
    transition = hmm.log_transition
    weight = transition.log_weight if isinstance(transition, Sparse) else transition
    assert hmm.log_final is not None
    return [
        x.detach().clone().requires_grad_()
        for x in (hmm.log_initial, weight, hmm.log_emission, hmm.log_final)
    ]


def rebuilt(hmm: Arguments, values: tuple[Tensor, ...]) -> Arguments:
    """The arguments with other values."""
    transition = hmm.log_transition
    weight = Sparse(transition.predecessors, values[1]) if isinstance(transition, Sparse) else values[1]
    return hmm._replace(
        log_initial=values[0], log_transition=weight, log_emission=values[2], log_final=values[3]
    )


def test_derivatives_pass_gradcheck(form: dict[str, Any], any_backend: Any) -> None:
    hmm = random_hmm(2, 4, 3, seed=3, **form)

    def run(*values: Tensor) -> Tensor:
        return rebuilt(hmm, values).apply(entropy, backend=any_backend)

    assert torch.autograd.gradcheck(run, tuple(leaves(hmm)))


@pytest.mark.parametrize("sparse", [False, True])
def test_second_derivatives_pass_gradgradcheck(sparse: bool, any_backend: Any) -> None:
    hmm = random_hmm(1, 3, 2, sparse=sparse, seed=3, ragged=False)

    def run(*values: Tensor) -> Tensor:
        return rebuilt(hmm, values).apply(entropy, backend=any_backend)

    assert torch.autograd.gradgradcheck(run, tuple(leaves(hmm)))


def test_gradients_at_impossible_entries_are_zero(form: dict[str, Any], any_backend: Any) -> None:
    hmm = random_hmm(3, 5, 3, impossible=0.4, seed=6, **form)
    inputs = leaves(hmm)
    total = rebuilt(hmm, tuple(inputs)).apply(entropy, backend=any_backend).sum()
    for value, gradient in zip(inputs, torch.autograd.grad(total, inputs), strict=True):
        assert gradient.isfinite().all()
        assert (gradient[value == -torch.inf] == 0).all()


# opcheck reads the gradients of the copies that it makes.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("sparse", [False, True])
def test_the_registered_operation_passes_opcheck_and_compiles(sparse: bool, any_backend: Any) -> None:
    hmm = random_hmm(2, 2, 3, sparse=sparse, densities=2)  # the derivative records every frame
    problem = canonical(*hmm)
    problem = problem._replace(log_emission=problem.log_emission.clone().requires_grad_())
    torch.library.opcheck(torch.ops.hmm_core.entropy.default, (*problem, any_backend))
    compiled = torch.compile(
        lambda x: hmm._replace(log_emission=x).apply(entropy, backend=any_backend),
        fullgraph=True,
        backend="aot_eager",
    )
    torch.testing.assert_close(compiled(hmm.log_emission), hmm.apply(entropy))


def test_function_transforms_use_the_reference() -> None:
    hmm = random_hmm(3, 4, 3, ragged=False)
    emission = hmm.log_emission[:, None]
    each = torch.func.vmap(lambda x: hmm._replace(log_emission=x).apply(entropy))(emission)
    torch.testing.assert_close(each.squeeze(1), hmm.apply(entropy))
    slope = torch.func.grad(lambda x: hmm._replace(log_emission=x).apply(entropy).sum())(hmm.log_emission)
    leaf = hmm.log_emission.clone().requires_grad_()
    (expected,) = torch.autograd.grad(hmm._replace(log_emission=leaf).apply(entropy).sum(), leaf)
    torch.testing.assert_close(slope, expected)
