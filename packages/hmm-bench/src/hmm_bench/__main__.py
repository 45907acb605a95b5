"""``python -m hmm_bench INSTANCE ...``: compare hmm-core with peers on instances given as text."""

import argparse
import datetime as dt
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from hmm_bench._compare import Row, compare
from hmm_bench._implementations import CoreImplementation
from hmm_bench._instance import Instance
from hmm_bench._peer import Peer, peers
from hmm_bench._results import format_rows, machine_card, write_results


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 if an implementation was wrong."""
    parser = argparse.ArgumentParser(prog="python -m hmm_bench", description=__doc__)
    parser.add_argument(
        "instances",
        nargs="+",
        metavar="INSTANCE",
        help='such as "op=viterbi B=32 T=1000 K=100 topology=chain"',
    )
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds, at least 5")
    parser.add_argument("--out", type=Path, help="also write a CSV file")
    parser.add_argument("--peer", action="append", default=[], help=f"compare with {', '.join(peers())}")
    parser.add_argument("--reference", action="store_true", help="also time hmm-core's definitions")
    options = parser.parse_args(arguments)
    try:
        instances = [Instance.parse(text) for text in options.instances]
    except ValueError as error:
        parser.error(str(error))
    rows: list[Row] = []
    ours = [CoreImplementation(), *([CoreImplementation("reference")] if options.reference else [])]
    with ExitStack() as stack:
        others = [stack.enter_context(Peer(name)) for name in options.peer]
        for instance in instances:
            rows += compare(instance, [*ours, *others], rounds=options.rounds)
    sys.stdout.write(format_rows(rows) + "\n")
    if options.out:
        write_results(options.out, rows, machine_card(dt.datetime.now(tz=dt.UTC).date()))
    return int(any(row.note.startswith("wrong") for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
