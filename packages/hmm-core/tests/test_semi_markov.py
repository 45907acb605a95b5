"""Explicit durations: enumeration, identities, equal backends, extremes, ties, threads, padding."""

import itertools
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hmm_core import Sparse, backends, left_to_right, log_likelihood, posterior, semi_markov, viterbi
from hmm_core.testing import Arguments, enumerate_segments, random_hmm

INF = torch.inf
CENSORING = ["none", "left", "right", "both"]
FORMS = [
    {"sparse": sparse, "densities": densities, "per_sequence": per_sequence}
    for sparse, densities, per_sequence in itertools.product((False, True), (None, 2), (False, True))
]
# Each axis with and without, half as many tests.
SOME_FORMS = [FORMS[0], FORMS[3], FORMS[5], FORMS[6]]


class Segments(NamedTuple):
    """A problem with durations."""

    hmm: Arguments
    log_duration: Tensor

    def apply(self, op: Any, **options: Any) -> Any:
        """Call an operation."""
        hmm = self.hmm
        arguments = (hmm.log_initial, hmm.log_transition, self.log_duration, hmm.log_emission, hmm.lengths)
        return op(*arguments, log_final=hmm.log_final, emission_index=hmm.emission_index, **options)

    def to(self, dtype: torch.dtype) -> "Segments":
        """The same numbers in another precision."""
        final = self.hmm.log_final
        hmm = self.hmm._replace(
            log_initial=self.hmm.log_initial.to(dtype),
            log_transition=self.hmm.log_transition.to(dtype=dtype),
            log_emission=self.hmm.log_emission.to(dtype),
            log_final=None if final is None else final.to(dtype),
        )
        return Segments(hmm, self.log_duration.to(dtype))


def random_segments(
    batch: int, frames: int, states: int, longest: int, *, impossible: float = 0.0, seed: int = 0, **form: Any
) -> Segments:
    """Draw a problem; everything follows from the seed."""
    hmm = random_hmm(batch, frames, states, impossible=impossible, seed=seed, **form)
    generator = torch.Generator().manual_seed(seed + 1)
    shape = (batch, states, longest) if form.get("per_sequence") else (states, longest)
    duration = torch.randn(shape, generator=generator, dtype=torch.float64) * form.get("scale", 1.0)
    nothing = torch.rand(shape, generator=generator) < impossible
    return Segments(hmm, duration.masked_fill(nothing, -INF).to(hmm.log_emission.dtype))


@pytest.fixture(params=["reference", "cpu"])
def backend(request: pytest.FixtureRequest) -> Any:
    """Every backend."""
    if request.param == "cpu":
        request.getfixturevalue("native")
    return request.param


