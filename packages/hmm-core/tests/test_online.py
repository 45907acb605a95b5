"""Streams: equal to the offline recursions for every cut into chunks, in all backends; memory and errors."""

import threading
from itertools import accumulate, pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import hmm_core
from hmm_core import BackendUnavailableError, Sparse, backends, ergodic, forward, left_to_right, viterbi
from hmm_core.online import FilterState, ViterbiState, filter_step, viterbi_step
from hmm_core.testing import Arguments, random_hmm

HALF = torch.tensor([0.5, 0.5]).log()
STAY = torch.tensor([[0.9, 0.1], [0.1, 0.9]]).log()

# Rounding of some hundred frames with scores of size 10.
TOLERANCE: dict[torch.dtype, dict[str, Any]] = {
    torch.float32: {"rtol": 1e-5, "atol": 1e-4},
    torch.float64: {"rtol": 1e-11, "atol": 1e-11},
}


def stream(seed: int, frames: int, states: int, **options: Any) -> Arguments:
    """One sequence, all of it valid."""
    return random_hmm(1, frames, states, seed=seed, ragged=False, **options)


def cut(frames: Tensor, sizes: list[int]) -> list[Tensor]:
    """Chunks of these sizes, and what remains."""
    ends = [0, *(min(end, len(frames)) for end in accumulate(sizes)), len(frames)]
    return [frames[start:end] for start, end in pairwise(ends)]


