"""Attention that aligns: weights by definition, and a diagonal learned from a voice."""

from typing import Any

import pytest
import torch
from torch import Tensor

from hmm_align import AttentionAligner, guided_attention_loss

KINDS: list[dict[str, Any]] = [
    {"monotonic": monotonic, "location_channels": channels}
    for monotonic in ("forward", "stepwise", None)
    for channels in (0, 3)
]


def features(B: int, N: int, T: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    chance = torch.Generator().manual_seed(0)
    return (
        torch.randn(B, N, 4, generator=chance, dtype=dtype),
        torch.randn(B, T, 6, generator=chance, dtype=dtype),
    )


def make(seed: int = 0, **choices: Any) -> AttentionAligner:
    torch.manual_seed(seed)
    return AttentionAligner(4, 6, **{"attention_dim": 5, "location_kernel": 5, **choices}).double()


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_distributions_over_the_tokens_that_there_are(kind: dict[str, Any]) -> None:
    text, audio = features(3, 5, 12)
    tokens, lengths = torch.tensor([5, 3, 0]), torch.tensor([12, 9, 0])
    result = make(**kind)(text, audio, tokens, lengths)
    assert result.heads.shape == (3, 2, 12, 5)
    for b in range(3):
        T, N = int(lengths[b]), int(tokens[b])
        torch.testing.assert_close(result.heads[b, :, :T, :N].sum(-1), torch.ones(2, T, dtype=torch.float64))
        assert not result.heads[b, :, T:].any()
        assert not result.heads[b, :, :, N:].any()
    torch.testing.assert_close(result.attention, result.heads.mean(1))


@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_never_read_and_gradients_are_finite(kind: dict[str, Any]) -> None:
    text, audio = features(2, 5, 12)
    tokens, lengths = torch.tensor([5, 3]), torch.tensor([12, 9])
    aligner = make(**kind)
    alone = aligner(text[1:, :3], audio[1:, :9])
    text[1, 3:], audio[1, 9:] = torch.nan, torch.nan
    result = aligner(text, audio, tokens, lengths)
    # Convolutions of another size round differently in float64.
    found = result.attention[1, :9, :3], result.reconstruction[1, :9]
    wanted = alone.attention[0], alone.reconstruction[0]
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
    aligner.loss(text, audio, tokens, lengths).backward()  # type: ignore[no-untyped-call]
    assert all(item.grad is not None and item.grad.isfinite().all() for item in aligner.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_can_be_differentiated(kind: dict[str, Any]) -> None:
    text, audio = features(2, 3, 5)
    aligner = make(**kind)
    tokens, lengths = torch.tensor([3, 2]), torch.tensor([5, 4])
    inputs = (text.requires_grad_(), audio.requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: aligner.loss(a, b, tokens, lengths), inputs)


@pytest.mark.parametrize("monotonic", ["forward", "stepwise"])
def test_monotonic_attention_starts_at_the_first_token_and_goes_one_at_a_time(monotonic: Any) -> None:
    text, audio = features(1, 6, 6)
    weights = make(monotonic=monotonic)(text, audio).heads[0]
    above = torch.ones(6, 6).triu(1).bool()
    # What cannot be reached has the weight that stands for nothing, at most, and the energies' share of it.
    assert weights[:, above].max() < 1e-15
    torch.testing.assert_close(weights[:, 0, 0], torch.ones(2, dtype=torch.float64))


def test_forward_attention_is_the_forward_recursion() -> None:
    """Without location, hmm-core's recursion gives what stepping from frame to frame gives."""
    text, audio = features(2, 5, 11)
    aligner = make(location_channels=3)
    assert aligner.location is not None
    torch.nn.init.zeros_(aligner.location[1].weight)  # type: ignore[arg-type]  # a Conv1d's
    stepping = aligner(text, audio)
    aligner.location = None
    at_once = aligner(text, audio)
    # Tokens that cannot be reached have 0 here and next to nothing there.
    torch.testing.assert_close(stepping.heads, at_once.heads, rtol=1e-9, atol=1e-12)


def test_stepwise_attention_is_its_definition() -> None:
    text, audio = features(1, 3, 7)
    aligner = make(location_channels=0, monotonic="stepwise", num_heads=1)
    weights = aligner(text, audio).heads[0, 0]
    lengths = torch.tensor([3]), torch.tensor([7])
    keys = aligner.text_encoder(text, lengths[0])[0]
    queries = aligner.audio_encoder(audio, lengths[1])[0] + aligner.bias
    stay = (torch.tanh(queries[:, None] + keys) @ aligner.energy[0]).sigmoid()
    stay[:, 2] = 1.0
    wanted = [torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)]
    for t in range(1, 7):
        a, p = wanted[-1], stay[t]
        moved = a[:2] * (1 - p[:2])
        wanted.append(torch.cat((a[:1] * p[:1], a[1:] * p[1:] + moved)))
    torch.testing.assert_close(weights, torch.stack(wanted))


def test_location_changes_what_is_attended_to() -> None:
    text, audio = features(1, 5, 9)
    aligner = make(monotonic=None)
    with_location = aligner(text, audio).attention
    aligner.location = None
    assert not torch.allclose(aligner(text, audio).attention[:, 1:], with_location[:, 1:])


def test_it_learns_the_diagonal_of_a_voice(voice: Any) -> None:
    """At 40 ms a frame, from nothing but pairs of phones and spectra."""
    text, audio, text_lengths, audio_lengths, ends = (item[:10] for item in voice)
    audio, audio_lengths = audio[:, ::2], (audio_lengths + 1) // 2
    ends = torch.where(ends > 0, (ends - 0.5) / 2 + 0.5, 0.0)
    torch.manual_seed(0)
    aligner = AttentionAligner(text.shape[2], audio.shape[2])
    optimizer = torch.optim.Adam(aligner.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        aligner.loss(text, audio, text_lengths, audio_lengths).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    durations = aligner.align(text, audio, text_lengths, audio_lengths).durations
    assert durations.sum(1).tolist() == audio_lengths.tolist()
    straight = torch.arange(1, ends.shape[1] + 1) * (audio_lengths / text_lengths)[:, None]
    learned, guessed = (
        ((found - ends).abs()[ends > 0] <= 2).double().mean() for found in (durations.cumsum(1), straight)
    )
    assert learned > 0.75, "of the ends of phones within 80 ms"
    assert guessed < 0.6, "where phones of equal length would put them"


def test_the_guide_is_its_formula() -> None:
    attention = torch.rand(2, 6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    lengths, tokens = torch.tensor([6, 4]), torch.tensor([4, 2])
    wanted = 0.0
    for b in range(2):
        T, N = int(lengths[b]), int(tokens[b])
        for t in range(T):
            for n in range(N):
                far = 1 - torch.exp(torch.tensor(-((n / N - t / T) ** 2) / (2 * 0.3**2)))
                wanted += float(attention[b, t, n] * far) / 10
    attention[1, 4:], attention[1, :, 2:] = torch.nan, torch.nan
    found = guided_attention_loss(attention, lengths, tokens, sigma=0.3)
    assert float(found) == pytest.approx(wanted, rel=1e-5)  # frames' shares in float32


def test_empty_sequences_are_aligned() -> None:
    for B, N, T in ((2, 0, 0), (0, 3, 7)):
        result = make()(torch.zeros(B, N, 4).double(), torch.zeros(B, T, 6).double())
        assert result.attention.shape == (B, T, N)


def test_bad_input_is_named() -> None:
    text, audio = features(2, 5, 12)
    with pytest.raises(ValueError, match="item 1 of the batch has 5 tokens and 4 frames"):
        make().align(text, audio, None, torch.tensor([12, 4]))
    with pytest.raises(
        TypeError, match=r"audio must have dtype torch\.float64 like text; got torch\.float32"
    ):
        make()(text, audio.float())
    for choices, message in (
        ({"monotonic": "always"}, 'monotonic must be "forward", "stepwise" or None; got \'always\''),
        ({"location_kernel": 4}, "location_kernel must be odd; got 4"),
        ({"location_channels": -1}, "location_channels must be an integer of 0 or more; got -1"),
        ({"num_heads": 0}, "num_heads must be an integer of at least 1; got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            make(**choices)
    with pytest.raises(ValueError, match="sigma must be a finite number above 0"):
        guided_attention_loss(torch.zeros(1, 2, 2), torch.tensor([2]), torch.tensor([2]), sigma=0)
