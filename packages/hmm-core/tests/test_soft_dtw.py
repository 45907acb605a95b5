"""Soft-DTW, its divergence and the costs of frames, against every path and identities."""

from typing import Any

import pytest
import torch
from test_dtw import paths, random_costs
from torch import Tensor

from hmm_core import (
    BackendUnavailableError,
    Itakura,
    SakoeChiba,
    backends,
    dtw,
    pairwise_cost,
    soft_dtw,
    soft_dtw_divergence,
)

BACKENDS: list[Any] = ["reference", "cpu"]
METRICS = ["euclidean", "sqeuclidean", "cosine"]
WINDOWS = [None, SakoeChiba(0), SakoeChiba(3), Itakura()]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Any:
    """Every backend."""
    if request.param == "cpu":
        request.getfixturevalue("native")
    return request.param


@pytest.mark.parametrize("gamma", [0.3, 1.0, 20.0])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 4), (4, 1), (3, 3), (4, 5)])
def test_the_value_is_the_soft_minimum_over_every_path(backend: Any, gamma: float, n: int, m: int) -> None:
    cost = random_costs(5, n, m, seed=n) - 1.5
    leaf = cost.clone().requires_grad_()
    value = soft_dtw(leaf, gamma=gamma, backend=backend)
    (gradient,) = torch.autograd.grad(value.sum(), leaf)
    every = [cells for cells, _ in paths(n, m, "symmetric1")]
    totals = torch.stack([sum(cost[:, i, j] for i, j in cells) for cells in every])  # type: ignore[misc]  # not empty
    torch.testing.assert_close(value, -gamma * torch.logsumexp(-totals / gamma, 0))
    expected = torch.zeros_like(cost)
    probability = torch.where(value < torch.inf, ((value - totals) / gamma).exp(), 0.0)
    for p, cells in zip(probability, every, strict=True):
        for i, j in cells:
            expected[:, i, j] += torch.where(p.isnan(), 0.0, p)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize(("N", "M"), [(1, 1), (1, 40), (40, 1), (31, 33), (64, 64), (100, 45)])
