"""EM on 100 hours of features that never are in memory together: what the process holds, hour after hour.

A stream of 36 million frames (100 a second) of 39 features, drawn batch by batch from a left-to-right model
of ten states and thrown away again; ``fit_batches`` goes through it once for each update, and once more for
the likelihood of the last one. The first table says what the process held at most (VmHWM) from one mark of
the first pass to the next, the second what one E-step takes beyond its arguments, for models and batches of
several sizes: frames x states, whatever components and features there are. Linux only; no times, because
memory does not depend on what else a machine does, and times do.
"""

import argparse
import csv
import ctypes
import datetime as dt
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from _memory import forget_peak, memory
from torch import Tensor

from hmm_bench import machine_card
from hmm_models import GaussianHMM

RESULTS = Path(__file__).parents[1] / "results" / "out_of_core.csv"
FRAMES_PER_HOUR = 360_000
SEQUENCES, FRAMES, STATES, FEATURES = 30, 1000, 10, 39
MARKS = (1, 2, 5, 10, 20, 50, 100)
COLUMNS = ["measured", "hours", "frames", "states", "components", "features", "held_MB", "grown_MB"]


class Stream:
    """Batches of features, drawn anew each pass; the first pass over all of them says what it costs."""

    def __init__(self, hours: int) -> None:
        self.num_batches = hours * FRAMES_PER_HOUR // (SEQUENCES * FRAMES)
        self.mean = 3.0 * torch.randn(STATES, FEATURES, generator=torch.Generator().manual_seed(0))
        self.rows: list[list[str]] = []
        self.passes = 0

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        self.passes += 1
        generator = torch.Generator().manual_seed(1)
        first = 0.0
        for batch in range(1, self.num_batches + 1):
            cuts = torch.rand(SEQUENCES, STATES, generator=generator).cumsum(1)
            place = (torch.arange(FRAMES) + 0.5) / FRAMES * cuts[:, -1:]
            state = torch.searchsorted(cuts, place)
            yield {"x": torch.randn(*state.shape, FEATURES, generator=generator) + self.mean[state]}
            frames = batch * SEQUENCES * FRAMES
            # The first pass only starts the model, from one batch.
            if self.passes == 2 and frames % FRAMES_PER_HOUR == 0 and frames // FRAMES_PER_HOUR in MARKS:
                held = memory("VmHWM")
                first = first or held
                sizes = [str(frames // FRAMES_PER_HOUR), str(frames), str(STATES), "1", str(FEATURES)]
                self.rows.append(["fit_batches", *sizes, f"{held:.0f}", f"{held - first:.0f}"])
                print(*self.rows[-1], flush=True)
                forget_peak()


def e_step(frames: int, states: int, components: int, features: int) -> list[str]:
    """Measure what one E-step takes beyond its arguments."""
    model = GaussianHMM(states, features, components)
    x = torch.randn(4, frames // 4, features)
    model.accumulate(x[:, :100])
    ctypes.CDLL(None).malloc_trim(0)  # what is free already would hide what is taken
    forget_peak()
    before = memory("VmRSS")
    model.accumulate(x)
    taken = memory("VmHWM") - before
    sizes = ["", *map(str, (frames, states, components, features))]
    return ["E-step", *sizes, f"{before:.0f}", f"{taken:.0f}"]


def main() -> int:
    """Fit, measure, print, write; 1 if memory grows with the data."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two hours, and nothing written")
    parser.add_argument("--hours", type=int, default=100)
    options = parser.parse_args()
    torch.set_num_threads(1)
    hours = 2 if options.quick else options.hours
    print(*COLUMNS)
    stream = Stream(hours)
    model = GaussianHMM(STATES, FEATURES, topology="left_to_right")
    result = model.fit_batches(stream, max_iterations=1, tolerance=0.0)
    total = stream.num_batches * SEQUENCES * FRAMES
    print(
        f"{stream.passes - 1} passes; nats per frame:", *(f"{v / total:.4f}" for v in result.log_likelihood)
    )
    sizes = [(400_000, 10, 1, 39)]
    if not options.quick:
        sizes += [(400_000, 10, 4, 39), (400_000, 10, 16, 39), (400_000, 10, 1, 80), (400_000, 10, 4, 80)]
        sizes += [(800_000, 10, 1, 39), (400_000, 20, 1, 39), (800_000, 20, 1, 39)]
    rows = list(stream.rows)
    for size in sizes:
        rows.append(e_step(*size))
        print(*rows[-1], flush=True)
    if hours == max(MARKS):
        card = machine_card(dt.datetime.now(tz=dt.UTC).date())
        with RESULTS.open("w", encoding="utf-8", newline="") as file:
            file.writelines(f"# {key}: {value}\n" for key, value in card.items())
            csv.writer(file).writerows([COLUMNS, *rows])
    # A thousandth of what the features would take, in float32.
    allowed = max(1e-3 * 4 * FEATURES * total / 2**20, 8.0)
    return int(any(float(row[-1]) > allowed for row in stream.rows))


if __name__ == "__main__":
    sys.exit(main())
