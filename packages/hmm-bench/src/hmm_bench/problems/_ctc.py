"""Connectionist temporal classification: the blank is symbol 0."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

import hmm_core
from hmm_align import CTCAligner
from hmm_bench._instance import Instance
from hmm_bench._workload import Workload
from hmm_bench.problems._problem import Answer, Backend, Problem, absolute_error, relative_error
from hmm_core import ctc_graph


class _Ctc(Problem):
    """Log-probabilities of P symbols and N targets each; building the graph is part of the computation."""

    def make(self, instance: Instance, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Random targets, and log-probabilities that follow them roughly, as a trained network's do."""
        B, T, P, N = instance.batch, instance.frames, instance.densities, instance.tokens
        targets = torch.randint(1, max(P, 2), (B, N), generator=generator)
        score = torch.randn((B, T, P), generator=generator, dtype=torch.float64)
        # A token every T / N frames with blanks around it.
        middle = ((torch.arange(N) + 0.5) * T / N).long().clamp(max=T - 1).expand(B, N)
        score[..., 0] += 3
        score[torch.arange(B)[:, None], middle, targets] += 6
        return {"log_prob": score.log_softmax(2), "targets": targets}


class CtcAlignment(_Ctc):
    """Symbols (B, T) that collapse to the targets, whose log-probability is the best to 1e-5 relative."""

    tolerance = 1e-5

    def core(self, _: Instance, workload: Workload, backend: Backend) -> Callable[[], Answer]:
        """Compute ``ctc_graph``, ``viterbi`` and the symbols of its states."""
        targets, log_prob = workload["targets"], workload["log_prob"]

        def run() -> Answer:
            """Align."""
            graph = ctc_graph(targets, dtype=log_prob.dtype)
            path = hmm_core.viterbi(
                graph.log_initial,
                graph.log_transition,
                log_prob,
                log_final=graph.log_final,
                emission_index=graph.emission_index,
                backend=backend,
            )
            return (graph.emission_index.gather(1, path.states),)

        return run

    def error(self, exact: Workload, answer: Answer, expected: Answer) -> float:
        """Score the symbols, if they collapse to the targets."""
        symbols = answer[0].to(torch.int64)
        if symbols.shape != expected[0].shape:
            return torch.inf
        for path, target in zip(symbols, exact["targets"], strict=True):
            collapsed = torch.unique_consecutive(path)
            if not torch.equal(collapsed[collapsed != 0], target):
                return torch.inf
        scores = [exact["log_prob"].gather(2, path[..., None]).sum((1, 2)) for path in (symbols, expected[0])]
        return relative_error(*scores)


class CtcLoss(_Ctc):
    """Negative log-likelihoods (B,) to 1e-4 relative, and their gradient to ``log_prob`` (B, T, P) to 5e-3.

    Neither is asked to be better than that, because torch (float32 sums that are not normalised) and k2 (with
    its beam) are not much better at a thousand frames, and they shall count.

    Some packages return the gradient to what went into a log-softmax before, which is the one asked for minus
    the probabilities times its sum over the symbols. So the comparison is made after that subtraction, which
    leaves such an answer as it is.
    """

    tolerance = 5e-3

    def core(self, _: Instance, workload: Workload, backend: Backend) -> Callable[[], Answer]:
        """Compute ``ctc_graph``, ``log_likelihood`` and its gradient."""
        targets, log_prob = workload["targets"], workload["log_prob"].clone().requires_grad_()

        def run() -> Answer:
            """Forward and backward."""
            graph = ctc_graph(targets, dtype=log_prob.dtype)
            loss = -hmm_core.log_likelihood(
                graph.log_initial,
                graph.log_transition,
                log_prob,
                log_final=graph.log_final,
                emission_index=graph.emission_index,
                backend=backend,
            )
            (gradient,) = torch.autograd.grad(loss.sum(), log_prob)
            return loss.detach(), gradient

        return run

    def error(self, exact: Workload, answer: Answer, expected: Answer) -> float:
        """Compare losses, fifty times more strictly, and gradients."""
        probability = exact["log_prob"].exp()
        gradients = [
            gradient - probability * gradient.sum(2, keepdim=True) for _, gradient in (answer, expected)
        ]
        return max(50 * relative_error(answer[0], expected[0]), absolute_error(*gradients))


class CtcDecode(_Ctc):
    """Labels (B, T), padded by blanks, that a prefix beam search with a beam of 16 finds.

    Labels are right if their log-likelihood, which is computed exactly, is at most 1 % below that of the
    labels that hmm-align finds in float64. No language model.
    """

    tolerance = 1e-2
    beam_width = 16

    def core(self, _: Instance, workload: Workload, _backend: Backend) -> Callable[[], Answer]:
        """Compute ``CTCAligner.decode``, which has no kernel."""
        log_prob, aligner = workload["log_prob"], CTCAligner()

        def run() -> Answer:
            """Decode."""
            best = [found[0].tokens for found in aligner.decode(self.beam_width, log_prob)]
            labels = torch.zeros(log_prob.shape[:2], dtype=torch.int64)
            for row, tokens in zip(labels, best, strict=True):
                row[: len(tokens)] = torch.tensor(tokens, dtype=torch.int64)
            return (labels,)

        return run

    def error(self, exact: Workload, answer: Answer, expected: Answer) -> float:
        """Compare the likelihoods of the labels."""
        labels, wanted = answer[0].to(torch.int64), expected[0]
        if labels.shape != wanted.shape:
            return torch.inf
        gaps = (labels[:, 1:] > 0) & (labels[:, :-1] == 0)
        strange = (labels < 0) | (labels >= exact["log_prob"].shape[2])
        if bool(gaps.any() or strange.any()):
            return torch.inf
        found, best = (-_exact_loss(exact["log_prob"], item) for item in (labels, wanted))
        return relative_error(torch.minimum(found, best), best)


def _exact_loss(log_prob: Tensor, labels: Tensor) -> Tensor:
    """Return the CTC losses of labels that are padded by blanks."""
    lengths = (labels > 0).sum(1)
    return CTCAligner().loss(labels, log_prob, lengths, reduction="none")
