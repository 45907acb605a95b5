"""The forward-sum loss, against torch's CTC; the prior, against scipy; learning, against exact times."""

from typing import Any

import pytest
import torch
from torch import Tensor

from hmm_align import ForwardSumAligner, beta_binomial_prior, binarization_loss, forward_sum_loss


def scores(B: int, T: int, N: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(B, T, N, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_the_prior_is_scipys_beta_binomial_distribution(scale: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    lengths, tokens = torch.tensor([50, 20, 7, 1, 0]), torch.tensor([9, 20, 1, 1, 0])
    prior = beta_binomial_prior(lengths, tokens, scale)
    assert prior.shape == (5, 50, 20)
    for b, (T, N) in enumerate(zip(lengths.tolist(), tokens.tolist(), strict=True)):
        for t in range(T):
            wanted = stats.betabinom(N - 1, scale * (t + 1), scale * (T - t)).pmf(range(N))
            # float32 of values computed in float64.
            assert prior[b, t, :N].exp().tolist() == pytest.approx(wanted.tolist(), rel=1e-5, abs=1e-7)
        assert (prior[b, T:] == -torch.inf).all()
        assert (prior[b, :, N:] == -torch.inf).all()


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_the_loss_and_its_gradient_are_those_of_torch_with_a_blank(reduction: str) -> None:
    """The published loss: a column of -1 for the blank, log_softmax, CTC of the tokens 1..N, item by item."""
    lengths, tokens = torch.tensor([30, 12, 20]), torch.tensor([8, 8, 3])
    results = []
    for ours in (True, False):
        x = scores(3, 30, 8).requires_grad_()
        if ours:
            loss = forward_sum_loss(x, lengths, tokens, reduction=reduction)  # type: ignore[arg-type]
        else:
            padded = torch.nn.functional.pad(x, (1, 0), value=-1.0)
            items = []
            for b in range(3):
                T, N = int(lengths[b]), int(tokens[b])
                items.append(
                    torch.nn.functional.ctc_loss(
                        padded[b, :T, : N + 1].log_softmax(-1)[:, None],
                        torch.arange(1, N + 1)[None],
                        lengths[b : b + 1],
                        tokens[b : b + 1],
                        reduction="mean" if reduction == "mean" else "sum",
                    )
                )
            loss = torch.stack(items)
            loss = loss if reduction == "none" else loss.mean() if reduction == "mean" else loss.sum()
        loss.sum().backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        assert x.grad is not None
        results.append((loss.detach(), x.grad))
    # Roundings of thirty frames in float64.
    torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-11)


def test_without_a_blank_the_loss_sums_over_monotonic_alignments() -> None:
    log_prob = scores(2, 4, 2).log_softmax(-1)
    paths = [[0, 0, 0, 1], [0, 0, 1, 1], [0, 1, 1, 1]]
    each = torch.stack([log_prob[:, torch.arange(4), torch.tensor(path)].sum(1) for path in paths])
    loss = forward_sum_loss(log_prob, blank_log_prob=None, reduction="none")
    torch.testing.assert_close(loss, -each.logsumexp(0))


@pytest.mark.parametrize("blank", [-1.0, None])
def test_the_loss_can_be_differentiated_and_ignores_padding(blank: float | None) -> None:
    lengths, tokens = torch.tensor([6, 4, 0]), torch.tensor([3, 2, 0])
    x = scores(3, 6, 3)
    x[1, 4:], x[1, :, 2:], x[2] = torch.nan, torch.nan, torch.nan
    x.requires_grad_()

    def loss(value: Tensor) -> Tensor:
        return forward_sum_loss(value, lengths, tokens, blank_log_prob=blank)

    loss(x).backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert not x.grad[1, 4:].any()
    whole = scores(2, 5, 3, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: forward_sum_loss(v, blank_log_prob=blank), (whole,))


def test_binarization_is_the_divergence_from_the_hard_alignment() -> None:
    log_soft = scores(2, 5, 3).log_softmax(-1)
    hard = torch.nn.functional.one_hot(torch.tensor([[0, 0, 1, 2, 2], [0, 1, 2, 2, 2]]), 3).double()
    hard[1, 4] = 0
    divergence = (hard * (hard.clamp(min=1e-300).log() - log_soft)).sum() / 9
    torch.testing.assert_close(binarization_loss(log_soft, hard), divergence)
    log_soft[1, 4] = torch.nan
    torch.testing.assert_close(binarization_loss(log_soft, hard), divergence)
    assert binarization_loss(log_soft, torch.zeros_like(hard)) == 0


def test_a_batch_is_aligned_as_each_pair_alone() -> None:
    torch.manual_seed(0)
    aligner = ForwardSumAligner(4, 6, hidden_dim=16)
    text, audio = scores(3, 7, 4, dtype=torch.float32), scores(3, 25, 6, 1, dtype=torch.float32)
    tokens, lengths = torch.tensor([7, 3, 0]), torch.tensor([20, 25, 0])
    poisoned = text.clone(), audio.clone()
    for b in range(3):
        poisoned[0][b, tokens[b] :] = torch.nan
        poisoned[1][b, lengths[b] :] = torch.nan
    result = aligner.align(*poisoned, tokens, lengths)
    assert result.durations.sum(1).tolist() == lengths.tolist()
    for b in range(2):
        N, T = int(tokens[b]), int(lengths[b])
        alone = aligner.align(text[b : b + 1, :N], audio[b : b + 1, :T])
        # Convolutions of another size round differently in float32.
        torch.testing.assert_close(result.log_soft[b, :T, :N], alone.log_soft[0], rtol=1e-4, atol=1e-4)
        assert result.durations[b, :N].tolist() == alone.durations[0].tolist()
        assert (result.log_soft[b, T:] == -torch.inf).all()
        assert (result.log_soft[b, :, N:] == -torch.inf).all()
        torch.testing.assert_close(result.log_similarity[b, :T, :N].exp().sum(1), torch.ones(T))
    loss = aligner.loss(*poisoned, tokens, lengths, binarization_weight=1.0)
    loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    assert all(p.grad is not None and p.grad.isfinite().all() for p in aligner.parameters())


def test_without_a_prior_the_two_distributions_are_one() -> None:
    aligner = ForwardSumAligner(4, 6, prior_scale=None)
    log_soft, log_similarity = aligner(torch.randn(1, 3, 4), torch.randn(1, 8, 6))
    assert torch.equal(log_soft, log_similarity)


def test_it_learns_where_the_phones_of_a_voice_are(voice: Any) -> None:
    text, audio, text_lengths, audio_lengths, ends = (item[:12] for item in voice)
    torch.manual_seed(0)
    aligner = ForwardSumAligner(text.shape[2], audio.shape[2], hidden_dim=32)
    optimizer = torch.optim.Adam(aligner.parameters(), lr=3e-3)
    for step in range(80):
        optimizer.zero_grad()
        weight = 0.0 if step < 50 else 1.0
        loss = aligner.loss(text, audio, text_lengths, audio_lengths, binarization_weight=weight)
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        optimizer.step()
    durations = aligner.align(text, audio, text_lengths, audio_lengths).durations
    assert durations.sum(1).tolist() == audio_lengths.tolist()
    straight = torch.arange(1, ends.shape[1] + 1) * (audio_lengths / text_lengths)[:, None]
    near = [
        ((found - ends).abs()[ends > 0] <= 2.5).double().mean() for found in (durations.cumsum(1), straight)
    ]
    assert near[0] > 0.8, "of the ends of phones within 50 ms"
    assert near[1] < 0.5, "where tokens of equal length would put them"


def test_bad_input_is_named() -> None:
    aligner = ForwardSumAligner(4, 6)
    text, audio = torch.zeros(2, 3, 4), torch.zeros(2, 8, 6)
    with pytest.raises(ValueError, match="item 1 of the batch has 3 tokens and 2 frames"):
        aligner(text, audio, None, torch.tensor([8, 2]))
    with pytest.raises(ValueError, match=r"audio must have shape \(B, T, D2\)"):
        aligner(text, audio[0])
    with pytest.raises(ValueError, match=r"hard must have shape \(B, T, N\) = \(2, 8, 3\)"):
        binarization_loss(torch.zeros(2, 8, 3), torch.zeros(2, 3, 8))
    with pytest.raises(ValueError, match="item 0 of the batch has 8 tokens and 3 frames"):
        forward_sum_loss(torch.zeros(2, 3, 8))
    with pytest.raises(ValueError, match=r"lengths and token_lengths must have one shape \(B,\)"):
        beta_binomial_prior(torch.tensor([3]), torch.tensor([2, 2]))
    with pytest.raises(ValueError, match="must be 0 or more; got a negative one"):
        beta_binomial_prior(torch.tensor([-3]), torch.tensor([2]))
    with pytest.raises(ValueError, match="temperature must be a finite number above 0"):
        ForwardSumAligner(4, 6, temperature=-1.0)
