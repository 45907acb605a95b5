"""The examples of the system's first documents, as they stand there."""

import re

import pytest
import torch

ALIGNMENT = """
import torch
from pytorch_hmm.alignment import DTWAligner, CTCAligner

text_features = torch.randn(1, 50, 128)
audio_features = torch.randn(1, 200, 80)

dtw_aligner = DTWAligner()
dtw_alignment = dtw_aligner.align(text_features, audio_features)

print(f"DTW: {dtw_alignment.shape}")
print(f"DTW: {dtw_aligner.get_alignment_cost():.3f}")

ctc_aligner = CTCAligner(blank_id=0)
ctc_alignment = ctc_aligner.align(text_features, audio_features)

print(f"CTC: {ctc_alignment.shape}")
print(f"CTC: {ctc_aligner.get_ctc_loss():.3f}")
"""


def test_text_and_audio_are_aligned_by_warping_and_by_ctc(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    found: dict[str, torch.Tensor] = {}
    exec(ALIGNMENT, found)  # noqa: S102 - the example is a text
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "DTW: torch.Size([1, 50, 200])"
    assert printed[2] == "CTC: torch.Size([1, 50, 200])"
    assert all(re.fullmatch(r"(DTW|CTC): \d+\.\d{3}", line) for line in printed[1::2])
    # A path from corner to corner, and every token at some frame.
    warped, spelt = found["dtw_alignment"][0], found["ctc_alignment"][0]
    assert warped[0, 0] == warped[-1, -1] == 1
    assert bool(warped.any(0).all() and warped.any(1).all())
    assert bool(spelt.any(1).all())
    assert spelt.sum(0).max() == 1
