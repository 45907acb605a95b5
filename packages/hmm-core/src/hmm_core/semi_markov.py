"""Hidden semi-Markov models: states with explicit durations, on ragged batches, with gradients."""

from hmm_core._results import SemiMarkovPath as SemiMarkovPath
from hmm_core._results import SemiMarkovPosterior as SemiMarkovPosterior
from hmm_core._results import SemiMarkovSample as SemiMarkovSample
from hmm_core.ops.semi_markov.log_likelihood import log_likelihood as log_likelihood
from hmm_core.ops.semi_markov.posterior import posterior as posterior
from hmm_core.ops.semi_markov.sample import sample as sample
from hmm_core.ops.semi_markov.viterbi import viterbi as viterbi

__all__ = [
    "SemiMarkovPath",
    "SemiMarkovPosterior",
    "SemiMarkovSample",
    "log_likelihood",
    "posterior",
    "sample",
    "viterbi",
]
