"""What each operation of a benchmark computes, and when an answer is right."""

from hmm_bench.problems._ctc import CtcAlignment, CtcDecode, CtcLoss
from hmm_bench.problems._em import Em
from hmm_bench.problems._hmm import Filter, Gradient, LogLikelihood, Posterior, Viterbi
from hmm_bench.problems._problem import Answer as Answer
from hmm_bench.problems._problem import Backend as Backend
from hmm_bench.problems._problem import Problem as Problem
from hmm_bench.problems._problem import UnavailableError as UnavailableError
from hmm_bench.problems._semi_markov import SemiMarkovLogLikelihood, SemiMarkovViterbi
from hmm_bench.problems._warping import Dtw, SoftDtw

PROBLEMS: dict[str, Problem] = {
    "log_likelihood": LogLikelihood(),
    "gradient": Gradient(),
    "posterior": Posterior(),
    "viterbi": Viterbi(),
    "filter": Filter(),
    "em": Em(),
    "semi_markov_log_likelihood": SemiMarkovLogLikelihood(),
    "semi_markov_viterbi": SemiMarkovViterbi(),
    "ctc_alignment": CtcAlignment(),
    "ctc_loss": CtcLoss(),
    "ctc_decode": CtcDecode(),
    "dtw": Dtw(),
    "soft_dtw": SoftDtw(),
}
"""By the name of the operation."""
