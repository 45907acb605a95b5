# /// script
# requires-python = ">=3.11,<3.13"
# dependencies = ["torchaudio==2.11.0", "torch==2.11.0", "numpy"]
# ///
"""torchaudio: forced alignment of CTC, one recording at a time.

Its last release is built for torch 2.11 and does not import beside 2.15. Where the tensors are on a GPU, it
computes there.
"""

from collections.abc import Callable
from importlib import metadata
from typing import Any

import torch
from torchaudio.functional import forced_align

Arrays = dict[str, Any]  # or tensors, wherever they are


def version() -> str:
    """Version of torchaudio, which is that of its torch."""
    return metadata.version("torchaudio")


def ctc_alignment(arrays: Arrays, threads: int) -> Callable[[], tuple[Any, ...]]:
    """``forced_align`` of each sequence, which takes no batch."""
    torch.set_num_threads(threads)
    scores, targets = (torch.split(torch.as_tensor(arrays[name]), 1) for name in ("log_prob", "targets"))
    pairs = list(zip(scores, targets, strict=True))
    return lambda: (torch.cat([forced_align(*pair)[0] for pair in pairs]),)
