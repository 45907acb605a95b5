# /// script
# requires-python = ">=3.11"
# dependencies = ["hmmlearn==0.3.3", "numpy>=2.1"]
# ///
"""The compiled recursions of hmmlearn, which are dense and float64, called for each sequence; its EM.

hmmlearn's public methods compute emissions as well, so the kernels behind them are called. They release the
interpreter lock; with more than one thread the sequences go through a thread pool, which hmmlearn itself does
not have. Conversion to float64 and of log to linear parameters is not measured.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from typing import Any

import numpy as np
from hmmlearn import _hmmc, hmm
from numpy.typing import NDArray

Array = NDArray[Any]
Arrays = dict[str, Array]
Kernel = Callable[[Array, Array, Array], Array]


def version() -> str:
    """Version of hmmlearn."""
    return metadata.version("hmmlearn")


def dense(arrays: Arrays) -> Array:
    """Transition matrix (K, K) of log weights, also of a model given by predecessors."""
    if "log_transition" in arrays:
        return arrays["log_transition"]
    predecessors, log_weight = arrays["predecessors"], arrays["log_weight"]
    matrix = np.full((len(predecessors),) * 2, -np.inf)
    state, slot = np.nonzero(predecessors >= 0)
    matrix[predecessors[state, slot], state] = log_weight[state, slot]
    return matrix


def _batch(kernel: Kernel, arrays: Arrays, threads: int) -> Callable[[], tuple[Array, ...]]:
    """Bind a kernel to each sequence of the batch."""
    initial = np.exp(arrays["log_initial"].astype(np.float64))
    matrix = np.exp(dense(arrays).astype(np.float64))
    emission = arrays["log_emission"].astype(np.float64)
    # hmmlearn has no final weights; on the last frame they are the same thing.
    emission[:, -1] += arrays["log_final"]

    def one(sequence: Array) -> Array:
        """Compute one sequence."""
        return kernel(initial, matrix, sequence)

    if threads == 1:
        return lambda: (np.stack([one(sequence) for sequence in emission]),)
    pool = ThreadPoolExecutor(threads)
    return lambda: (np.stack(list(pool.map(one, emission))),)


def _scaled(log_emission: Array) -> tuple[Array, Array]:
    """Emissions relative to the best of their frame, and the logarithms of those."""
    peak = log_emission.max(axis=1, keepdims=True)
    return np.exp(log_emission - peak), peak


def _log_likelihood(initial: Array, matrix: Array, log_emission: Array) -> Array:
    """Log-likelihood ()."""
    emission, peak = _scaled(log_emission)
    return np.asarray(_hmmc.forward_scaling(initial, matrix, emission)[0] + peak.sum())


def _posterior(initial: Array, matrix: Array, log_emission: Array) -> Array:
    """State probabilities (T, K)."""
    emission, _ = _scaled(log_emission)
    _, forward, scaling = _hmmc.forward_scaling(initial, matrix, emission)
    both: Array = forward * _hmmc.backward_scaling(initial, matrix, emission, scaling)
    return both / both.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]  # an array


def _viterbi(initial: Array, matrix: Array, log_emission: Array) -> Array:
    """States (T,)."""
    states: Array = _hmmc.viterbi(initial, matrix, log_emission)[1]
    return states


def log_likelihood(arrays: Arrays, threads: int) -> Callable[[], tuple[Array, ...]]:
    """Scaled forward recursion."""
    return _batch(_log_likelihood, arrays, threads)


def posterior(arrays: Arrays, threads: int) -> Callable[[], tuple[Array, ...]]:
    """Scaled forward and backward recursions, multiplied and normalised."""
    return _batch(_posterior, arrays, threads)


def viterbi(arrays: Arrays, threads: int) -> Callable[[], tuple[Array, ...]]:
    """Viterbi recursion in log space."""
    return _batch(_viterbi, arrays, threads)


def em(arrays: Arrays, _threads: int) -> tuple[Callable[[], Any], Callable[[Any], tuple[Array, ...]]]:
    """``fit`` of ``GaussianHMM`` or ``GMMHMM`` with one iteration, priors flat.

    The variances of its mixtures are those around the means before the step; the difference is taken off
    where it is not measured.
    """
    x = arrays["x"].astype(np.float64)
    B, T, D = x.shape
    K, M, _ = arrays["mean"].shape
    start = {name: arrays[name].astype(np.float64) for name in arrays}
    frames, lengths = x.reshape(-1, D), [T] * B
    options: dict[str, Any] = {"covariance_type": "diag", "n_iter": 1, "init_params": ""}
    options["implementation"] = "scaling"
    part: Any = slice(None) if M > 1 else 0
    if M > 1:
        model = hmm.GMMHMM(K, M, params="stmcw", **options)
    else:
        priors = {"means_weight": 0.0, "covars_prior": 0.0, "covars_weight": 0.0, "min_covar": 0.0}
        model = hmm.GaussianHMM(K, params="stmc", **options, **priors)
    model.n_features = D

    def run() -> Any:  # noqa: ANN401  (a model)
        """Reset, and take one step."""
        model.startprob_, model.transmat_ = start["initial"], start["transition"]
        model.means_, model.covars_ = start["mean"][:, part], start["variance"][:, part]
        model.weights_ = start["weight"]
        return model.fit(frames, lengths)

    def convert(model: Any) -> tuple[Array, ...]:  # noqa: ANN401  (a model)
        """Take the parameters out."""
        mean = model.means_.reshape(K, M, D)
        if M > 1:
            variance = model.covars_ - (mean - start["mean"]) ** 2
        else:
            variance = np.diagonal(model.covars_, axis1=1, axis2=2).reshape(K, M, D)
        return model.startprob_, model.transmat_, model.weights_, mean, variance

    return run, convert
