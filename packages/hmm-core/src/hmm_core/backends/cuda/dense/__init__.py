"""Kernels for dense transitions, each with the signature of its operation."""

from hmm_core.backends.cuda.dense._entropy import entropy
from hmm_core.backends.cuda.dense._kbest import kbest
from hmm_core.backends.cuda.dense._operations import (
    backward,
    expected_transitions,
    forward,
    log_likelihood,
    log_likelihood_backward,
    posterior,
)
from hmm_core.backends.cuda.dense._sample import sample
from hmm_core.backends.cuda.dense._viterbi import viterbi

__all__ = [
    "backward",
    "entropy",
    "expected_transitions",
    "forward",
    "kbest",
    "log_likelihood",
    "log_likelihood_backward",
    "posterior",
    "sample",
    "viterbi",
]
