"""Tools to test hidden Markov models: random problems, enumeration of paths, identities that always hold."""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from hmm_core._dispatch import Backend
from hmm_core.ops.backward import backward
from hmm_core.ops.expected_transitions import expected_transitions
from hmm_core.ops.forward import forward
from hmm_core.ops.log_likelihood import log_likelihood
from hmm_core.ops.posterior import posterior
from hmm_core.ops.semi_markov._problem import Censoring
from hmm_core.ops.viterbi import viterbi
from hmm_core.transitions import Sparse

__all__ = [
    "Arguments",
    "PathEnumeration",
    "SegmentEnumeration",
    "assert_coherent",
    "enumerate_paths",
    "enumerate_segments",
    "random_hmm",
]

_Result = TypeVar("_Result")

# Relative and absolute error that an exact computation may show: a few roundings of each frame.
_TOLERANCES = {torch.float32: (1e-4, 1e-5), torch.float64: (1e-9, 1e-10)}


class Arguments(NamedTuple):
    """Arguments of an operation, in its order.

    Attributes
    ----------
    log_initial, log_transition, log_emission, lengths, log_final, emission_index
        As in :func:`hmm_core.log_likelihood`; the last three may be None.
    """

    log_initial: Tensor
    log_transition: Tensor | Sparse
    log_emission: Tensor
    lengths: Tensor | None = None
    log_final: Tensor | None = None
    emission_index: Tensor | None = None

    def apply(self, op: Callable[..., _Result], **options: Any) -> _Result:  # noqa: ANN401  (those of any op)
        """Call an operation with these arguments.

        Parameters
        ----------
        op : callable
            Such as :func:`hmm_core.posterior`.
        **options
            Further keyword arguments, such as ``backend``.

        Returns
        -------
        object
            What the operation returns.
        """
        return op(*self[:4], log_final=self.log_final, emission_index=self.emission_index, **options)


class PathEnumeration(NamedTuple):
    """Exact quantities from all state paths, in float64.

    Attributes
    ----------
    log_likelihood : Tensor, shape (B,)
        Log of the summed path weights.
    state : Tensor, shape (B, T, K)
        Posterior state probabilities.
    transition : Tensor, shape (B, T-1, K, K)
        Posterior probabilities of the steps, row = from, column = to.
    best_score : Tensor, shape (B,)
        Log weight of the best path.
    """

    log_likelihood: Tensor
    state: Tensor
    transition: Tensor
    best_score: Tensor


def random_hmm(
    batch: int = 2,
    frames: int = 5,
    states: int = 3,
    *,
    sparse: bool = False,
    densities: int | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    impossible: float = 0.0,
    ragged: bool = True,
    final: bool = True,
    per_sequence: bool = False,
    time_varying: bool = False,
    scale: float = 1.0,
) -> Arguments:
    """Draw the arguments of an operation at random.

    Parameters
    ----------
    batch, frames, states : int
        B, T and K.
    sparse : bool
        Whether the transitions are Sparse, with up to three predecessors a state.
    densities : int, optional
        Number of densities P that the states share through ``emission_index``; none are shared if omitted.
    seed : int
        The same seed and sizes give the same model.
    dtype : torch.dtype
        Of all floating tensors.
    impossible : float
        Fraction of ``-inf`` among all entries, in 0..1.
    ragged : bool
        Whether ``lengths`` are drawn from 0..T; otherwise omitted.
    final : bool
        Whether ``log_final`` is given.
    per_sequence : bool
        Whether every sequence has its own parameters.
    time_varying : bool
        Whether every step has its own transition weights.
    scale : float
        Standard deviation of the log weights.

    Returns
    -------
    Arguments
        Not normalised: the operations accept any weights.

    Examples
    --------
    >>> from hmm_core import log_likelihood
    >>> random_hmm(batch=3).apply(log_likelihood).shape
    torch.Size([3])
    """
    generator = torch.Generator().manual_seed(seed)
    leading = (batch,) if per_sequence else ()

    def draw(*shape: int) -> Tensor:
        """Draw normal log weights, some of them -inf."""
        values = torch.randn(shape, generator=generator, dtype=torch.float64) * scale
        nothing = torch.rand(shape, generator=generator, dtype=torch.float64) < impossible
        return values.masked_fill(nothing, -torch.inf).to(dtype)

    varying = (batch if per_sequence else 1, max(frames - 1, 0)) if time_varying else leading
    log_transition: Tensor | Sparse
    if sparse:
        slots = min(3, states)
        order = (
            torch.rand((*leading, states, states), generator=generator).argsort(-1)[..., :slots].sort(-1)[0]
        )
        count = torch.randint(0, slots + 1, (*leading, states, 1), generator=generator)
        unused = torch.arange(slots) >= count
        log_transition = Sparse(order.masked_fill(unused, -1), draw(*varying, states, slots))
    else:
        log_transition = draw(*varying, states, states)
    index = None
    if densities is not None:
        index = torch.randint(densities, (*leading, states), generator=generator)
    return Arguments(
        draw(*leading, states),
        log_transition,
        draw(batch, frames, states if densities is None else densities),
        torch.randint(0, frames + 1, (batch,), generator=generator) if ragged else None,
        draw(*leading, states) if final else None,
        index,
    )


