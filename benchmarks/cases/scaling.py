"""How time grows with the frames T, the sequences B, the states K and the arcs R into each.

Writes a curve for each operation and letter, a plot of all of them, and the exponent that the curve's second
half has: 1 is linear, 2 is quadratic. One thread, float32.
"""

import argparse
import csv
import datetime as dt
import math
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from _suite import RESULTS

import hmm_core
from hmm_bench import LocalComputation, machine_card, measure_all
from hmm_core import Sparse

Sizes = dict[str, int]
Run = Callable[[], object]

# What is held still while one letter grows.
DENSE = {"T": 1000, "B": 8, "K": 32}
SPARSE = {"T": 500, "B": 8, "K": 512, "R": 4}
DENSE_CURVES = {
    "T": (125, 250, 500, 1000, 2000, 4000, 8000),
    "B": (1, 2, 4, 8, 16, 32, 64),
    "K": (4, 8, 16, 32, 64, 128, 256, 512),
}
SPARSE_CURVES = {
    "T": (125, 250, 500, 1000, 2000, 4000),
    "B": (1, 2, 4, 8, 16, 32),
    "K": (64, 128, 256, 512, 1024, 2048),
    "R": (2, 4, 8, 16, 32),
}
OPERATIONS = ("log_likelihood", "gradient", "posterior", "viterbi")
# So many multiplications at most, B T K R; larger points say nothing new.
LARGEST = 3e8


def random_arcs(K: int, R: int) -> Sparse:
    """R predecessors of each state, no two alike, in no order that a kernel could use."""
    generator = torch.Generator().manual_seed(0)
    predecessors = torch.rand((K, K), generator=generator).topk(min(R, K), dim=1).indices.sort(1).values
    return Sparse(predecessors, torch.rand(predecessors.shape, generator=generator).log())


def bind(op: str, sizes: Sizes) -> Run:
    """Bind an operation to random tensors."""
    generator = torch.Generator().manual_seed(0)
    K = sizes["K"]
    emission = (3 * torch.randn((sizes["B"], sizes["T"], K), generator=generator)).log_softmax(2)
    initial = torch.zeros(K).log_softmax(0)
    transition: torch.Tensor | Sparse = torch.randn((K, K), generator=generator).log_softmax(1)
    if "R" in sizes:
        transition = random_arcs(K, sizes["R"])
    if op != "gradient":
        function = getattr(hmm_core, op)
        return lambda: function(initial, transition, emission)
    emission.requires_grad_()

    def gradient() -> object:
        """Forward and backward."""
        return torch.autograd.grad(hmm_core.log_likelihood(initial, transition, emission).sum(), emission)

    return gradient


def slope(points: list[tuple[int, float]]) -> float:
    """Least-squares slope of the logarithms over the second half of the points."""
    half = points[len(points) // 2 - 1 :]
    x = torch.tensor([math.log(size) for size, _ in half], dtype=torch.float64)
    y = torch.tensor([math.log(seconds) for _, seconds in half], dtype=torch.float64)
    x = x - x.mean()
    return float((x * y).sum() / x.square().sum())


def curve(
    op: str, fixed: Sizes, letter: str, values: tuple[int, ...], limit: float
) -> list[tuple[int, float]]:
    """Measure seconds at each size that is small enough."""
    runs = {}
    for value in values:
        sizes = fixed | {letter: value}
        if sizes["B"] * sizes["T"] * sizes["K"] * sizes.get("R", sizes["K"]) <= limit:
            run = bind(op, sizes)
            runs[str(value)] = LocalComputation(lambda run=run: (run(), ())[1])  # type: ignore[misc]  # a default
    timings = measure_all(runs, rounds=5)
    return [(int(value), timing.minimum) for value, timing in timings.items()]


def plot(curves: list[tuple[str, str, str, list[tuple[int, float]]]], path: Path) -> None:
    """Draw a panel for each structure and letter."""
    import matplotlib as mpl  # noqa: PLC0415  (only where something is drawn)

    mpl.use("svg")
    # The same curves give the same file, and text stays text.
    mpl.rcParams |= {"svg.hashsalt": "hmm", "svg.fonttype": "none"}
    import matplotlib.pyplot as plt  # noqa: PLC0415

    panels = list(dict.fromkeys((structure, letter) for _, structure, letter, _ in curves))
    figure, axes = plt.subplots(2, 4, figsize=(14, 6.4), layout="constrained")
    for axis, (structure, letter) in zip(axes.flat, panels, strict=False):
        for op, *key, points in curves:
            if key == [structure, letter]:
                sizes, seconds = zip(*points, strict=True)
                axis.loglog(
                    sizes, [1e3 * value for value in seconds], "o-", ms=3, label=f"{op}  {slope(points):.2f}"
                )
        axis.set(title=structure, xlabel=letter, ylabel="ms")
        axis.legend(title="operation, exponent", fontsize=7, title_fontsize=7)
    for axis in axes.flat[len(panels) :]:
        axis.set_axis_off()
    figure.savefig(path, metadata={"Date": None})


def main() -> int:
    """Measure, print, draw, write."""
    parser = argparse.ArgumentParser(description="Run the case scaling.")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything works")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    curves = []
    rows = []
    for structure, fixed, curves_of in (("dense", DENSE, DENSE_CURVES), ("sparse", SPARSE, SPARSE_CURVES)):
        for letter, values in curves_of.items():
            for op in OPERATIONS:
                points = curve(op, fixed, letter, values, LARGEST / 10 if quick else LARGEST)
                if len(points) < 3:
                    continue
                exponent = slope(points)
                held = " ".join(f"{name}={size}" for name, size in fixed.items() if name != letter)
                print(f"{structure:<7} {op:<15} {letter}  exponent {exponent:.2f}  ({held})", flush=True)
                curves.append((op, structure, letter, points))
                rows += [
                    [structure, op, letter, held, size, f"{1e3 * seconds:.4g}", f"{exponent:.2f}"]
                    for size, seconds in points
                ]
    if quick:
        return 0
    card = machine_card(dt.datetime.now(tz=dt.UTC).date())
    with (RESULTS / "scaling.csv").open("w", encoding="utf-8", newline="") as file:
        file.writelines(f"# {key}: {value}\n" for key, value in card.items())
        csv.writer(file).writerows(
            [["structure", "op", "letter", "held", "size", "min_ms", "exponent"], *rows]
        )
    plot(curves, RESULTS / "scaling.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
