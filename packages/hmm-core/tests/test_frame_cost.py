"""Warping of frames whose costs are computed on the way, against tables of costs."""

from typing import Any

import pytest
import torch
from torch import Tensor

from hmm_core import (
    BackendUnavailableError,
    DTWResult,
    FrameCost,
    Itakura,
    SakoeChiba,
    dtw,
    pairwise_cost,
    soft_dtw,
    soft_dtw_divergence,
)

BACKENDS: list[Any] = ["reference", "cpu"]
METRICS: list[Any] = ["euclidean", "sqeuclidean", "cosine"]
PATTERNS: list[Any] = ["symmetric1", "symmetric2", "asymmetric"]
WINDOWS = [None, SakoeChiba(0), SakoeChiba(3), Itakura()]
SIZES = [(1, 1, 1), (1, 40, 3), (40, 1, 3), (31, 33, 5), (64, 64, 16), (100, 45, 80), (50, 129, 17)]


def random_frames(B: int, N: int, M: int, D: int, *, seed: int = 0, **kind: Any) -> tuple[Tensor, Tensor]:
    """Frames far from the origin; some of the second sequences are equal or close to some of the first."""
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.randn((B, size, D), generator=generator, dtype=torch.float64) + 5 for size in (N, M))
    same = min(N, M)
    y[:, :same:3] = x[:, :same:3]
    y[:, 1:same:3] = x[:, 1:same:3] + 1e-3 * torch.rand((B, 1, D), generator=generator, dtype=torch.float64)
    dtype = kind.get("dtype", torch.float64)
    return x.to(dtype), y.to(dtype)


