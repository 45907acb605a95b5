"""Log-likelihood and its derivatives on CUDA: the kernels for dense or for sparse transitions."""

from collections.abc import Callable

from torch import Tensor

from hmm_core.backends.cuda._family import kernels


def log_likelihood(
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    """Log-likelihood (B,), and if ``keep`` the forward messages (1, B, T, K)."""
    function: Callable[..., tuple[Tensor, Tensor]] = kernels("log_likelihood", predecessors)
    return function(
        log_initial, predecessors, log_weight, log_emission, lengths, log_final, emission_index, keep
    )


def log_likelihood_backward(
    gradient: Tensor,
    message: Tensor,
    log_initial: Tensor,
    predecessors: Tensor | None,
    log_weight: Tensor,
    log_emission: Tensor,
    lengths: Tensor,
    log_final: Tensor,
    emission_index: Tensor | None,
    count: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Differentiate ``gradient @ log_likelihood`` by log_initial, log_weight, log_emission and log_final.

    By log_weight only if ``count``; its derivative is empty otherwise.
    ``message`` is what log_likelihood kept; where it is empty, it is computed again.
    """
    function: Callable[..., tuple[Tensor, Tensor, Tensor, Tensor]] = kernels(
        "log_likelihood_backward", predecessors
    )
    return function(
        gradient,
        message,
        log_initial,
        predecessors,
        log_weight,
        log_emission,
        lengths,
        log_final,
        emission_index,
        count,
    )
