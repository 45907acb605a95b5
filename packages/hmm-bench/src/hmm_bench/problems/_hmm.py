"""Hidden Markov models, dense or chains."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

import hmm_core
from hmm_bench._instance import Instance
from hmm_bench._workload import Workload
from hmm_bench.problems._problem import Answer, Backend, Problem, absolute_error, relative_error
from hmm_core import Sparse, linear_graph, online, skip


def random_log_emission(instance: Instance, generator: torch.Generator) -> Tensor:
    """Log-softmax (B, T, K) of normal random numbers with a standard deviation of 3."""
    shape = (instance.batch, instance.frames, instance.states)
    return (3 * torch.randn(shape, generator=generator, dtype=torch.float64)).log_softmax(2)


class _Hmm(Problem):
    """A model with its emissions given."""

    def make(self, instance: Instance, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Uniform start and random transitions if dense; else from the first state to the last.

        All paths through a chain have the same weight, as in monotonic alignment search.
        """
        K = instance.states
        log_emission = random_log_emission(instance, generator)
        if instance.topology == "dense":
            return {
                "log_initial": torch.zeros(K, dtype=torch.float64).log_softmax(0),
                "log_transition": torch.randn((K, K), generator=generator, dtype=torch.float64).log_softmax(
                    1
                ),
                "log_emission": log_emission,
                "log_final": torch.zeros(K, dtype=torch.float64),
            }
        graph = linear_graph(torch.arange(K)[None], dtype=torch.float64)
        predecessors, log_weight = graph.log_transition.predecessors[0], graph.log_transition.log_weight[0]
        if instance.topology == "skip":
            bakis = skip(K, 0.5, 0.3, 0.2, dtype=torch.float64)
            predecessors, log_weight = bakis.predecessors, bakis.log_weight
        return {
            "log_initial": graph.log_initial[0],
            "predecessors": predecessors,
            "log_weight": log_weight,
            "log_emission": log_emission,
            "log_final": graph.log_final[0],
        }


class _Bound(NamedTuple):
    """Arguments of an operation."""

    log_initial: Tensor
    log_transition: Tensor | Sparse
    log_emission: Tensor


def _arguments(workload: Workload) -> tuple[_Bound, Tensor]:
    """Return the positional arguments and ``log_final``."""
    bound = _Bound(workload["log_initial"], workload.transition, workload["log_emission"])
    return bound, workload["log_final"]


class LogLikelihood(_Hmm):
    """Log-likelihoods (B,), to 1e-5 relative."""

    tolerance = 1e-5

    def core(self, _: Instance, workload: Workload, backend: Backend) -> Callable[[], Answer]:
        """Compute ``log_likelihood``, gradients not recorded."""
        model, final = _arguments(workload)
        return lambda: (hmm_core.log_likelihood(*model, log_final=final, backend=backend),)

    def error(self, _: Workload, answer: Answer, expected: Answer) -> float:
        """Compare values."""
        return relative_error(answer[0], expected[0])


class Posterior(_Hmm):
    """State probabilities (B, T, K), to 1e-3."""

    tolerance = 1e-3

    def core(self, _: Instance, workload: Workload, backend: Backend) -> Callable[[], Answer]:
        """Compute ``posterior``."""
        model, final = _arguments(workload)
        return lambda: (hmm_core.posterior(*model, log_final=final, backend=backend).state,)

    def error(self, _: Workload, answer: Answer, expected: Answer) -> float:
        """Compare probabilities."""
        return absolute_error(answer[0], expected[0])


class Gradient(_Hmm):
    """Gradients of the summed log-likelihood to ``log_emission`` (B, T, K) and the transition weights.

    Posteriors to 1e-3, and expected counts to 1e-3 of each or of 1.
    """

    tolerance = 1e-3

    def core(self, _: Instance, workload: Workload, backend: Backend) -> Callable[[], Answer]:
        """Compute ``log_likelihood`` and its gradient, from leaves that require it."""
        initial, final = workload["log_initial"], workload["log_final"]
        emission = workload["log_emission"].clone().requires_grad_()
        if isinstance(workload.transition, Sparse):
            weight = workload["log_weight"].clone().requires_grad_()
            transition: Tensor | Sparse = Sparse(workload["predecessors"], weight)
        else:
            transition = weight = workload["log_transition"].clone().requires_grad_()

        def run() -> Answer:
            """Forward and backward."""
            total = hmm_core.log_likelihood(
                initial, transition, emission, log_final=final, backend=backend
            ).sum()
            return torch.autograd.grad(total, (emission, weight))

        return run

    def error(self, _: Workload, answer: Answer, expected: Answer) -> float:
        """Compare both gradients."""
        return max(absolute_error(answer[0], expected[0]), relative_error(answer[1], expected[1]))


class Viterbi(_Hmm):
    """State paths (B, T), whose joint log-probability is the best one to 1e-5 relative."""

    tolerance = 1e-5

    def core(self, _: Instance, workload: Workload, backend: Backend) -> Callable[[], Answer]:
        """Compute ``viterbi``."""
        model, final = _arguments(workload)
        return lambda: (hmm_core.viterbi(*model, log_final=final, backend=backend).states,)

    def error(self, exact: Workload, answer: Answer, expected: Answer) -> float:
        """Score the paths; ties may be broken in any way."""
        if answer[0].shape != expected[0].shape:
            return torch.inf
        return relative_error(_path_score(exact, answer[0]), _path_score(exact, expected[0]))


def _path_score(workload: Workload, states: Tensor) -> Tensor:
    """Joint log-probability (B,) of given paths (B, T); -inf where a state is negative."""
    transition = workload.transition
    matrix = transition.to_dense() if isinstance(transition, Sparse) else transition
    path = states.to(torch.int64).clamp(min=0)
    emission = workload["log_emission"].gather(2, path[..., None]).squeeze(2)
    score = (
        workload["log_initial"][path[:, 0]]
        + matrix[path[:, :-1], path[:, 1:]].sum(1)
        + emission.sum(1)
        + workload["log_final"][path[:, -1]]
    )
    return torch.where((states < 0).any(1), -torch.inf, score)


class Filter(_Hmm):
    """Log-probabilities (1, T, K) of the states given the frames so far, to 1e-4 of a probability."""

    tolerance = 1e-4

    def core(self, instance: Instance, workload: Workload, backend: Backend) -> Callable[[], Answer]:
        """Compute ``online.filter_step`` for chunk after chunk, into rows that are there already."""
        (emission,) = workload["log_emission"]
        state = online.FilterState(workload["log_initial"], workload.transition, backend=backend)
        answer = torch.empty_like(emission)
        chunks = [
            part.split(instance.chunk) if instance.chunk else part.unbind() for part in (emission, answer)
        ]
        pairs = list(zip(*chunks, strict=True))

        def run() -> Answer:
            """Begin a new stream, and hear it."""
            state.reset()
            for frame, row in pairs:
                online.filter_step(state, frame, row)
            return (answer[None],)

        return run

    def expected(self, _: Instance, exact: Workload) -> Answer:
        """Normalise the forward messages of hmm-core's definition."""
        result = hmm_core.forward(*_arguments(exact)[0], backend="reference")
        return (result.log_alpha.log_softmax(2),)

    def error(self, _: Workload, answer: Answer, expected: Answer) -> float:
        """Compare probabilities."""
        return absolute_error(answer[0].exp(), expected[0].exp())