def enumerate_paths(arguments: Arguments) -> PathEnumeration:
    """Sum over all ``K ** T`` state paths of each sequence, one by one: the definition, without recursion.

    Parameters
    ----------
    arguments : Arguments
        A small problem.

    Returns
    -------
    PathEnumeration
        Quantities to compare the operations with.

    Raises
    ------
    ValueError
        If there are more than a million paths.

    Examples
    --------
    >>> import torch
    >>> from hmm_core import log_likelihood
    >>> hmm = random_hmm()
    >>> torch.testing.assert_close(hmm.apply(log_likelihood), enumerate_paths(hmm).log_likelihood)
    """
    log_initial, log_transition, log_emission, lengths, log_final, index = arguments
    B, T, _ = log_emission.shape
    K = log_initial.shape[-1]
    if K**T > 1_000_000:
        raise ValueError(f"K ** T must be at most a million; got {K} ** {T}")
    matrix = log_transition.to_dense() if isinstance(log_transition, Sparse) else log_transition
    matrix = matrix if matrix.ndim == 4 else matrix.reshape(-1, 1, K, K)
    matrix = matrix.double().expand(B, T - 1 if matrix.shape[1] == 1 else -1, K, K)
    initial = log_initial.double().expand(B, K)
    ending = torch.zeros(B, K).double() if log_final is None else log_final.double().expand(B, K)
    density = (torch.arange(K) if index is None else index).expand(B, K)
    emission = log_emission.double().gather(2, density[:, None].expand(B, T, K))
    frames = [T] * B if lengths is None else lengths.tolist()

    total, best = torch.zeros(B).double(), torch.zeros(B).double()
    state, transition = torch.zeros(B, T, K).double(), torch.zeros(B, max(T - 1, 0), K, K).double()
    for b, length in enumerate(frames):
        if length == 0:
            continue
        scored = []
        for path in itertools.product(range(K), repeat=length):
            score = float(initial[b, path[0]] + ending[b, path[-1]])
            score += sum(float(emission[b, t, k]) for t, k in enumerate(path))
            score += sum(float(matrix[b, t, i, j]) for t, (i, j) in enumerate(itertools.pairwise(path)))
            scored.append((path, score))
        best[b] = peak = max(score for _, score in scored)
        if peak == -math.inf:
            total[b] = peak
            continue
        total[b] = peak + math.log(sum(math.exp(score - peak) for _, score in scored))
        for path, score in scored:
            weight = math.exp(score - float(total[b]))
            for t, k in enumerate(path):
                state[b, t, k] += weight
            for t, (i, j) in enumerate(itertools.pairwise(path)):
                transition[b, t, i, j] += weight
    return PathEnumeration(total, state, transition, best)


class SegmentEnumeration(NamedTuple):
    """Exact quantities from all segmentations, in float64.

    Attributes
    ----------
    log_likelihood : Tensor, shape (B,)
        Log of the summed weights.
    state : Tensor, shape (B, T, K)
        Posterior state probabilities.
    initial, final : Tensor, shape (B, K)
        Posterior probabilities of the first and the last state.
    transition : Tensor, shape (B, K, K)
        Expected steps from segment to segment, row = from, column = to.
    duration : Tensor, shape (B, K, L)
        Expected segments by state and true length, at index length - 1.
    best_score : Tensor, shape (B,)
        Log weight of the best segmentation of the observed frames.
    """

    log_likelihood: Tensor
    state: Tensor
    initial: Tensor
    transition: Tensor
    duration: Tensor
    final: Tensor
    best_score: Tensor


