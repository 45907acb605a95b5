"""Dense models, 32 sequences of 1000 frames: likelihoods (W1), posteriors (W2), best paths (W3)."""

import sys

from _suite import PYHSMM, TORCH_STRUCT, Case, main

from hmm_bench import Instance


def dense(op: str, states: int) -> Instance:
    """32 sequences of 1000 frames."""
    return Instance(op, batch=32, frames=1000, states=states)


# At K = 200 hmmlearn's sums take thirty times as long; it is left out there to save minutes.
SUMS = ("dynamax", "hmmlearn")
PATHS = ("hmmlearn", "librosa")
CASES = [
    Case("W1 forward K=10", dense("log_likelihood", 10), (*SUMS, "torch_struct"), at_least=3),
    Case("W1 forward K=50", dense("log_likelihood", 50), SUMS, at_least=2.5, absent=(TORCH_STRUCT,)),
    Case("W1 forward K=200", dense("log_likelihood", 200), SUMS[:1], at_least=1.3, absent=(TORCH_STRUCT,)),
    Case("W2 posteriors K=10", dense("posterior", 10), (*SUMS, "torch_struct"), at_least=3),
    Case("W2 posteriors K=50", dense("posterior", 50), SUMS, at_least=5, absent=(TORCH_STRUCT,)),
    Case("W2 posteriors K=200", dense("posterior", 200), SUMS[:1], at_least=2.5, absent=(TORCH_STRUCT,)),
    Case("W3 Viterbi K=10", dense("viterbi", 10), (*PATHS, "torch_struct"), at_least=4, absent=(PYHSMM,)),
    Case("W3 Viterbi K=50", dense("viterbi", 50), PATHS, at_least=12, absent=(PYHSMM, TORCH_STRUCT)),
    Case(
        "W3 Viterbi K=200",
        dense("viterbi", 200),
        PATHS,
        at_least=20,
        slow=PATHS[1:],
        absent=(PYHSMM, TORCH_STRUCT),
        rounds=5,
    ),
]

if __name__ == "__main__":
    sys.exit(main(__file__, CASES))
