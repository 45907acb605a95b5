"""Monotonic alignment search, against Glow-TTS's own and against every alignment."""

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmm_align import MonotonicAligner


def maximum_path(
    value: NDArray[np.float32], t_x: int, t_y: int, max_neg_val: float = -1e9
) -> NDArray[np.int64]:
    """``maximum_path_each`` of Glow-TTS's monotonic_align/core.pyx, its loops as published."""
    value = value.copy()
    path = np.zeros_like(value, dtype=np.int64)
    index = t_x - 1
    for y in range(t_y):
        for x in range(max(0, t_x + y - t_y), min(t_x, y + 1)):
            v_cur = max_neg_val if x == y else value[x, y - 1]
            start = 0.0 if y == 0 else max_neg_val
            v_prev = start if x == 0 else value[x - 1, y - 1]
            value[x, y] = max(v_cur, v_prev) + value[x, y]
    for y in range(t_y - 1, -1, -1):
        path[index, y] = 1
        if index != 0 and (index == y or value[index, y - 1] < value[index - 1, y - 1]):
            index -= 1
    return path


def scores(B: int, T: int, N: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(B, T, N, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_the_path_is_that_of_glow_tts() -> None:
    log_prob = scores(12, 40, 9)
    lengths = torch.tensor([40, 40, 33, 9, 10, 25, 40, 12, 38, 20, 9, 30])
    tokens = torch.tensor([9, 1, 9, 9, 9, 4, 2, 7, 8, 6, 1, 3])
    alignment, durations, log_score = MonotonicAligner().align(log_prob, lengths, tokens)
    for b in range(12):
        T, N = int(lengths[b]), int(tokens[b])
        wanted = maximum_path(log_prob[b].T.numpy(), N, T)[:N, :T]
        assert alignment[b, :T, :N].T.tolist() == wanted.tolist()
        assert durations[b, :N].tolist() == wanted.sum(1).tolist()
        # Sums of some forty numbers in float32.
        assert float(log_score[b]) == pytest.approx(
            float((log_prob[b, :T, :N].T.numpy() * wanted).sum()), abs=1e-4
        )


@pytest.mark.parametrize(("T", "N"), [(1, 1), (4, 1), (4, 4), (7, 3)])
def test_no_alignment_scores_higher(T: int, N: int) -> None:
    log_prob = scores(5, T, N, seed=T, dtype=torch.float64)
    found = MonotonicAligner().align(log_prob)
    for b in range(5):
        best = -np.inf
        for cuts in itertools.combinations(range(1, T), N - 1):
            token = np.searchsorted(cuts, np.arange(T), side="right")
            best = max(best, float(log_prob[b, torch.arange(T), torch.from_numpy(token)].sum()))
        assert float(found.log_score[b]) == pytest.approx(best, rel=1e-12)


def test_durations_sum_to_the_lengths_and_every_token_has_a_frame() -> None:
    lengths, tokens = torch.tensor([30, 12, 0]), torch.tensor([6, 12, 0])
    alignment, durations, log_score = MonotonicAligner().align(scores(3, 30, 12), lengths, tokens)
    assert durations.sum(1).tolist() == lengths.tolist()
    assert (durations[0, :6] >= 1).all()
    assert durations[0, 6:].tolist() == [0] * 6
    assert (alignment.sum(2).sum(1) == lengths).all()
    assert float(log_score[2]) == 0.0


def test_the_other_order_of_axes_gives_the_same() -> None:
    log_prob = scores(3, 20, 5)
    lengths, tokens = torch.tensor([20, 9, 15]), torch.tensor([5, 5, 2])
    a = MonotonicAligner().align(log_prob, lengths, tokens)
    b = MonotonicAligner("BNT").align(log_prob.transpose(1, 2), lengths, tokens)
    assert torch.equal(a.alignment, b.alignment.transpose(1, 2))
    assert torch.equal(a.durations, b.durations)


def test_padding_is_never_read_and_the_batch_changes_nothing() -> None:
    log_prob = scores(3, 20, 6)
    lengths, tokens = torch.tensor([20, 9, 15]), torch.tensor([6, 5, 2])
    poisoned = log_prob.clone()
    for b in range(3):
        poisoned[b, lengths[b] :] = torch.nan
        poisoned[b, :, tokens[b] :] = torch.nan
    result = MonotonicAligner().align(poisoned, lengths, tokens)
    for b in range(3):
        T, N = int(lengths[b]), int(tokens[b])
        alone = MonotonicAligner().align(log_prob[b : b + 1, :T, :N])
        assert torch.equal(result.alignment[b, :T, :N], alone.alignment[0])
        assert torch.equal(result.log_score[b], alone.log_score[0])
        assert not result.alignment[b, T:].any()
        assert not result.alignment[b, :, N:].any()


def test_the_gradient_of_the_score_is_the_path() -> None:
    log_prob = scores(2, 8, 3, dtype=torch.float64).requires_grad_()
    alignment, _, log_score = MonotonicAligner().align(log_prob)
    assert torch.equal(torch.autograd.grad(log_score.sum(), log_prob)[0], alignment)
    assert torch.autograd.gradcheck(lambda x: MonotonicAligner().align(x).log_score, (log_prob,))


def test_what_is_forbidden_everywhere_has_no_path() -> None:
    log_prob = scores(1, 5, 2)
    log_prob[0, 2] = -torch.inf
    alignment, durations, log_score = MonotonicAligner().align(log_prob)
    assert log_score.tolist() == [-torch.inf]
    assert not alignment.any()
    assert durations.tolist() == [[0, 0]]


def test_equal_scores_leave_a_token_late() -> None:
    _, durations, _ = MonotonicAligner().align(torch.zeros(1, 5, 3))
    assert durations.tolist() == [[3, 1, 1]]


def test_more_tokens_than_frames_are_refused_and_the_item_named() -> None:
    with pytest.raises(ValueError, match=r"item 1 of the batch has 5 tokens and 4 frames.*in this order\?"):
        MonotonicAligner().align(torch.zeros(2, 8, 5), torch.tensor([8, 4]))
    with pytest.raises(ValueError, match=r"item 0 of the batch has 8 tokens and 5 frames; got log_prob"):
        MonotonicAligner("BNT").align(torch.zeros(2, 8, 5))
    with pytest.raises(ValueError, match="item 1 of the batch has 8 frames and no token"):
        MonotonicAligner().align(torch.zeros(2, 8, 5), None, torch.tensor([5, 0]))


def test_bad_input_is_named() -> None:
    log_prob = torch.zeros(2, 8, 5)
    axes: Any = "BTNX"
    with pytest.raises(ValueError, match='axes must be "BTN" or "BNT"; got \'BTNX\''):
        MonotonicAligner(axes)
    with pytest.raises(ValueError, match=r"log_prob must have shape \(B, N, T\); got \(8, 5\)"):
        MonotonicAligner("BNT").align(log_prob[0])
    log_prob[1, 2, 3] = torch.nan
    with pytest.raises(ValueError, match=r"log_prob must be a number below \+inf; got nan at \[1, 2, 3\]"):
        MonotonicAligner().align(log_prob)
    with pytest.raises(ValueError, match=r"got nan at \[1, 3, 2\]"):
        MonotonicAligner("BNT").align(log_prob.transpose(1, 2))
    with pytest.raises(ValueError, match=r"token_lengths must lie in 0\.\.N = 0\.\.5; got -1"):
        MonotonicAligner().align(log_prob, None, torch.tensor([-1, 2]))


def test_an_empty_batch_is_aligned() -> None:
    for shape in ((0, 4, 3), (2, 0, 0)):
        result = MonotonicAligner().align(torch.zeros(shape))
        assert result.alignment.shape == shape
        assert result.durations.shape == (shape[0], shape[2])
