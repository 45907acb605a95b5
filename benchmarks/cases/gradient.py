"""Gradient of the log-likelihood to emissions and transitions (W6), dense, 32 sequences of 1000 frames."""

import sys

from _suite import TORCH_STRUCT, Case, main

from hmm_bench import Absent, Instance

SSM = Absent("ssm", "0.0.1", "does not build: it needs Cython and does not say so")
CASES = [
    Case(
        f"W6 gradient K={states}",
        Instance("gradient", batch=32, frames=1000, states=states),
        ("dynamax", "torch_struct") if states == 10 else ("dynamax",),
        at_least=ratio,
        absent=(SSM,) if states == 10 else (SSM, TORCH_STRUCT),
    )
    for states, ratio in ((10, 2.5), (50, 4), (200, 2.5))
]

if __name__ == "__main__":
    sys.exit(main(__file__, CASES))
