"""Counts of an E-step: over all paths, or over the best ones."""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Literal

import torch
from torch import Tensor

Algorithm = Literal["baum_welch", "viterbi"]
_SOME = 16


def check_algorithm(algorithm: str) -> None:
    """Refuse the name of no E-step."""
    if algorithm not in {"baum_welch", "viterbi"}:
        raise ValueError(f'algorithm must be "baum_welch" or "viterbi"; got {algorithm!r}')


def expected_counts(
    recursions: ModuleType, arguments: dict[str, Any], weight: Tensor, algorithm: Algorithm
) -> tuple[Tensor, dict[str, Tensor]]:
    """Scores (B,), and how often each start, step, duration, emission and end is expected, in weighted sum.

    The scores are log-likelihoods, or in Viterbi training those of the best paths.
    """

    def score(leaves: Mapping[str, Tensor]) -> Tensor:
        found: Tensor
        if algorithm == "viterbi":
            found = recursions.viterbi(**{**arguments, **leaves}).log_score
        else:
            found = recursions.log_likelihood(**{**arguments, **leaves})
        return found

    leaves = {
        name: value for name, value in arguments.items() if name.startswith("log_") and value is not None
    }
    return count(score, leaves, weight)


def count(
    score: Callable[[Mapping[str, Tensor]], Tensor], leaves: Mapping[str, Tensor], weight: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """Scores (B,), and how often what each entry of the leaves is the log-probability of is expected.

    In weighted sum over the sequences. The counts are derivatives of the scores by the logarithms (Eisner,
    "Inside-outside and forward-backward algorithms are just backprop", 2016): one pass over the frames gives
    all, and a probability that a graph uses in many places is counted in all of them.
    """
    # Within torch.inference_mode nothing could be differentiated.
    with torch.inference_mode(mode=False), torch.enable_grad():
        leaves = {
            name: (value.clone() if value.is_inference() else value.detach()).requires_grad_()
            for name, value in leaves.items()
        }
        found = score(leaves)
        derivatives = torch.autograd.grad(found, list(leaves.values()), weight.to(found, copy=True))
    return found.detach(), dict(zip(leaves, derivatives, strict=True))


def take_level(log_emission: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Subtract from the scores (B, T, P) of each sequence what its frames usually score at best.

    Returns the rest, and per sequence (B,), in float64, what was subtracted in all: float32 then loses little
    of a log-likelihood, however long the sequence is. float64 loses nothing, and stays as it is.
    """
    if log_emission.dtype == torch.float64:
        return log_emission, log_emission.new_zeros(len(log_emission))
    # A few frames tell.
    best = log_emission[:, ::_SOME].amax(-1)
    best = best.masked_fill(~valid[:, ::_SOME] | (best == -torch.inf), torch.nan)
    best = torch.nn.functional.pad(best, (0, 1), value=torch.nan)  # no frame at all is possible, too
    level = best.nanmedian(1).values.nan_to_num(0.0)
    return log_emission - level[:, None, None], level.double() * valid.sum(1)
