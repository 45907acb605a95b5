"""Dynamic time warping, against every path, peers and identities."""

import importlib
import importlib.util
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import forward_ad

from hmm_core import BackendUnavailableError, Itakura, SakoeChiba, backends, dtw, pairwise_cost
from hmm_core._windows import band

PATTERNS = ["symmetric1", "symmetric2", "asymmetric"]
STEPS = {
    "symmetric1": {(1, 1): 1, (0, 1): 1, (1, 0): 1},
    "symmetric2": {(1, 1): 2, (0, 1): 1, (1, 0): 1},
    "asymmetric": {(1, 0): 1, (1, 1): 1, (1, 2): 1},
}
WINDOWS = [None, SakoeChiba(0), SakoeChiba(2), Itakura(), Itakura(3.5)]
SIZES = [(1, 1), (1, 5), (5, 1), (2, 3), (4, 4), (17, 31), (33, 32), (64, 100), (130, 40)]


@pytest.fixture(params=["reference", "cpu"])
def backend(request: pytest.FixtureRequest) -> Any:
    """Every backend."""
    if request.param == "cpu":
        request.getfixturevalue("native")
    return request.param


def paths(n: int, m: int, pattern: str) -> Iterator[tuple[list[tuple[int, int]], list[int]]]:
    """Every warping path of an n by m table, and the weights of its cells."""

    def extend(cells: list[tuple[int, int]], weights: list[int]) -> Iterator[Any]:
        i, j = cells[-1]
        if (i, j) == (n - 1, m - 1):
            yield cells, weights
        for (di, dj), weight in STEPS[pattern].items():
            if i + di < n and j + dj < m:
                yield from extend([*cells, (i + di, j + dj)], [*weights, weight])

    yield from extend([(0, 0)], [1])


def random_costs(B: int, N: int, M: int, *, forbidden: float = 0.1, seed: int = 0, **kind: Any) -> Tensor:
    """Small integers, which make ties, with some cells forbidden."""
    generator = torch.Generator().manual_seed(seed)
    cost = torch.randint(0, 5, (B, N, M), generator=generator).to(kind.get("dtype", torch.float64))
    cost[torch.rand((B, N, M), generator=generator) < forbidden] = torch.inf
    return cost


