"""Streams on CUDA, against the reference's."""

from typing import Any

import pytest
import torch
from torch import Tensor

from hmm_core import Sparse
from hmm_core.backends.cuda import online as cuda_online
from hmm_core.backends.cuda._launch import Launch, recording
from hmm_core.online import FilterState, ViterbiState, filter_step, viterbi_step
from hmm_core.testing import Arguments, random_hmm

INF = torch.inf
FORMS: list[dict[str, Any]] = [{}, {"sparse": True}, {"densities": 3}, {"sparse": True, "densities": 2}]


def model_of(hmm: Arguments, device: torch.device, dtype: torch.dtype = torch.float64) -> tuple[Any, ...]:
    """First arguments of a stream."""
    transition = hmm.log_transition
    moved: Any = (
        transition.to(device=device, dtype=dtype)
        if isinstance(transition, Sparse)
        else transition.to(device, dtype)
    )
    index = hmm.emission_index
    return hmm.log_initial.to(device, dtype), moved, None if index is None else index.to(device)


def rounded(hmm: Arguments, frames: Tensor) -> tuple[Arguments, Tensor]:
    """Round the scores, so that ties are many."""
    transition = hmm.log_transition
    whole: Any = (
        Sparse(transition.predecessors, transition.log_weight.round())
        if isinstance(transition, Sparse)
        else transition.round()
    )
    return hmm._replace(log_initial=hmm.log_initial.round(), log_transition=whole), frames.round()


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_filtering_is_that_of_the_reference(
    device: torch.device, form: dict[str, Any], dtype: torch.dtype
) -> None:
    hmm = random_hmm(1, 9, 5, impossible=0.2, seed=1, **form)
    frames = hmm.log_emission[0].to(device, dtype)
    # Some roundings, of numbers around 10.
    tolerance = 1e-11 if dtype is torch.float64 else 1e-5
    found = []
    for backend in ("reference", "cuda"):
        state = FilterState(*model_of(hmm, device, dtype), backend=backend)
        out = torch.empty(4, 5, device=device, dtype=dtype)
        totals = torch.empty(4, device=device, dtype=torch.float64)
        first = filter_step(state, frames[0])
        filter_step(state, frames[1:5], out, log_likelihood_out=totals)
        saved = state.state_dict()
        rest = filter_step(state, frames[5:])
        total = state.log_likelihood
        state.load_state_dict(saved)
        again = filter_step(state, frames[5:])
        assert torch.equal(again, rest)
        assert state.num_frames == 9
        state.reset()
        assert torch.equal(filter_step(state, frames[0]), first)
        found.append((first, out, totals, rest, torch.tensor(total)))
    torch.testing.assert_close(found[1], found[0], rtol=tolerance, atol=tolerance)


def test_filtering_many_states(device: torch.device) -> None:
    for sparse in (False, True):
        hmm = random_hmm(1, 3, 150, sparse=sparse, seed=2)
        found = [
            filter_step(FilterState(*model_of(hmm, device), backend=backend), hmm.log_emission[0].to(device))
            for backend in ("reference", "cuda")
        ]
        torch.testing.assert_close(found[1], found[0], rtol=1e-11, atol=1e-11)


def test_what_became_impossible_stays_so(device: torch.device) -> None:
    hmm = random_hmm(1, 4, 3, impossible=0.0, seed=3)
    frames = hmm.log_emission[0].to(device)
    state = FilterState(*model_of(hmm, device), backend="cuda")
    filter_step(state, torch.full_like(frames[0], -INF))
    assert (filter_step(state, frames) == -INF).all()
    assert state.log_likelihood == -INF
    decoder = ViterbiState(*model_of(hmm, device), backend="cuda")
    assert viterbi_step(decoder, frames).ge(0).all()
    assert viterbi_step(decoder, torch.full_like(frames[0], -INF)) == -1
    assert (viterbi_step(decoder, frames) == -1).all()
    assert decoder.log_score == -INF
    path = decoder.flush()
    assert path.log_score == -INF
    assert (path.states[4:] == -1).all()


def test_what_is_wrong_makes_the_stream_nan(device: torch.device) -> None:
    hmm = random_hmm(1, 4, 3, impossible=0.0, seed=3)
    frames = hmm.log_emission[0].to(device)
    for wrong in (torch.nan, INF):
        bad = frames.clone()
        bad[2, 1] = wrong
        state = FilterState(*model_of(hmm, device), backend="cuda")
        rows = filter_step(state, bad)
        assert rows[:2].isfinite().all()
        assert rows[2:].isnan().all()
        decoder = ViterbiState(*model_of(hmm, device), backend="cuda")
        assert viterbi_step(decoder, bad)[2:].tolist() == [-1, -1]
        assert decoder.log_score != decoder.log_score  # NaN


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("max_delay", [None, 0, 2])
@pytest.mark.parametrize("ties", [False, True])
def test_decoding_is_that_of_the_reference(
    device: torch.device, form: dict[str, Any], max_delay: int | None, ties: bool
) -> None:
    hmm = random_hmm(1, 14, 5, impossible=0.3, seed=4, **form)
    frames = hmm.log_emission[0]
    if ties:
        hmm, frames = rounded(hmm, frames)
    frames = frames.to(device)
    states = [
        ViterbiState(*model_of(hmm, device), max_delay=max_delay, backend=backend)
        for backend in ("reference", "cuda")
    ]
    # In chunks, taking the committed states now and then.
    for first, last, take in ((0, 1, False), (1, 6, True), (6, 7, False), (7, 14, True)):
        expected, actual = (viterbi_step(state, frames[first:last]) for state in states)
        assert torch.equal(actual, expected)
        assert states[1].num_committed == states[0].num_committed
        assert states[1].num_forced == states[0].num_forced
        assert states[1].log_score == pytest.approx(states[0].log_score, rel=1e-12)
        if take:
            assert torch.equal(*(state.take() for state in states))
    best, found = (state.flush() for state in states)
    assert torch.equal(found.states, best.states)
    assert float(found.log_score) == pytest.approx(float(best.log_score), rel=1e-12)
    assert states[1].num_frames == 0