@pytest.fixture(params=SOME_FORMS, ids=lambda form: "-".join(k for k, v in form.items() if v) or "plain")
def segment_form(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Which axes the arguments have."""
    return dict(request.param)


def _close(actual: Tensor, expected: Tensor, rtol: float = 1e-9, atol: float = 1e-9) -> None:
    """Compare in float64; the tolerances are those of a few roundings there."""
    torch.testing.assert_close(actual.double(), expected.double(), rtol=rtol, atol=atol)


def _dense_counts(counts: Tensor, transition: Tensor | Sparse) -> Tensor:
    """Counts of arcs in a matrix (B, K, K)."""
    if not isinstance(transition, Sparse):
        return counts
    B, K, R = counts.shape
    source = torch.where(transition.predecessors < 0, K, transition.predecessors).expand(B, K, R)
    return counts.new_zeros((B, K, K + 1)).scatter(2, source, counts)[..., :K].transpose(1, 2)


@pytest.mark.parametrize("censoring", CENSORING)
@pytest.mark.parametrize(("impossible", "longest"), [(0.0, 3), (0.25, 2), (0.25, 5)])
def test_everything_is_what_enumeration_finds(
    backend: Any, censoring: Any, impossible: float, longest: int, segment_form: dict[str, Any]
) -> None:
    problem = random_segments(3, 4, 3, longest, impossible=impossible, seed=longest, **segment_form)
    problem = problem._replace(hmm=problem.hmm._replace(lengths=torch.tensor([4, 1, 3])))
    exact = enumerate_segments(problem.hmm, problem.log_duration, censoring)
    options = {"backend": backend, "censoring": censoring}
    _close(problem.apply(semi_markov.log_likelihood, **options), exact.log_likelihood)
    counts = problem.apply(semi_markov.posterior, **options)
    _close(counts.log_likelihood, exact.log_likelihood)
    _close(counts.state, exact.state)
    _close(counts.initial, exact.initial)
    _close(counts.final, exact.final)
    _close(counts.duration, exact.duration)
    _close(_dense_counts(counts.transition, problem.hmm.log_transition), exact.transition)
    path = problem.apply(semi_markov.viterbi, **options)
    _close(path.log_score, exact.best_score)
    assert ((path.states >= 0).any(1) == (exact.log_likelihood > -INF)).all()


@pytest.mark.parametrize("censoring", CENSORING)
@pytest.mark.parametrize("longest", [1, 2, 7, 40])
def test_identities_hold(backend: Any, censoring: Any, longest: int, segment_form: dict[str, Any]) -> None:
    problem = random_segments(4, 30, 5, longest, seed=2, **segment_form)
    lengths = torch.tensor([30, 0, 1, 17])
    emission = problem.hmm.log_emission.clone().requires_grad_()
    duration = problem.log_duration.clone().requires_grad_()
    problem = Segments(problem.hmm._replace(lengths=lengths, log_emission=emission), duration)
    options = {"backend": backend, "censoring": censoring}
    total = problem.apply(semi_markov.log_likelihood, **options)
    by_emission, by_duration = torch.autograd.grad(total.sum(), (emission, duration))
    with torch.no_grad():
        counts = problem.apply(semi_markov.posterior, **options)
        path = problem.apply(semi_markov.viterbi, **options)
    possible = total > -INF
    valid = (torch.arange(30) < lengths[:, None]) & possible[:, None]
    _close(counts.state.sum(2), valid.double())
    segments = counts.duration.sum((1, 2))
    _close(counts.initial.sum(1), (possible & (lengths > 0)).double())
    _close(counts.final.sum(1), (possible & (lengths > 0)).double())
    _close(counts.transition.sum((1, 2)), (segments - 1).clamp(min=0))
    if censoring == "none":
        frames = (counts.duration * torch.arange(1, longest + 1)).sum((1, 2))
        _close(frames, torch.where(possible, lengths, 0))
    state, count = counts.state, counts.duration
    if problem.hmm.emission_index is not None:
        index = problem.hmm.emission_index.expand(4, -1)[:, None].expand_as(state)
        state = torch.zeros_like(by_emission).scatter_add(2, index, state)
    _close(by_emission, state)
    _close(by_duration, count if duration.ndim == 3 else count.sum(0))
    assert (path.log_score <= total + 1e-9).all()
    assert ((path.log_score > -INF) == possible).all()
    assert (path.states[~valid] == -1).all()
    assert (path.durations[~valid] == -1).all()
    assert (path.durations.clamp(min=0).sum(1) == torch.where(possible, lengths, 0)).all()


def test_geometric_durations_are_a_hidden_markov_model(backend: Any) -> None:
    hmm = random_hmm(3, 12, 4, seed=3)
    assert isinstance(hmm.log_transition, Tensor)
    stay = hmm.log_transition.diagonal()
    duration = stay[:, None] * torch.arange(12)
    others = hmm.log_transition.masked_fill(torch.eye(4).bool(), -INF)
    problem = Segments(hmm._replace(log_transition=others), duration)
    _close(problem.apply(semi_markov.log_likelihood, backend=backend), hmm.apply(log_likelihood))
    counts = problem.apply(semi_markov.posterior, backend=backend)
    _close(counts.state, hmm.apply(posterior).state)
    path, expected = problem.apply(semi_markov.viterbi, backend=backend), hmm.apply(viterbi)
    _close(path.log_score, expected.log_score)
    assert torch.equal(path.states, expected.states)


def test_segments_of_one_frame_are_a_hidden_markov_model(backend: Any) -> None:
    for sparse in (False, True):
        hmm = random_hmm(3, 12, 4, seed=3, sparse=sparse, impossible=0.1)
        problem = Segments(hmm, torch.zeros(4, 1).double())
        _close(problem.apply(semi_markov.log_likelihood, backend=backend), hmm.apply(log_likelihood))
        _close(problem.apply(semi_markov.posterior, backend=backend).state, hmm.apply(posterior).state)
        path = problem.apply(semi_markov.viterbi, backend=backend)
        assert torch.equal(path.states, hmm.apply(viterbi).states)
        assert (path.durations[path.states >= 0] == 1).all()


def _compare(problem: Segments, censoring: Any, *, single: bool) -> None:
    """Assert that the kernels give what the float64 reference gives."""
    # float32 is exact to a few roundings of the log-likelihood, whose own rounding is part of that, and its
    # probabilities are computed in float64.
    rtol, atol = (1e-6, 1e-6) if single else (1e-10, 1e-9)
    wide = problem.to(torch.float64)
    options = {"censoring": censoring}
    exact = wide.apply(semi_markov.posterior, backend="reference", **options)
    if single and censoring != "none":
        # The tables of cut segments are rounded to float32.
        atol = 1e-5
    _close(
        problem.apply(semi_markov.log_likelihood, backend="cpu", **options), exact.log_likelihood, rtol, atol
    )
    counts = problem.apply(semi_markov.posterior, backend="cpu", **options)
    for actual, expected in zip(counts, exact, strict=True):
        assert actual.dtype == problem.hmm.log_emission.dtype
        _close(actual, expected, max(rtol, 1e-6) if single else rtol, atol)
    kernel = problem.apply(semi_markov.viterbi, backend="cpu", **options)
    reference = problem.apply(semi_markov.viterbi, backend="reference", **options)
    for actual, expected in zip(kernel, reference, strict=True):
        assert torch.equal(actual, expected)
    draws = [
        problem.apply(
            semi_markov.sample,
            num_samples=3,
            generator=torch.Generator().manual_seed(0),
            backend=name,
            **options,
        )
        for name in ("reference", "cpu")
    ]
    # Both backends use the same random numbers in float64.
    assert torch.equal(draws[0].states, draws[1].states)
    assert torch.equal(draws[0].durations, draws[1].durations)


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("states", [1, 2, 3, 5, 8, 17, 33])
@pytest.mark.parametrize("impossible", [0.0, 0.5, 0.95])
def test_kernels_give_what_the_reference_gives(dtype: torch.dtype, states: int, impossible: float) -> None:
    for seed, censoring in enumerate(CENSORING):
        form = FORMS[(3 * seed + states + int(10 * impossible)) % len(FORMS)]
        longest = [1, 4, 9, 30][(seed + states) % 4]
        problem = random_segments(
            3, 20, states, longest, impossible=impossible, seed=seed, dtype=dtype, **form
        )
        _compare(problem, censoring, single=dtype == torch.float32)


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("states", "longest"), [(100, 3), (3, 100), (33, 65), (65, 33), (100, 99)])
def test_kernels_take_sizes_that_fill_no_vector(dtype: torch.dtype, states: int, longest: int) -> None:
    for censoring, sparse in (("none", False), ("both", True)):
        problem = random_segments(2, 40, states, longest, sparse=sparse, dtype=dtype, seed=longest)
        _compare(problem, censoring, single=dtype == torch.float32)


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("frames", [0, 1, 2, 63])
@pytest.mark.parametrize("longest", [1, 2, 62, 63, 64, 200])
def test_kernels_take_any_number_of_frames(dtype: torch.dtype, frames: int, longest: int) -> None:
    for censoring in CENSORING:
        problem = random_segments(2, frames, 4, longest, dtype=dtype, ragged=False)
        _compare(problem, censoring, single=dtype == torch.float32)


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-3, 30.0, 1e4])
@pytest.mark.parametrize("sparse", [False, True])
def test_kernels_take_any_scale(dtype: torch.dtype, scale: float, sparse: bool) -> None:
    for censoring in ("none", "both"):
        problem = random_segments(2, 50, 7, 9, dtype=dtype, scale=scale, sparse=sparse, seed=4)
        _compare(problem, censoring, single=dtype == torch.float32)


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("level", [-1e5, 1e5, -3e6, 3e6])
def test_exponents_stay_in_range(level: float) -> None:
    problem = random_segments(2, 300, 4, 20, dtype=torch.float32, ragged=False)
    emission = problem.hmm.log_emission
    emission[..., 1::2] += level
    exact = problem.to(torch.float64).apply(semi_markov.log_likelihood, backend="reference")
    _close(problem.apply(semi_markov.log_likelihood, backend="cpu"), exact, 1e-6, 0.0)
    # In float64 too a log-likelihood of 1e9 leaves 1e-7 for the probabilities of the reference.
    _compare(problem.to(torch.float64), "none", single=True)


@pytest.mark.usefixtures("native")
def test_a_very_low_finite_emission_ends_nothing_else() -> None:
    for floor in (-1e9, -1e30):
        problem = random_segments(2, 60, 4, 8, ragged=False, dtype=torch.float32, seed=3)
        problem.hmm.log_emission[:, 10:13, :2] = floor
        problem.hmm.log_emission[:, 30:50, 2] = floor
        impossible = problem.hmm.log_emission.masked_fill(problem.hmm.log_emission < -1e8, -INF)
        expected = problem._replace(hmm=problem.hmm._replace(log_emission=impossible))
        for backend in ("cpu", "reference"):
            # Weights below 2^-268435456 do not count beside ordinary ones.
            for op in (semi_markov.log_likelihood, semi_markov.posterior):
                actual, wanted = (x.apply(op, backend=backend) for x in (problem, expected))
                torch.testing.assert_close(actual, wanted, rtol=1e-6, atol=1e-5)
        path = problem.apply(semi_markov.viterbi)
        assert torch.equal(path.states, expected.apply(semi_markov.viterbi).states)


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_long_ragged_sequences_agree(dtype: torch.dtype) -> None:
    problem = random_segments(3, 2000, 20, 200, dtype=dtype, scale=3.0, seed=1)
    problem = problem._replace(hmm=problem.hmm._replace(lengths=torch.tensor([2000, 1234, 77])))
    wide = problem.to(torch.float64)
    exact = wide.apply(semi_markov.log_likelihood, backend="reference")
    rtol = 1e-6 if dtype == torch.float32 else 1e-12
    _close(problem.apply(semi_markov.log_likelihood, backend="cpu"), exact, rtol, 0.0)
    counts, twice = (x.apply(semi_markov.posterior, backend="cpu") for x in (problem, wide))
    _close(counts.state, twice.state, 1e-5, 1e-6)
    _close(twice.state.sum(2), (torch.arange(2000) < problem.hmm.lengths[:, None]).double())  # type: ignore[index]  # they are given
    kernel = problem.apply(semi_markov.viterbi, backend="cpu")
    reference = problem.apply(semi_markov.viterbi, backend="reference")
    for actual, expected in zip(kernel, reference, strict=True):
        assert torch.equal(actual, expected)


@pytest.mark.usefixtures("native")
def test_ten_thousand_frames_lose_no_precision() -> None:
    problem = random_segments(1, 10_000, 6, 12, dtype=torch.float32, scale=10.0, ragged=False)
    wide = problem.to(torch.float64)
    _close(
        problem.apply(semi_markov.log_likelihood, backend="cpu"),
        wide.apply(semi_markov.log_likelihood, backend="reference"),
        1e-6,
        0.0,
    )


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("sparse", [False, True])
def test_ties_go_to_short_segments_and_low_predecessors(sparse: bool) -> None:
    for longest in (1, 3, 5):
        problem = random_segments(3, 25, 5, longest, sparse=sparse, ragged=False, seed=longest)
        hmm, transition = problem.hmm, problem.hmm.log_transition
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
        tied = Segments(hmm, problem.log_duration.round())
        kernel, reference = (tied.apply(semi_markov.viterbi, backend=x) for x in ("cpu", "reference"))
        assert torch.equal(kernel.states, reference.states)
        assert torch.equal(kernel.durations, reference.durations)
    zeros = Arguments(torch.zeros(2), torch.zeros(2, 2), torch.zeros(1, 4, 2))
    path = Segments(zeros, torch.zeros(2, 3)).apply(semi_markov.viterbi, backend="cpu")
    assert path.states.tolist() == [[0, 0, 0, 0]]
    assert path.durations.tolist() == [[1, 1, 1, 1]]


OPERATIONS = [
    semi_markov.log_likelihood,
    semi_markov.posterior,
    semi_markov.viterbi,
]


def _tensors(result: Any) -> tuple[Tensor, ...]:
    """The tensors of a result."""
    return (result,) if isinstance(result, Tensor) else tuple(result)


@pytest.mark.usefixtures("native")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("op", OPERATIONS)
@pytest.mark.parametrize("per_sequence", [False, True])
def test_bits_do_not_depend_on_batch_threads_or_padding(
    dtype: torch.dtype, op: Any, per_sequence: bool
) -> None:
    problem = random_segments(9, 80, 6, 12, dtype=dtype, per_sequence=per_sequence, impossible=0.05, seed=7)
    options = {"backend": "cpu", "censoring": "right"}
    together = _tensors(problem.apply(op, **options))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        for one, two in zip(together, _tensors(problem.apply(op, **options)), strict=True):
            assert torch.equal(one, two)
    finally:
        torch.set_num_threads(threads)
    hmm = problem.hmm
    assert hmm.lengths is not None
    for b, length in enumerate(hmm.lengths.tolist()):
        rows = slice(b, b + 1)
        alone = hmm._replace(log_emission=hmm.log_emission[rows, :length], lengths=None)
        duration = problem.log_duration
        if per_sequence:
            assert isinstance(hmm.log_transition, Tensor)
            assert hmm.log_final is not None
            alone = alone._replace(
                log_initial=hmm.log_initial[rows],
                log_transition=hmm.log_transition[rows],
                log_final=hmm.log_final[rows],
            )
            duration = duration[rows]
        for batched, single in zip(
            together, _tensors(Segments(alone, duration).apply(op, **options)), strict=True
        ):
            # Only states have an axis of frames among more than one; it ends at the length.
            same = batched[rows]
            assert torch.equal(same[:, : single.shape[1]] if single.ndim > 1 else same, single)


@pytest.mark.parametrize("op", [*OPERATIONS, semi_markov.sample])
def test_padding_is_not_read(op: Any, backend: Any, segment_form: dict[str, Any]) -> None:
    problem = random_segments(3, 8, 3, 4, seed=9, **segment_form)
    lengths = torch.tensor([5, 0, 8])
    padding = torch.arange(8) >= lengths[:, None]
    poison = problem.hmm.log_emission.masked_fill(padding[..., None], torch.nan)
    results = []
    for emission in (problem.hmm.log_emission, poison):
        hmm = problem.hmm._replace(lengths=lengths, log_emission=emission)
        options = {"generator": torch.Generator().manual_seed(0)} if op is semi_markov.sample else {}
        results.append(_tensors(Segments(hmm, problem.log_duration).apply(op, backend=backend, **options)))
    for clean, dirty in zip(*results, strict=True):
        assert torch.equal(clean, dirty)


def test_variants_of_the_kernels_agree(variants: tuple[str, ...]) -> None:
    problem = random_segments(3, 40, 11, 9, seed=2, impossible=0.1)
    exact = problem.apply(semi_markov.posterior, backend="reference", censoring="both")
    path = problem.apply(semi_markov.viterbi, backend="reference", censoring="both")
    for variant in variants:
        with backends.use_kernel_variant(variant):
            for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-5)):
                moved = problem.to(dtype)
                for actual, expected in zip(
                    moved.apply(semi_markov.posterior, backend="cpu", censoring="both"), exact, strict=True
                ):
                    _close(actual, expected, tolerance, tolerance)
                total = moved.apply(semi_markov.log_likelihood, backend="cpu", censoring="both")
                _close(total, exact.log_likelihood, tolerance, tolerance)
            found = problem.apply(semi_markov.viterbi, backend="cpu", censoring="both")
            assert torch.equal(found.durations, path.durations)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(0, 6),
    st.integers(1, 4),
    st.integers(1, 5),
    st.sampled_from([0.0, 0.2, 0.6]),
    st.sampled_from(CENSORING),
    st.sampled_from(FORMS),
    st.integers(0, 10_000),
)
def test_any_small_problem_agrees_with_the_reference(
    batch: int,
    frames: int,
    states: int,
    longest: int,
    impossible: float,
    censoring: Any,
    form: dict[str, Any],
    seed: int,
) -> None:
    _compare(
        random_segments(batch, frames, states, longest, impossible=impossible, seed=seed, **form),
        censoring,
        single=False,
    )


def test_a_chain_of_phones_keeps_its_order(backend: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.tensor([0, 0, 0, 1, 2, 2, 2, 2, 3, 3])
    emission = torch.full((1, 10, 4), -4.0).scatter(2, truth[None, :, None], 0.0)
    emission = emission + 0.1 * torch.randn(emission.shape, generator=generator)
    chain = left_to_right(4)
    duration = torch.full((4, 5), 0.2).log()
    start, end = torch.full((4,), -INF), torch.full((4,), -INF)
    start[0] = end[3] = 0.0
    path = semi_markov.viterbi(start, chain, duration, emission, log_final=end, backend=backend)
    assert path.states[0].tolist() == truth.tolist()


def test_an_empty_batch_gives_empty_results(backend: Any) -> None:
    problem = random_segments(0, 5, 3, 4)
    assert problem.apply(semi_markov.log_likelihood, backend=backend).shape == (0,)
    counts = problem.apply(semi_markov.posterior, backend=backend)
    assert counts.state.shape == (0, 5, 3)
    assert counts.duration.shape == (0, 3, 4)
    assert problem.apply(semi_markov.viterbi, backend=backend).durations.shape == (0, 5)
    assert problem.apply(semi_markov.sample, backend=backend).states.shape == (0, 5)


@pytest.mark.parametrize("censoring", CENSORING)
def test_samples_follow_the_posterior(backend: Any, censoring: Any) -> None:
    problem = random_segments(2, 4, 3, 3, seed=12, per_sequence=True)
    problem = problem._replace(hmm=problem.hmm._replace(lengths=torch.tensor([4, 3])))
    counts = problem.apply(semi_markov.posterior, backend="reference", censoring=censoring)
    assert counts.log_likelihood.isfinite().all()
    number = 20_000
    drawn = problem.apply(
        semi_markov.sample,
        num_samples=number,
        generator=torch.Generator().manual_seed(0),
        backend=backend,
        censoring=censoring,
    )
    share = torch.stack([(drawn.states == k).double().mean(0) for k in range(3)], dim=-1)
    # Five standard deviations of a share of 20,000 draws.
    _close(share, counts.state, 0.0, 5 * 0.5 / number**0.5)
    assert (drawn.durations.clamp(min=0).sum(2) == torch.tensor([4, 3])).all()
    if censoring == "none":
        lengths = torch.stack(
            [
                torch.stack(
                    [
                        ((drawn.states == k) & (drawn.durations == d)).sum(2).double().mean(0)
                        for d in (1, 2, 3)
                    ],
                    -1,
                )
                for k in range(3)
            ],
            dim=1,
        )
        # The same, for counts of up to four segments.
        _close(lengths, counts.duration, 0.0, 5 * 1.0 / number**0.5)


def test_without_a_segmentation_nothing_is_found(backend: Any) -> None:
    problem = random_segments(2, 4, 3, 3, impossible=1.0, ragged=False)
    assert (problem.apply(semi_markov.log_likelihood, backend=backend) == -INF).all()
    counts = problem.apply(semi_markov.posterior, backend=backend)
    for count in (counts.state, counts.initial, counts.transition, counts.duration, counts.final):
        assert (count == 0).all()
    path = problem.apply(semi_markov.viterbi, backend=backend)
    assert (path.states == -1).all()
    assert (path.durations == -1).all()
    assert (path.log_score == -INF).all()
    assert (problem.apply(semi_markov.sample, num_samples=2, backend=backend).states == -1).all()


def test_half_precision_computes_in_float32() -> None:
    problem = random_segments(2, 6, 3, 4, dtype=torch.float32).to(torch.bfloat16)
    for op in OPERATIONS:
        for half, wide in zip(
            _tensors(problem.apply(op)), _tensors(problem.to(torch.float32).apply(op)), strict=True
        ):
            assert torch.equal(half, wide)


K5, EMISSION, MATRIX, DURATION = torch.zeros(5), torch.zeros(2, 7, 5), torch.zeros(5, 5), torch.zeros(5, 3)
SOURCE = "with K from log_initial (K,) = (5,) and L at least 1"


@pytest.mark.parametrize("op", [*OPERATIONS, semi_markov.sample])
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"log_duration": torch.zeros(4, 3)},
            ValueError,
            f"log_duration must have shape (K, L) = (5, any), {SOURCE}; got (4, 3)",
        ),
        (
            {"log_duration": torch.zeros(5, 0)},
            ValueError,
            f"log_duration must have shape (K, L) or (B, K, L), {SOURCE}; got (5, 0)",
        ),
        ({"log_duration": 3}, TypeError, "log_duration must be a Tensor; got int"),
        (
            {"log_duration": DURATION.double()},
            TypeError,
            "log_duration must have dtype torch.float32 like log_emission; got torch.float64",
        ),
        (
            {"log_duration": DURATION + INF},
            ValueError,
            "log_duration must not hold NaN or +inf; got inf at [0, 0]",
        ),
        (
            {"log_transition": torch.zeros(2, 6, 5, 5)},
            ValueError,
            (
                "log_transition must have shape (K, K) or (B, K, K), or (K, R) or (B, K, R) in Sparse: "
                "explicit durations go with weights that do not vary in time; got (2, 6, 5, 5)"
            ),
        ),
        (
            {"censoring": "middle"},
            ValueError,
            'censoring must be "none", "left", "right" or "both"; got \'middle\'',
        ),
        (
            {"log_initial": K5 + torch.nan},
            ValueError,
            "log_initial must not hold NaN or +inf; got nan at [0]",
        ),
        (
            {"lengths": torch.tensor([8, 1])},
            ValueError,
            "lengths must lie in 0..T = 0..7; got 8 at [0]",
        ),
    ],
)
def test_wrong_arguments_are_refused(
    op: Any, backend: Any, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    arguments = {
        "log_initial": K5,
        "log_transition": MATRIX,
        "log_duration": DURATION,
        "log_emission": EMISSION,
    }
    with pytest.raises(error) as caught:
        op(**(arguments | change), backend=backend)
    assert str(caught.value) == message


def test_a_negative_number_of_samples_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^num_samples must be at least 0; got -1$"):
        random_segments(2, 4, 3, 3).apply(semi_markov.sample, num_samples=-1)
