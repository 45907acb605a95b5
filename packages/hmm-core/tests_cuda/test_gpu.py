"""What only a GPU can show: streams, captured graphs, waiting, races, devices, and more numbers than 2^31."""

import gc
import math
from collections.abc import Callable, Iterator
from typing import Any

import gpu_calls
import pytest
import torch
from gpu_calls import NAMES, RANDOM, arcs_in_all_directions, flat, make, models, moved
from torch import Tensor

from hmm_core import (
    Sparse,
    backward,
    dtw,
    entropy,
    expected_transitions,
    forward,
    kbest,
    left_to_right,
    log_likelihood,
    posterior,
    sample,
    viterbi,
)
from hmm_core.backends.cuda._launch import recording
from hmm_core.online import FilterState, ViterbiState, filter_step, viterbi_step
from hmm_core.testing import Arguments, random_hmm

DETERMINED = [name for name in NAMES if name not in RANDOM]


def same(found: Any, expected: Any) -> None:
    """Compare results to the bit; what is NaN must be."""
    for have, want in zip(flat(found), flat(expected), strict=True):
        torch.testing.assert_close(have, want, rtol=0, atol=0, equal_nan=True)


def new_stream() -> torch.cuda.Stream:
    """Make a stream."""
    return torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch does not annotate it


def be_late() -> None:
    """Keep the current stream busy for tens of milliseconds."""
    torch.cuda._sleep(100_000_000)  # type: ignore[no-untyped-call]  # torch does not annotate it


@pytest.mark.parametrize("name", NAMES)
def test_every_call_of_this_file_launches_kernels(name: str, device: torch.device) -> None:
    call = make(name, device)
    x = call.draw(1)
    with recording() as launches:
        call.run(x)
    assert launches


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
def test_no_call_waits_for_the_device(name: str, device: torch.device) -> None:
    call = make(name, device)
    x = call.draw(1)
    for _ in range(2):  # what is looked up once of a large graph, and compiled
        call.run(x)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        call.run(x)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
def test_the_same_call_gives_the_same_bits(name: str, device: torch.device) -> None:
    call = make(name, device)
    x = call.draw(1)

    def run() -> Any:
        torch.manual_seed(0)
        return call.run(x)

    expected = run()
    for _ in range(20):
        same(run(), expected)


@pytest.mark.gpu
@pytest.mark.parametrize("name", DETERMINED)
def test_work_goes_to_the_current_stream(name: str, device: torch.device) -> None:
    call = make(name, device)
    x = call.draw(1)
    expected = call.run(x)
    late = torch.full_like(x, torch.nan)
    stream = new_stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        be_late()
        late.copy_(x)
        found = call.run(late)
    stream.synchronize()
    same(found, expected)


@pytest.mark.gpu
def test_what_is_known_of_a_graph_is_waited_for_on_another_stream(device: torch.device) -> None:
    hmm = moved(models()["sparse"], device, torch.float32)
    transition = hmm.log_transition
    assert isinstance(transition, Sparse)
    expected = hmm.apply(posterior, backend="cuda").state
    slow, fast = new_stream(), new_stream()
    fresh = hmm._replace(log_transition=Sparse(transition.predecessors.clone(), transition.log_weight))
    torch.cuda.synchronize()
    with torch.cuda.stream(slow):
        be_late()
        first = fresh.apply(posterior, backend="cuda").state
    with torch.cuda.stream(fast):
        second = fresh.apply(posterior, backend="cuda").state
    torch.cuda.synchronize()
    same((first, second), (expected, expected))


def captured(run: Callable[[], Any]) -> tuple[torch.cuda.CUDAGraph, Any]:
    """Capture a call in a graph, after two that compile and look up what they need."""
    stream = new_stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = run()
    return graph, result


@pytest.mark.gpu
@pytest.mark.parametrize("name", DETERMINED)
def test_a_captured_call_can_be_replayed_on_other_data(name: str, device: torch.device) -> None:
    call = make(name, device)
    x = call.draw(1)
    graph, found = captured(lambda: call.run(x))
    for seed in (2, 3, 2):
        other = call.draw(seed)
        x.copy_(other)
        graph.replay()
        torch.cuda.synchronize()
        same(found, call.run(other))


@pytest.mark.gpu
@pytest.mark.parametrize("name", RANDOM)
def test_a_captured_call_can_draw(name: str, device: torch.device) -> None:
    call = make(name, device)
    x = call.draw(1)
    graph, found = captured(lambda: call.run(x))
    graph.replay()
    first = flat(found)[0].clone()
    graph.replay()
    torch.cuda.synchronize()
    second = flat(found)[0]
    assert int(first.min()) >= -1
    assert int(first.max()) < 1500
    assert not torch.equal(first, second)


