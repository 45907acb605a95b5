"""One iteration of EM, emissions included (W5): 32 sequences of 1000 frames, 10 states, diagonal Gaussians.

Ours is hmm-models, on hmm-core: ``accumulate`` and ``update``. The answers are the parameters after the step.
"""

import sys

from _suite import Case, main

from hmm_bench import Instance

PEERS = ("hmmlearn", "dynamax", "pomegranate")


def step(features: int, mixtures: int) -> Instance:
    """32 sequences of 1000 frames."""
    return Instance("em", batch=32, frames=1000, states=10, features=features, mixtures=mixtures)


# hmmlearn's mixtures hold a number for each frame, component and dimension, and take seconds.
CASES = [
    Case("W5 EM D=39 M=1", step(39, 1), PEERS, at_least=3),
    Case("W5 EM D=39 M=4", step(39, 4), PEERS, at_least=5, slow=PEERS[:1]),
    Case("W5 EM D=80 M=1", step(80, 1), PEERS, at_least=2),
    Case("W5 EM D=80 M=4", step(80, 4), PEERS[1:], at_least=14),
]

if __name__ == "__main__":
    sys.exit(main(__file__, CASES))
