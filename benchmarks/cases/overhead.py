"""What a call costs that has nothing to compute: one sequence of two frames, two states.

The log-likelihood as it is, with its gradient recorded, and with the gradient computed; the best path and
the posteriors.
"""

import datetime as dt
import sys
from contextlib import ExitStack

import torch
from _suite import RESULTS

import hmm_core
from hmm_bench import (
    Computation,
    CoreImplementation,
    Implementation,
    Instance,
    LocalComputation,
    Peer,
    Workload,
    compare,
    format_rows,
    machine_card,
    write_results,
)


class Recorded(CoreImplementation):
    """The log-likelihood of leaves that require gradients; the gradient itself is not computed."""

    name = "hmm-core, gradient recorded"

    def prepare(self, instance: Instance, workload: Workload) -> Computation:
        """Bind the operation."""
        del instance
        emission = workload["log_emission"].clone().requires_grad_()
        matrix = workload["log_transition"].clone().requires_grad_()
        return LocalComputation(
            lambda: (
                hmm_core.log_likelihood(
                    workload["log_initial"], matrix, emission, log_final=workload["log_final"]
                ),
            )
        )


def tiny(op: str) -> Instance:
    """Two frames, two states."""
    return Instance(op, batch=1, frames=2, states=2)


COMPARISONS: list[tuple[str, list[Implementation], tuple[str, ...]]] = [
    ("log_likelihood", [CoreImplementation(), Recorded()], ("dynamax", "hmmlearn")),
    ("gradient", [CoreImplementation()], ("dynamax",)),
    ("viterbi", [CoreImplementation()], ("dynamax", "hmmlearn", "librosa")),
    ("posterior", [CoreImplementation()], ("dynamax", "hmmlearn")),
]


def main() -> int:
    """Compare, print, write; 1 if an answer of hmm-core was wrong."""
    rows = []
    peers: dict[str, Peer] = {}
    with ExitStack() as stack:
        for op, ours, names in COMPARISONS:
            for name in names:
                if name not in peers:
                    peers[name] = stack.enter_context(Peer(name))
            latest = compare(tiny(op), [*ours, *(peers[name] for name in names)], rounds=21)
            print(format_rows(latest), flush=True)
            rows += latest
    if "--quick" not in sys.argv:
        write_results(RESULTS / "overhead.csv", rows, machine_card(dt.datetime.now(tz=dt.UTC).date()))
    return int(
        any(row.note.startswith("wrong") and row.implementation.startswith("hmm-core") for row in rows)
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
