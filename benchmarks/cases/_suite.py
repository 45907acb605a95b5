"""What the cases have in common: a workload with its peers and what is asked of it, and how it is run."""

import argparse
import datetime as dt
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from hmm_bench import (
    Absent,
    CoreImplementation,
    Implementation,
    Instance,
    Peer,
    Row,
    compare,
    format_rows,
    machine_card,
    write_results,
)

RESULTS = Path(__file__).parents[1] / "results"

PYHSMM = Absent(
    "pyhsmm", "0.1.7", "does not build: its setup.py needs the module future, and then an old NumPy"
)
TORCH_STRUCT = Absent(
    "torch_struct", "0.5", "a sequence takes 0.3 GB (paths) to 1.5 GB (posteriors) at K = 50, growing as K**3"
)


@dataclass(frozen=True)
class Case:
    """One row of the summary.

    Parameters
    ----------
    label : str
        What people call it.
    instance : Instance
        What is computed, with one thread; a second run takes two.
    peers : tuple of str
        Names of hmm_bench's peers.
    at_least : float
        How many times faster than the fastest correct peer it ought to be.
    at_most : float
        Microseconds a frame that it may take, where that is what is asked.
    slow : tuple of str
        Peers that have no threads and take seconds: measured with one thread only.
    absent : tuple of Absent
        Peers that cannot be measured, with the reason.
    rounds : int
        At least 5.
    """

    label: str
    instance: Instance
    peers: tuple[str, ...] = ()
    at_least: float = 0.0
    at_most: float = 0.0
    slow: tuple[str, ...] = ()
    absent: tuple[Absent, ...] = ()
    rounds: int = 7


def _small(instance: Instance) -> Instance:
    """Return an instance of the same kind that takes no time."""
    return replace(
        instance,
        batch=min(instance.batch, 2),
        frames=min(instance.frames, 120),
        states=min(instance.states, 50),
        tokens=min(instance.tokens, 30),
        durations=min(instance.durations, 20),
    )


def main(case_file: str, cases: Sequence[Case], arguments: Sequence[str] | None = None) -> int:
    """Compare, print, write; 1 if an answer was wrong."""
    name = Path(case_file).stem
    parser = argparse.ArgumentParser(description=f"Run the case {name}.")
    parser.add_argument("--quick", action="store_true", help="small instances, to see that everything works")
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose label contains this")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N", help="default: 1 2")
    options = parser.parse_args(arguments)
    rows: list[Row] = []
    running: dict[tuple[str, int], Peer] = {}
    with ExitStack() as stack:
        for case in (case for case in cases if options.only in case.label):
            for threads in options.threads:
                everybody: list[Implementation] = [CoreImplementation()]
                for peer in case.peers:
                    if threads > min(options.threads) and peer in case.slow:
                        continue
                    if (peer, threads) not in running:
                        running[peer, threads] = stack.enter_context(Peer(peer))
                    everybody.append(running[peer, threads])
                instance = replace(case.instance, threads=threads)
                latest = compare(
                    _small(instance) if options.quick else instance,
                    [*everybody, *case.absent],
                    rounds=5 if options.quick else case.rounds,
                )
                print(case.label, format_rows(latest), sep="\n", flush=True)
                rows += latest
    if options.quick or options.only or options.threads != [1, 2]:
        print("a part, or a quick run: no results written")
    else:
        write_results(RESULTS / f"{name}.csv", rows, machine_card(dt.datetime.now(tz=dt.UTC).date()))
    wrong = [row for row in rows if row.note.startswith("wrong") and row.implementation == "hmm-core"]
    for row in wrong:
        print("WRONG:", row.instance, row.note, file=sys.stderr)
    return int(bool(wrong))