def enumerate_segments(
    arguments: Arguments, log_duration: Tensor, censoring: Censoring = "none"
) -> SegmentEnumeration:
    """Sum over all segmentations of each sequence, one by one: the definition, without recursion.

    Parameters
    ----------
    arguments : Arguments
        A small problem whose transitions do not vary in time.
    log_duration : Tensor, shape (K, L) or (B, K, L)
        As in :func:`hmm_core.semi_markov.log_likelihood`.
    censoring : {"none", "left", "right", "both"}
        At which ends a segment may go on, for as many unobserved frames as its length allows: each number of
        them is a segmentation of its own.

    Returns
    -------
    SegmentEnumeration
        Quantities to compare the operations with.

    Examples
    --------
    >>> import torch
    >>> from hmm_core import semi_markov
    >>> hmm, log_duration = random_hmm(), torch.zeros(3, 2).double()
    >>> arguments = (*hmm[:2], log_duration, *hmm[2:4])
    >>> total = semi_markov.log_likelihood(*arguments, log_final=hmm.log_final)
    >>> torch.testing.assert_close(total, enumerate_segments(hmm, log_duration).log_likelihood)
    """
    log_initial, log_transition, log_emission, lengths, log_final, index = arguments
    B, T, _ = log_emission.shape
    K, L = log_duration.shape[-2:]
    matrix = log_transition.to_dense() if isinstance(log_transition, Sparse) else log_transition
    matrix = matrix.double().expand(B, K, K)
    initial = log_initial.double().expand(B, K)
    ending = torch.zeros(B, K).double() if log_final is None else log_final.double().expand(B, K)
    density = (torch.arange(K) if index is None else index).expand(B, K)
    emission = log_emission.double().gather(2, density[:, None].expand(B, T, K))
    duration = log_duration.double().expand(B, K, L)
    frames = [T] * B if lengths is None else lengths.tolist()
    results = []
    for b, length in enumerate(frames):
        weights = (initial[b], matrix[b], duration[b], emission[b, :length], ending[b])
        results.append(_sum_segmentations(_segmentations(*weights, censoring), length, (T, K, L)))
    return SegmentEnumeration._make(torch.stack(values) for values in zip(*results, strict=True))


class _Segmentation(NamedTuple):
    """States of the segments, their observed and true lengths, and the log weight."""

    path: tuple[int, ...]
    observed: tuple[int, ...]
    true: tuple[int, ...]
    score: float


def _segmentations(
    initial: Tensor, matrix: Tensor, duration: Tensor, emission: Tensor, ending: Tensor, censoring: Censoring
) -> Iterator[_Segmentation]:
    """All segmentations of one sequence, with as many unobserved frames at the ends as may be."""
    n, K = emission.shape
    L = duration.shape[1]
    before = range(L) if censoring in {"left", "both"} else range(1)
    after = range(L) if censoring in {"right", "both"} else range(1)
    for observed in _compositions(n, L):
        for path in itertools.product(range(K), repeat=len(observed)):
            score = float(initial[path[0]] + ending[path[-1]])
            score += sum(float(matrix[i, j]) for i, j in itertools.pairwise(path))
            score += sum(float(emission[t, j]) for t, j in enumerate(_labels(path, observed)))
            for early, late in itertools.product(before, after):
                true = list(observed)
                true[0] += early
                true[-1] += late
                if max(true) <= L:
                    weight = sum(float(duration[j, d - 1]) for j, d in zip(path, true, strict=True))
                    yield _Segmentation(path, observed, tuple(true), score + weight)


def _sum_segmentations(
    segmentations: Iterator[_Segmentation], length: int, sizes: tuple[int, int, int]
) -> SegmentEnumeration:
    """Posterior quantities of one sequence, padded to T frames."""
    T, K, L = sizes
    zeros = [torch.zeros(shape).double() for shape in ((T, K), (K,), (K, K), (K, L), (K,))]
    state, first, transition, count, last = zeros
    scored = list(segmentations) if length else []
    peak = max((one.score for one in scored), default=-math.inf)
    if peak == -math.inf:
        nothing = torch.tensor(-math.inf if length else 0.0, dtype=torch.float64)
        return SegmentEnumeration._make((nothing, *zeros, nothing))
    total = peak + math.log(sum(math.exp(one.score - peak) for one in scored))
    observed: dict[tuple[tuple[int, ...], ...], float] = {}
    for one in scored:
        weight = math.exp(one.score - total)
        observed[one.path, one.observed] = observed.get((one.path, one.observed), 0.0) + weight
        first[one.path[0]] += weight
        last[one.path[-1]] += weight
        for t, j in enumerate(_labels(one.path, one.observed)):
            state[t, j] += weight
        for i, j in itertools.pairwise(one.path):
            transition[i, j] += weight
        for j, d in zip(one.path, one.true, strict=True):
            count[j, d - 1] += weight
    scores = torch.tensor([total, total + math.log(max(observed.values()))], dtype=torch.float64)
    return SegmentEnumeration._make((scores[0], *zeros, scores[1]))


