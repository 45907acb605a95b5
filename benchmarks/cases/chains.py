"""The chains that aligners live on: self and next (W4), with skips (W4), monotonic alignment search (W10).

hmm-core works on the arcs. hmmlearn knows dense transitions only and does K / R times the work: its time is
what a user of hmmlearn waits, not a comparison of two kernels of the same kind. The packages for monotonic
alignment know the chain of self and next alone.
"""

import sys

from _suite import Case, main

from hmm_bench import Absent, Instance

SEARCH = ("masearch", "monotonic_align", "monotonic_alignment_search")
ABSENT = (Absent("resemble-monotonic-align", "", "does not build: its source distribution lacks core.pyx"),)


def chain(batch: int, frames: int, states: int, topology: str = "chain") -> Instance:
    """From the first state to the last."""
    return Instance("viterbi", batch, frames, states, topology)


CASES = [
    Case("W4 chain K=100", chain(32, 1000, 100), SEARCH, at_least=6, absent=ABSENT),
    Case("W4 chain K=2000 T=20000", chain(1, 20000, 2000), SEARCH, at_least=8, absent=ABSENT),
    Case("W4 chain with skips K=100", chain(32, 1000, 100, "skip"), ("hmmlearn",), at_least=50),
    Case("W10 monotonic alignment 200 x 1000", chain(32, 1000, 200), SEARCH, at_least=5, absent=ABSENT),
]

if __name__ == "__main__":
    sys.exit(main(__file__, CASES))
