"""Every operation in each of its forms, as a function of the tensor that changes with the data."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hmm_core import (
    SakoeChiba,
    Sparse,
    backward,
    dtw,
    entropy,
    expected_transitions,
    forward,
    kbest,
    left_to_right,
    log_likelihood,
    pairwise_cost,
    posterior,
    sample,
    semi_markov,
    soft_dtw,
    viterbi,
)
from hmm_core.testing import Arguments, random_hmm


class Call(NamedTuple):
    """An operation with all its arguments but one."""

    run: Callable[[Tensor], Any]
    draw: Callable[[int], Tensor]  # that argument, from a seed, on the device


def flat(result: Any) -> list[Tensor]:
    """All tensors of a result."""
    if isinstance(result, Tensor):
        return [result]
    return [tensor for part in result for tensor in flat(part)]


def moved(hmm: Arguments, device: torch.device, dtype: torch.dtype) -> Arguments:
    """Take a model to the device."""

    def move(value: Any) -> Any:
        if isinstance(value, Sparse):
            return value.to(device, dtype)
        if isinstance(value, Tensor):
            return value.to(device, dtype) if value.is_floating_point() else value.to(device)
        return value

    return Arguments(*map(move, hmm))


def arcs_in_all_directions(states: int, generator: torch.Generator) -> Sparse:
    """Three predecessors of each state, anywhere."""
    offset = torch.randint(1, states // 3, (states, 3), generator=generator).cumsum(1)
    predecessors = ((torch.arange(states)[:, None] + offset) % states).sort(1).values
    weight = torch.randn((states, 3), generator=generator, dtype=torch.float64).log_softmax(1)
    return Sparse(predecessors, weight)


@cache
def models() -> dict[str, Arguments]:
    """One for each form of the kernels of first-order models."""
    generator = torch.Generator().manual_seed(0)
    chain = random_hmm(2, 70, 1500, sparse=True, seed=4)
    return {
        "few states": random_hmm(3, 70, 5, impossible=0.2, seed=1),
        "many frames": random_hmm(1, 3000, 8, seed=2),
        "100 states": random_hmm(3, 70, 100, densities=7, seed=3),
        "200 states": random_hmm(2, 70, 200, impossible=0.2, seed=4),
        "varying weights": random_hmm(2, 70, 20, time_varying=True, seed=5),
        "sparse": random_hmm(3, 70, 50, sparse=True, densities=4, seed=6),
        "pipeline": chain._replace(log_transition=left_to_right(1500, dtype=torch.float64)),
        "all directions": chain._replace(log_transition=arcs_in_all_directions(1500, generator)),
    }


def gradients(hmm: Arguments, *, checkpoint: bool = False, backend: str = "cuda") -> tuple[Tensor, ...]:
    """Log-likelihood, and its derivatives."""
    transition = hmm.log_transition
    weight = transition.log_weight if isinstance(transition, Sparse) else transition
    leaves = [value.detach().requires_grad_() for value in (hmm.log_initial, weight, hmm.log_emission)]
    moved: Any = Sparse(transition.predecessors, leaves[1]) if isinstance(transition, Sparse) else leaves[1]
    hmm = hmm._replace(log_initial=leaves[0], log_transition=moved, log_emission=leaves[2])
    total = hmm.apply(log_likelihood, checkpoint=checkpoint, backend=backend)
    return (total.detach(), *torch.autograd.grad(total.sum(), leaves))


FIRST_ORDER: dict[str, Callable[..., Any]] = {
    "forward": partial(Arguments.apply, op=forward, backend="cuda"),
    "backward": partial(Arguments.apply, op=backward, backend="cuda"),
    "posterior": partial(Arguments.apply, op=posterior, backend="cuda"),
    "expected_transitions": partial(Arguments.apply, op=expected_transitions, backend="cuda"),
    "viterbi": partial(Arguments.apply, op=viterbi, backend="cuda"),
    "viterbi in linear memory": partial(Arguments.apply, op=viterbi, memory="linear", backend="cuda"),
    "entropy": partial(Arguments.apply, op=entropy, backend="cuda"),
    "kbest": partial(Arguments.apply, op=kbest, num_paths=3, backend="cuda"),
    "sample": partial(Arguments.apply, op=sample, num_samples=2, backend="cuda"),
    "gradients": gradients,
    "gradients with checkpoints": partial(gradients, checkpoint=True),
}
SEGMENTS: dict[str, Callable[..., Any]] = {
    "semi_markov.log_likelihood": semi_markov.log_likelihood,
    "semi_markov.posterior": semi_markov.posterior,
    "semi_markov.viterbi": semi_markov.viterbi,
    "semi_markov.sample": semi_markov.sample,
}
NAMES = [
    *(f"{op}, {model}" for op in FIRST_ORDER for model in models()),
    *(f"{op}, {size}" for op in SEGMENTS for size in ("one tile", "several tiles")),
    *("dtw", "dtw in a window", "soft_dtw", "pairwise_cost"),
]
# Those that draw random numbers: a replayed graph draws others than a call.
RANDOM = [name for name in NAMES if "sample" in name]


def _normal(shape: tuple[int, ...], device: torch.device, dtype: torch.dtype, seed: int) -> Tensor:
    """Random numbers."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(device, dtype)


def make(name: str, device: torch.device, dtype: torch.dtype = torch.float32) -> Call:
    """Bind an operation."""
    op, _, form = name.partition(", ")
    if op in FIRST_ORDER:
        hmm = moved(models()[form], device, dtype)
        shape = tuple(hmm.log_emission.shape)
        run = FIRST_ORDER[op]
        return Call(
            lambda x: run(hmm._replace(log_emission=x)), lambda seed: 2 * _normal(shape, device, dtype, seed)
        )
    if op in SEGMENTS:
        states, longest = (20, 40) if form == "one tile" else (90, 150)
        initial, transition, duration = (
            _normal(size, device, dtype, 5).log_softmax(-1)
            for size in ((states,), (states, states), (states, longest))
        )
        segments = SEGMENTS[op]
        return Call(
            lambda x: segments(initial, transition, duration, x, backend="cuda"),
            lambda seed: _normal((3, 200, states), device, dtype, seed),
        )
    costs = partial(_normal, (3, 150, 170), device, dtype)
    if op == "pairwise_cost":
        return Call(
            lambda x: pairwise_cost(x, x.flip(1), backend="cuda"),
            partial(_normal, (3, 150, 9), device, dtype),
        )
    if op == "soft_dtw":
        return Call(_soft, lambda seed: costs(seed).abs())
    window = SakoeChiba(40) if "window" in op else None
    return Call(lambda x: dtw(x, window=window, backend="cuda"), lambda seed: costs(seed).abs())


def _soft(cost: Tensor) -> tuple[Tensor, Tensor]:
    """Value and derivative."""
    leaf = cost.detach().requires_grad_()
    value = soft_dtw(leaf, backend="cuda")
    (derivative,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), derivative
