"""Dynamic time warping with its path, and soft-DTW with its gradient (W8), 32 pairs of 1000 frames.

The gradient of soft-DTW is that by the costs, 128 MB which every call allocates, or by the first features;
the one peer for the latter does not reach the precision that is asked, so no ratio is.
"""

import sys

from _suite import Case, main

from hmm_bench import Instance


def pairs(op: str, features: int = 0) -> Instance:
    """32 pairs of 1000 frames each."""
    return Instance(op, batch=32, frames=1000, tokens=1000, features=features)


CASES = [
    Case(
        "W8 DTW from costs",
        pairs("dtw"),
        ("librosa", "tslearn", "dtw_python"),
        at_least=10,
        slow=("dtw_python",),
        rounds=5,
    ),
    Case(
        "W8 DTW from 80-dim features",
        pairs("dtw", 80),
        ("tslearn", "dtaidistance", "librosa"),
        at_least=20,
        slow=("tslearn", "dtaidistance", "librosa"),
        rounds=5,
    ),
    Case(
        "W8 soft-DTW and gradient",
        pairs("soft_dtw"),
        ("tslearn", "pysdtw"),
        at_least=15,
        slow=("tslearn", "pysdtw"),
        rounds=5,
    ),
    Case(
        "W8 soft-DTW and gradient from 80-dim features",
        pairs("soft_dtw", 80),
        ("pysdtw",),
        slow=("pysdtw",),
        rounds=5,
    ),
]

if __name__ == "__main__":
    sys.exit(main(__file__, CASES))