@pytest.mark.parametrize("sparse", [False, True])
def test_decoding_many_states(device: torch.device, sparse: bool) -> None:
    hmm = random_hmm(1, 5, 150, sparse=sparse, seed=6)
    found = []
    for backend in ("reference", "cuda"):
        state = ViterbiState(*model_of(hmm, device), max_delay=1, backend=backend)
        best = viterbi_step(state, hmm.log_emission[0].to(device))
        found.append((best, state.take(), state.flush(torch.zeros(150, device=device).double()).states))
    for have, want in zip(found[1], found[0], strict=True):
        assert torch.equal(have, want)


def test_open_frames_find_room(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_online, "CAPACITY", 4)
    # Two chains that never meet: nothing is ever committed.
    transition = torch.tensor([[0.0, -INF], [-INF, 0.0]], dtype=torch.float64, device=device)
    initial = torch.zeros(2, dtype=torch.float64, device=device)
    frames = torch.zeros(23, 2, dtype=torch.float64, device=device)
    frames[20, 1] = 1.0
    state = ViterbiState(initial, transition, backend="cuda")
    for frame in frames[:20]:
        viterbi_step(state, frame)
    assert state.num_committed == 0
    viterbi_step(state, frames[20:])
    assert state.flush().states.tolist() == [1] * 23
    # One chain: everything is committed at once, and waits.
    state = ViterbiState(initial[:1], transition[:1, :1], backend="cuda")
    for frame in frames[:20, :1]:
        viterbi_step(state, frame)
    assert state.take().tolist() == [0] * 20


def replay(launch: Launch) -> None:
    """Run a launch that was written down."""
    launch.kernel[launch.grid](*launch.arguments.values(), **launch.constants, **launch.options)


def given(launch: Launch) -> tuple[object, ...]:
    """What the host hands to a kernel: addresses, numbers and constants."""
    values = launch.arguments.values()
    addresses = tuple(value.data_ptr() if isinstance(value, Tensor) else value for value in values)
    return (launch.kernel, launch.grid, *addresses, *launch.constants.items(), *launch.options.items())


def test_every_push_has_the_same_launch_so_that_one_can_be_replayed(device: torch.device) -> None:
    hmm = random_hmm(1, 4, 3, seed=3)
    frame = hmm.log_emission[0, 0].to(device)
    out, best = torch.empty_like(frame), torch.empty((), dtype=torch.int64, device=device)
    filtering = FilterState(*model_of(hmm, device), backend="cuda")
    decoding = ViterbiState(*model_of(hmm, device), max_delay=2, backend="cuda")
    with recording() as launches:
        for _ in range(3):
            filter_step(filtering, frame, out)
            viterbi_step(decoding, frame, best)
    assert len(launches) == 6
    for first, later in zip(launches, launches[2:], strict=False):
        assert given(later) == given(first)


def test_frames_are_counted_where_they_are_pushed(device: torch.device) -> None:
    hmm = random_hmm(1, 6, 3, impossible=0.0, seed=3)
    frame = hmm.log_emission[0, 0].to(device)
    state = ViterbiState(*model_of(hmm, device), max_delay=2, backend="cuda")
    expected = ViterbiState(*model_of(hmm, device), max_delay=2, backend="reference")
    with recording() as launches:
        viterbi_step(state, frame)
    # What a replay does: the launch again, behind the back of the host.
    for _ in range(6):
        replay(launches[0])
        viterbi_step(expected, frame)
    assert state.num_frames == 6
    assert torch.equal(state.take(), expected.take())
    assert torch.equal(state.flush().states, expected.flush().states)


def test_committed_states_that_no_ring_keeps_are_missed(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_online, "CAPACITY", 4)
    state = ViterbiState(*(torch.zeros(size, device=device) for size in (1, (1, 1))), backend="cuda")
    frame = torch.zeros(1, device=device)
    with recording() as launches:
        viterbi_step(state, frame)
    for _ in range(6):
        replay(launches[0])
    with pytest.raises(RuntimeError, match=r"2 committed states are lost: .* keep 4"):
        state.take()


def test_a_push_that_may_need_room_cannot_be_captured(
    device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_online, "is_capturing", lambda _: True)
    hmm = random_hmm(1, 6, 3, seed=3)
    frames = hmm.log_emission[0].to(device)
    state = ViterbiState(*model_of(hmm, device), backend="cuda")
    with pytest.raises(RuntimeError, match="captured in a CUDA graph only with max_delay"):
        viterbi_step(state, frames)
    state = ViterbiState(*model_of(hmm, device), max_delay=0, backend="cuda")
    viterbi_step(state, frames)
    assert len(state.take()) == 6
