"""Explicit durations on CUDA, against enumeration and the float64 reference."""

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from hmm_core import Sparse, semi_markov
from hmm_core.backends.cuda.semi_markov import _model
from hmm_core.testing import Arguments, enumerate_segments, random_hmm

INF = torch.inf
CENSORING = ["none", "left", "right", "both"]
FORMS: list[dict[str, Any]] = [
    {},
    {"densities": 2, "per_sequence": True},
    {"sparse": True, "per_sequence": True},
    {"sparse": True, "densities": 2},
]


class Segments(NamedTuple):
    """A problem with durations."""

    hmm: Arguments
    log_duration: Tensor

    def apply(self, op: Any, **options: Any) -> Any:
        """Call an operation."""
        hmm = self.hmm
        arguments = (hmm.log_initial, hmm.log_transition, self.log_duration, hmm.log_emission, hmm.lengths)
        return op(*arguments, log_final=hmm.log_final, emission_index=hmm.emission_index, **options)

    def to(self, device: torch.device, dtype: torch.dtype = torch.float64) -> "Segments":
        """Move to a device, in another precision."""
        moved = [
            x.to(device, dtype if x.is_floating_point() else None) if isinstance(x, Tensor) else x
            for x in self.hmm
        ]
        hmm = Arguments(*moved)  # type: ignore[arg-type]  # in their order
        transition = self.hmm.log_transition
        if isinstance(transition, Sparse):
            hmm = hmm._replace(log_transition=transition.to(device=device, dtype=dtype))
        return Segments(hmm, self.log_duration.to(device, dtype))


def random_segments(
    frames: int, states: int, longest: int, lengths: list[int], *, seed: int = 0, **form: Any
) -> Segments:
    """Draw a problem; everything follows from the seed."""
    impossible = form.setdefault("impossible", 0.1)
    hmm = random_hmm(len(lengths), frames, states, seed=seed, **form)
    generator = torch.Generator().manual_seed(seed + 1)
    shape = (len(lengths), states, longest) if form.get("per_sequence") else (states, longest)
    duration = torch.randn(shape, generator=generator, dtype=torch.float64)
    nothing = torch.rand(shape, generator=generator) < impossible
    return Segments(hmm._replace(lengths=torch.tensor(lengths)), duration.masked_fill(nothing, -INF))


def integers(problem: Segments) -> Segments:
    """Round the scores, so that sums are exact and ties are many."""
    hmm = problem.hmm
    transition = hmm.log_transition
    rounded = (
        Sparse(transition.predecessors, transition.log_weight.round())
        if isinstance(transition, Sparse)
        else transition.round()
    )
    hmm = hmm._replace(
        log_initial=hmm.log_initial.round(), log_transition=rounded, log_emission=hmm.log_emission.round()
    )
    return Segments(hmm, problem.log_duration.round())


def close(actual: Tensor, expected: Tensor, rtol: float = 1e-9, atol: float = 1e-9) -> None:
    """Compare in float64; the tolerances are those of a few roundings there."""
    torch.testing.assert_close(actual.double().cpu(), expected.double().cpu(), rtol=rtol, atol=atol)


@pytest.fixture(params=["one tile", "several tiles"])
def tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """States and durations that need one tile, or several of each."""
    if request.param == "one tile":
        return 5, 7
    monkeypatch.setattr(_model, "LARGEST_STATES", 16)
    monkeypatch.setattr(_model, "LARGEST_TILE", 256)
    return 17, 17


@pytest.mark.parametrize("censoring", CENSORING)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_everything_is_what_enumeration_finds(
    device: torch.device, censoring: Any, form: dict[str, Any]
) -> None:
    problem = random_segments(4, 3, 2 if form else 5, [4, 1, 3], seed=1, **form)
    exact = enumerate_segments(problem.hmm, problem.log_duration, censoring)
    options = {"backend": "cuda", "censoring": censoring}
    problem = problem.to(device)
    close(problem.apply(semi_markov.log_likelihood, **options), exact.log_likelihood)
    counts = problem.apply(semi_markov.posterior, **options)
    close(counts.log_likelihood, exact.log_likelihood)
    close(counts.state, exact.state)
    close(counts.initial, exact.initial)
    close(counts.final, exact.final)
    close(counts.duration, exact.duration)
    path = problem.apply(semi_markov.viterbi, **options)
    close(path.log_score, exact.best_score)
    assert ((path.states >= 0).any(1).cpu() == (exact.log_likelihood > -INF)).all()