@pytest.mark.gpu
@pytest.mark.parametrize("states", [5, 150])
def test_captured_pushes_of_a_stream_go_on(states: int, device: torch.device) -> None:
    hmm = random_hmm(1, 40, states, impossible=0.0, ragged=False, seed=3)
    model = (hmm.log_initial.to(device), hmm.log_transition.to(device))
    frames = hmm.log_emission[0].to(device)
    replayed, pushed = (follow(model, frames, replay=replay) for replay in (True, False))
    same(replayed, pushed)


def follow(model: tuple[Any, ...], frames: Tensor, *, replay: bool) -> list[Tensor]:
    """All results of a stream whose pushes are replayed, or not."""
    filtering = FilterState(*model, backend="cuda")
    decoding = ViterbiState(*model, max_delay=5, backend="cuda")
    frame = frames[0].clone()

    def push() -> tuple[Tensor, Tensor]:
        return filter_step(filtering, frame), viterbi_step(decoding, frame)

    graph = None
    if replay:
        graph, results = captured(push)
        filtering.reset()
        decoding.reset()
    outcome = []
    for new in frames:
        frame.copy_(new)
        if graph is None:
            results = push()
        else:
            graph.replay()
        outcome += [result.clone() for result in results]
    assert filtering.num_frames == decoding.num_frames == len(frames)
    return [*outcome, decoding.take(), decoding.flush().states]


@pytest.mark.gpu
def test_pushes_of_a_stream_do_not_wait(device: torch.device) -> None:
    hmm = random_hmm(1, 9, 5, seed=3)
    model = (hmm.log_initial.to(device), hmm.log_transition.to(device))
    frames = hmm.log_emission[0].to(device)
    filtering, decoding = FilterState(*model, backend="cuda"), ViterbiState(*model, backend="cuda")
    filter_step(filtering, frames[0])
    viterbi_step(decoding, frames[0])
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for frame in frames[1:]:
            filter_step(filtering, frame)
            viterbi_step(decoding, frame)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert filtering.num_frames == decoding.num_frames == 9


@pytest.mark.gpu
@pytest.mark.parametrize("name", DETERMINED)
def test_any_device_will_do(name: str) -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("this machine has one GPU")
    first, second = (make(name, torch.device("cuda", index)) for index in (0, 1))
    with torch.cuda.device(0):
        found = second.run(second.draw(1))
    assert all(tensor.device.index == 1 for tensor in flat(found))
    same(
        [tensor.cpu() for tensor in flat(found)], [tensor.cpu() for tensor in flat(first.run(first.draw(1)))]
    )


# What the definition computes on the device, at sizes that the interpreter would take hours for. Float32:
# some hundred frames, each with a few roundings of 6e-8 and exponentials good to 1e-6.
TOLERANCES: dict[torch.dtype, dict[str, Any]] = {
    torch.float32: {"rtol": 1e-4, "atol": 2e-3},
    torch.float64: {"rtol": 1e-8, "atol": 1e-8},
}
SIZES = [(5, 300, 17), (3, 200, 64), (3, 200, 100), (2, 100, 129), (2, 60, 500), (1, 40, 1025)]


def agrees(hmm: Arguments, dtype: torch.dtype, device: torch.device) -> None:
    """Compare every operation but those of paths, and the scores of paths."""
    found = moved(hmm, device, dtype)
    rounded = moved(found, device, torch.float64)  # the same scores, for the definition
    for op in (forward, backward, posterior, expected_transitions, entropy):
        torch.testing.assert_close(
            [tensor.double() for tensor in flat(found.apply(op, backend="cuda"))],
            flat(rounded.apply(op, backend="reference")),
            **TOLERANCES[dtype],
        )
    torch.testing.assert_close(
        [tensor.double() for tensor in gpu_calls.gradients(found)],
        list(gpu_calls.gradients(rounded, backend="reference")),
        **TOLERANCES[dtype],
    )
    for memory in ("full", "linear"):
        path = found.apply(viterbi, memory=memory, backend="cuda")
        best = rounded.apply(viterbi, backend="reference")
        torch.testing.assert_close(path.log_score.double(), best.log_score, rtol=1e-5, atol=1e-5)
        if dtype == torch.float64:
            assert torch.equal(path.states, best.states)
    scores = found.apply(kbest, num_paths=3, backend="cuda").log_score
    assert (scores[:-1] >= scores[1:]).all()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("B", "T", "K"), SIZES)
def test_dense_models_of_real_sizes_agree_with_the_definition(
    B: int, T: int, K: int, dtype: torch.dtype, device: torch.device
) -> None:
    agrees(random_hmm(B, T, K, impossible=0.3, seed=K), dtype, device)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("form", ["sparse", "pipeline", "all directions"])
def test_sparse_models_of_real_sizes_agree_with_the_definition(
    form: str, dtype: torch.dtype, device: torch.device
) -> None:
    agrees(models()[form], dtype, device)


