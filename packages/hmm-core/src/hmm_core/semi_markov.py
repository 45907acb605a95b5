"""Hidden semi-Markov models: states with explicit durations, on ragged batches, with gradients."""

from hmm_core._results import SemiMarkovPath, SemiMarkovPosterior, SemiMarkovSample
from hmm_core.ops.semi_markov.log_likelihood import log_likelihood
from hmm_core.ops.semi_markov.posterior import posterior
from hmm_core.ops.semi_markov.sample import sample
from hmm_core.ops.semi_markov.viterbi import viterbi

__all__ = [
    "SemiMarkovPath",
    "SemiMarkovPosterior",
    "SemiMarkovSample",
    "log_likelihood",
    "posterior",
    "sample",
    "viterbi",
]