def _labels(path: tuple[int, ...], lengths: tuple[int, ...]) -> list[int]:
    """State of each frame."""
    return [j for j, d in zip(path, lengths, strict=True) for _ in range(d)]


def _compositions(n: int, longest: int) -> Iterator[tuple[int, ...]]:
    """All ways to write n as an ordered sum of 1..longest."""
    if n == 0:
        yield ()
    for head in range(1, min(n, longest) + 1):
        for tail in _compositions(n - head, longest):
            yield (head, *tail)


def assert_coherent(
    arguments: Arguments, *, backend: Backend = "auto", rtol: float | None = None, atol: float | None = None
) -> None:
    """Assert the identities that hold for every hidden Markov model.

    - forward and backward messages of every frame sum to the log-likelihood;
    - posteriors sum to one, and are the gradient of the log-likelihood by ``log_emission``;
    - expected transitions sum to the number of steps, and are the gradient by the weights;
    - the Viterbi score is the joint log-probability of its path, and at most the log-likelihood;
    - a batch gives what its sequences give one by one;
    - what padded frames hold makes no difference.

    Parameters
    ----------
    arguments : Arguments
        Any problem.
    backend : {"auto", "reference", "cpu", "cuda"}
        Passed to every operation.
    rtol, atol : float, optional
        Tolerances of the comparisons; a few roundings a frame if omitted.

    Raises
    ------
    AssertionError
        If an identity fails.

    Examples
    --------
    >>> assert_coherent(random_hmm(sparse=True))
    """
    arguments = _detached(arguments)
    B, T, _ = arguments.log_emission.shape
    defaults = _TOLERANCES[torch.promote_types(arguments.log_emission.dtype, torch.float32)]
    # Errors of many frames add up.
    growth = max(1.0, T / 100)
    rtol = defaults[0] * growth if rtol is None else rtol
    atol = defaults[1] * growth if atol is None else atol

    def close(actual: Tensor, expected: Tensor, what: str) -> None:
        """Compare, naming the identity."""
        torch.testing.assert_close(
            actual.double(), expected.double(), rtol=rtol, atol=atol, msg=lambda text: f"{what}: {text}"
        )

    frames = torch.full((B,), T) if arguments.lengths is None else arguments.lengths
    valid = torch.arange(T) < frames[:, None]
    forwards, backwards = (
        arguments.apply(forward, backend=backend),
        arguments.apply(backward, backend=backend),
    )
    total = arguments.apply(log_likelihood, backend=backend)
    possible = total > -torch.inf
    both = (forwards.log_alpha + backwards).logsumexp(2)
    close(
        both[valid], total[:, None].expand(B, T)[valid], "forward and backward messages sum to the likelihood"
    )
    close(forwards.log_likelihood, total, "forward ends in the log-likelihood")

    states = arguments.apply(posterior, backend=backend)
    close(states.state.sum(2), (valid & possible[:, None]).double(), "posteriors sum to one")
    close(states.log_likelihood, total, "posterior returns the log-likelihood")
    counts = arguments.apply(expected_transitions, backend=backend)
    steps = torch.where(possible, (frames - 1).clamp(min=0), 0)
    close(counts.flatten(1).sum(1), steps, "expected transitions sum to the steps")
    _assert_gradients(arguments, states.state, counts, close, backend)

    path = arguments.apply(viterbi, backend=backend)
    assert (path.states[~valid] == -1).all(), "padded frames of a path hold -1"
    assert ((path.log_score > -torch.inf) == possible).all(), "there is a best path if there is a path"
    slack = atol + rtol * total.abs()
    assert (path.log_score <= total + slack)[possible].all(), (
        "the best path is at most as likely as all paths"
    )
    close(path.log_score, _joint(arguments, path.states, frames, possible), "the score is that of the path")

    for b in range(B):
        alone = _sequence(arguments, b)
        close(
            alone.apply(log_likelihood, backend=backend)[0],
            total[b],
            "a sequence alone has the same likelihood",
        )
        close(
            alone.apply(posterior, backend=backend).state[0],
            states.state[b],
            "a sequence alone has the same posteriors",
        )
        same = alone.apply(viterbi, backend=backend).states[0] == path.states[b]
        assert same.all(), "a sequence alone has the same path"
    poison = arguments.log_emission.masked_fill(~valid[:, :, None], torch.nan)
    poisoned = arguments._replace(log_emission=poison)
    close(poisoned.apply(posterior, backend=backend).state, states.state, "padding makes no difference")
    assert (poisoned.apply(viterbi, backend=backend).states == path.states).all(), (
        "padding makes no difference"
    )


