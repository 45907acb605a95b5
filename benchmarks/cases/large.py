"""One sequence and a model so large that threads share its states: two threads against one.

Dense models, and a chain in which a path may begin and end anywhere, so that all states are alive in every
frame: with emissions of their own, or reading one of fifty densities. What two threads compute is compared
with what one does before anything is timed: it must be the same bits.
"""

import argparse
import csv
import datetime as dt
import sys
from collections.abc import Callable

import torch
from _suite import RESULTS
from torch import Tensor

import hmm_core
from hmm_bench import LocalComputation, machine_card, measure_all
from hmm_core import Sparse

OPERATIONS = ("log_likelihood", "gradient", "posterior", "viterbi")
# Structure, frames, states, densities (0: as many as states).
MODELS = (
    ("dense", 1000, 500, 0),
    ("dense", 500, 1000, 0),
    ("dense", 100, 2000, 0),
    ("chain", 2000, 20_000, 0),
    ("chain", 2000, 20_000, 50),
    ("chain", 500, 100_000, 50),
)
Run = Callable[[], tuple[Tensor, ...]]


def bind(op: str, structure: str, frames: int, states: int, densities: int) -> Run:
    """Bind an operation to random tensors."""
    generator = torch.Generator().manual_seed(0)
    emission = 3 * torch.randn((1, frames, densities or states), generator=generator)
    index = torch.randint(0, densities, (states,), generator=generator) if densities else None
    initial = torch.zeros(states)
    transition: Tensor | Sparse
    if structure == "dense":
        transition = torch.randn((states, states), generator=generator).log_softmax(1)
    else:
        transition = hmm_core.left_to_right(states)
    if op != "gradient":
        function = getattr(hmm_core, op)

        def run() -> tuple[Tensor, ...]:
            """Call the operation."""
            result = function(initial, transition, emission, emission_index=index)
            return result if isinstance(result, tuple) else (result,)

        return run
    emission.requires_grad_()

    def gradient() -> tuple[Tensor, ...]:
        """Forward and backward."""
        total = hmm_core.log_likelihood(initial, transition, emission, emission_index=index)
        return torch.autograd.grad(total.sum(), emission)

    return gradient


def with_threads(run: Run, threads: int) -> Run:
    """Run with so many threads."""

    def threaded() -> tuple[Tensor, ...]:
        """Set them, and run."""
        torch.set_num_threads(threads)
        return run()

    return threaded


def main() -> int:
    """Compare, measure, print, write."""
    parser = argparse.ArgumentParser(description="Run the case large.")
    parser.add_argument("--quick", action="store_true", help="few frames, to see that everything works")
    quick = parser.parse_args().quick
    rows = []
    for structure, frames, states, densities in MODELS:
        if quick:
            frames = 20  # noqa: PLW2901  (the same model)
        for op in OPERATIONS:
            run = bind(op, structure, frames, states, densities)
            one, two = with_threads(run, 1), with_threads(run, 2)
            if not all(torch.equal(a, b) for a, b in zip(one(), two(), strict=True)):
                print(f"WRONG: {op} of {structure} K={states} with two threads", file=sys.stderr)
                return 1
            computations = {
                str(threads): LocalComputation(lambda run=run: (run(), ())[1])  # type: ignore[misc]  # a default
                for threads, run in ((1, one), (2, two))
            }
            timings = measure_all(computations, rounds=5)
            ms = [1e3 * timings[threads].median for threads in ("1", "2")]
            name = f"{structure} T={frames} K={states}" + (f" P={densities}" if densities else "")
            print(f"{name:<28} {op:<15} {ms[0]:9.2f} ms {ms[1]:9.2f} ms  {ms[0] / ms[1]:.2f}x", flush=True)
            rows.append([name, op, f"{ms[0]:.4g}", f"{ms[1]:.4g}", f"{ms[0] / ms[1]:.2f}"])
    if quick:
        print("a quick run: no results written")
        return 0
    card = machine_card(dt.datetime.now(tz=dt.UTC).date())
    with (RESULTS / "large.csv").open("w", encoding="utf-8", newline="") as file:
        file.writelines(f"# {key}: {value}\n" for key, value in card.items())
        csv.writer(file).writerows([["model", "op", "one_thread_ms", "two_threads_ms", "gain"], *rows])
    return 0


if __name__ == "__main__":
    sys.exit(main())
