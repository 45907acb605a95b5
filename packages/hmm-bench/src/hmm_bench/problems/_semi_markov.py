"""Models with explicit durations."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from hmm_bench._instance import Instance
from hmm_bench._workload import Workload
from hmm_bench.problems._hmm import random_log_emission
from hmm_bench.problems._problem import Answer, Backend, Problem, relative_error
from hmm_core import semi_markov


class _SemiMarkov(Problem):
    """States that last 1..L frames; the first begins with the sequence and the last ends with it."""

    def make(self, instance: Instance, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Uniform start; random transitions to other states and random durations."""
        K = instance.states
        transition = torch.randn((K, K), generator=generator, dtype=torch.float64)
        if K > 1:
            transition.fill_diagonal_(-torch.inf)
        duration = torch.randn((K, instance.durations), generator=generator, dtype=torch.float64)
        return {
            "log_initial": torch.zeros(K, dtype=torch.float64).log_softmax(0),
            "log_transition": transition.log_softmax(1),
            "log_duration": duration.log_softmax(1),
            "log_emission": random_log_emission(instance, generator),
        }


def _arguments(workload: Workload) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the positional arguments."""
    initial, transition = workload["log_initial"], workload["log_transition"]
    return initial, transition, workload["log_duration"], workload["log_emission"]


class SemiMarkovLogLikelihood(_SemiMarkov):
    """Log-likelihoods (B,), to 1e-5 relative."""

    tolerance = 1e-5

    def core(self, _: Instance, workload: Workload, backend: Backend) -> Callable[[], Answer]:
        """Compute ``semi_markov.log_likelihood``."""
        model = _arguments(workload)
        return lambda: (semi_markov.log_likelihood(*model, backend=backend),)

    def error(self, _: Workload, answer: Answer, expected: Answer) -> float:
        """Compare values."""
        return relative_error(answer[0], expected[0])


class SemiMarkovViterbi(_SemiMarkov):
    """State paths (B, T), whose joint log-probability is the best one to 1e-5 relative."""

    tolerance = 1e-5

    def core(self, _: Instance, workload: Workload, backend: Backend) -> Callable[[], Answer]:
        """Compute ``semi_markov.viterbi``."""
        model = _arguments(workload)
        return lambda: (semi_markov.viterbi(*model, backend=backend).states,)

    def error(self, exact: Workload, answer: Answer, expected: Answer) -> float:
        """Score the paths; ties may be broken in any way."""
        if answer[0].shape != expected[0].shape:
            return torch.inf
        return relative_error(_path_score(exact, answer[0]), _path_score(exact, expected[0]))


def _path_score(workload: Workload, states: Tensor) -> Tensor:
    """Score paths (B, T); no state follows itself, so the runs of a state are the segments."""
    log_duration = workload["log_duration"]
    scores = []
    for emission, path in zip(workload["log_emission"], states.to(torch.int64), strict=True):
        state, duration = torch.unique_consecutive(path, return_counts=True)
        if int(path.min()) < 0 or int(duration.max()) > log_duration.shape[1]:
            scores.append(torch.tensor(-torch.inf, dtype=torch.float64))
            continue
        scores.append(
            workload["log_initial"][state[0]]
            + workload["log_transition"][state[:-1], state[1:]].sum()
            + log_duration[state, duration - 1].sum()
            + emission.gather(1, path[:, None]).sum()
        )
    return torch.stack(scores)
