"""One frame after the other (W11): filtering 50 states, from Python, one frame or ten at a time.

A thousand frames are one call of the benchmark, so that its milliseconds are microseconds a frame. No peer
has such an interface for HMMs; dynamax's filter is compiled for one frame, and NumPy's is what people write.
"""

import sys

from _suite import Case, main

from hmm_bench import Instance

CASES = [
    Case(
        "W11 online, a frame at a time",
        Instance("filter", batch=1, frames=1000, states=50),
        ("numpy_by_hand", "dynamax"),
        at_most=7,
    ),
    Case(
        "W11 online, ten frames at a time",
        Instance("filter", batch=1, frames=1000, states=50, chunk=10),
        ("numpy_by_hand",),
        at_most=1.5,
    ),
]

if __name__ == "__main__":
    sys.exit(main(__file__, CASES))
