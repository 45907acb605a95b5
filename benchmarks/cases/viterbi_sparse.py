"""Viterbi on the two structures that aligners live on: self + next, and self + next + skip.

A batch of 32 sequences of 1000 frames with 100 states, emissions given; the path starts in the first state
and ends in the last. hmm-core's C++ kernel works on the arcs (R = 2 or 3 into each state), and so does its
definition, the torch reference. hmmlearn knows dense transitions only and does K / R times the work: its time
is what a user of hmmlearn waits, not a comparison of two kernels of the same kind.
"""

import datetime as dt
import sys
from pathlib import Path

from hmm_bench import Instance, Row, compare, format_rows, implementations, machine_card, write_results

RESULTS = Path(__file__).parents[1] / "results" / "viterbi_sparse.csv"

INSTANCES = [
    Instance("viterbi", batch=32, frames=1000, states=100, topology=topology, dtype=dtype, threads=threads)
    for topology in ("chain", "skip")
    for dtype in ("float32", "float64")
    for threads in (1, 2)
]


def main() -> int:
    """Compare, print, write; 1 if an answer was wrong."""
    rows: list[Row] = []
    for instance in INSTANCES:
        latest = compare(instance, implementations(), rounds=7)
        print(format_rows(latest), flush=True)
        rows += latest
    card = machine_card(dt.datetime.now(tz=dt.UTC).date())
    write_results(RESULTS, rows, card)
    print("\n".join(f"{key}: {value}" for key, value in card.items()))
    return int(any(row.note.startswith("wrong") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
