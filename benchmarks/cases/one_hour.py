"""One hour of audio against its whole transcript: 360,000 frames, 100,000 states, in linear memory.

A chain of 25,000 phones of three states, each followed by a silence that may be left out: self loops, arcs to
the next state, and arcs over the silence. The states read 150 densities through ``emission_index``; the
emissions favour the density of a state that moves through the chain unevenly. Prints the time and the memory
that decoding takes beyond its arguments, exactly and with a beam, and how the two paths compare.
"""

import argparse
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import torch
from _memory import forget_peak, memory

from hmm_core import Sparse, beam_viterbi, viterbi

_Path = TypeVar("_Path")


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


def emissions(frames: int, index: torch.Tensor, densities: int, generator: torch.Generator) -> torch.Tensor:
    """Log-probabilities (1, T, P): noise, and three more for the density of the state that is spoken."""
    end = torch.rand(len(index), generator=generator).cumsum(0)
    spoken = torch.searchsorted(end / end[-1], (torch.arange(frames) + 0.5) / frames)
    score = torch.randn(frames, densities, generator=generator)
    score[torch.arange(frames), index[spoken]] += 3
    return score.log_softmax(1)[None]


def report(name: str, decode: Callable[[], _Path]) -> _Path:
    """Decode once, and print what that took."""
    forget_peak()  # that of drawing the emissions
    before = memory("VmRSS")
    began = time.perf_counter()
    path = decode()
    seconds = time.perf_counter() - began
    print(f"{name}: {seconds:.2f} s, {memory('VmHWM') - before:.0f} MB beyond the arguments")
    return path


def main() -> int:
    """Decode exactly and with a beam, and print; 1 if a path is not one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=360_000)
    parser.add_argument("--phones", type=int, default=25_000)
    parser.add_argument("--densities", type=int, default=150)
    parser.add_argument("--beam", type=float, default=200.0)
    parser.add_argument("--memory", choices=("auto", "full", "linear"), default="linear")
    parser.add_argument("--quick", action="store_true", help="a minute instead of an hour")
    options = parser.parse_args()
    if options.quick:
        options.frames, options.phones = options.frames // 60, options.phones // 60
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    graph, index = transcript_graph(options.phones, options.densities, generator)
    log_emission = emissions(options.frames, index, options.densities, generator)
    start = torch.full((graph.num_states,), -torch.inf)
    end = start.clone()
    start[0] = end[-1] = 0.0
    model = (start, graph, log_emission)
    rest = {"log_final": end, "emission_index": index, "backend": "cpu", "memory": options.memory}
    one = Sparse(torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, 1))
    viterbi(torch.zeros(1), one, torch.zeros(1, 1, 1))
    print(f"{options.frames} frames, {graph.num_states} states, memory={options.memory!r}")
    exact = report("exact", lambda: viterbi(*model, **rest))
    near = report(f"beam {options.beam:g}", lambda: beam_viterbi(*model, beam=options.beam, **rest))
    print(f"log_score {float(exact.log_score[0]):.3f}, with the beam {float(near.log_score[0]):.3f}")
    same = float((exact.states == near.states).double().mean())
    print(f"depth {float(near.depth[0]):.1f}, exact {bool(near.exact[0])}, {same:.2%} of the states the same")
    for path in (exact, near):
        steps = path.states[0].diff()
        if steps.min() < 0 or steps.max() > 2 or path.states[0, -1] != graph.num_states - 1:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