@pytest.mark.parametrize(("form", "censoring"), list(zip(FORMS, CENSORING, strict=True)), ids=str)
def test_sums_paths_and_samples_are_the_reference(
    device: torch.device, tiles: tuple[int, int], form: dict[str, Any], censoring: Any
) -> None:
    problem = random_segments(19, *tiles, [19, 0, 1], seed=2, **form).to(device)
    options = {"censoring": censoring}
    expected = problem.apply(semi_markov.log_likelihood, backend="reference", **options)
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-5)):
        actual = problem.to(device, dtype).apply(semi_markov.log_likelihood, backend="cuda", **options)
        assert actual.dtype is dtype
        close(actual, expected, tolerance, tolerance)
    expected, actual = (
        problem.apply(semi_markov.posterior, backend=backend, **options) for backend in ("reference", "cuda")
    )
    for have, want in zip(actual, expected, strict=True):
        close(have, want)
    rounded = integers(problem)
    expected, actual = (
        rounded.apply(semi_markov.viterbi, backend=backend, **options) for backend in ("reference", "cuda")
    )
    assert torch.equal(actual.states, expected.states)
    assert torch.equal(actual.durations, expected.durations)
    drawn = []
    for backend in ("reference", "cuda"):
        generator = torch.Generator(device).manual_seed(3)
        drawn.append(
            problem.apply(semi_markov.sample, num_samples=2, generator=generator, backend=backend, **options)
        )
    assert torch.equal(drawn[1].states, drawn[0].states)
    assert torch.equal(drawn[1].durations, drawn[0].durations)


@pytest.mark.parametrize(("frames", "states", "longest"), [(0, 2, 2), (1, 1, 1), (6, 1, 1), (3, 2, 40)])
def test_the_smallest_problems(device: torch.device, frames: int, states: int, longest: int) -> None:
    problem = random_segments(frames, states, longest, [frames, 0], impossible=0.0).to(device)
    generators = [torch.Generator(device).manual_seed(3) for _ in range(2)]
    for op in (semi_markov.log_likelihood, semi_markov.posterior, semi_markov.viterbi, semi_markov.sample):
        drawing = op is semi_markov.sample
        expected, actual = (
            problem.apply(op, backend=backend, **({"generator": generator} if drawing else {}))
            for backend, generator in zip(("reference", "cuda"), generators, strict=True)
        )
        if isinstance(actual, Tensor):
            actual, expected = (actual,), (expected,)
        for have, want in zip(actual, expected, strict=True):
            assert have.shape == want.shape
            close(have, want)


def test_gradients_are_those_of_the_reference(device: torch.device) -> None:
    problem = random_segments(6, 3, 4, [6, 0, 3, 5], seed=5, sparse=True, densities=2).to(device)
    # The last sequence cannot be.
    problem.hmm.log_emission[3, 2] = -INF
    found = []
    graph = problem.hmm.log_transition
    assert isinstance(graph, Sparse)
    for backend in ("reference", "cuda"):
        leaves = [
            problem.hmm.log_initial.clone().requires_grad_(),
            graph.log_weight.clone().requires_grad_(),
            problem.log_duration.clone().requires_grad_(),
            problem.hmm.log_emission.clone().requires_grad_(),
        ]
        transition = Sparse(graph.predecessors, leaves[1])
        hmm = problem.hmm._replace(log_initial=leaves[0], log_transition=transition, log_emission=leaves[3])
        total = Segments(hmm, leaves[2]).apply(semi_markov.log_likelihood, censoring="both", backend=backend)
        assert total[3] == -INF
        weight = torch.tensor([1.0, 2.0, -3.0, 1.0], dtype=torch.float64, device=device)
        found.append(torch.autograd.grad(total, leaves, weight))
    for have, want in zip(found[1], found[0], strict=True):
        close(have, want)


