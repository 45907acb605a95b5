"""Explicit durations (W7): K = 10 states of up to 20 or 100 frames, 32 sequences of 1000 frames.

The first segment begins with the sequence and the last ends with it. chadhmm and flash-semicrf sum over
segmentations as torch programs; himap searches the best one in Cython.
"""

import sys

from _suite import PYHSMM, Case, main

from hmm_bench import Instance


def segments(op: str, durations: int) -> Instance:
    """32 sequences of 1000 frames."""
    return Instance(f"semi_markov_{op}", batch=32, frames=1000, states=10, durations=durations)


def case(label: str, op: str, durations: int, *peers: str) -> Case:
    """Every peer takes seconds."""
    return Case(
        f"W7 HSMM {label} L={durations}",
        segments(op, durations),
        peers,
        at_least=20,
        slow=peers,
        absent=(PYHSMM,),
        rounds=5,
    )


CASES = [
    case("forward", "log_likelihood", 20, "chadhmm", "flash_semicrf"),
    case("forward", "log_likelihood", 100, "chadhmm", "flash_semicrf"),
    case("Viterbi", "viterbi", 20, "himap"),
    case("Viterbi", "viterbi", 100, "himap"),
]

if __name__ == "__main__":
    sys.exit(main(__file__, CASES))