def ragged(N: int, M: int) -> tuple[Tensor, Tensor]:
    """Lengths of four pairs."""
    return torch.tensor([N, N, (N + 1) // 2, 0]), torch.tensor([M, (M + 1) // 2, M, M])


def gradients(value: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    """Derivatives with weights that differ from pair to pair."""
    weight = torch.arange(1, len(value) + 1, dtype=value.dtype) - 2.5
    return torch.autograd.grad(value, leaves, weight)


def leaves_of(*frames: Tensor) -> tuple[Tensor, ...]:
    """Copies to differentiate by."""
    return tuple(tensor.clone().requires_grad_() for tensor in frames)


def hard_dtw(cost: Any, **options: Any) -> Tensor:
    """Distances (B,)."""
    return dtw(cost, **options).distance


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("N", "M", "D"), SIZES)
def test_dtw_of_frames_is_that_of_their_costs_to_the_bit(
    metric: Any, dtype: torch.dtype, N: int, M: int, D: int
) -> None:
    x, y = random_frames(4, N, M, D, dtype=dtype)
    lengths = ragged(N, M)
    cost = pairwise_cost(x, y, *lengths, metric=metric, backend="cpu")
    for pattern in PATTERNS:
        for window in WINDOWS:
            options: dict[str, Any] = {"step_pattern": pattern, "window": window, "backend": "cpu"}
            actual = dtw(FrameCost(x, y, metric), *lengths, **options)
            for have, want in zip(actual, dtw(cost, *lengths, **options), strict=True):
                assert torch.equal(have, want)  # type: ignore[arg-type]  # every field is there


def long_frames(kind: str, N: int, M: int) -> tuple[Tensor, Tensor]:
    """Pairs long enough for cells to be left out; numbers are small integers, which make ties."""
    generator = torch.Generator().manual_seed(len(kind))
    shape = (3, max(N, M), 2)
    if kind == "equal":
        return torch.ones(3, N, 2), torch.ones(3, M, 2)
    if kind == "unrelated":
        x, y = (torch.randint(-3, 4, shape, generator=generator) for _ in range(2))
        return x[:, :N].float(), y[:, :M].float()
    walk = torch.randint(-1, 2, shape, generator=generator).cumsum(1)
    if kind == "alternating":  # means of some frames say nothing
        walk = walk * (1 - 2 * (torch.arange(shape[1]) % 2))[:, None]
    warped = walk[:, (torch.linspace(0, 1, M) ** 2 * (shape[1] - 1)).long()]
    if kind == "shifted":  # the best path has a long way along an edge
        warped = warped.roll(M // 3, 1)
    return walk[:, :N].float(), (warped + torch.randint(0, 2, warped.shape, generator=generator)).float()


@pytest.mark.parametrize("kind", ["warped", "shifted", "alternating", "unrelated", "equal"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("N", "M"), [(256, 256), (300, 700), (517, 300)])
def test_cells_too_far_away_to_matter_do_not_matter(
    kind: str, dtype: torch.dtype, N: int, M: int, variant: str
) -> None:
    assert variant
    x, y = (frames.to(dtype) for frames in long_frames(kind, N, M))
    lengths = torch.tensor([N, 256, N - 3]), torch.tensor([M - 1, M, 256])
    for metric in METRICS:
        cost = pairwise_cost(x, y, *lengths, metric=metric, backend="cpu")
        for pattern in PATTERNS[:2]:
            for keep in (True, False):
                options: dict[str, Any] = {"step_pattern": pattern, "return_path": keep, "backend": "cpu"}
                actual = dtw(FrameCost(x, y, metric), *lengths, **options)
                expected = dtw(cost, *lengths, **options)
                assert torch.equal(actual.distance, expected.distance)
                if keep:
                    assert torch.equal(actual.path, expected.path)  # type: ignore[arg-type]  # both have one
                    assert torch.equal(actual.path_length, expected.path_length)  # type: ignore[arg-type]  # the same


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("at", [0, 150, 299])
def test_no_wrong_frame_of_a_long_pair_is_overlooked(metric: Any, at: int) -> None:
    x, y = long_frames("warped", 300, 300)
    y[1, at, 1] = torch.nan
    with pytest.raises(ValueError, match=r"y must hold finite numbers; got nan at"):
        dtw(FrameCost(x, y, metric), backend="cpu")


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("N", "M", "D"), SIZES)
def test_soft_dtw_of_frames_is_that_of_their_costs(
    metric: Any, dtype: torch.dtype, N: int, M: int, D: int
) -> None:
    x, y = random_frames(4, N, M, D, dtype=dtype)
    lengths = ragged(N, M)
    for window in WINDOWS:
        options: dict[str, Any] = {"gamma": 0.7, "window": window}
        a, b = leaves_of(x, y)
        value = soft_dtw(FrameCost(a, b, metric), *lengths, backend="cpu", **options)
        found = gradients(value, a, b)
        cost = pairwise_cost(x, y, *lengths, metric=metric, backend="cpu")
        assert torch.equal(value.detach(), soft_dtw(cost, *lengths, backend="cpu", **options))
        assert torch.equal(
            value.detach(), soft_dtw(FrameCost(x, y, metric), *lengths, backend="cpu", **options)
        )
        c, d = leaves_of(x.double(), y.double())
        exact = soft_dtw(FrameCost(c, d, metric), *lengths, backend="reference", **options)
        # Costs of some hundreds, rounded, change a probability as much as they are wrong.
        tolerance = 1e-3 if dtype == torch.float32 else 1e-11
        for have, want in zip(found, gradients(exact, c, d), strict=True):
            torch.testing.assert_close(have.double(), want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_reference_computes_the_costs_first(pattern: Any) -> None:
    x, y = random_frames(4, 12, 15, 3)
    lengths = ragged(12, 15)
    cost = pairwise_cost(x, y, *lengths, metric="sqeuclidean", backend="reference")
    expected = dtw(cost, *lengths, step_pattern=pattern, backend="reference")
    actual = dtw(FrameCost(x, y, "sqeuclidean"), *lengths, step_pattern=pattern, backend="reference")
    for have, want in zip(actual, expected, strict=True):
        assert torch.equal(have, want)  # type: ignore[arg-type]  # every field is there


@pytest.mark.parametrize("metric", METRICS[:2])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_equal_sequences_have_a_distance_of_exactly_zero(
    any_backend: Any, metric: Any, offset: float
) -> None:
    x = torch.randn((2, 60, 7), generator=torch.Generator().manual_seed(1)) + offset
    result = dtw(FrameCost(x, x.clone(), metric), backend=any_backend)
    assert (result.distance == 0).all()
    assert result.path is not None
    assert torch.equal(result.path[0, :60], torch.arange(60)[:, None].expand(-1, 2))


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("metric", METRICS[:2])
def test_far_from_the_origin_and_close_to_each_other_float32_keeps_its_digits(metric: Any) -> None:
    generator = torch.Generator().manual_seed(2)
    # Multiples of 2^-9 near 1000 are float32 numbers, and so are their differences.
    x = torch.randint(-30000, 30000, (2, 50, 20), generator=generator) / 512 + 1000
    y = x + torch.randint(-1, 2, x.shape, generator=generator) / 512
    found = []
    for dtype, backend in ((torch.float32, "cpu"), (torch.float64, "reference")):
        a, b = leaves_of(x.to(dtype), y.to(dtype))
        value = soft_dtw(FrameCost(a, b, metric), gamma=0.1, backend=backend)  # type: ignore[arg-type]  # one of them
        found.append((value, *gradients(value, a, b)))
    # Frames of size 60 and a hundredth apart: products alone would lose the third digit of the derivatives of
    # their distances.
    torch.testing.assert_close([part.double() for part in found[0]], list(found[1]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_dtw_has_the_derivatives_of_the_path(any_backend: Any, metric: Any, pattern: Any) -> None:
    generator = torch.Generator().manual_seed(3)
    # Nothing is equal, where the distance has no derivative.
    x, y = leaves_of(
        torch.randn((2, 4, 3), generator=generator, dtype=torch.float64),
        torch.randn((2, 5, 3), generator=generator, dtype=torch.float64),
    )
    lengths = torch.tensor([4, 3]), torch.tensor([5, 4])

    def distance(a: Tensor, b: Tensor) -> Tensor:
        cost = FrameCost(a, b, metric)
        return dtw(cost, *lengths, step_pattern=pattern, return_path=False, backend=any_backend).distance

    assert torch.autograd.gradcheck(distance, (x, y))
    assert torch.autograd.gradgradcheck(distance, (x, y))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("window", [None, SakoeChiba(1), Itakura()])
def test_soft_dtw_has_first_and_second_derivatives(any_backend: Any, metric: Any, window: Any) -> None:
    generator = torch.Generator().manual_seed(4)
    x, y = leaves_of(
        torch.randn((2, 4, 3), generator=generator, dtype=torch.float64),
        torch.randn((2, 5, 3), generator=generator, dtype=torch.float64),
    )
    lengths = torch.tensor([4, 3]), torch.tensor([5, 4])

    def value(a: Tensor, b: Tensor) -> Tensor:
        return soft_dtw(FrameCost(a, b, metric), *lengths, gamma=0.6, window=window, backend=any_backend)

    assert torch.autograd.gradcheck(value, (x, y))
    assert torch.autograd.gradgradcheck(value, (x, y))
    for one in (0, 1):
        fixed = [frames.detach() for frames in (x, y)]
        fixed[one].requires_grad_()
        assert torch.autograd.gradcheck(value, fixed)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("op", [hard_dtw, soft_dtw])
def test_equal_and_zero_frames_have_a_derivative(any_backend: Any, op: Any, metric: Any) -> None:
    x, y = random_frames(2, 9, 9, 3)
    x[0, 4] = y[0, 2] = 0
    y[1] = x[1]
    a, b = leaves_of(x, y)
    found = torch.autograd.grad(op(FrameCost(a, b, metric), backend=any_backend).sum(), (a, b))
    c, d = leaves_of(x, y)
    cost = pairwise_cost(c, d, metric=metric, backend="reference")
    expected = torch.autograd.grad(op(cost, backend="reference").sum(), (c, d))
    torch.testing.assert_close(found, expected)
    assert all(part.isfinite().all() for part in found)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("window", WINDOWS)
def test_padded_frames_are_not_read(any_backend: Any, metric: Any, window: Any) -> None:
    x, y = random_frames(4, 40, 37, 5)
    lengths = ragged(40, 37)
    poisoned = x.clone(), y.clone()
    for tensor, length in zip(poisoned, lengths, strict=True):
        for pair in range(4):
            tensor[pair, length[pair] :] = torch.nan
    found = []
    for frames in ((x, y), poisoned):
        a, b = leaves_of(*frames)
        cost = FrameCost(a, b, metric)
        hard = dtw(cost, *lengths, window=window, backend=any_backend).distance
        soft = soft_dtw(cost, *lengths, window=window, backend=any_backend)
        found.append((hard, soft, *gradients(hard, a, b), *gradients(soft, a, b)))
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)
    for of_x, of_y in (found[1][2:4], found[1][4:6]):
        for pair in range(4):
            assert (of_x[pair, lengths[0][pair] :] == 0).all()
            assert (of_y[pair, lengths[1][pair] :] == 0).all()


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("metric", METRICS)
def test_neither_batch_nor_padding_nor_threads_change_a_bit(metric: Any) -> None:
    x, y = random_frames(5, 70, 90, 6, dtype=torch.float32)
    # One pair whose exponents need double precision stands among others.
    x[2] *= 1e5
    lengths = torch.tensor([70, 33, 64, 1, 50]), torch.tensor([90, 64, 65, 9, 80])

    def run(x: Tensor, y: Tensor, *lengths: Tensor) -> tuple[Tensor, ...]:
        a, b = leaves_of(x, y)
        cost = FrameCost(a, b, metric)
        value = soft_dtw(cost, *lengths, backend="cpu")
        distance = dtw(cost, *lengths, backend="cpu").distance
        return value.detach(), distance.detach(), *torch.autograd.grad((value + distance).sum(), (a, b))

    whole = run(x, y, *lengths)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        again = run(x, y, *lengths)
    finally:
        torch.set_num_threads(threads)
    for have, want in zip(again, whole, strict=True):
        assert torch.equal(have, want)
    for b in range(5):
        n, m = int(lengths[0][b]), int(lengths[1][b])
        alone = run(x[b : b + 1, :n], y[b : b + 1, :m])
        for have, want, size in zip(alone, whole, (None, None, n, m), strict=True):
            assert torch.equal(have[0], want[b] if size is None else want[b, :size])


@pytest.mark.usefixtures("native")
def test_pairs_too_long_to_keep_their_costs_have_the_same_derivatives() -> None:
    x, y = random_frames(1, 1500, 1490, 2)
    window = SakoeChiba(20)
    found = []
    for fused in (True, False):
        a, b = leaves_of(x, y)
        cost = FrameCost(a, b) if fused else pairwise_cost(a, b)
        value = soft_dtw(cost, window=window, backend="cpu")
        found.append((value, *torch.autograd.grad(value.sum(), (a, b))))
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gamma", [1e-2, 1e-4, 1e-8])
def test_soft_dtw_becomes_dtw_as_gamma_goes_to_zero(dtype: torch.dtype, gamma: float) -> None:
    generator = torch.Generator().manual_seed(5)
    x, y = (3 * torch.randn((3, size, 4), generator=generator).to(dtype) for size in (35, 40))
    a, b = leaves_of(x, y)
    soft = soft_dtw(FrameCost(a, b, "sqeuclidean"), gamma=gamma, backend="cpu")
    c, d = leaves_of(x, y)
    hard = dtw(FrameCost(c, d, "sqeuclidean"), backend="cpu").distance
    assert (soft <= hard * (1 + 1e-6)).all()
    # At most gamma times the log of the number of paths below it: 2.5 nats a step.
    torch.testing.assert_close(soft, hard, rtol=1e-6, atol=250 * gamma)
    if gamma < 1e-3:
        # A second path within some gamma of the best is unlikely, not impossible.
        torch.testing.assert_close(gradients(soft, a, b), gradients(hard, c, d), rtol=0, atol=1e-2)


def test_empty_sequences(any_backend: Any) -> None:
    lengths = torch.tensor([0, 0, 2]), torch.tensor([0, 4, 0])
    x, y = leaves_of(torch.ones(3, 2, 5), torch.zeros(3, 4, 5))
    cost = FrameCost(x, y)
    for distance in (
        dtw(cost, *lengths, backend=any_backend).distance,
        soft_dtw(cost, *lengths, backend=any_backend),
    ):
        assert distance.tolist() == [0.0, torch.inf, torch.inf]
        assert all((part == 0).all() for part in torch.autograd.grad(distance.sum(), (x, y)))
    for B, N, M, D in ((0, 3, 4, 2), (2, 0, 3, 2), (2, 3, 0, 2), (2, 0, 0, 2), (2, 3, 4, 0)):
        a, b = leaves_of(torch.ones(B, N, D), torch.ones(B, M, D))
        expected = 0.0 if (N > 0) == (M > 0) else torch.inf
        for distance in (
            dtw(FrameCost(a, b), backend=any_backend).distance,
            dtw(FrameCost(a, b), backend=any_backend, return_path=False).distance,
        ):
            assert distance.tolist() == [expected] * B
        value = soft_dtw(FrameCost(a, b), backend=any_backend)
        assert value.shape == (B,)
        shapes = [part.shape for part in torch.autograd.grad(value.sum(), (a, b))]
        assert shapes == [a.shape, b.shape]


def test_a_window_without_a_path_leaves_no_gradient(any_backend: Any) -> None:
    x, y = leaves_of(torch.randn(1, 40, 3), torch.randn(1, 2, 3))
    cost = FrameCost(x, y)
    for distance in (
        dtw(cost, window=Itakura(1.0), backend=any_backend).distance,
        soft_dtw(cost, window=Itakura(1.0), backend=any_backend),
    ):
        assert distance.tolist() == [torch.inf]
        assert all((part == 0).all() for part in torch.autograd.grad(distance.sum(), (x, y)))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_wrong_frames_are_named(metric: Any, wrong: float) -> None:
    x, y = random_frames(2, 40, 40, 4)
    y[1, 2, 3] = wrong
    for op in (dtw, soft_dtw):
        with pytest.raises(ValueError, match=r"(y must hold finite numbers|cost must not hold NaN)"):
            op(FrameCost(x, y, metric))


@pytest.mark.usefixtures("native")
def test_frames_too_far_apart_for_gamma_are_refused() -> None:
    x = torch.ones(1, 4, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"cost must stay below 7e\+14 in magnitude"):
        soft_dtw(FrameCost(x, 1e100 * torch.rand_like(x), "sqeuclidean"), backend="cpu")


def test_wrong_arguments_are_named() -> None:
    x = torch.ones(2, 3, 4)
    with pytest.raises(ValueError, match=r"x must have shape \(B, N, D\); got \(3, 4\)"):
        dtw(FrameCost(x[0], x))
    with pytest.raises(ValueError, match='metric must be "euclidean", "sqeuclidean" or "cosine"'):
        soft_dtw(FrameCost(x, x, "cityblock"))  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ValueError, match=r"lengths_y must lie in 0\.\.M = 0\.\.3; got 4 at \[0\]"):
        dtw(FrameCost(x, x), None, torch.tensor([4, 1]))


@pytest.mark.parametrize("op", [hard_dtw, soft_dtw])
def test_function_transforms_agree_with_autograd(op: Any) -> None:
    generator = torch.Generator().manual_seed(6)
    x, y = (torch.randn((2, size, 3), generator=generator, dtype=torch.float64) for size in (4, 5))

    def value(a: Tensor) -> Tensor:
        result: Tensor = op(FrameCost(a, y)).sum()
        return result

    (leaf,) = leaves_of(x)
    (expected,) = torch.autograd.grad(value(leaf), leaf)
    torch.testing.assert_close(torch.func.grad(value)(x), expected)
    torch.testing.assert_close(torch.func.jvp(value, (x,), (torch.ones_like(x),))[1], expected.sum())
    stacked = torch.stack((x, x + 1))
    torch.testing.assert_close(torch.func.vmap(value)(stacked), torch.stack([value(a) for a in stacked]))
    with pytest.raises(BackendUnavailableError, match=r"torch\.func"):
        torch.func.grad(lambda a: op(FrameCost(a, y), backend="cpu").sum())(x)


def test_compiled_and_exported_programs_give_the_same() -> None:
    class Loss(torch.nn.Module):
        def forward(self, x: Tensor, y: Tensor, lengths: Tensor) -> tuple[Tensor, DTWResult]:
            cost = FrameCost(x, y, "sqeuclidean")
            return soft_dtw(cost, lengths, gamma=0.5), dtw(cost, lengths, step_pattern="symmetric2")

    x, y, lengths = torch.randn(2, 6, 3), torch.randn(2, 5, 3), torch.tensor([6, 4])
    compiled = torch.compile(Loss(), fullgraph=True, backend="aot_eager")
    found = []
    for loss in (Loss(), compiled):
        (leaf,) = leaves_of(x)
        value, result = loss(leaf, y, lengths)
        found.append((value, result, torch.autograd.grad((value + result.distance).sum(), leaf)[0]))
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
    x, y = leaves_of(*random_frames(2, 4, 5, 3))
    rest = torch.tensor([4, 3]), torch.tensor([5, 4]), None, None, "sqeuclidean"
    torch.library.opcheck(torch.ops.hmm_core.dtw_frames.default, (x, y, *rest, "symmetric2", True))
    torch.library.opcheck(torch.ops.hmm_core.soft_dtw_frames.default, (x, y, *rest, 0.5, True, True))
    torch.library.opcheck(
        torch.ops.hmm_core.soft_dtw_frames.default, (x, y.detach(), *rest, 0.5, True, False)
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_computes_in_float32(dtype: torch.dtype) -> None:
    x, y = random_frames(2, 5, 6, 3, dtype=dtype)
    result = dtw(FrameCost(x, y)).distance
    assert result.dtype == torch.float32
    assert torch.equal(result, dtw(FrameCost(x.float(), y.float())).distance)
    assert torch.equal(soft_dtw(FrameCost(x, y)), soft_dtw(FrameCost(x.float(), y.float())))


def test_frames_that_are_not_contiguous_are_taken(any_backend: Any) -> None:
    x, y = random_frames(3, 40, 50, 4)
    expected = dtw(FrameCost(x, y), backend=any_backend).distance
    turned = FrameCost(x.mT.contiguous().mT, y.mT.contiguous().mT)
    assert torch.equal(dtw(turned, backend=any_backend).distance, expected)


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("metric", METRICS)
def test_the_divergence_of_frames_is_that_of_their_costs(metric: Any) -> None:
    x, y = random_frames(4, 40, 33, 6)
    lengths = ragged(40, 33)
    found = []
    for backend in BACKENDS:
        a, b = leaves_of(x, y)
        value = soft_dtw_divergence(a, b, *lengths, metric=metric, backend=backend)
        found.append((value, *gradients(value, a, b)))
    torch.testing.assert_close(found[0], found[1])