def filtered(hmm: Arguments, backend: Any, chunks: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Results of all chunks."""
    state = FilterState(hmm.log_initial, hmm.log_transition, hmm.emission_index, backend=backend)
    results, totals = [], []
    for chunk in chunks:
        totals.append(torch.empty(len(chunk), dtype=torch.float64))
        results.append(filter_step(state, chunk, log_likelihood_out=totals[-1]))
    assert state.num_frames == sum(len(chunk) for chunk in chunks)
    return torch.cat(results), torch.cat(totals)


def offline(hmm: Arguments) -> tuple[Tensor, Tensor]:
    """What the forward recursion of the whole sequence says."""
    log_alpha = forward(
        hmm.log_initial,
        hmm.log_transition,
        hmm.log_emission,
        emission_index=hmm.emission_index,
        backend="reference",
    ).log_alpha[0]
    total = log_alpha.logsumexp(1)
    shift = torch.where(total > -torch.inf, total, 0.0)
    return torch.where(total[:, None] > -torch.inf, log_alpha - shift[:, None], -torch.inf), total


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("densities", [None, 3])
@pytest.mark.parametrize("impossible", [0.0, 0.2, 0.5])
@pytest.mark.parametrize("states", [1, 2, 3, 5, 8, 17, 33, 64, 100])
def test_a_filter_gives_the_forward_recursion(
    states: int,
    impossible: float,
    densities: int | None,
    sparse: bool,
    dtype: torch.dtype,
    variants: tuple[str, ...],
) -> None:
    hmm = stream(
        states, 12, states, sparse=sparse, densities=densities, impossible=impossible, dtype=dtype, scale=3.0
    )
    expected, total = offline(hmm)
    for backend, target in [("reference", variants[0]), *(("cpu", name) for name in variants)]:
        with backends.use_kernel_variant(target):
            log_filter, log_likelihood = filtered(hmm, backend, [hmm.log_emission[0]])
        torch.testing.assert_close(log_filter, expected, **TOLERANCE[dtype])
        torch.testing.assert_close(log_likelihood.to(dtype), total, **TOLERANCE[dtype])


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 2**20),
    st.integers(1, 20),
    st.lists(st.integers(0, 7), max_size=6),
    st.sampled_from([torch.float32, torch.float64]),
    st.booleans(),
)
def test_every_cut_gives_the_same_bits(
    backend: Any, seed: int, states: int, sizes: list[int], dtype: torch.dtype, sparse: bool
) -> None:
    if backend == "cpu" and not hmm_core.HAVE_NATIVE:
        pytest.skip("there are no kernels")
    hmm = stream(seed, 20, states, sparse=sparse, impossible=0.1, dtype=dtype)
    frames = hmm.log_emission[0]
    whole = filtered(hmm, backend, [frames])
    parts = filtered(hmm, backend, cut(frames, sizes))
    assert torch.equal(whole[0], parts[0])
    assert torch.equal(whole[1], parts[1])

    def decoded(chunks: list[Tensor]) -> tuple[list[int], list[int]]:
        state = ViterbiState(
            hmm.log_initial,
            hmm.log_transition,
            max_delay=4,
            backend=backend,
        )
        now, path = [], []
        for chunk in chunks:
            now += viterbi_step(state, chunk).tolist()
            path += state.take().tolist()
        return now, path + state.flush().states.tolist()

    assert decoded([frames]) == decoded(cut(frames, sizes))


def test_single_frames_are_chunks_of_one(any_backend: Any) -> None:
    hmm = stream(1, 10, 5)
    whole, _ = filtered(hmm, any_backend, [hmm.log_emission[0]])
    state = FilterState(hmm.log_initial, hmm.log_transition, backend=any_backend)
    decoder = ViterbiState(hmm.log_initial, hmm.log_transition, backend=any_backend)
    now = viterbi_step(
        ViterbiState(hmm.log_initial, hmm.log_transition, backend=any_backend), hmm.log_emission[0]
    )
    for t, frame in enumerate(hmm.log_emission[0]):
        assert torch.equal(filter_step(state, frame), whole[t])
        best = viterbi_step(decoder, frame)
        assert best.shape == ()
        assert best == now[t]


def assert_decoded(hmm: Arguments, backend: Any, dtype: torch.dtype) -> None:
    """Frames that come in pieces give the path of :func:`viterbi`."""
    expected = hmm.apply(viterbi, backend="reference")
    state = ViterbiState(hmm.log_initial, hmm.log_transition, hmm.emission_index, backend=backend)
    path = []
    for chunk in torch.split(hmm.log_emission[0], 100):
        viterbi_step(state, chunk)
        path += state.take().tolist()
        assert state.num_committed == len(path)
    rest = state.flush(hmm.log_final)
    if expected.log_score > -torch.inf:
        assert path + rest.states.tolist() == expected.states[0].tolist()
    torch.testing.assert_close(rest.log_score.to(dtype), expected.log_score[0], **TOLERANCE[dtype])
    assert state.num_forced == state.num_frames == 0


@pytest.mark.parametrize("frames", [1, 2, 63, 1000])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_decoder_gives_the_viterbi_path(
    frames: int, sparse: bool, dtype: torch.dtype, any_backend: Any, variants: tuple[str, ...]
) -> None:
    for states in (2, 17) if frames == 1000 else (1, 2, 3, 5, 8, 17, 33, 64, 100):
        hmm = stream(states, frames, states, sparse=sparse, dtype=dtype, densities=4)
        for variant in variants if any_backend == "cpu" else variants[:1]:
            with backends.use_kernel_variant(variant):
                assert_decoded(hmm, any_backend, dtype)


@pytest.mark.parametrize("sparse", [False, True])
def test_ties_go_where_the_offline_path_goes(sparse: bool, any_backend: Any) -> None:
    for seed in range(10):
        hmm = stream(seed, 50, 7, sparse=sparse, dtype=torch.float32)
        transition = hmm.log_transition
        rounded = (
            Sparse(transition.predecessors, transition.log_weight.round())
            if isinstance(transition, Sparse)
            else transition.round()
        )
        hmm = hmm._replace(
            log_initial=hmm.log_initial.round(),
            log_transition=rounded,
            log_emission=hmm.log_emission.round(),
            log_final=None,
        )
        state = ViterbiState(hmm.log_initial, rounded, backend=any_backend)
        viterbi_step(state, hmm.log_emission[0])
        path = state.flush()
        expected = hmm.apply(viterbi, backend="reference")
        assert path.log_score == expected.log_score[0]
        if path.log_score > -torch.inf:
            assert torch.equal(path.states, expected.states[0])


def test_nothing_is_committed_while_two_paths_stay_apart(any_backend: Any) -> None:
    apart = torch.tensor([[0.0, -torch.inf], [-torch.inf, 0.0]])
    log_emission = torch.zeros(500, 2)
    log_emission[-1, 0] = -1.0
    state = ViterbiState(torch.zeros(2), apart, backend=any_backend)
    assert (viterbi_step(state, log_emission[:-1]) == 0).all()
    assert state.num_committed == 0
    assert len(state.take()) == 0
    assert viterbi_step(state, log_emission[-1]) == 1
    assert (state.flush().states == 1).all()


def test_a_certain_frame_commits_everything_before_it(any_backend: Any) -> None:
    frames = torch.zeros(10, 2)
    frames[6, 1] = -torch.inf
    state = ViterbiState(HALF, STAY, backend=any_backend)
    viterbi_step(state, frames[:6])
    before = state.num_committed
    viterbi_step(state, frames[6])
    assert state.num_committed == 7 > before
    assert state.take().tolist() == [0] * 7


@pytest.mark.parametrize("max_delay", [0, 1, 7])
def test_a_bounded_delay_bounds_the_open_frames(max_delay: int, any_backend: Any) -> None:
    hmm = stream(5, 300, 6)
    frames = hmm.log_emission[0]
    state = ViterbiState(hmm.log_initial, hmm.log_transition, max_delay=max_delay, backend=any_backend)
    path: list[int] = []
    for t, frame in enumerate(frames):
        viterbi_step(state, frame)
        path += state.take().tolist()
        assert t + 1 - state.num_committed <= max_delay
    assert state.num_forced > 0
    forced = state.flush()
    path += forced.states.tolist()
    # The result is a path of the model, with the score it says, and not better than the best.
    assert isinstance(hmm.log_transition, Tensor)
    score = hmm.log_initial[path[0]] + frames[torch.arange(300), path].sum()
    score = score + hmm.log_transition[path[:-1], path[1:]].sum()
    # Sums of 300 numbers of size 1.
    torch.testing.assert_close(forced.log_score, score, rtol=1e-11, atol=0)
    best = viterbi(hmm.log_initial, hmm.log_transition, hmm.log_emission).log_score[0]
    assert score <= best + 1e-9
    far = ViterbiState(hmm.log_initial, hmm.log_transition, max_delay=200, backend=any_backend)
    viterbi_step(far, frames)
    assert far.num_forced == 0


def test_backends_force_the_same_decisions(native: None) -> None:
    assert native is None
    for seed in range(10):
        hmm = stream(seed, 60, 9, sparse=seed % 2 == 1, impossible=0.1)
        results = []
        for backend in ("reference", "cpu"):
            state = ViterbiState(hmm.log_initial, hmm.log_transition, max_delay=seed % 4, backend=backend)
            now = viterbi_step(state, hmm.log_emission[0]).tolist()
            forced, committed = state.num_forced, state.num_committed
            results.append((now, forced, committed, state.flush().states.tolist()))
        assert results[0] == results[1]


@pytest.mark.parametrize("sparse", [False, True])
def test_an_impossible_observation_is_minus_infinity_until_the_reset(sparse: bool, any_backend: Any) -> None:
    hmm = stream(1, 6, 3)
    assert isinstance(hmm.log_transition, Tensor)
    transition = Sparse.from_dense(hmm.log_transition) if sparse else hmm.log_transition
    frames = hmm.log_emission[0].clone()
    state = FilterState(hmm.log_initial, transition, backend=any_backend)
    decoder = ViterbiState(hmm.log_initial, transition, backend=any_backend)
    expected = filter_step(state, frames)
    best = viterbi_step(decoder, frames)
    path = decoder.flush().states
    state.reset()
    frames[2] = -torch.inf
    broken = filter_step(state, frames)
    assert torch.equal(broken[:2], expected[:2])
    assert (broken[2:] == -torch.inf).all()
    assert state.log_likelihood == -torch.inf
    assert state.num_frames == 6
    now = viterbi_step(decoder, frames)
    assert torch.equal(now[:2], best[:2])
    assert (now[2:] == -1).all()
    assert decoder.log_score == -torch.inf
    committed = decoder.num_committed
    end = decoder.flush()
    assert (end.states[committed:] == -1).all()
    assert end.log_score == -torch.inf
    frames = hmm.log_emission[0]
    state.reset()
    assert torch.equal(filter_step(state, frames), expected)
    assert torch.equal(viterbi_step(decoder, frames), best)
    assert torch.equal(decoder.flush().states, path)


def test_a_path_that_may_not_end_here_has_no_score(any_backend: Any) -> None:
    state = ViterbiState(HALF, STAY, backend=any_backend)
    viterbi_step(state, torch.zeros(4, 2))
    end = state.flush(torch.full((2,), -torch.inf))
    assert (end.states == -1).all()
    assert end.log_score == -torch.inf
    empty = state.flush()
    assert empty.states.shape == (0,)
    assert empty.log_score == state.log_score == 0


def test_a_float32_stream_of_ten_thousand_frames_keeps_its_log_likelihood(native: None) -> None:
    assert native is None
    hmm = stream(2, 10_000, 6, dtype=torch.float32, scale=3.0)
    assert isinstance(hmm.log_transition, Tensor)
    totals = []
    for dtype in (torch.float32, torch.float64):
        state = FilterState(hmm.log_initial.to(dtype), hmm.log_transition.to(dtype))
        filter_step(state, hmm.log_emission[0].to(dtype))
        totals.append(state.log_likelihood)
    assert totals[0] == pytest.approx(totals[1], rel=1e-6)


def test_scores_of_any_size_do_not_swallow_the_differences(any_backend: Any) -> None:
    hmm = stream(7, 20, 4, dtype=torch.float32)
    # Scores on a grid of 1/16, so that shifting them by 10000 is exact.
    frames = (16 * hmm.log_emission[0]).round() / 16
    near, far = (filtered(hmm, any_backend, [x]) for x in (frames, frames - 1e4))
    assert torch.equal(near[0], far[0])
    # 20 sums of numbers near 2e5 in float64.
    torch.testing.assert_close(far[1][-1] + 20e4, near[1][-1], rtol=0, atol=1e-9)


def test_a_state_far_behind_takes_over_where_it_is_the_only_way_on(any_backend: Any) -> None:
    frames = torch.zeros(50, 2)
    frames[:, 1] = -20.0
    frames[-1, 0] = -torch.inf
    apart = torch.tensor([[0.0, -torch.inf], [-torch.inf, 0.0]])
    for transition in (apart, Sparse.from_dense(apart)):
        state = FilterState(torch.zeros(2), transition, backend=any_backend)
        assert filter_step(state, frames)[-1].tolist() == [-torch.inf, 0.0]
        # e^-1000 is far below the least float32.
        assert state.log_likelihood == pytest.approx(-1000.0, rel=1e-6)


def test_a_saved_stream_continues_with_the_same_bits(any_backend: Any) -> None:
    hmm = stream(3, 20, 5)
    frames = hmm.log_emission[0]
    one, two = (FilterState(hmm.log_initial, hmm.log_transition, backend=any_backend) for _ in range(2))
    for at in (0, 13):
        one.reset()
        filter_step(one, frames[:at])
        two.load_state_dict(one.state_dict())
        assert two.num_frames == at
        assert torch.equal(filter_step(two, frames[at:]), filter_step(one, frames[at:]))
        assert two.log_likelihood == one.log_likelihood


def test_outputs_go_where_they_are_asked_to(any_backend: Any) -> None:
    state = FilterState(HALF, STAY, backend=any_backend)
    decoder = ViterbiState(HALF, STAY, backend=any_backend)
    frames = torch.tensor([[0.8, 0.2], [0.3, 0.7]]).log()
    expected = filter_step(state, frames)
    state.reset()
    out = torch.empty(2, 2)
    total = torch.empty(2, dtype=torch.float64)
    assert filter_step(state, frames, out, log_likelihood_out=total) is out
    assert torch.equal(out, expected)
    assert total[-1] == state.log_likelihood
    row, one = torch.empty(2), torch.empty(1, dtype=torch.float64)
    assert filter_step(state, frames[0], row, log_likelihood_out=one) is row
    assert one == state.log_likelihood
    best = torch.empty((), dtype=torch.int64)
    assert viterbi_step(decoder, frames[0], best) is best
    for wrong in (torch.empty(3), torch.empty(2, dtype=torch.float64), torch.empty(4)[::2], None):
        if wrong is not None:
            with pytest.raises(
                ValueError, match=r"out must be a contiguous Tensor \(2,\), torch\.float32, cpu; got "
            ):
                filter_step(state, frames[0], wrong)
    with pytest.raises(
        ValueError, match=r"out must be a contiguous Tensor \(2,\), torch\.int64, cpu; got list"
    ):
        viterbi_step(decoder, frames, [0, 0])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="log_likelihood_out must be a contiguous Tensor"):
        filter_step(state, frames[0], log_likelihood_out=torch.empty(1))


def test_the_model_is_copied(any_backend: Any) -> None:
    matrix, frames = STAY.clone(), torch.zeros(3, 2)
    frames[0, 0] = 5.0
    state = FilterState(HALF, matrix, backend=any_backend)
    expected = filter_step(state, frames)
    state.reset()
    matrix.fill_(-100.0)
    assert torch.equal(filter_step(state, frames), expected)


def test_any_layout_and_precision_is_taken(any_backend: Any) -> None:
    hmm = stream(4, 8, 3, dtype=torch.float32)
    assert isinstance(hmm.log_transition, Tensor)
    expected, _ = filtered(hmm, any_backend, [hmm.log_emission[0]])
    columns = hmm.log_emission[0].T.contiguous().T
    state = FilterState(
        hmm.log_initial.repeat(2, 1).T[:, 0], hmm.log_transition.T.contiguous().T, backend=any_backend
    )
    assert torch.equal(filter_step(state, columns.requires_grad_()), expected)
    half = FilterState(hmm.log_initial.half(), hmm.log_transition.bfloat16(), backend=any_backend)
    assert half.dtype == torch.float32
    assert half.num_states == 3
    assert half.device == torch.device("cpu")
    assert filter_step(half, hmm.log_emission[0].half()).dtype == torch.float32


def test_a_refused_chunk_leaves_the_stream_as_it_was(any_backend: Any) -> None:
    hmm = stream(6, 40, 3)
    frames = hmm.log_emission[0]
    for value in (torch.nan, torch.inf):
        bad = frames.clone()
        bad[39, 1] = value
        state = FilterState(hmm.log_initial, hmm.log_transition, backend=any_backend)
        with pytest.raises(
            ValueError, match=r"log_emission must not hold NaN or \+inf; got (nan|inf) at \[39, 1\]"
        ):
            filter_step(state, bad)
        assert state.num_frames == 0
        decoder = ViterbiState(hmm.log_initial, hmm.log_transition, backend=any_backend)
        with pytest.raises(
            ValueError, match=r"log_emission must not hold NaN or \+inf; got (nan|inf) at \[1\]"
        ):
            viterbi_step(decoder, bad[39])
        assert decoder.num_frames == 0


@pytest.mark.parametrize("kind", [FilterState, ViterbiState])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((HALF[None], STAY), ValueError, r"log_initial must have shape \(K,\), K >= 1; got \(1, 2\)"),
        ((HALF, HALF), ValueError, r"log_transition must have shape \(K, K\) = \(2, 2\), .*; got \(2,\)"),
        ((HALF, left_to_right(3)), ValueError, r"shape \(K, R\) = \(2, 2\), with K from log_initial"),
        ((HALF, STAY.double()), TypeError, r"log_transition must have dtype torch\.float32 like log_initial"),
        ((HALF * torch.nan, STAY), ValueError, r"log_initial must not hold NaN or \+inf"),
        ((HALF, STAY + torch.inf), ValueError, r"log_transition must not hold NaN or \+inf"),
        ((HALF.long(), STAY), TypeError, "log_initial must have a floating dtype; got torch.int64"),
        ((HALF, [[0.5]]), TypeError, "log_transition must be a Tensor or Sparse; got list"),
        ((HALF, STAY, HALF), TypeError, "emission_index must have dtype torch.int64"),
        ((HALF, STAY, torch.tensor([0])), ValueError, r"emission_index must have shape \(K,\) = \(2,\)"),
        ((HALF, STAY, torch.tensor([0, -1])), ValueError, "emission_index must not be negative; got -1"),
    ],
)
def test_a_model_that_does_not_fit_is_an_error(
    kind: type[FilterState | ViterbiState],
    arguments: tuple[Any, ...],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        kind(*arguments)


def test_frames_that_do_not_fit_are_an_error() -> None:
    plain, tied = FilterState(HALF, STAY), ViterbiState(HALF, STAY, torch.tensor([0, 2]))
    for wrong in (torch.zeros(3), torch.zeros(4, 3), torch.zeros(1, 4, 2), torch.zeros(())):
        with pytest.raises(
            ValueError, match=r"must have shape \(K,\) or \(n, K\) with K = 2, from log_initial; got"
        ):
            filter_step(plain, wrong)
    with pytest.raises(
        ValueError, match=r"must have shape \(P,\) or \(n, P\), P >= 3, from emission_index; got"
    ):
        viterbi_step(tied, torch.zeros(4, 2))
    viterbi_step(tied, torch.zeros(4, 5))
    with pytest.raises(TypeError, match=r"log_emission must have dtype torch\.float32 like log_initial"):
        filter_step(plain, torch.zeros(2).double())
    with pytest.raises(TypeError, match="log_emission must be a Tensor; got list"):
        filter_step(plain, [0.0, 0.0])  # type: ignore[arg-type]


def test_options_that_do_not_fit_are_an_error() -> None:
    with pytest.raises(ValueError, match="max_delay must be at least 0; got -1"):
        ViterbiState(HALF, STAY, max_delay=-1)
    with pytest.raises(ValueError, match='backend must be "auto", "reference", "cpu" or "cuda"'):
        FilterState(HALF, STAY, backend="gpu")  # type: ignore[arg-type]
    with pytest.raises(BackendUnavailableError, match="needs CPU tensors"):
        hmm_core._dispatch.resolve("cpu", torch.device("meta"))
    state = ViterbiState(HALF, STAY)
    with pytest.raises(ValueError, match=r"log_final must have shape \(K,\) = \(2,\), .*; got \(3,\)"):
        state.flush(torch.zeros(3))
    with pytest.raises(ValueError, match=r"log_final must not hold NaN or \+inf; got nan at \[0\]"):
        state.flush(HALF * torch.nan)


def test_the_state_of_another_model_is_an_error() -> None:
    state = FilterState(HALF, STAY)
    other = FilterState(torch.zeros(3), ergodic(3, self_loop_prob=0.5)).state_dict()
    with pytest.raises(ValueError, match=r"log_filter must have shape \(K,\) = \(2,\), .*; got \(3,\)"):
        state.load_state_dict(other)
    with pytest.raises(KeyError, match="log_filter"):
        state.load_state_dict({})


@pytest.mark.usefixtures("native")
def test_a_stream_keeps_its_variant_and_large_steps_release_the_lock(variants: tuple[str, ...]) -> None:
    hmm = stream(9, 50, 300)
    with backends.use_kernel_variant(variants[-1]):
        state = FilterState(hmm.log_initial, hmm.log_transition)
        expected = filter_step(state, hmm.log_emission[0])
    state.reset()
    results = []
    with backends.use_kernel_variant(variants[0]):
        worker = threading.Thread(target=lambda: results.append(filter_step(state, hmm.log_emission[0])))
        worker.start()
        worker.join()
    assert torch.equal(results[0], expected)
