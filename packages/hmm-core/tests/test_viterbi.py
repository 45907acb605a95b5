"""Viterbi: equal paths in all backends, ties, ragged batches, threads, gradients of the score."""

import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from hmm_core import Sparse, ctc_graph, left_to_right, skip, viterbi
from hmm_core.testing import Arguments, random_hmm

INF = torch.inf


def _both(hmm: Arguments) -> None:
    """Assert that the kernel and the reference find the same path, score and gradients."""
    results = []
    for backend in ("reference", "cpu"):
        assert isinstance(hmm.log_transition, Sparse)
        weight = hmm.log_transition.log_weight.clone().requires_grad_()
        emission = hmm.log_emission.clone().requires_grad_()
        moved = hmm._replace(
            log_emission=emission, log_transition=Sparse(hmm.log_transition.predecessors, weight)
        )
        path = moved.apply(viterbi, backend=backend)
        assert path.log_score.requires_grad
        results.append((*path, *torch.autograd.grad(path.log_score.sum(), (emission, weight))))
    for reference, kernel in zip(*results, strict=True):
        assert torch.equal(reference, kernel)


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("impossible", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("states", [1, 2, 3, 17, 64])
@pytest.mark.parametrize("densities", [None, 5])
@pytest.mark.parametrize("time_varying", [False, True])
def test_backends_agree_bit_for_bit(
    dtype: torch.dtype, impossible: float, states: int, densities: int | None, time_varying: bool
) -> None:
    for seed, per_sequence in enumerate((False, True)):
        hmm = random_hmm(
            3,
            12,
            states,
            sparse=True,
            densities=densities,
            dtype=dtype,
            impossible=impossible,
            per_sequence=per_sequence,
            time_varying=time_varying,
            seed=seed,
        )
        _both(hmm)


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rounded", [False, True], ids=["distinct", "ties"])
@pytest.mark.parametrize("max_jump", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("states", [7, 8, 9, 40, 101])
def test_backends_agree_on_bands(dtype: torch.dtype, rounded: bool, max_jump: int, states: int) -> None:
    """Runs of states with equal distances take another code path than scattered arcs."""
    generator = torch.Generator().manual_seed(states)
    distance = (torch.arange(states)[:, None] - torch.arange(states)).T
    matrix = torch.randn(states, states, dtype=dtype, generator=generator)
    band = (distance >= 1 - max_jump // 2) & (distance < 1 + max_jump)
    matrix = matrix.masked_fill(~band, -INF)
    # One far arc interrupts the band.
    matrix[0, states // 2] = 1.0
    log_emission = torch.randn(2, 3 * states, states, dtype=dtype, generator=generator) * 3
    if rounded:
        matrix, log_emission = matrix.round(), log_emission.round()
    start = torch.zeros(states, dtype=dtype)
    _both(Arguments(start, Sparse.from_dense(matrix), log_emission, torch.tensor([3 * states, states])))


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("slots", [255, 256, 65_535, 65_536])
def test_back_pointers_are_wide_enough_for_all_slots(slots: int) -> None:
    # Two frames; only state 1 uses all slots, and the best path comes through the last of them.
    states = slots if slots < 1000 else 2
    if states > 2:
        predecessors = torch.full((states, slots), -1)
        predecessors[1] = torch.arange(slots)
        emission = torch.zeros(1, 2, states)
        emission[0, 0, -1] = 1.0
        hmm = Arguments(torch.zeros(states), Sparse(predecessors, torch.zeros(states, slots)), emission)
        assert hmm.apply(viterbi, backend="cpu").states.tolist() == [[states - 1, 1]]
    else:
        # A square table of this size does not fit a test: two states, the other slots unused.
        predecessors = torch.full((2, slots), -1)
        predecessors[:, :2] = torch.arange(2)
        emission = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
        hmm = Arguments(torch.zeros(2), Sparse(predecessors, torch.zeros(2, slots)), emission)
        assert hmm.apply(viterbi, backend="cpu").states.tolist() == [[1, 0]]
    _both(hmm)


def test_ties_go_to_the_lowest_predecessor_and_final_state(any_backend: Any) -> None:
    everywhere = Sparse.from_dense(torch.zeros(4, 4))
    path = viterbi(torch.zeros(4), everywhere, torch.zeros(1, 5, 4), backend=any_backend)
    assert path.states.tolist() == [[0, 0, 0, 0, 0]]
    barred = torch.tensor([-INF, 0.0, 0.0, 0.0])
    path = viterbi(barred, everywhere, torch.zeros(1, 3, 4), log_final=barred, backend=any_backend)
    assert path.states.tolist() == [[1, 0, 1]]


def test_without_a_path_the_score_is_minus_infinity_and_the_states_are_missing(any_backend: Any) -> None:
    start, chain = torch.tensor([0.0, -INF, -INF]), left_to_right(3)
    end = torch.tensor([-INF, -INF, 0.0])
    emission = torch.zeros(4, 3, 3, requires_grad=True)
    lengths = torch.tensor([2, 3, 0, 1])
    path = viterbi(start, chain, emission, lengths, log_final=end, backend=any_backend)
    assert path.states.tolist() == [[-1, -1, -1], [0, 1, 2], [-1, -1, -1], [-1, -1, -1]]
    assert path.log_score[[0, 3]].tolist() == [-INF, -INF]
    assert path.log_score[2] == 0
    (gradient,) = torch.autograd.grad(path.log_score.sum(), emission)
    assert gradient[[0, 2, 3]].eq(0).all()
    assert gradient[1].equal(torch.eye(3))


def test_an_impossible_frame_leaves_no_path(any_backend: Any) -> None:
    emission = torch.zeros(2, 4, 3)
    emission[1, 2] = -INF
    path = viterbi(torch.zeros(3), left_to_right(3), emission, backend=any_backend)
    assert (path.states[0] >= 0).all()
    assert (path.states[1] == -1).all()


@pytest.mark.usefixtures("native")
def test_results_do_not_depend_on_threads_batch_or_padding() -> None:
    hmm = random_hmm(16, 200, 100, sparse=True, dtype=torch.float32, per_sequence=True, seed=1, scale=3)
    expected = hmm.apply(viterbi, backend="cpu")
    before = torch.get_num_threads()
    try:
        for threads in (2, 5):
            torch.set_num_threads(threads)
            result = hmm.apply(viterbi, backend="cpu")
            assert torch.equal(result.states, expected.states)
            assert torch.equal(result.log_score, expected.log_score)
    finally:
        torch.set_num_threads(before)
    padded = torch.cat((hmm.log_emission, torch.full((16, 37, 100), torch.nan)), dim=1)
    result = hmm._replace(log_emission=padded, lengths=hmm.lengths).apply(viterbi, backend="cpu")
    assert torch.equal(result.states[:, :200], expected.states)
    assert torch.equal(result.log_score, expected.log_score)


@pytest.mark.usefixtures("native")
def test_non_contiguous_arguments_give_the_same() -> None:
    hmm = random_hmm(4, 9, 6, sparse=True, per_sequence=True, densities=3, seed=2)
    assert isinstance(hmm.log_transition, Sparse)

    def spread(x: torch.Tensor) -> torch.Tensor:
        result = torch.stack((x, x + 1), dim=-1)[..., 0]
        assert not result.is_contiguous()
        return result

    assert hmm.lengths is not None
    assert hmm.log_final is not None
    assert hmm.emission_index is not None
    other = Arguments(
        spread(hmm.log_initial),
        Sparse(spread(hmm.log_transition.predecessors), spread(hmm.log_transition.log_weight)),
        hmm.log_emission.permute(2, 1, 0).contiguous().permute(2, 1, 0),
        spread(hmm.lengths),
        spread(hmm.log_final),
        spread(hmm.emission_index),
    )
    for backend in ("reference", "cpu"):
        result, expected = (x.apply(viterbi, backend=backend) for x in (other, hmm))
        assert torch.equal(result.states, expected.states)
        assert torch.equal(result.log_score, expected.log_score)


def test_a_batch_gives_the_same_bits_as_its_sequences(any_backend: Any) -> None:
    hmm = random_hmm(5, 20, 8, sparse=True, dtype=torch.float32, seed=4)
    batch = hmm.apply(viterbi, backend=any_backend)
    assert hmm.lengths is not None
    for b in range(5):
        alone = hmm._replace(log_emission=hmm.log_emission[b : b + 1], lengths=hmm.lengths[b : b + 1])
        path = alone.apply(viterbi, backend=any_backend)
        assert torch.equal(path.states[0], batch.states[b])
        assert torch.equal(path.log_score[0], batch.log_score[b])


@pytest.mark.parametrize("frames", [0, 1])
def test_empty_and_one_frame_batches(frames: int, any_backend: Any) -> None:
    path = viterbi(torch.zeros(3), skip(3, 0.5, 0.3, 0.2), torch.zeros(2, frames, 3), backend=any_backend)
    assert path.states.tolist() == [[0] * frames] * 2
    assert path.log_score.tolist() == [0.0, 0.0]
    empty = viterbi(torch.zeros(3), left_to_right(3), torch.zeros(0, frames, 3), backend=any_backend)
    assert empty.states.shape == (0, frames)


def test_time_varying_weights_of_one_frame_have_no_steps(any_backend: Any) -> None:
    graph = Sparse(torch.tensor([[0, 1], [0, 1]]), torch.zeros(1, 0, 2, 2))
    path = viterbi(torch.tensor([0.0, 1.0]), graph, torch.zeros(1, 1, 2), backend=any_backend)
    assert path.states.tolist() == [[1]]
    assert path.log_score.tolist() == [1.0]


def test_the_score_of_a_long_path_is_summed_in_float64(any_backend: Any) -> None:
    emission = torch.full((1, 100_000 if any_backend == "cpu" else 3000, 1), -0.1)
    path = viterbi(torch.zeros(1), left_to_right(1), emission, backend=any_backend)
    torch.testing.assert_close(path.log_score, emission.double().sum((1, 2)).float(), rtol=0, atol=0)


def _all_memories(hmm: Arguments) -> None:
    """Assert that the kernel finds the reference's paths, whatever it keeps."""
    expected = hmm.apply(viterbi, backend="reference")
    for memory in ("full", "linear"):
        path = hmm.apply(viterbi, backend="cpu", memory=memory)
        assert torch.equal(path.states, expected.states)
        # The same numbers summed in float64 in another order.
        torch.testing.assert_close(path.log_score, expected.log_score, rtol=1e-6, atol=1e-6)


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("impossible", [0.0, 0.5, 0.95])
def test_every_variant_and_memory_gives_the_paths_of_the_reference(
    dtype: torch.dtype, sparse: bool, impossible: float
) -> None:
    sizes = itertools.product((1, 2, 3, 5, 8, 17, 33, 64, 100), (0, 1, 2, 20))
    for seed, (states, frames) in enumerate(sizes):
        hmm = random_hmm(
            5,
            frames,
            states,
            sparse=sparse,
            dtype=dtype,
            impossible=impossible,
            densities=7 if seed % 3 == 0 else None,
            per_sequence=seed % 2 == 0,
            time_varying=seed % 5 == 0,
            scale=(1e-3, 1.0, 1e4)[seed % 3],
            seed=seed,
        )
        _all_memories(hmm)
        if seed % 4 == 0:  # many ties
            _all_memories(hmm._replace(log_emission=torch.zeros_like(hmm.log_emission)))


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("sparse", "states", "frames", "impossible", "scale"),
    [
        (False, 257, 63, 0.5, 1.0),
        (False, 1000, 12, 0.0, 1e4),
        (False, 17, 1000, 0.95, 1e-3),
        (True, 257, 63, 0.0, 1e4),
        (True, 1000, 63, 0.95, 1.0),
        (True, 100, 1000, 0.95, 1e-3),
        (True, 5, 10_000, 0.5, 1.0),
    ],
)
def test_many_states_and_many_frames_give_the_paths_of_the_reference(
    dtype: torch.dtype, sparse: bool, states: int, frames: int, impossible: float, scale: float
) -> None:
    hmm = random_hmm(2, frames, states, sparse=sparse, dtype=dtype, impossible=impossible, scale=scale)
    _all_memories(hmm)
    if frames < 1000:  # many ties
        _all_memories(hmm._replace(log_emission=(hmm.log_emission / scale).round()))


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "distances",
    [
        (0,),
        (-1, 0),
        (-2, -1, 0),
        (-5, -1, 0),
        (-3, -2, -1, 0),
        (-40, 0),
        (-1, 0, 1),
        (-2, -1),
        (-7, -4, -3, -1, 0),
    ],
    ids=str,
)
def test_chains_of_all_distances(dtype: torch.dtype, distances: tuple[int, ...]) -> None:
    """From one state on, so that the reachable states grow with time; with some arcs to elsewhere."""
    for number, (states, densities) in enumerate(((1, 1), (9, 3), (70, 40), (130, 70), (300, 150))):
        generator = torch.Generator().manual_seed(number)
        source = torch.arange(states)[:, None] + torch.tensor(distances)
        used = (source >= 0) & (source < states)
        used &= torch.rand(used.shape, generator=generator) < 0.9
        used[:, -1] |= ~used.any(1) & (source[:, -1] >= 0) & (source[:, -1] < states)
        matrix = torch.full((states, states), -INF, dtype=dtype)
        row = torch.arange(states)[:, None].expand_as(source)
        matrix[source[used], row[used]] = torch.randn(int(used.sum()), generator=generator, dtype=dtype)
        start = torch.full((states,), -INF, dtype=dtype)
        start[states // 3] = 0.0
        index = torch.randint(densities, (states,), generator=generator)
        emission = torch.randn(6, 45, densities, generator=generator, dtype=dtype)
        lengths = torch.tensor([45, 45, 30, 45, 7, 44])
        hmm = Arguments(start, Sparse.from_dense(matrix), emission, lengths, None, index)
        _all_memories(hmm)
        if states > 60:  # Some states have arcs from anywhere.
            matrix[states - 1, 5] = matrix[0, states // 2] = 0.5
            _all_memories(
                hmm._replace(log_transition=Sparse.from_dense(matrix), log_emission=emission.round())
            )


@pytest.mark.usefixtures("native")
def test_sequences_with_graphs_of_their_own_decode_together() -> None:
    """As in CTC alignment: blanks between labels, which may be skipped where two labels differ."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(1, 8, (7, 20), generator=generator)
    index = torch.zeros(7, 41, dtype=torch.int64)
    index[:, 1::2] = labels
    source = torch.arange(41)[:, None] + torch.tensor([-2, -1, 0])
    allowed = (source >= 0).expand(7, -1, -1).clone()
    allowed[:, ::2, 0] = False
    allowed[:, 3::2, 0] &= labels[:, 1:] != labels[:, :-1]
    order = (~allowed).to(torch.uint8).argsort(stable=True, dim=2)
    predecessors = source.expand(7, -1, -1).gather(2, order).masked_fill(~allowed.gather(2, order), -1)
    graph = Sparse(predecessors, torch.zeros(7, 41, 3))
    start = torch.full((41,), -INF)
    start[:2] = 0.0
    emission = torch.randn(7, 90, 8, generator=generator).log_softmax(2)
    lengths = torch.tensor([90, 41, 60, 90, 0, 12, 77])
    _all_memories(Arguments(start, graph, emission, lengths, start.flip(0), index))


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("symbols", [3, 40, 70])
def test_ctc_graphs_of_all_sizes(dtype: torch.dtype, symbols: int) -> None:
    """Blanks and labels are computed apart; targets of unequal lengths leave states without arcs."""
    for seed, targets in enumerate((0, 1, 2, 8, 15, 16, 17, 40, 70)):
        generator = torch.Generator().manual_seed(seed)
        labels = torch.randint(1, symbols, (6, targets), generator=generator)
        used = torch.randint(targets + 1, (6,), generator=generator)
        used[:2] = targets
        graph = ctc_graph(labels, used, dtype=dtype)
        frames = 2 * targets + 5
        emission = torch.randn(6, frames, symbols, dtype=dtype, generator=generator).log_softmax(2)
        if seed % 2:  # ties
            emission = emission.round()
        lengths = torch.tensor([frames, frames, frames - 2, targets, 0, frames])
        start, transition, end, index = graph
        assert isinstance(transition, Sparse)
        _all_memories(Arguments(start, transition, emission, lengths, end, index))
        # With weights that count, in some states or in all; the arcs stay as they are.
        weight = torch.randn(transition.log_weight.shape, dtype=dtype, generator=generator)
        for first in (0, targets):
            some = torch.where(torch.arange(2 * targets + 1)[:, None] >= first, weight, 0.0)
            weighted = Sparse(transition.predecessors, transition.log_weight + some)
            _all_memories(Arguments(start, weighted, emission, lengths, end, index))


@pytest.mark.usefixtures("variant")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [torch.nan, -torch.nan, INF])
@pytest.mark.parametrize("form", ["chain", "far arc", "anywhere", "dense"])
def test_every_invalid_emission_is_refused_wherever_it_stands(
    dtype: torch.dtype, value: float, form: str
) -> None:
    """The decoder looks while it decodes, and at the states that no path has reached besides."""
    states = 70
    transition: torch.Tensor | Sparse = left_to_right(states, dtype=dtype)
    matrix = torch.randn(states, states, dtype=dtype, generator=torch.Generator().manual_seed(0))
    if form == "far arc":
        transition = left_to_right(states, dtype=dtype).to_dense()
        transition[3, 60] = 0.5
        transition = Sparse.from_dense(transition)
    elif form != "chain":
        transition = Sparse.from_dense(matrix) if form == "anywhere" else matrix
    start = torch.full((states,), -INF, dtype=dtype)
    start[20] = 0.0
    lengths = torch.tensor([90, 90, 7, 0, 1, 90])
    emission = torch.zeros(6, 90, states, dtype=dtype)
    padding = torch.arange(90) >= lengths[:, None]
    emission[padding] = value
    path = viterbi(start, transition, emission, lengths, backend="cpu")
    assert path.log_score.isfinite().tolist() == [True] * 6
    for at in ((0, 0, 0), (0, 0, 69), (1, 3, 69), (1, 3, 0), (1, 3, 21), (2, 6, 24), (5, 89, 64), (4, 0, 20)):
        wrong = emission.clone()
        wrong[at] = value
        message = re.escape(f"log_emission must not hold NaN or +inf; got {abs(value)} at {[*at]}")
        for memory in ("full", "linear"):
            with pytest.raises(ValueError, match=message):
                viterbi(start, transition, wrong, lengths, backend="cpu", memory=memory)


@pytest.mark.usefixtures("native")
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs the peak memory of Linux")
def test_linear_memory_aligns_a_long_recording_in_little_memory() -> None:
    # 10,000 frames against 4000 states: two bits a state and frame are 10 MB.
    program = (
        "import sys, torch\n"
        "from pathlib import Path\n"
        "from hmm_core import skip, viterbi\n"
        "torch.set_num_threads(1)\n"
        "chain = skip(4000, 0.5, 0.25, 0.25)\n"
        "start = torch.full((4000,), -torch.inf)\n"
        "start[0] = 0\n"
        "index = torch.arange(4000) % 150\n"
        "emission = torch.randn(1, 10_000, 150, generator=torch.Generator().manual_seed(0))\n"
        "options = {'log_final': start.flip(0), 'emission_index': index, 'backend': 'cpu'}\n"
        "viterbi(start, chain, emission[:, :10], **options)\n"
        "def used(name):\n"
        "    lines = Path('/proc/self/status').read_text().splitlines()\n"
        "    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024\n"
        "def peak(memory):\n"
        "    Path('/proc/self/clear_refs').write_text('5')\n"
        "    before = used('VmRSS')\n"
        "    path = viterbi(start, chain, emission, memory=memory, **options)\n"
        "    return path, used('VmHWM') - before\n"
        "linear, little = peak('linear')\n"
        "full, much = peak('full')\n"
        "assert torch.equal(linear.states, full.states)\n"
        "assert int(full.states[0, -1]) == 3999\n"
        "print(little, much)\n"
        "assert little < 5 and much > 8, (little, much)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_an_unknown_memory_is_refused() -> None:
    with pytest.raises(ValueError, match='memory must be "auto", "full" or "linear"; got \'little\''):
        random_hmm().apply(viterbi, memory="little")


@pytest.mark.usefixtures("native")
def test_the_kernel_refuses_what_was_not_checked() -> None:
    problem = [
        torch.zeros(1, 2),
        torch.tensor([[[0, 1], [0, 1]]]),
        torch.zeros(1, 1, 2, 2),
        torch.zeros(1, 3, 2),
        torch.tensor([3]),
        torch.zeros(1, 2),
        torch.tensor([[0, 1]]),
    ]
    for position, value, message in (
        (1, torch.tensor([[[0, 2], [0, 1]]]), "log_transition.predecessors must lie in 0..K-1 = 0..1; got 2"),
        (3, torch.full((1, 3, 2), torch.nan), "log_emission must not hold NaN"),
        (4, torch.tensor([4]), "lengths must lie in 0..T = 0..3; got 4"),
        (4, torch.tensor([-1]), "lengths must lie in 0..T = 0..3; got -1"),
        (6, torch.tensor([[0, 2]]), "emission_index must lie in 0..P-1 = 0..1; got 2"),
    ):
        wrong = [*problem]
        wrong[position] = value
        with pytest.raises(ValueError, match=re.escape(message)):
            torch.ops.hmm_core.viterbi.default(*wrong, "auto", "cpu")
