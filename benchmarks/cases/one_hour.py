"""One hour of audio against its whole transcript: 360,000 frames, 100,000 states, exact, in linear memory.

A chain of 25,000 phones of three states, each followed by a silence that may be left out: self loops, arcs to
the next state, and arcs over the silence. The states read 150 densities through ``emission_index``. Prints
the time and the memory that decoding takes beyond its arguments.
"""

import argparse
import sys
import time
from pathlib import Path

import torch

from hmm_core import Sparse, viterbi


def transcript_graph(phones: int, densities: int, generator: torch.Generator) -> tuple[Sparse, torch.Tensor]:
    """Return the arcs, and the density of each state; the last state of every four is an optional silence."""
    states = 4 * phones
    state = torch.arange(states)
    # Into the first state of a phone also from the last of the phone before, over the silence.
    over = torch.where((state % 4 == 0) & (state >= 4), state - 2, -1)
    before = torch.where(state > 0, state - 1, -1)
    sources = torch.stack((over, before, state), dim=1)
    unused = (sources < 0).sum(1, keepdim=True)
    # Unused slots come last.
    order = (torch.arange(3) + unused) % 3
    predecessors = sources.gather(1, order)
    index = torch.randint(1, densities, (states,), generator=generator)
    index[3::4] = 0
    return Sparse(predecessors, torch.full(predecessors.shape, 0.5).log()), index


def memory(name: str) -> float:
    """Memory that this process holds (VmRSS) or has held at most (VmHWM), in MB. Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def main() -> int:
    """Decode once and print; 1 if the path is not one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=360_000)
    parser.add_argument("--phones", type=int, default=25_000)
    parser.add_argument("--densities", type=int, default=150)
    parser.add_argument("--memory", choices=("auto", "full", "linear"), default="linear")
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    graph, index = transcript_graph(options.phones, options.densities, generator)
    log_emission = torch.randn(1, options.frames, options.densities, generator=generator).log_softmax(2)
    start = torch.full((graph.num_states,), -torch.inf)
    end = start.clone()
    start[0] = end[-1] = 0.0
    viterbi(
        torch.zeros(1), Sparse(torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, 1)), torch.zeros(1, 1, 1)
    )
    # From here on the peak is that of the decoder, not of drawing the emissions.
    Path("/proc/self/clear_refs").write_text("5")
    before = memory("VmRSS")
    began = time.perf_counter()
    path = viterbi(
        start, graph, log_emission, log_final=end, emission_index=index, memory=options.memory, backend="cpu"
    )
    seconds = time.perf_counter() - began
    steps = path.states[0].diff()
    print(f"{options.frames} frames, {graph.num_states} states, memory={options.memory!r}")
    print(f"log_score {float(path.log_score[0]):.3f}")
    print(f"{seconds:.2f} s, {memory('VmHWM') - before:.0f} MB beyond the arguments")
    found = bool(steps.min() >= 0) and bool(steps.max() <= 2) and int(path.states[0, -1]) == len(start) - 1
    return int(not found)


if __name__ == "__main__":
    sys.exit(main())