def cost_of(cost: Tensor, path: Tensor, pattern: str) -> float:
    """Cost of a path as it is returned, whose steps must be the pattern's."""
    cells = [tuple(cell) for cell in path.tolist() if cell[0] >= 0]
    total = float(cost[cells[0]])
    for (i, j), cell in itertools.pairwise(cells):
        total += STEPS[pattern][cell[0] - i, cell[1] - j] * float(cost[cell])
    return total


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 4), (4, 1), (2, 3), (3, 3), (4, 5), (5, 4)])
def test_no_path_is_cheaper(backend: Any, pattern: Any, n: int, m: int) -> None:
    cost = random_costs(6, n, m, seed=n * 10 + m)
    result = dtw(cost, step_pattern=pattern, backend=backend)
    assert result.path is not None
    assert result.path_length is not None
    for b in range(6):
        best = min(
            (
                sum(w * float(cost[b, i, j]) for (i, j), w in zip(cells, weights, strict=True))
                for cells, weights in paths(n, m, pattern)
            ),
            default=torch.inf,
        )
        assert float(result.distance[b]) == best
        if best < torch.inf:
            assert cost_of(cost[b], result.path[b], pattern) == best
            used = result.path[b, : result.path_length[b]]
            assert used[0].tolist() == [0, 0]
            assert used[-1].tolist() == [n - 1, m - 1]
            assert (result.path[b, result.path_length[b] :] == -1).all()
        else:
            assert (result.path[b] == -1).all()
            assert result.path_length[b] == 0


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(("N", "M"), SIZES)
def test_the_kernel_gives_the_reference_to_the_bit(pattern: Any, dtype: torch.dtype, N: int, M: int) -> None:
    cost = random_costs(4, N, M, seed=N, dtype=dtype) * 0.1
    lengths_x = torch.tensor([N, N, (N + 1) // 2, 0])
    lengths_y = torch.tensor([M, (M + 1) // 2, M, M])
    for window in WINDOWS:
        expected, actual = (
            dtw(cost, lengths_x, lengths_y, step_pattern=pattern, window=window, backend=backend)
            for backend in ("reference", "cpu")
        )
        for have, want in zip(actual, expected, strict=True):
            assert torch.equal(have, want)  # type: ignore[arg-type]  # every field is there


@pytest.mark.parametrize("pattern", ["symmetric1", "symmetric2"])
def test_symmetric_patterns_do_not_care_which_sequence_is_first(backend: Any, pattern: Any) -> None:
    cost = random_costs(3, 40, 55, forbidden=0.0)
    there = dtw(cost, step_pattern=pattern, backend=backend).distance
    back = dtw(cost.mT, step_pattern=pattern, backend=backend).distance
    assert torch.equal(there, back)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_sequence_costs_nothing_to_align_with_itself(backend: Any, pattern: Any) -> None:
    x = torch.randn(2, 40, 7, dtype=torch.float32)
    result = dtw(pairwise_cost(x, x, backend=backend), step_pattern=pattern, backend=backend)
    assert (result.distance == 0).all()
    assert result.path is not None
    assert torch.equal(result.path[0, :40], torch.arange(40)[:, None].expand(-1, 2))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_window_of_everything_changes_nothing(backend: Any, pattern: Any) -> None:
    cost = random_costs(3, 20, 30)
    lengths = torch.tensor([20, 11, 3]), torch.tensor([30, 12, 5])
    without = dtw(cost, *lengths, step_pattern=pattern, backend=backend)
    within = dtw(cost, *lengths, step_pattern=pattern, window=SakoeChiba(30), backend=backend)
    assert torch.equal(without.distance, within.distance)
    assert torch.equal(without.path, within.path)  # type: ignore[arg-type]  # both have one


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("window", WINDOWS)
def test_what_is_not_read_changes_nothing(backend: Any, pattern: Any, window: Any) -> None:
    cost = random_costs(3, 40, 37)
    lengths_x, lengths_y = torch.tensor([40, 33, 5]), torch.tensor([21, 37, 6])
    expected = dtw(cost, lengths_x, lengths_y, step_pattern=pattern, window=window, backend=backend)
    poisoned = cost.clone()
    for b in range(3):
        poisoned[b, lengths_x[b] :] = torch.nan
        poisoned[b, :, lengths_y[b] :] = -torch.inf
    if window is not None:
        begin, end = band(window, lengths_x, lengths_y, 40)
        column = torch.arange(37)
        poisoned[(column < begin[..., None]) | (column >= end[..., None])] = torch.nan
    actual = dtw(poisoned, lengths_x, lengths_y, step_pattern=pattern, window=window, backend=backend)
    for have, want in zip(actual, expected, strict=True):
        assert torch.equal(have, want)  # type: ignore[arg-type]  # every field is there


@pytest.mark.parametrize("pattern", PATTERNS)
def test_neither_batch_nor_padding_nor_threads_change_a_bit(backend: Any, pattern: Any) -> None:
    generator = torch.Generator().manual_seed(1)
    cost = torch.rand((5, 70, 90), generator=generator, dtype=torch.float32)
    lengths_x, lengths_y = torch.tensor([70, 33, 64, 1, 50]), torch.tensor([90, 64, 65, 9, 80])
    whole = dtw(cost, lengths_x, lengths_y, step_pattern=pattern, backend=backend)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        again = dtw(cost, lengths_x, lengths_y, step_pattern=pattern, backend=backend)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(whole.distance, again.distance)
    assert whole.path is not None
    for b in range(5):
        n, m = int(lengths_x[b]), int(lengths_y[b])
        alone = dtw(cost[b : b + 1, :n, :m], step_pattern=pattern, backend=backend)
        assert torch.equal(alone.distance, whole.distance[b : b + 1])
        assert alone.path is not None
        assert torch.equal(alone.path[0], whole.path[b, : n + m - 1])


def test_empty_sequences(backend: Any) -> None:
    cost = torch.ones(3, 2, 4)
    result = dtw(cost, torch.tensor([0, 0, 2]), torch.tensor([0, 4, 0]), backend=backend)
    assert result.distance.tolist() == [0.0, torch.inf, torch.inf]
    assert result.path is not None
    assert (result.path == -1).all()
    assert dtw(cost[:0], backend=backend).distance.shape == (0,)
    assert dtw(torch.ones(2, 0, 0), backend=backend).distance.tolist() == [0.0, 0.0]
    assert dtw(torch.ones(2, 0, 3), backend=backend).distance.tolist() == [torch.inf, torch.inf]
    assert dtw(torch.ones(2, 3, 0), return_path=False, backend=backend).path is None


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_wall_leaves_no_path_and_no_gradient(backend: Any, pattern: Any) -> None:
    cost = torch.ones(2, 6, 6)
    cost[0, :, 3:5] = torch.inf
    cost.requires_grad_()
    result = dtw(cost, step_pattern=pattern, backend=backend)
    assert result.distance[0] == torch.inf
    (gradient,) = torch.autograd.grad(result.distance.sum(), cost)
    assert (gradient[0] == 0).all()
    assert gradient[1].sum() > 0


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_gradient_counts_the_cells_of_the_path(backend: Any, pattern: Any) -> None:
    cost = random_costs(3, 7, 9, forbidden=0.05, seed=3)
    cost[0] = torch.inf
    leaf = cost.clone().requires_grad_()
    result = dtw(leaf, step_pattern=pattern, return_path=False, backend=backend)
    assert result.path is None
    upstream = torch.tensor([1.0, 2.0, -3.0], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(result.distance, leaf, upstream, create_graph=True)
    # Of a sum over the path the distance is the gradient times the costs.
    total = (gradient.detach() * torch.where(cost < torch.inf, cost, 0)).sum((1, 2))
    torch.testing.assert_close(total[1:], (upstream * result.distance.detach())[1:])
    assert (gradient[0] == 0).all()
    (second,) = torch.autograd.grad(gradient.sum(), upstream)
    torch.testing.assert_close(second[1], gradient[1].sum() / 2)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_gradcheck(backend: Any, pattern: Any) -> None:
    # Far from ties, where the distance has no derivative.
    cost = torch.rand(
        (2, 4, 5), dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    ).requires_grad_()
    lengths = torch.tensor([4, 3]), torch.tensor([5, 4])

    def distance(x: Tensor) -> Tensor:
        return dtw(x, *lengths, step_pattern=pattern, backend=backend).distance

    assert torch.autograd.gradcheck(distance, cost)
    assert torch.autograd.gradgradcheck(distance, cost)


def test_function_transforms_and_forward_mode_agree_with_autograd() -> None:
    cost = torch.rand((2, 4, 5), dtype=torch.float64)

    def distance(x: Tensor) -> Tensor:
        return dtw(x, step_pattern="symmetric2").distance.sum()

    leaf = cost.clone().requires_grad_()
    (expected,) = torch.autograd.grad(distance(leaf), leaf)
    torch.testing.assert_close(torch.func.grad(distance)(cost), expected)
    stacked = torch.stack((cost, cost + 1))
    torch.testing.assert_close(
        torch.func.vmap(distance)(stacked), torch.stack([distance(x) for x in stacked])
    )
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(cost, torch.ones_like(cost))  # type: ignore[no-untyped-call]  # torch does not annotate it
        tangent = forward_ad.unpack_dual(distance(dual)).tangent  # type: ignore[no-untyped-call]  # the same
    assert tangent is not None
    torch.testing.assert_close(tangent, expected.sum())
    with pytest.raises(BackendUnavailableError, match=r"torch\.func"):
        torch.func.grad(lambda x: dtw(x, backend="cpu").distance.sum())(cost)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_compiled_and_exported_programs_give_the_same(pattern: Any) -> None:
    class Distance(torch.nn.Module):
        def forward(self, cost: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
            result = dtw(cost, lengths, step_pattern=pattern, window=SakoeChiba(4))
            assert result.path is not None
            return result.distance, result.path

    cost, lengths = torch.rand(2, 6, 7), torch.tensor([6, 5])
    expected = Distance()(cost, lengths)
    compiled = torch.compile(Distance(), fullgraph=True, backend="aot_eager")
    leaf, other = cost.clone().requires_grad_(), cost.clone().requires_grad_()
    torch.testing.assert_close(compiled(cost, lengths), expected)
    torch.testing.assert_close(
        torch.autograd.grad(compiled(leaf, lengths)[0].sum(), leaf),
        torch.autograd.grad(Distance()(other, lengths)[0].sum(), other),
    )
    B, N, M = (torch.export.Dim(name, min=2) for name in "BNM")
    exported = torch.export.export(
        Distance(), (cost, lengths), dynamic_shapes=({0: B, 1: N, 2: M}, {0: B})
    ).module()
    larger = torch.rand(5, 33, 40), torch.tensor([33, 7, 2, 20, 32])
    torch.testing.assert_close(exported(*larger), Distance()(*larger))


# opcheck reads the gradients of the copies that it makes.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_the_registered_operation_passes_opcheck(backend: Any) -> None:
    cost = torch.rand((2, 4, 5), dtype=torch.float64).requires_grad_()
    lengths = torch.tensor([4, 3]), torch.tensor([5, 4])
    for keep in (True, False):
        torch.library.opcheck(
            torch.ops.hmm_core.dtw.default,
            (cost if keep else cost.detach(), *lengths, None, None, "symmetric2", keep, backend),
        )


@pytest.mark.parametrize("pattern", PATTERNS)
def test_dtw_python_gives_the_same_distances_and_paths(pattern: str) -> None:
    peer = importlib.import_module("dtw") if importlib.util.find_spec("dtw") else None
    if peer is None:
        pytest.skip("dtw-python is not installed")
    normalized = {"symmetric1": None, "symmetric2": 29 + 23, "asymmetric": 29}[pattern]
    # Integers: sums are exact, and ties are ties.
    cost = random_costs(5, 29, 23, forbidden=0.0)
    ours = dtw(cost, step_pattern=pattern)  # type: ignore[arg-type]  # one of them
    assert ours.path is not None
    assert ours.path_length is not None
    for b in range(5):
        theirs = peer.dtw(cost[b].numpy(), step_pattern=pattern)
        assert float(ours.distance[b]) == theirs.distance
        if normalized is not None:
            assert float(ours.distance[b]) / normalized == pytest.approx(theirs.normalizedDistance, rel=1e-12)
        path = np.stack((theirs.index1, theirs.index2), 1)
        assert np.array_equal(ours.path[b, : ours.path_length[b]].numpy(), path)


def test_sakoe_chiba_is_that_of_dtw_python_for_equal_lengths() -> None:
    if importlib.util.find_spec("dtw") is None:
        pytest.skip("dtw-python is not installed")
    peer = importlib.import_module("dtw")
    cost = random_costs(4, 25, 25, forbidden=0.0, seed=5)
    for radius in (0, 1, 4):
        ours = dtw(cost, step_pattern="symmetric2", window=SakoeChiba(radius)).distance
        for b in range(4):
            theirs = peer.dtw(cost[b].numpy(), window_type="sakoechiba", window_args={"window_size": radius})
            assert float(ours[b]) == theirs.distance


def tslearn_sakoe_chiba(n: int, m: int, radius: int) -> np.ndarray[Any, Any]:
    """The loop of tslearn 0.10, metrics/_masks.py."""
    mask = np.zeros((n, m), dtype=bool)
    if n > m:
        width = n - m + radius
        for j in range(m):
            mask[max(0, j - radius) : min(n, j + width) + 1, j] = True
    else:
        width = m - n + radius
        for i in range(n):
            mask[i, max(0, i - radius) : min(m, i + width) + 1] = True
    return mask


def tslearn_itakura(n: int, m: int, slope: float) -> np.ndarray[Any, Any]:
    """The bounds of tslearn 0.10, metrics/_masks.py, by column."""
    low, high = n / m / slope, n / m * slope
    column = np.arange(m)
    lower = np.maximum((low * column).round(2), (n - 1 - high * (m - 1) + high * column).round(2))
    upper = np.minimum((high * column).round(2), (n - 1 - low * (m - 1) + low * column).round(2))
    row = np.arange(n)[:, None]
    return np.asarray((row >= np.ceil(lower)) & (row < np.floor(upper + 1)))


def mask_of(window: Any, n: int, m: int) -> np.ndarray[Any, Any]:
    """Cells of a window."""
    begin, end = band(window, torch.tensor([n]), torch.tensor([m]), n)
    column = torch.arange(m)
    return np.asarray(((column >= begin[0, :, None]) & (column < end[0, :, None])).numpy())


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 6), (6, 1), (5, 5), (7, 12), (12, 7), (40, 41)])
def test_windows_are_those_of_tslearn(n: int, m: int) -> None:
    for radius in (0, 1, 3):
        assert np.array_equal(mask_of(SakoeChiba(radius), n, m), tslearn_sakoe_chiba(n, m, radius))
    if min(n, m) > 1:
        assert np.array_equal(mask_of(Itakura(2.0), n, m), tslearn_itakura(n, m, 2.0))


@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.one_of(st.builds(SakoeChiba, st.integers(0, 9)), st.builds(Itakura)),
)
@settings(deadline=None, max_examples=60)
def test_bands_never_go_back(n: int, m: int, window: Any) -> None:
    begin, end = band(window, torch.tensor([n]), torch.tensor([m]), n + 3)
    assert (begin >= 0).all()
    assert (begin <= end).all()
    assert (end <= m).all()
    assert (begin.diff() >= 0).all()
    assert (end.diff() >= 0).all()
    if isinstance(window, SakoeChiba):
        assert dtw(torch.ones(1, n, m), window=window, return_path=False).distance < torch.inf


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_computes_in_float32(dtype: torch.dtype) -> None:
    cost = torch.rand(2, 5, 6).to(dtype)
    result = dtw(cost)
    assert result.distance.dtype == torch.float32
    assert torch.equal(result.distance, dtw(cost.float()).distance)


def test_a_cost_that_is_not_contiguous_is_taken(backend: Any) -> None:
    cost = torch.rand(3, 40, 70)
    expected = dtw(cost.mT.contiguous(), backend=backend).distance
    assert torch.equal(dtw(cost.mT, backend=backend).distance, expected)


def test_every_variant_of_the_kernels_gives_the_same(variants: tuple[str, ...]) -> None:
    cost = random_costs(3, 50, 70, dtype=torch.float32) * 0.1
    inputs = [(pattern, window) for pattern in PATTERNS for window in (None, SakoeChiba(5))]
    found = []
    for variant in variants:
        with backends.use_kernel_variant(variant):
            found.append([dtw(cost, step_pattern=p, window=w, backend="cpu") for p, w in inputs])  # type: ignore[arg-type]  # one of them
    for other in found[1:]:
        for a, b in zip(other, found[0], strict=True):
            assert torch.equal(a.distance, b.distance)
            assert torch.equal(a.path, b.path)  # type: ignore[arg-type]  # both have one


@pytest.mark.parametrize("wrong", [torch.nan, -torch.inf])
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("size", [5, 50])
def test_wrong_costs_are_named(backend: Any, pattern: Any, wrong: float, size: int) -> None:
    cost = torch.ones(2, size, size)
    cost[1, 2, 3] = wrong
    with pytest.raises(ValueError, match=r"cost must not hold NaN or -inf; got (nan|-inf) at \[1, 2, 3\]"):
        dtw(cost, step_pattern=pattern, backend=backend)
    with pytest.raises(ValueError, match=r"at \[1, 2, 3\]"):
        dtw(cost, step_pattern=pattern, window=SakoeChiba(1), backend=backend)


def test_wrong_arguments_are_named(backend: Any) -> None:
    cost = torch.ones(2, 3, 4)
    with pytest.raises(ValueError, match=r"cost must have shape \(B, N, M\); got \(3, 4\)"):
        dtw(cost[0], backend=backend)
    with pytest.raises(TypeError, match="cost must be a Tensor; got list"):
        dtw([1.0], backend=backend)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(TypeError, match="cost must have a floating dtype"):
        dtw(cost.long(), backend=backend)
    with pytest.raises(ValueError, match=r"lengths_y must lie in 0\.\.M = 0\.\.4; got 5 at \[1\]"):
        dtw(cost, None, torch.tensor([1, 5]), backend=backend)
    with pytest.raises(ValueError, match=r"lengths_x must have shape \(B,\) = \(2,\), with B from cost"):
        dtw(cost, torch.tensor([1]), backend=backend)
    with pytest.raises(TypeError, match=r"lengths_x must have dtype torch\.int64"):
        dtw(cost, torch.ones(2), backend=backend)
    with pytest.raises(ValueError, match='step_pattern must be "symmetric1", "symmetric2" or "asymmetric"'):
        dtw(cost, step_pattern="typeIc", backend=backend)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(TypeError, match="window must be a SakoeChiba, an Itakura or None; got int"):
        dtw(cost, window=3, backend=backend)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ValueError, match="radius must be an integer of 0 or more; got -1"):
        SakoeChiba(-1)
    with pytest.raises(ValueError, match=r"max_slope must be a finite number of 1 or more; got 0\.5"):
        Itakura(0.5)
