from itertools import accumulate, pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hmm_core import Sparse, forward, left_to_right
from hmm_stream import OnlineFilter

HALF = torch.tensor([0.5, 0.5]).log()

# Rounding of 20 frames whose scores are of size 10 and whose sums are of size 100.
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}


def random_model(
    seed: int, num_states: int, num_frames: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor]:
    """Initial, transition and emission scores, with some forbidden arcs."""
    generator = torch.Generator().manual_seed(seed)
    log_initial, log_transition, log_emission = (
        3 * torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((num_states,), (num_states, num_states), (num_frames, num_states))
    )
    forbidden = torch.rand(log_transition.shape, generator=generator) < 0.3
    log_transition = log_transition.masked_fill(forbidden.fill_diagonal_(fill_value=False), -torch.inf)
    return log_initial.to(dtype), log_transition.to(dtype), log_emission.to(dtype)


def run(stream: OnlineFilter, log_emission: Tensor, chunks: list[int]) -> tuple[Tensor, Tensor]:
    """Push the frames in chunks of these sizes and what remains, and join the results."""
    ends = [0, *(min(end, len(log_emission)) for end in accumulate(chunks)), len(log_emission)]
    results = [stream.push(log_emission[start:end]) for start, end in pairwise(ends)]
    return torch.cat([r.log_filter for r in results]), torch.cat([r.log_likelihood for r in results])


@given(
    st.integers(0, 2**30),
    st.integers(1, 5),
    st.lists(st.integers(0, 7), max_size=6),
    st.sampled_from([torch.float32, torch.float64]),
    st.booleans(),
)
def test_any_chunking_gives_the_offline_forward_recursion(
    seed: int, num_states: int, chunks: list[int], dtype: torch.dtype, sparse: bool
) -> None:
    log_initial, matrix, log_emission = random_model(seed, num_states, 20, dtype)
    transition = Sparse.from_dense(matrix) if sparse else matrix
    log_filter, log_likelihood = run(OnlineFilter(log_initial, transition), log_emission, chunks)

    tolerance = 10 * TOLERANCE[dtype]
    offline = forward(log_initial, transition, log_emission[None])
    marginal = offline.log_alpha[0].logsumexp(1)
    torch.testing.assert_close(log_likelihood.to(dtype), marginal, rtol=TOLERANCE[dtype], atol=tolerance)
    expected = offline.log_alpha[0] - marginal[:, None]
    torch.testing.assert_close(log_filter, expected, rtol=TOLERANCE[dtype], atol=tolerance)

    whole = OnlineFilter(log_initial, transition).push(log_emission)
    assert torch.equal(whole.log_filter, log_filter)
    assert torch.equal(whole.log_likelihood, log_likelihood)


def test_tied_states_read_their_density() -> None:
    log_initial, matrix, log_emission = random_model(0, 4, 12)
    index = torch.tensor([0, 1, 1, 0])
    result = OnlineFilter(log_initial, matrix, index).push(log_emission)
    expected = OnlineFilter(log_initial, matrix).push(log_emission[:, index])
    assert torch.equal(result.log_filter, expected.log_filter)


@pytest.mark.parametrize("sparse", [False, True])
def test_an_impossible_observation_is_minus_infinity_until_the_reset(sparse: bool) -> None:
    log_initial, matrix, log_emission = random_model(1, 3, 6)
    stream = OnlineFilter(log_initial, Sparse.from_dense(matrix) if sparse else matrix)
    expected = stream.push(log_emission)
    stream.reset()
    impossible = log_emission.clone()
    impossible[2] = -torch.inf
    result = stream.push(impossible)
    assert torch.equal(result.log_filter[:2], expected.log_filter[:2])
    assert (result.log_filter[2:] == -torch.inf).all()
    assert (result.log_likelihood[2:] == -torch.inf).all()
    assert (stream.push(log_emission).log_filter == -torch.inf).all()
    stream.reset()
    assert torch.equal(stream.push(log_emission).log_filter, expected.log_filter)


def test_a_left_to_right_stream_never_goes_back() -> None:
    stream = OnlineFilter(torch.tensor([1.0, 0.0, 0.0]).log(), left_to_right(3, self_loop_prob=0.5))
    log_filter = stream.push(torch.zeros(4, 3)).log_filter
    assert (log_filter[0, 1:] == -torch.inf).all()
    assert log_filter[1, 2] == -torch.inf
    torch.testing.assert_close(log_filter.exp().sum(1), torch.ones(4))


def test_weights_of_unused_slots_are_ignored() -> None:
    predecessors = torch.tensor([[0, -1], [0, 1]])
    weights = torch.tensor([[0.5, 5.0], [0.5, 1.0]]).log()
    chain = Sparse(predecessors, weights)
    sparse = OnlineFilter(HALF, chain).push(torch.zeros(3, 2))
    dense = OnlineFilter(HALF, chain.to_dense()).push(torch.zeros(3, 2))
    torch.testing.assert_close(sparse.log_filter, dense.log_filter)
    torch.testing.assert_close(sparse.log_likelihood, dense.log_likelihood)


def test_a_long_float32_stream_keeps_its_log_likelihood() -> None:
    log_initial, matrix, log_emission = random_model(2, 4, 3000, torch.float32)
    exact = OnlineFilter(log_initial.double(), matrix.double()).push(log_emission.double())
    result = OnlineFilter(log_initial, matrix).push(log_emission)
    # Rounding of 3000 normalisers in float32; their sum is about 2e4, which float32 itself resolves to 2e-3.
    torch.testing.assert_close(result.log_likelihood, exact.log_likelihood, rtol=1e-6, atol=1e-4)