@pytest.mark.gpu
def test_a_hundred_thousand_states_with_arcs_in_all_directions(device: torch.device) -> None:
    generator = torch.Generator().manual_seed(1)
    graph = arcs_in_all_directions(100_000, generator).to(device, torch.float32)
    hmm = Arguments(
        torch.full((100_000,), -math.log(100_000), device=device),
        graph,
        torch.randn((1, 50, 60), generator=generator).to(device),
        None,
        None,
        torch.randint(60, (100_000,), generator=generator).to(device),
    )
    rounded = moved(hmm, device, torch.float64)
    found = hmm.apply(posterior, backend="cuda")
    expected = rounded.apply(posterior, backend="reference")
    torch.testing.assert_close(found.log_likelihood.double(), expected.log_likelihood, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(found.state.double(), expected.state, rtol=1e-3, atol=1e-6)
    best = rounded.apply(viterbi, backend="reference")
    torch.testing.assert_close(
        hmm.apply(viterbi, backend="cuda").log_score.double(), best.log_score, rtol=1e-5, atol=1e-4
    )


@pytest.fixture
def room() -> Iterator[Callable[[int], None]]:
    """Skip a test that needs more gigabytes than the device has free; leave none behind."""

    def need(gigabytes: int) -> None:
        gc.collect()
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info()
        if free < gigabytes * 2**30:
            pytest.skip(f"needs {gigabytes} GiB of free memory on the device; there are {free / 2**30:.0f}")

    yield need
    gc.collect()
    torch.cuda.empty_cache()


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not fill fresh tensors, which are large here."""
    monkeypatch.undo()


@pytest.mark.gpu
@pytest.mark.usefixtures("bare")
def test_one_chain_of_more_numbers_than_32_bits_count(
    device: torch.device, room: Callable[[int], None]
) -> None:
    room(80)
    K = 8192
    T = 2**31 // K + 5000
    generator = torch.Generator(device).manual_seed(0)
    emission = torch.randn((1, T, K), generator=generator, device=device)
    spoken = torch.arange(T, device=device) * K // T
    emission[0, torch.arange(T, device=device), spoken] += 100.0
    ends = torch.full((K,), -torch.inf, device=device)
    start = ends.clone()
    start[0] = ends[-1] = 0.0
    chain = left_to_right(K).to(device)
    found = viterbi(start, chain, emission, log_final=ends, backend="cuda")
    assert torch.equal(found.states[0], spoken)
    total = log_likelihood(start, chain, emission, log_final=ends, backend="cuda")
    # Every other path is worse by a hundred.
    torch.testing.assert_close(total, found.log_score, rtol=1e-5, atol=0.1)
    state = posterior(start, chain, emission, log_final=ends, backend="cuda").state
    there = state[0].gather(1, spoken[:, None])
    torch.testing.assert_close(there, torch.ones_like(there), rtol=0, atol=1e-3)


@pytest.mark.gpu
@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("states", [16, 160])
@pytest.mark.parametrize("op", [forward, backward, posterior, viterbi, entropy, sample])
def test_the_last_of_more_numbers_than_32_bits_count_is_computed_as_if_alone(
    op: Callable[..., Any], states: int, device: torch.device, room: Callable[[int], None]
) -> None:
    room(80)
    T = 2000
    B = 2**31 // (T * states) + 20
    generator = torch.Generator(device).manual_seed(0)
    emission = torch.randn((B, T, states), generator=generator, device=device)
    transition = torch.randn((states, states), generator=generator, device=device).log_softmax(1)
    initial = torch.zeros(states, device=device)
    if op is sample:
        paths = sample(initial, transition, emission, backend="cuda")
        assert int(paths[-1].min()) >= 0
        assert int(paths[-1].max()) < states
        return
    found = flat(op(initial, transition, emission, backend="cuda"))
    last = [tensor[-1:].clone() for tensor in found]
    del found
    alone = flat(op(initial, transition, emission[-1:].clone(), backend="cuda"))
    # Another number of programs a sequence changes no sum, but the number of chunks does.
    for have, want in zip(last, alone, strict=True):
        torch.testing.assert_close(have, want, rtol=1e-5, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.usefixtures("bare")
def test_one_pair_of_more_cells_than_32_bits_count(device: torch.device, room: Callable[[int], None]) -> None:
    room(40)
    N = 46_400  # its square is more than 2^31
    cost = torch.ones((1, N, N), device=device)
    cost[0].diagonal().zero_()
    found = dtw(cost, backend="cuda")
    assert float(found.distance) == 0.0
    assert found.path is not None
    assert found.path_length is not None
    assert int(found.path_length) == N
    assert torch.equal(found.path[0, :N], torch.arange(N, device=device)[:, None].expand(N, 2))


def test_tensors_on_the_host_are_refused(device: torch.device) -> None:
    if device.type != "cuda":
        pytest.skip("the interpreter takes them")
    hmm = random_hmm(1, 3, 2)
    with pytest.raises(Exception, match="needs CUDA tensors; these are on cpu"):
        hmm.apply(log_likelihood, backend="cuda")
