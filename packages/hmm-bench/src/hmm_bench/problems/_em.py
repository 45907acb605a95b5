"""One iteration of expectation-maximisation, emissions included."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

import hmm_core
from hmm_bench._instance import Instance
from hmm_bench._workload import Workload
from hmm_bench.problems._problem import Answer, Backend, Problem, UnavailableError, absolute_error
from hmm_models import GaussianHMM

_PARAMETERS = ("initial", "transition", "weight", "mean", "variance")


class Em(Problem):
    """Probabilities, means and variances after one step, to 2e-2 of 1, of a deviation and of a variance.

    Most of that is for priors of peers that cannot be made quite flat.
    """

    tolerance = 2e-2

    def make(self, instance: Instance, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Frames around wandering centres; diagonal Gaussians around random frames."""
        B, T, K, M, D = (
            instance.batch,
            instance.frames,
            instance.states,
            instance.mixtures,
            instance.features,
        )

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        x = normal(B, T // 10 + 1, D).repeat_interleave(10, 1)[:, :T] + normal(B, T, D)
        chosen = torch.randint(B * T, (K * M,), generator=generator)
        return {
            "x": x,
            "initial": torch.full((K,), 1.0 / K, dtype=torch.float64),
            "transition": normal(K, K).softmax(1),
            "weight": normal(K, M).softmax(1),
            "mean": 0.5 * x.reshape(-1, D)[chosen].view(K, M, D),
            "variance": normal(K, M, D).square() + 1.0,
        }

    def core(self, instance: Instance, workload: Workload, backend: Backend) -> Callable[[], Answer]:
        """Compute ``accumulate`` and ``update`` of hmm-models, from the same parameters every time."""
        if backend != "auto":
            raise UnavailableError("hmm-models chooses the backend itself")
        model = GaussianHMM(instance.states, instance.features, instance.mixtures).to(workload["x"])
        emission = dict(model.emission.named_parameters())
        pairs = [
            (model.initial.logits, workload["initial"].log()),
            (model.transition.logits, workload["transition"].log()),
            (emission["weight_logits"], workload["weight"].log()),
            (emission["mean"], workload["mean"]),
            (emission["log_variance"], workload["variance"].log()),
        ]
        x = workload["x"]

        def run() -> Answer:
            """Reset, and take one step."""
            with torch.no_grad():
                for parameter, value in pairs:
                    parameter.copy_(value)
            model.update(model.accumulate(x))
            values = [parameter.detach() for parameter, _ in pairs]
            return (*(value.exp() for value in values[:3]), values[3], values[4].exp())

        return run

    def expected(self, _: Instance, exact: Workload) -> Answer:
        """Weigh every component of every frame, one sequence after the other, as the textbook does."""
        initial, transition, weight, mean, variance = (exact[name] for name in _PARAMETERS)
        counts = [torch.zeros_like(exact[name]) for name in _PARAMETERS]
        for x in exact["x"]:
            terms = (x[:, None, None] - mean).square() / variance + variance.log() + math.log(2.0 * math.pi)
            joint = weight.log() - 0.5 * terms.sum(-1)
            model = (initial.log(), transition.log(), joint.logsumexp(-1)[None])
            state = hmm_core.posterior(*model, backend="reference").state[0]
            share = joint.softmax(-1) * state.unsqueeze(-1)
            counts[0] += state[0]
            counts[1] += hmm_core.expected_transitions(*model, backend="reference")[0]
            counts[2] += share.sum(0)
            counts[3] += torch.einsum("tkm,td->kmd", share, x)
            counts[4] += torch.einsum("tkm,td->kmd", share, x.square())
        occupancy = counts[2].unsqueeze(-1)
        moved = counts[3] / occupancy
        probabilities = [count / count.sum(-1, keepdim=True) for count in counts[:3]]
        return (*probabilities, moved, counts[4] / occupancy - moved.square())

    def error(self, _: Workload, answer: Answer, expected: Answer) -> float:
        """Compare means in deviations, variances relatively, probabilities absolutely."""
        variance = expected[4]
        scales: list[Tensor | float] = [1.0, 1.0, 1.0, variance.sqrt(), variance]
        return max(
            absolute_error(value, right, scale)
            for value, right, scale in zip(answer, expected, scales, strict=True)
        )
