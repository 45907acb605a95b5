# /// script
# requires-python = ">=3.12,<3.13"
# dependencies = ["dynamax==1.0.3"]
# ///
"""dynamax: scaled recursions, vectorised over the batch and compiled by XLA for each shape.

XLA takes no number of threads, so the process keeps to that many cores. dynamax takes the initial and the
transition probabilities as such; the gradient is to their logarithms, as everywhere.
"""

import os
from collections.abc import Callable
from importlib import metadata
from typing import Any

if hasattr(os, "sched_setaffinity"):  # before XLA counts the cores
    _cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, _cores[: int(os.environ.get("HMM_BENCH_THREADS", len(_cores)))])

import jax
import jax.numpy as jnp
import numpy as np
from dynamax.hidden_markov_model import (
    DiagonalGaussianHMM,
    DiagonalGaussianMixtureHMM,
    hmm_filter,
    hmm_posterior_mode,
    hmm_smoother,
)
from numpy.typing import NDArray

Arrays = dict[str, NDArray[Any]]
Converted = tuple[Callable[[], list[Any]], Callable[[list[Any]], tuple[Any]]]
Run = Callable[[], tuple[Any, ...]]


def version() -> str:
    """Versions of dynamax and jax."""
    return f"{metadata.version('dynamax')} (jax {jax.__version__})"


def _model(arrays: Arrays) -> tuple[Any, Any, Any]:
    """Return initial and transition probabilities, and log emissions."""
    if "log_transition" not in arrays:
        raise NotImplementedError("knows dense transitions only; hmmlearn stands for such here")
    jax.config.update("jax_enable_x64", arrays["log_emission"].dtype == np.float64)
    initial, matrix = (jnp.exp(jnp.asarray(arrays[f"log_{name}"])) for name in ("initial", "transition"))
    return initial, matrix, jnp.asarray(arrays["log_emission"])


def _compiled(function: Callable[..., Any], *arguments: Any) -> Run:  # noqa: ANN401  (arrays of jax)
    """Compile a function at its first call, and wait for its results."""
    compiled = jax.jit(function)

    def run() -> tuple[Any, ...]:
        """Compute."""
        answer: tuple[Any, ...] = jax.block_until_ready(compiled(*arguments))
        return answer

    return run


def log_likelihood(arrays: Arrays, _threads: int) -> Run:
    """``hmm_filter`` for its log-likelihood."""
    initial, matrix, emission = _model(arrays)
    return _compiled(
        lambda p, A, y: (jax.vmap(lambda one: hmm_filter(p, A, one).marginal_loglik)(y),),
        initial,
        matrix,
        emission,
    )


def posterior(arrays: Arrays, _threads: int) -> Run:
    """``hmm_smoother``."""
    initial, matrix, emission = _model(arrays)
    return _compiled(
        lambda p, A, y: (jax.vmap(lambda one: hmm_smoother(p, A, one).smoothed_probs)(y),),
        initial,
        matrix,
        emission,
    )


def viterbi(arrays: Arrays, _threads: int) -> Run:
    """``hmm_posterior_mode``."""
    initial, matrix, emission = _model(arrays)
    return _compiled(
        lambda p, A, y: (jax.vmap(lambda one: hmm_posterior_mode(p, A, one))(y),), initial, matrix, emission
    )


def gradient(arrays: Arrays, _threads: int) -> Run:
    """``jax.grad`` of ``hmm_filter``."""
    initial, _, emission = _model(arrays)

    def total(emission: Any, log_matrix: Any) -> Any:  # noqa: ANN401  (arrays of jax)
        """Sum the log-likelihoods."""
        matrix = jnp.exp(log_matrix)
        return jax.vmap(lambda one: hmm_filter(initial, matrix, one).marginal_loglik)(emission).sum()

    return _compiled(jax.grad(total, argnums=(0, 1)), emission, jnp.asarray(arrays["log_transition"]))


def filter(arrays: Arrays, _threads: int) -> Converted:  # noqa: A001  (the operation's name)
    """``hmm_filter`` on one frame at a time; dynamax has no such interface, the glue is ours."""
    initial, matrix, emission = _model(arrays)
    frames = list(np.asarray(emission[0])[:, None])

    def step(predicted: Any, frame: Any) -> tuple[Any, Any]:  # noqa: ANN401  (arrays of jax)
        """Take in one frame."""
        result = hmm_filter(predicted, matrix, frame)
        return result.filtered_probs[0], result.filtered_probs[0] @ matrix

    compiled = jax.jit(step)

    def run() -> list[Any]:
        """Take in all frames."""
        predicted, answers = initial, []
        for frame in frames:
            filtered, predicted = compiled(predicted, frame)
            answers.append(filtered)
        return answers

    return run, lambda answers: (np.log(np.stack(answers))[None],)


def em(arrays: Arrays, _threads: int) -> tuple[Run, Callable[[Any], tuple[Any, ...]]]:
    """``e_step`` for all sequences at once and ``m_step``, compiled together, priors nearly flat."""
    jax.config.update("jax_enable_x64", arrays["x"].dtype == np.float64)
    x = jnp.asarray(arrays["x"])
    K, M, D = arrays["mean"].shape
    initial = {"initial_probs": arrays["initial"], "transition_matrix": arrays["transition"]}
    ones = {"initial_probs_concentration": 1.0, "transition_matrix_concentration": 1.0}
    if M > 1:
        model: Any = DiagonalGaussianMixtureHMM(
            K,
            M,
            D,
            **ones,
            emission_weights_concentration=1.0,
            emission_prior_mean_concentration=1e-6,
            emission_prior_shape=1e-6,
            emission_prior_scale=1e-6,
        )
        emission = {"emission_weights": arrays["weight"], "emission_means": arrays["mean"]}
        emission["emission_scale_diags"] = np.sqrt(arrays["variance"])
    else:
        model = DiagonalGaussianHMM(
            K,
            D,
            **ones,
            emission_prior_mean_concentration=1e-6,
            emission_prior_concentration=1e-6,
            emission_prior_scale=1e-6,
        )
        emission = {"emission_means": arrays["mean"][:, 0]}
        emission["emission_scale_diags"] = np.sqrt(arrays["variance"][:, 0])
    values = {name: jnp.asarray(value) for name, value in (initial | emission).items()}
    start, properties = model.initialize(jax.random.PRNGKey(0), method="prior", **values)
    state = model.initialize_m_step_state(start, properties)

    def step(parameters: Any, frames: Any) -> Any:  # noqa: ANN401  (arrays of jax)
        """Take one step."""
        statistics, _ = jax.vmap(lambda one: model.e_step(parameters, one))(frames)
        return model.m_step(parameters, properties, statistics, state)[0]

    def convert(answer: Any) -> tuple[Any, ...]:  # noqa: ANN401  (parameters)
        """Take the parameters out."""
        emissions = answer.emissions
        weight = emissions.weights if M > 1 else np.ones((K, 1))
        mean = np.asarray(emissions.means).reshape(K, M, D)
        deviation = np.asarray(emissions.scale_diags).reshape(K, M, D)
        return answer.initial.probs, answer.transitions.transition_matrix, weight, mean, deviation**2

    return _compiled(step, start, x), convert