def test_large_scores_do_not_swallow_the_differences_between_states() -> None:
    log_initial, matrix, log_emission = random_model(7, 4, 20, torch.float32)
    near, far = (OnlineFilter(log_initial, matrix) for _ in range(2))
    # Scores on a grid of 1/16, so that shifting them by 10000 is exact.
    log_emission = (16 * log_emission).round() / 16
    result = far.push(log_emission - 1e4)
    expected = near.push(log_emission)
    assert torch.equal(result.log_filter, expected.log_filter)
    # 20 sums of numbers near 2e5 in float64, where float32 would round to 0.016.
    torch.testing.assert_close(
        result.log_likelihood[-1] + 20e4, expected.log_likelihood[-1], rtol=0, atol=1e-9
    )


def test_a_saved_stream_continues_with_the_same_bits() -> None:
    log_initial, matrix, log_emission = random_model(3, 4, 20)
    stream = OnlineFilter(log_initial, matrix)
    stream.push(log_emission[:13])
    state = stream.state_dict()
    expected = stream.push(log_emission[13:])

    other = OnlineFilter(log_initial, matrix)
    other.load_state_dict(state)
    assert other.num_frames == 13
    result = other.push(log_emission[13:])
    assert torch.equal(result.log_filter, expected.log_filter)
    assert torch.equal(result.log_likelihood, expected.log_likelihood)
    # The saved state is a copy, which neither stream has changed.
    other.load_state_dict(state)
    assert torch.equal(other.push(log_emission[13:]).log_filter, expected.log_filter)


def test_no_frames_change_nothing() -> None:
    log_initial, matrix, log_emission = random_model(4, 3, 5)
    stream = OnlineFilter(log_initial, matrix)
    empty = stream.push(log_emission[:0])
    assert empty.log_filter.shape == (0, 3)
    assert empty.log_likelihood.shape == (0,)
    assert stream.num_frames == 0


def test_half_precision_computes_in_float32_and_nothing_requires_gradients() -> None:
    log_initial, matrix, log_emission = random_model(5, 3, 5, torch.float32)
    stream = OnlineFilter(log_initial.half(), matrix.half().requires_grad_())
    result = stream.push(log_emission.half().requires_grad_())
    assert result.log_filter.dtype == torch.float32
    assert not result.log_filter.requires_grad


def test_a_refused_chunk_leaves_the_stream_as_it_was() -> None:
    log_initial, matrix, log_emission = random_model(6, 3, 5)
    stream = OnlineFilter(log_initial, matrix)
    expected = stream.push(log_emission).log_filter
    stream.reset()
    bad = log_emission.clone()
    bad[3, 1] = torch.nan
    with pytest.raises(ValueError, match=r"log_emission must not hold NaN or \+inf; got nan at \[3, 1\]"):
        stream.push(bad)
    assert torch.equal(stream.push(log_emission).log_filter, expected)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            (HALF[None], HALF.expand(2, 2)),
            ValueError,
            r"log_initial must have shape \(K,\), K >= 1; got \(1, 2\)",
        ),
        ((HALF, HALF), ValueError, r"log_transition must have shape \(K, K\) = \(2, 2\), .*; got \(2,\)"),
        ((HALF, left_to_right(3)), ValueError, r"shape \(K, R\) = \(2, 2\), with K from log_initial"),
        ((HALF, HALF.expand(2, 2).double()), TypeError, "log_transition must have dtype torch.float32"),
        ((HALF, HALF.expand(2, 2).to("meta")), ValueError, "log_transition must be on cpu"),
        ((HALF * torch.nan, HALF.expand(2, 2)), ValueError, "log_initial must not hold NaN"),
        (
            (HALF.long(), HALF.expand(2, 2)),
            TypeError,
            "log_initial must have a floating dtype; got torch.int64",
        ),
        ((HALF, [[0.5]]), TypeError, "log_transition must be a Tensor or Sparse; got list"),
        (
            (HALF, HALF.expand(2, 2), HALF),
            TypeError,
            "emission_index must have dtype torch.int64; got torch.float32",
        ),
        (
            (HALF, HALF.expand(2, 2), torch.tensor([0])),
            ValueError,
            r"emission_index must have shape \(K,\) = \(2,\)",
        ),
        (
            (HALF, HALF.expand(2, 2), torch.tensor([0, -1])),
            ValueError,
            "emission_index must not be negative; got -1",
        ),
    ],
)
def test_a_model_that_does_not_fit_is_an_error(
    arguments: tuple[Tensor, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        OnlineFilter(*arguments)


def test_frames_that_do_not_fit_are_an_error() -> None:
    with pytest.raises(
        ValueError, match=r"log_emission must have shape \(K,\) or \(n, K\) with K = 2, .*; got \(4, 3\)"
    ):
        OnlineFilter(HALF, HALF.expand(2, 2)).push(torch.zeros(4, 3))
    tied = OnlineFilter(HALF, HALF.expand(2, 2), torch.tensor([0, 2]))
    with pytest.raises(
        ValueError, match=r"log_emission must have shape \(P,\) or \(n, P\), P >= 3, .*; got \(4, 2\)"
    ):
        tied.push(torch.zeros(4, 2))
    with pytest.raises(TypeError, match=r"log_emission must have dtype torch.float32 like log_initial"):
        tied.push(torch.zeros(4, 3, dtype=torch.float64))


def test_the_state_of_another_model_is_an_error() -> None:
    state = OnlineFilter(torch.zeros(3), torch.zeros(3, 3)).state_dict()
    with pytest.raises(ValueError, match=r"log_filter must have shape \(K,\) = \(2,\), .*; got \(3,\)"):
        OnlineFilter(HALF, HALF.expand(2, 2)).load_state_dict(state)
    with pytest.raises(KeyError, match="log_filter"):
        OnlineFilter(HALF, HALF.expand(2, 2)).load_state_dict({})