def _detached(arguments: Arguments) -> Arguments:
    """Take the same values without their history."""
    transition = arguments.log_transition
    if isinstance(transition, Sparse):
        transition = Sparse(transition.predecessors, transition.log_weight.detach())
    else:
        transition = transition.detach()
    final = arguments.log_final
    return arguments._replace(
        log_initial=arguments.log_initial.detach(),
        log_transition=transition,
        log_emission=arguments.log_emission.detach(),
        log_final=None if final is None else final.detach(),
    )


def _assert_gradients(
    arguments: Arguments,
    state: Tensor,
    counts: Tensor,
    close: Callable[[Tensor, Tensor, str], None],
    backend: Backend,
) -> None:
    """Posteriors and expected transitions are gradients of the log-likelihood."""
    emission = arguments.log_emission.clone().requires_grad_()
    transition = arguments.log_transition
    weight = transition.log_weight if isinstance(transition, Sparse) else transition
    weight = weight.clone().requires_grad_()
    moved = Sparse(transition.predecessors, weight) if isinstance(transition, Sparse) else weight
    moved_arguments = arguments._replace(log_emission=emission, log_transition=moved)
    total = moved_arguments.apply(log_likelihood, backend=backend).sum()
    by_emission, by_weight = torch.autograd.grad(total, (emission, weight))
    if arguments.emission_index is not None:
        index = arguments.emission_index.expand(state.shape[0], -1)[:, None].expand_as(state)
        state = torch.zeros_like(by_emission, dtype=state.dtype).scatter_add(2, index, state)
    close(by_emission, state, "posteriors are the gradient by log_emission")
    shared = weight.ndim == 2 or (weight.ndim == 4 and weight.shape[0] == 1)
    counts = counts.sum(0) if shared else counts
    close(by_weight, counts.reshape(weight.shape), "expected transitions are the gradient by the weights")


def _joint(arguments: Arguments, states: Tensor, frames: Tensor, possible: Tensor) -> Tensor:
    """Joint log-probability of each path, entry by entry in float64."""
    transition = arguments.log_transition
    matrix = transition.to_dense() if isinstance(transition, Sparse) else transition
    scores = []
    for b, length in enumerate(frames.tolist()):
        path = states[b, :length].tolist()
        if not length or not possible[b]:
            assert all(state == -1 for state in path), "without a path all states are -1"
            scores.append(-math.inf if length else 0.0)
            continue
        alone = _sequence(arguments, b)
        score = float(alone.log_initial[..., path[0]].squeeze())
        if alone.log_final is not None:
            score += float(alone.log_final[..., path[-1]].squeeze())
        for t, k in enumerate(path):
            density = k if alone.emission_index is None else int(alone.emission_index[..., k].squeeze())
            score += float(alone.log_emission[0, t, density])
        for t, (i, j) in enumerate(itertools.pairwise(path)):
            step = matrix[..., i, j]
            step = step if step.ndim == 0 else step[min(b, step.shape[0] - 1)]
            score += float(step if step.ndim == 0 else step[t])
        scores.append(score)
    return torch.tensor(scores, dtype=torch.float64)


def _sequence(arguments: Arguments, b: int) -> Arguments:
    """Sequence ``b`` of a batch as a batch of one."""
    rows = slice(b, b + 1)

    def row(tensor: Tensor | None, shared_axes: int) -> Tensor | None:
        """Select a row where the tensor has a batch axis."""
        batched = tensor is not None and tensor.ndim > shared_axes and tensor.shape[0] > 1
        return tensor[rows] if tensor is not None and batched else tensor

    transition = arguments.log_transition
    log_transition: Tensor | Sparse | None
    if isinstance(transition, Sparse):
        predecessors, weight = row(transition.predecessors, 2), row(transition.log_weight, 2)
        assert predecessors is not None
        assert weight is not None
        log_transition = Sparse(predecessors, weight)
    else:
        log_transition = row(transition, 2)
    log_initial = row(arguments.log_initial, 1)
    assert log_initial is not None
    assert log_transition is not None
    return Arguments(
        log_initial,
        log_transition,
        arguments.log_emission[rows],
        None if arguments.lengths is None else arguments.lengths[rows],
        row(arguments.log_final, 1),
        row(arguments.emission_index, 1),
    )
