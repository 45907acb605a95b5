"""What the operations with explicit durations share: canonical arguments, and tables of durations."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from hmm_core._dispatch import Chosen, resolve
from hmm_core._tracing import values_are_readable
from hmm_core._validate import Problem, canonical, check_shape, floating
from hmm_core._values import check_duration_values, check_values
from hmm_core.backends.reference._recursion import logsumexp
from hmm_core.ops._library import needs_reference
from hmm_core.transitions import Sparse

Censoring = Literal["none", "left", "right", "both"]

# The canonical arguments, see SemiMarkovProblem, and the positions of those that have derivatives.
PROBLEM_SCHEMA = (
    "Tensor log_initial, Tensor? predecessors, Tensor log_weight, Tensor log_duration, Tensor log_emission, "
    "Tensor lengths, Tensor log_final, Tensor? emission_index"
)
DIFFERENTIABLE = (0, 2, 3, 4, 6)

# At how many ends an only, a first, an inner and a last segment may be cut. What is cut at both may have
# begun, and may end, in any of several frames: its weights are summed twice.
_CUTS: dict[Censoring, tuple[int, int, int, int]] = {
    "left": (1, 1, 0, 0),
    "right": (1, 0, 0, 1),
    "both": (2, 1, 0, 1),
}


class SemiMarkovProblem(NamedTuple):
    """The arguments of an operation in canonical form; an axis that does not vary has size 1.

    ``predecessors`` is None for dense transitions. The tables of durations are those of a segment that stands
    alone, first, between others, and last; or there is one table for all.
    """

    log_initial: Tensor  # (B|1, K)
    predecessors: Tensor | None  # (B|1, K, R)
    log_weight: Tensor  # (B|1, 1, K, K) or (B|1, 1, K, R)
    log_duration: Tensor  # (B|1, 1|4, K, L)
    log_emission: Tensor  # (B, T, P)
    lengths: Tensor  # (B,)
    log_final: Tensor  # (B|1, K)
    emission_index: Tensor | None  # (B|1, K)

    def detach(self) -> "SemiMarkovProblem":
        """Return the same values without their history."""
        return SemiMarkovProblem(*(None if x is None else x.detach() for x in self))  # type: ignore[arg-type]  # each None stays in its place

    def requires_grad(self) -> bool:
        """Whether a derivative by one of the values may be asked for."""
        return torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in self)


def prepare(
    backend: str,
    log_initial: Tensor,
    log_transition: Tensor | Sparse,
    log_duration: Tensor,
    log_emission: Tensor,
    lengths: Tensor | None,
    log_final: Tensor | None,
    emission_index: Tensor | None,
    censoring: Censoring,
) -> tuple[SemiMarkovProblem, Chosen]:
    """Check the arguments of an operation, and choose where to compute it."""
    if censoring not in {"none", "left", "right", "both"}:
        raise ValueError(f'censoring must be "none", "left", "right" or "both"; got {censoring!r}')
    weight: object = log_transition.log_weight if isinstance(log_transition, Sparse) else log_transition
    if isinstance(weight, Tensor) and weight.ndim == 4:
        raise ValueError(
            "log_transition must have shape (K, K) or (B, K, K), or (K, R) or (B, K, R) in Sparse: explicit "
            f"durations go with weights that do not vary in time; got {tuple(weight.shape)}"
        )
    problem = canonical(log_initial, log_transition, log_emission, lengths, log_final, emission_index)
    duration = _duration(log_duration, problem)
    chosen = resolve(backend, problem.log_emission.device, transformed=needs_reference())
    if chosen == "reference" and values_are_readable():
        check_values(*problem)
        check_duration_values(duration)
    tables = duration_tables(duration, censoring)
    return SemiMarkovProblem(
        problem.log_initial,
        problem.predecessors,
        problem.log_weight,
        tables,
        problem.log_emission,
        problem.lengths,
        problem.log_final,
        problem.emission_index,
    ), chosen


def _duration(log_duration: object, problem: Problem) -> Tensor:
    """Bring the duration weights to (B|1, K, L)."""
    log_duration = floating("log_duration", log_duration, problem.log_emission)
    B, K = problem.log_emission.shape[0], problem.log_initial.shape[1]
    source = f"with K from log_initial (K,) = ({K},) and L at least 1"
    shapes: dict[str, tuple[int | None, ...]] = {"(K, L)": (K, None), "(B, K, L)": (B, K, None)}
    check_shape("log_duration", log_duration, shapes, source)
    if log_duration.shape[-1] == 0:
        raise ValueError(
            f"log_duration must have shape (K, L) or (B, K, L), {source}; got {tuple(log_duration.shape)}"
        )
    return log_duration if log_duration.ndim == 3 else log_duration[None]


def log_survivor(log_weight: Tensor) -> Tensor:
    """Log of the sum from each entry of the last axis to the end, in log2(L) steps; safe at ``-inf``."""
    distance, size = 1, log_weight.shape[-1]
    while distance < size:
        nothing = torch.full_like(log_weight[..., :distance], -torch.inf)
        later = torch.cat((log_weight[..., distance:], nothing), dim=-1)
        log_weight = logsumexp(torch.stack((log_weight, later)), 0)
        distance *= 2
    return log_weight


def duration_tables(log_duration: Tensor, censoring: Censoring) -> Tensor:
    """Log weights (B|1, 1|4, K, L) of observed lengths: of an only, a first, an inner and a last segment."""
    if censoring == "none":
        return log_duration[:, None]
    summed = [log_duration]
    for _ in range(max(_CUTS[censoring])):
        summed.append(log_survivor(summed[-1]))
    return torch.stack([summed[cuts] for cuts in _CUTS[censoring]], dim=1)


def true_durations(count: Tensor, log_duration: Tensor, censoring: Censoring) -> Tensor:
    """Find the expected segments (B, K, L) of each true length, from those (B, 1|4, K, L) of observed ones.

    A cut segment is spread over the lengths that it may have, by their share in the weight of the cut one.
    """
    if censoring == "none":
        return count.squeeze(1)
    total = torch.zeros_like(count[:, 0])
    for kind, cuts in enumerate(_CUTS[censoring]):
        seen = count[:, kind]
        if cuts == 0:
            total = total + seen
            continue
        used = seen > 0
        share = torch.where(used, torch.where(used, seen, 1.0).log(), -torch.inf)
        share = share - torch.where(used, log_duration[:, kind], 0.0)
        for _ in range(cuts):
            share = log_survivor(share.flip(-1)).flip(-1)
        total = total + (share + log_duration[:, 2]).exp()
    return total
