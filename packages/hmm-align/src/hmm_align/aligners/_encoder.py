"""Encoders of text and speech that learned aligners share."""

import torch
from torch import Tensor, nn

from ._arguments import check_alike, check_features, check_lengths, without_padding
from ._monotonic import check_room


def check_pair(
    text: Tensor, audio: Tensor, text_lengths: Tensor | None, audio_lengths: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Check features of tokens (B, N, D1) and frames (B, T, D2), and fill in their lengths."""
    text = check_features("text", text, "(B, N, D1)")
    audio = check_features("audio", audio, "(B, T, D2)")
    check_alike("text", text, "audio", audio)
    text_lengths = check_lengths("text_lengths", text_lengths, text, text.shape[1], "N")
    audio_lengths = check_lengths("audio_lengths", audio_lengths, audio, audio.shape[1], "T")
    check_room(audio_lengths, text_lengths, f"text {tuple(text.shape)} and audio {tuple(audio.shape)}")
    return text, audio, text_lengths, audio_lengths


class Encoder(nn.Module):
    """Two convolutions, the first of which sees the neighbours; then mean 0 and variance 1."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.near = nn.Conv1d(features, hidden, 3, padding=1)
        self.mix = nn.Conv1d(hidden, hidden, 1)

    def forward(self, features: Tensor, lengths: Tensor) -> Tensor:
        """Encode features (B, N, D) as (B, N, H); padding counts as zeros."""
        if features.shape[1] == 0:
            return features.new_zeros(len(features), 0, self.mix.out_channels)
        hidden = without_padding(features, lengths).transpose(1, 2)
        hidden = self.mix(torch.relu(self.near(hidden))).transpose(1, 2)
        return torch.nn.functional.layer_norm(hidden, hidden.shape[-1:])