@pytest.mark.parametrize("forbidden", [0.0, 0.3, 0.95])
def test_the_kernel_agrees_with_the_reference(N: int, M: int, forbidden: float) -> None:
    cost = random_costs(4, N, M, forbidden=forbidden, seed=N)
    cost[:, 0, 0] = cost[:, -1, -1] = 0
    lengths_x = torch.tensor([N, N, (N + 1) // 2, 0])
    lengths_y = torch.tensor([M, (M + 1) // 2, M, M])
    upstream = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    for window in WINDOWS:
        found = []
        for backend in BACKENDS:
            leaf = cost.clone().requires_grad_()
            value = soft_dtw(leaf, lengths_x, lengths_y, gamma=0.7, window=window, backend=backend)
            found.append((value, torch.autograd.grad(value, leaf, upstream)[0]))
        torch.testing.assert_close(found[1], found[0])
        assert (found[1][1][cost == torch.inf] == 0).all()
        plain = soft_dtw(cost, lengths_x, lengths_y, gamma=0.7, window=window, backend="cpu")
        assert torch.equal(plain, found[1][0])


def test_a_long_float32_alignment_is_as_exact_as_float64(backend: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    size = 300 if backend == "cpu" else 60
    cost = 10 * torch.rand((2, size, size), generator=generator)
    found = []
    for dtype in (torch.float32, torch.float64):
        leaf = cost.to(dtype).requires_grad_()
        value = soft_dtw(leaf, gamma=1.0, backend=backend if dtype == torch.float32 else "auto")
        found.append((value, torch.autograd.grad(value.sum(), leaf)[0]))
    # The reference rounds log-sums of some hundreds: 1e-5 of them; the kernel keeps every factor to 1e-7.
    rtol, atol = (1e-6, 1e-5) if backend == "cpu" else (1e-5, 1e-2)
    torch.testing.assert_close(found[0][0].double(), found[1][0], rtol=rtol, atol=0)
    torch.testing.assert_close(found[0][1].double(), found[1][1], rtol=0, atol=atol)


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("scale", [3.0, 100.0, 1e4])
def test_far_from_a_certain_alignment_the_gradient_vanishes_as_in_the_reference(scale: float) -> None:
    cost = random_costs(4, 100, 150, forbidden=0.0, seed=8) + 1.0
    row, column = torch.arange(100)[:, None], torch.arange(150)
    cost = cost + scale * (row / 100 - column / 150).abs()
    lengths = torch.tensor([100, 33, 97, 0]), torch.tensor([150, 70, 130, 5])
    for window in WINDOWS:
        found = []
        for backend in BACKENDS:
            leaf = cost.clone().requires_grad_()
            value = soft_dtw(leaf, *lengths, gamma=0.3, window=window, backend=backend)
            found.append((value, torch.autograd.grad(value.sum(), leaf)[0]))
        torch.testing.assert_close(found[1], found[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gamma", [1e-2, 1e-4, 1e-8])
def test_it_becomes_dtw_as_gamma_goes_to_zero(dtype: torch.dtype, gamma: float, backend: Any) -> None:
    cost = 100 * torch.rand((3, 35, 40), generator=torch.Generator().manual_seed(3)).to(dtype)
    leaf, other = cost.clone().requires_grad_(), cost.clone().requires_grad_()
    soft, hard = soft_dtw(leaf, gamma=gamma, backend=backend), dtw(other, backend=backend).distance
    # At most gamma times the log of the number of paths below it: 2.5 nats a step.
    assert (soft <= hard * (1 + 1e-6)).all()
    torch.testing.assert_close(soft, hard, rtol=1e-6, atol=250 * gamma)
    if gamma < 1e-3:
        expected = torch.autograd.grad(hard.sum(), other)[0]
        # A second path within some gamma of the best is unlikely, not impossible.
        torch.testing.assert_close(torch.autograd.grad(soft.sum(), leaf)[0], expected, rtol=0, atol=1e-2)


@pytest.mark.usefixtures("native")
def test_neither_batch_nor_padding_nor_threads_change_a_bit() -> None:
    cost = torch.rand((5, 70, 90), generator=torch.Generator().manual_seed(1))
    # One pair whose exponents need double precision stands among others.
    cost[2] *= 1e8
    lengths_x, lengths_y = torch.tensor([70, 33, 64, 1, 50]), torch.tensor([90, 64, 65, 9, 80])

    def run(x: Tensor, *lengths: Tensor) -> tuple[Tensor, Tensor]:
        leaf = x.clone().requires_grad_()
        value = soft_dtw(leaf, *lengths, backend="cpu")
        return value.detach(), torch.autograd.grad(value.sum(), leaf)[0]

    value, gradient = run(cost, lengths_x, lengths_y)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        again = run(cost, lengths_x, lengths_y)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(again[0], value)
    assert torch.equal(again[1], gradient)
    for b in range(5):
        n, m = int(lengths_x[b]), int(lengths_y[b])
        alone = run(cost[b : b + 1, :n, :m])
        assert torch.equal(alone[0], value[b : b + 1])
        assert torch.equal(alone[1][0], gradient[b, :n, :m])
        assert (gradient[b, n:] == 0).all()
        assert (gradient[b, :, m:] == 0).all()


@pytest.mark.parametrize("window", WINDOWS)
def test_what_is_not_read_changes_nothing(backend: Any, window: Any) -> None:
    cost = random_costs(2, 40, 37, forbidden=0.0)
    lengths_x, lengths_y = torch.tensor([40, 20]), torch.tensor([30, 37])
    poisoned = cost.clone()
    poisoned[0, :, 30:] = torch.nan
    poisoned[1, 20:] = -torch.inf
    found = []
    for x in (cost, poisoned):
        leaf = x.clone().requires_grad_()
        value = soft_dtw(leaf, lengths_x, lengths_y, window=window, backend=backend)
        found.append((value, torch.autograd.grad(value.sum(), leaf)[0]))
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)


def test_empty_sequences_and_walls(backend: Any) -> None:
    cost = torch.ones(4, 2, 4)
    cost[3, :, 2] = torch.inf
    cost.requires_grad_()
    value = soft_dtw(cost, torch.tensor([0, 0, 2, 2]), torch.tensor([0, 4, 0, 4]), backend=backend)
    assert value.tolist() == [0.0, torch.inf, torch.inf, torch.inf]
    (gradient,) = torch.autograd.grad(value.sum(), cost)
    assert (gradient == 0).all()
    for shape in ((0, 3, 4), (2, 0, 3), (2, 3, 0), (2, 0, 0)):
        empty = torch.ones(shape, requires_grad=True)
        value = soft_dtw(empty, backend=backend)
        assert value.shape == shape[:1]
        assert torch.autograd.grad(value.sum(), empty)[0].shape == shape


def test_gradcheck_and_second_derivatives(backend: Any) -> None:
    cost = torch.rand((2, 4, 5), dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    cost[0, 1, 2] = 1e3  # as good as forbidden, and still differentiable by differences
    cost.requires_grad_()
    lengths = torch.tensor([4, 3]), torch.tensor([5, 4])

    def value(x: Tensor) -> Tensor:
        return soft_dtw(x, *lengths, gamma=0.6, window=SakoeChiba(2), backend=backend)

    assert torch.autograd.gradcheck(value, cost)
    assert torch.autograd.gradgradcheck(value, cost)


def test_function_transforms_agree_with_autograd() -> None:
    cost = torch.rand((2, 3, 4), dtype=torch.float64)

    def value(x: Tensor) -> Tensor:
        return soft_dtw(x, gamma=0.5).sum()

    leaf = cost.clone().requires_grad_()
    (expected,) = torch.autograd.grad(value(leaf), leaf)
    torch.testing.assert_close(torch.func.grad(value)(cost), expected)
    torch.testing.assert_close(torch.func.jvp(value, (cost,), (torch.ones_like(cost),))[1], expected.sum())
    stacked = torch.stack((cost, cost + 1))
    torch.testing.assert_close(torch.func.vmap(value)(stacked), torch.stack([value(x) for x in stacked]))
    with pytest.raises(BackendUnavailableError, match=r"torch\.func"):
        torch.func.grad(lambda x: soft_dtw(x, backend="cpu").sum())(cost)


def test_compiled_and_exported_programs_give_the_same() -> None:
    class Loss(torch.nn.Module):
        def forward(self, x: Tensor, y: Tensor, lengths: Tensor) -> Tensor:
            return soft_dtw_divergence(x, y, lengths, gamma=0.5)

    x, y, lengths = torch.randn(2, 6, 3), torch.randn(2, 5, 3), torch.tensor([6, 4])
    compiled = torch.compile(Loss(), fullgraph=True, backend="aot_eager")
    found = []
    for loss in (Loss(), compiled):
        leaf = x.clone().requires_grad_()
        value = loss(leaf, y, lengths)
        found.append((value, torch.autograd.grad(value.sum(), leaf)[0]))
    torch.testing.assert_close(found[1], found[0])
    B, N, M = (torch.export.Dim(name, min=2) for name in "BNM")
    exported = torch.export.export(
        Loss(), (x, y, lengths), dynamic_shapes=({0: B, 1: N}, {0: B, 1: M}, {0: B})
    ).module()
    larger = torch.randn(3, 40, 3), torch.randn(3, 33, 3), torch.tensor([40, 2, 35])
    torch.testing.assert_close(exported(*larger), Loss()(*larger))


# opcheck reads the gradients of the copies that it makes.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.usefixtures("native")
def test_the_registered_operations_pass_opcheck() -> None:
    backend = "cpu"
    cost = torch.rand((2, 4, 5), dtype=torch.float64).requires_grad_()
    pairs = cost, torch.tensor([4, 3]), torch.tensor([5, 4]), None, None
    torch.library.opcheck(torch.ops.hmm_core.soft_dtw.default, (*pairs, 0.5, True, backend))
    message = torch.ops.hmm_core.soft_dtw.default(*pairs, 0.5, True, backend)[1].detach()
    gradient = torch.ones(2, dtype=torch.float64, requires_grad=True)
    torch.library.opcheck(
        torch.ops.hmm_core.soft_dtw_backward.default, (gradient, message, *pairs, 0.5, backend)
    )
    x = torch.randn((2, 4, 3), dtype=torch.float64).requires_grad_()
    torch.library.opcheck(
        torch.ops.hmm_core.pairwise_cost.default,
        (x, x.detach() + 1, pairs[1], pairs[1], "euclidean", backend),
    )


def test_every_variant_of_the_kernels_agrees(variants: tuple[str, ...]) -> None:
    x, y = torch.randn(2, 50, 9), torch.randn(2, 70, 9)
    found = []
    for variant in variants:
        with backends.use_kernel_variant(variant):
            leaf = x.clone().requires_grad_()
            cost = pairwise_cost(leaf, y, backend="cpu")
            value = soft_dtw(cost, backend="cpu")
            found.append((cost, value, torch.autograd.grad(value.sum(), leaf)[0]))
    for other in found[1:]:
        # Sums of 9 squares and probabilities, in another order.
        torch.testing.assert_close(other, found[0], rtol=1e-5, atol=1e-5)


def test_the_divergence_of_equal_sequences_is_zero_and_least(backend: Any) -> None:
    x = torch.randn((3, 12, 4), dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    lengths = torch.tensor([12, 7, 1])
    leaf = x.clone().requires_grad_()
    own = soft_dtw_divergence(leaf, x, lengths, lengths, gamma=0.5, backend=backend)
    torch.testing.assert_close(own, torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-9)
    (gradient,) = torch.autograd.grad(own.sum(), leaf)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-9)
    other = x + 0.1 * torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    there = soft_dtw_divergence(x, other, lengths, lengths, gamma=0.5, backend=backend)
    back = soft_dtw_divergence(other, x, lengths, lengths, gamma=0.5, backend=backend)
    assert (there > 0).all()
    torch.testing.assert_close(there, back)
    empty = soft_dtw_divergence(x, x, torch.tensor([0, 0, 3]), torch.tensor([0, 2, 0]), backend=backend)
    assert empty.tolist() == [0.0, torch.inf, torch.inf]


@pytest.mark.parametrize("wrong", [torch.nan, -torch.inf])
def test_wrong_costs_are_named(backend: Any, wrong: float) -> None:
    cost = torch.ones(2, 40, 40)
    cost[1, 2, 3] = wrong
    with pytest.raises(ValueError, match=r"cost must not hold NaN or -inf; got (nan|-inf) at \[1, 2, 3\]"):
        soft_dtw(cost, backend=backend)


@pytest.mark.usefixtures("native")
def test_costs_beyond_every_exponent_are_refused() -> None:
    cost = torch.ones(1, 4, 4, dtype=torch.float64)
    cost[0, 1, 1] = 1e300
    with pytest.raises(
        ValueError, match=r"cost must stay below 7e\+14 in magnitude, or be \+inf; got 1e\+300"
    ):
        soft_dtw(cost, backend="cpu")


@pytest.mark.parametrize("gamma", [0, -1.0, float("nan"), float("inf"), "1", True])
def test_gamma_is_a_positive_number(gamma: Any) -> None:
    with pytest.raises(ValueError, match="gamma must be a finite number above 0; got"):
        soft_dtw(torch.ones(1, 2, 2), gamma=gamma)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("N", "M", "D"), [(1, 1, 1), (5, 9, 3), (33, 70, 80), (40, 31, 17)])
def test_costs_of_frames_are_their_definition(
    backend: Any, metric: Any, dtype: torch.dtype, N: int, M: int, D: int
) -> None:
    generator = torch.Generator().manual_seed(N)
    x = torch.randn((2, N, D), generator=generator, dtype=torch.float64)
    y = torch.randn((2, M, D), generator=generator, dtype=torch.float64) + 3
    y[1, 0] = x[1, -1]
    y[0, -1] = x[0, 0] + 1e-3
    x, y = x.to(dtype), y.to(dtype)
    cost = pairwise_cost(x, y, metric=metric, backend=backend)
    a, b = x.double(), y.double()
    expected = {
        "euclidean": lambda: (a[:, :, None] - b[:, None]).square().sum(3).sqrt(),
        "sqeuclidean": lambda: (a[:, :, None] - b[:, None]).square().sum(3),
        "cosine": lambda: 1 - torch.nn.functional.cosine_similarity(a[:, :, None], b[:, None], dim=3),
    }[metric]()
    rtol = 1e-5 if dtype == torch.float32 else 1e-12
    # The cosine of the definition itself cancels.
    atol = {"cosine": 3e-7 if dtype == torch.float32 else 1e-14}.get(metric, 0.0)
    torch.testing.assert_close(cost.double(), expected, rtol=rtol, atol=atol)
    if metric != "cosine":
        assert cost[1, -1, 0] == 0


@pytest.mark.parametrize("metric", METRICS)
def test_costs_of_frames_have_derivatives(backend: Any, metric: Any) -> None:
    x = torch.randn(
        (2, 3, 2), dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    ).requires_grad_()
    y = torch.randn(
        (2, 4, 2), dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    ).requires_grad_()
    lengths = torch.tensor([3, 2]), torch.tensor([4, 3])

    def cost(a: Tensor, b: Tensor) -> Tensor:
        found = pairwise_cost(a, b, *lengths, metric=metric, backend=backend)
        return torch.where(found < torch.inf, found, 0.0)

    assert torch.autograd.gradcheck(cost, (x, y))
    assert torch.autograd.gradgradcheck(cost, (x, y))
    same = x.detach().clone().requires_grad_()
    value = cost(same, same.detach()[:, [0, 1, 2, 0]])
    assert torch.autograd.grad(value.diagonal(dim1=1, dim2=2).sum(), same)[0].abs().max() < 1e-9
    if backend == "cpu":  # which torch.func transforms leave to the reference
        return
    forward = torch.func.grad(lambda a: cost(a, y.detach()).sum())(x.detach())
    torch.testing.assert_close(forward, torch.autograd.grad(cost(x, y).sum(), x)[0])


@pytest.mark.parametrize("metric", METRICS)
def test_padded_frames_are_not_read_and_cost_infinity(backend: Any, metric: Any) -> None:
    x, y = torch.randn(2, 40, 5), torch.randn(2, 70, 5)
    lengths_x, lengths_y = torch.tensor([40, 3]), torch.tensor([50, 70])
    poisoned = x.clone(), y.clone()
    poisoned[0][1, 3:] = torch.nan
    poisoned[1][0, 50:] = torch.nan
    found = []
    for a, b in ((x, y), poisoned):
        leaf = a.clone().requires_grad_()
        cost = pairwise_cost(leaf, b, lengths_x, lengths_y, metric=metric, backend=backend)
        distance = dtw(cost, lengths_x, lengths_y, backend=backend).distance
        found.append((cost, torch.autograd.grad(distance.sum(), leaf)[0]))
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)
    assert (found[0][0][1, 3:] == torch.inf).all()
    assert (found[0][0][0, :, 50:] == torch.inf).all()
    assert found[0][1].isfinite().all()
    alone = pairwise_cost(x[1:, :3], y[1:], metric=metric, backend=backend)
    assert torch.equal(alone[0], found[0][0][1, :3])


def test_a_frame_of_zeros_is_at_a_right_angle_to_all(backend: Any) -> None:
    x = torch.zeros(1, 1, 3)
    assert pairwise_cost(x, torch.ones(1, 2, 3), metric="cosine", backend=backend).tolist() == [[[1.0, 1.0]]]


def test_wrong_frames_are_named(backend: Any) -> None:
    x = torch.ones(2, 3, 4)
    with pytest.raises(ValueError, match=r"x must have shape \(B, N, D\); got \(3, 4\)"):
        pairwise_cost(x[0], x, backend=backend)
    with pytest.raises(
        ValueError, match=r"y must have shape \(B, M, D\) = \(2, any, 4\), with B and D from x"
    ):
        pairwise_cost(x, x[..., :3], backend=backend)
    with pytest.raises(TypeError, match=r"y must have dtype torch\.float32 like x; got torch\.float64"):
        pairwise_cost(x, x.double(), backend=backend)
    with pytest.raises(ValueError, match=r"lengths_x must lie in 0\.\.N = 0\.\.3; got 4 at \[0\]"):
        pairwise_cost(x, x, torch.tensor([4, 1]), backend=backend)
    with pytest.raises(ValueError, match='metric must be "euclidean", "sqeuclidean" or "cosine"'):
        pairwise_cost(x, x, metric="cityblock", backend=backend)  # type: ignore[arg-type]  # on purpose