def test_gradcheck(device: torch.device) -> None:
    problem = random_segments(3, 2, 2, [3], impossible=0.0, seed=6).to(device)
    hmm = problem.hmm

    def total(initial: Tensor, transition: Tensor, duration: Tensor, emission: Tensor) -> Tensor:
        return semi_markov.log_likelihood(initial, transition, duration, emission, backend="cuda")

    assert isinstance(hmm.log_transition, Tensor)
    inputs = (hmm.log_initial, hmm.log_transition, problem.log_duration, hmm.log_emission)
    assert torch.autograd.gradcheck(total, [x.clone().requires_grad_() for x in inputs], fast_mode=True)


def test_padding_is_not_read(device: torch.device) -> None:
    problem = random_segments(7, 3, 4, [7, 3, 0], impossible=0.0, seed=7).to(device)
    poisoned = problem.hmm.log_emission.clone()
    poisoned[1, 3:] = torch.nan
    poisoned[2] = INF
    other = problem._replace(hmm=problem.hmm._replace(log_emission=poisoned))
    for op in (semi_markov.posterior, semi_markov.viterbi):
        expected, actual = (x.apply(op, backend="cuda") for x in (problem, other))
        for name, have, want in zip(actual._fields, actual, expected, strict=True):
            if name != "log_score":  # it reads the emissions with torch
                assert torch.equal(have, want)
    assert torch.equal(*(x.apply(semi_markov.log_likelihood, backend="cuda") for x in (problem, other)))


@pytest.mark.parametrize("wrong", [torch.nan, INF])
def test_what_is_wrong_makes_its_own_sequence_nan(device: torch.device, wrong: float) -> None:
    problem = random_segments(6, 3, 4, [6, 6, 6, 6], impossible=0.0, seed=8).to(device)
    expected = problem.apply(semi_markov.log_likelihood, backend="cuda")
    emission = problem.hmm.log_emission.clone()
    emission[1, 4, 2] = wrong
    lengths = torch.tensor([6, 6, 9, -1], device=device)
    hmm = problem.hmm._replace(log_emission=emission, lengths=lengths)
    problem = problem._replace(hmm=hmm)
    actual = problem.apply(semi_markov.log_likelihood, backend="cuda")
    assert actual[0] == expected[0]
    assert actual[1:].isnan().all()
    score = problem.apply(semi_markov.viterbi, backend="cuda").log_score
    assert score[0].isfinite()
    assert score[1:].isnan().all()


def test_scores_of_any_size_lose_nothing(device: torch.device) -> None:
    # The offsets are powers of two: adding them rounds nothing.
    problem = random_segments(12, 3, 4, [12, 12], impossible=0.0, seed=9).to(device)
    emission = problem.hmm.log_emission.float().double()
    emission = (emission * 64).round() / 64
    plain = problem._replace(hmm=problem.hmm._replace(log_emission=emission)).to(device, torch.float32)
    offset = 2.0**14
    far = problem._replace(hmm=problem.hmm._replace(log_emission=emission - offset)).to(device, torch.float32)
    near, distant = (x.apply(semi_markov.posterior, backend="cuda") for x in (plain, far))
    close(distant.state, near.state, atol=1e-7)
    close(distant.log_likelihood, near.log_likelihood - 12 * offset, rtol=1e-6)
    # A number that stands for impossible is one as far as it goes.
    emission = emission.clone()
    emission[0, 5, 1] = -1e30
    big = problem._replace(hmm=problem.hmm._replace(log_emission=emission))
    expected, actual = (big.apply(semi_markov.posterior, backend=x) for x in ("reference", "cuda"))
    for have, want in zip(actual, expected, strict=True):
        close(have, want)
