"""CTC with 40 symbols (W9): alignment, and the loss with its gradient; a batch, and one long recording.

hirschberg-viterbi's pruned search is not exact in general; where its answer is right, it counts.
"""

import sys

from _suite import Case, main

from hmm_bench import Instance

ALIGNERS = ("speed_viterbi", "hirschberg_viterbi", "pruned_viterbi", "torchaudio")
LOSSES = ("k2", "torch")


def batch(op: str) -> Instance:
    """32 sequences of 1000 frames and 100 targets."""
    return Instance(op, batch=32, frames=1000, densities=40, tokens=100)


def long(op: str) -> Instance:
    """One sequence of 20,000 frames and 2000 targets."""
    return Instance(op, batch=1, frames=20_000, densities=40, tokens=2000)


CASES = [
    Case("W9 CTC alignment, batch", batch("ctc_alignment"), ALIGNERS, at_least=5),
    Case("W9 CTC alignment, long", long("ctc_alignment"), ALIGNERS, at_least=3),
    Case("W9 CTC loss and gradient, batch", batch("ctc_loss"), LOSSES, at_least=5),
    Case("W9 CTC loss and gradient, long", long("ctc_loss"), LOSSES, at_least=5, slow=LOSSES, rounds=5),
]

if __name__ == "__main__":
    sys.exit(main(__file__, CASES))
