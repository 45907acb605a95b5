"""Triton kernels for sparse transitions, and the operations' launchers."""

from hmm_core.backends.cuda.sparse._backward import backward
from hmm_core.backends.cuda.sparse._kbest import kbest
from hmm_core.backends.cuda.sparse._sample import sample
from hmm_core.backends.cuda.sparse._sums import (
    entropy,
    expected_transitions,
    forward,
    log_likelihood,
    log_likelihood_backward,
    posterior,
)
from hmm_core.backends.cuda.sparse._viterbi import viterbi

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
