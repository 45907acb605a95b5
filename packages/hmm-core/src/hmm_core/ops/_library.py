"""Registration of operations that torch.compile and torch.export keep whole; what all operations share."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Protocol, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad

from hmm_core import backends
from hmm_core._dispatch import Chosen, resolve
from hmm_core._tracing import in_functorch, is_traced, values_are_readable
from hmm_core._validate import Problem, checked
from hmm_core._values import check_values
from hmm_core.transitions import Sparse

# Registered names live as long as this object.
_LIBRARY = torch.library.Library("hmm_core", "DEF")  # type: ignore[no-untyped-call]  # torch does not annotate it

# The canonical arguments of every recursion, see hmm_core._validate.Problem.
PROBLEM_SCHEMA = (
    "Tensor log_initial, Tensor? predecessors, Tensor log_weight, Tensor log_emission, Tensor lengths, "
    "Tensor log_final, Tensor? emission_index"
)
# Positions of log_initial, log_weight, log_emission and log_final among them.
DIFFERENTIABLE = (0, 2, 3, 5)


class Context(Protocol):
    """What a registered derivative keeps between the two directions."""

    needs_input_grad: tuple[bool, ...]
    options: tuple[object, ...]

    @property
    def saved_tensors(self) -> tuple[Tensor, ...]:
        """The tensors that were kept."""
        ...

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep tensors."""
        ...

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Declare outputs without a derivative."""
        ...

    def set_materialize_grads(self, value: bool) -> None:
        """Choose zeros or None for outputs that were not used."""
        ...


class Operation:
    """A registered operation, and the ways around the registry, which costs more than a small problem."""

    def __init__(
        self,
        registered: Callable[..., object],
        compute: Callable[..., object],
        record: Callable[..., object] | None,
    ) -> None:
        self._registered = registered
        self._compute = compute
        self._record = record

    def __call__(self, *arguments: object, recorded: bool = False) -> object:
        """Compute; ``recorded``: a derivative by one of the arguments may be asked for."""
        if is_traced(arguments):
            return self._registered(*arguments)
        if recorded and self._record is not None:
            return self._record(*arguments)
        return self._compute(*arguments)


def register(
    name: str,
    schema: str,
    fake: Callable[..., object],
    *,
    compute: Callable[..., object] | None = None,
    source: str | None = None,
    save: Callable[..., None] | None = None,
    differentiate: Callable[..., object] | None = None,
) -> Operation:
    """Define an operation for all devices, with its derivative if there is one.

    Its last argument is the backend, where ``source``, ``"module.function"``, takes the others, unless
    ``compute`` takes them all. Both are named after the operation if omitted.
    """
    compute = compute or _in_backend(source or f"{name}.{name}")
    _LIBRARY.define(  # type: ignore[no-untyped-call]  # torch does not annotate it
        name + schema, tags=(torch.Tag.pt2_compliant_tag,)
    )
    _LIBRARY.impl(  # type: ignore[no-untyped-call]  # torch does not annotate it
        name, compute, "CompositeExplicitAutograd"
    )
    torch.library.register_fake(f"hmm_core::{name}", fake, lib=_LIBRARY)
    record = None
    if save is not None and differentiate is not None:
        torch.library.register_autograd(f"hmm_core::{name}", differentiate, setup_context=save, lib=_LIBRARY)
        record = _recorded(compute, save, differentiate)
    # The overload is cheaper to call than the packet.
    return Operation(getattr(torch.ops.hmm_core, name).default, compute, record)


def _in_backend(source: str) -> Callable[..., object]:
    """Return the function that calls that of a backend, which its last argument names."""

    def compute(*arguments: object) -> object:
        """Run the chosen backend."""
        *rest, backend = arguments
        return implementation(source, cast(str, backend))(*rest)

    return compute


def _recorded(
    compute: Callable[..., object], save: Callable[..., None], differentiate: Callable[..., object]
) -> Callable[..., object]:
    """Return an operation that eager autograd records, with a derivative as torch.library takes it."""

    class Recorded(torch.autograd.Function):
        """The operation and its derivative."""

        @staticmethod
        def forward(ctx: Context, *arguments: object) -> object:
            """Compute, and keep what the derivative needs."""
            output = compute(*arguments)
            save(ctx, arguments, output)
            return output

        @staticmethod
        def backward(ctx: Context, *gradients: Tensor | None) -> object:
            """Differentiate by the arguments."""
            return differentiate(ctx, *gradients)

    apply: Callable[..., object] = Recorded.apply
    return apply


def implementation(source: str, backend: str) -> Callable[..., object]:
    """Return a function of a backend, ``"module.function"``."""
    module, _, name = source.rpartition(".")
    function: Callable[..., object] = getattr(_module(module, backend), name)
    return function


@cache
def _module(name: str, backend: str) -> ModuleType:
    """Import a module of a backend once."""
    return import_module(f"{backends.__name__}.{backend}.{name}")


def register_recorded(name: str, outputs: str, fake: Callable[..., object]) -> Operation:
    """Define an operation on a Problem whose derivative records the reference and differentiates that.

    ``outputs`` is its schema: the values come from the kernels, the derivatives from the definition.
    """

    def save(ctx: Context, inputs: tuple[Tensor | None, ...], output: object) -> None:
        """Keep the arguments."""
        del output
        ctx.save_for_backward(*inputs[:7])
        ctx.set_materialize_grads(False)

    def differentiate(ctx: Context, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        """Differentiate through the recorded reference."""
        return (
            *differentiate_recorded(
                implementation(f"{name}.{name}", "reference"), ctx.saved_tensors, gradients
            ),
            None,
        )

    schema = f"({PROBLEM_SCHEMA}, str backend) -> {outputs}"
    return register(name, schema, fake, save=save, differentiate=differentiate)


def _leaves(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Return views at which derivatives stop; their own graph, if any, leads to the caller's tensors."""
    views = [tensor.view_as(tensor) for tensor in tensors]
    return [view if view.requires_grad else view.requires_grad_() for view in views]


def _differentiate(
    outputs: Iterable[Tensor],
    leaves: list[Tensor],
    gradients: Iterable[Tensor | None],
    *,
    recording: bool,
) -> list[Tensor | None]:
    """Vector-Jacobian product over the outputs that have a gradient."""
    pairs = [
        (output, gradient)
        for output, gradient in zip(outputs, gradients, strict=True)
        if gradient is not None and output.requires_grad
    ]
    if not pairs:
        return [None] * len(leaves)
    outputs, gradients = zip(*pairs, strict=True)
    return list(torch.autograd.grad(outputs, leaves, gradients, create_graph=recording, allow_unused=True))


def differentiate_recorded(
    reference: Callable[..., object], arguments: tuple[Tensor, ...], gradients: tuple[Tensor | None, ...]
) -> list[Tensor | None]:
    """Vector-Jacobian product of a function of a Problem, by recording it."""
    problem = list(arguments)
    recording = torch.is_grad_enabled()
    results: list[Tensor | None] = [None] * len(problem)
    with torch.enable_grad():
        leaves = _leaves(problem[position] for position in DIFFERENTIABLE)
        for position, leaf in zip(DIFFERENTIABLE, leaves, strict=True):
            problem[position] = leaf
        outputs = reference(*Problem(*problem).canonical())
        outputs = (outputs,) if isinstance(outputs, Tensor) else cast(tuple[Tensor, ...], outputs)
        found = _differentiate(outputs, leaves, gradients, recording=recording)
    for position, value in zip(DIFFERENTIABLE, found, strict=True):
        results[position] = value
    return results


def differentiate_twice(
    reference: Callable[[list[Tensor]], Tensor],
    gradient: Tensor,
    arguments: Sequence[Tensor],
    positions: Sequence[int],
    outer: Sequence[Tensor | None],
) -> tuple[Tensor | None, list[Tensor | None]]:
    """Differentiate again the derivatives of ``gradient @ reference(arguments)`` by those at the positions.

    Return the products by the gradient and, in their places, by the arguments; the reference is recorded.
    """
    arguments = list(arguments)
    recording = torch.is_grad_enabled()
    results: list[Tensor | None] = [None] * len(arguments)
    with torch.enable_grad():
        leaves = _leaves([gradient, *(arguments[position] for position in positions)])
        for position, leaf in zip(positions, leaves[1:], strict=True):
            arguments[position] = leaf
        inner = torch.autograd.grad(reference(arguments), leaves[1:], leaves[0], create_graph=True)
        found = _differentiate(inner, leaves, outer, recording=recording)
    for position, value in zip(positions, found[1:], strict=True):
        results[position] = value
    return found[0], results


def needs_reference() -> bool:
    """Whether a registered operation would be wrong or refused: under torch.func and forward-mode AD."""
    # There is no public query of the forward-mode level; test_log_likelihood.py covers what depends on it.
    return not torch.compiler.is_compiling() and (
        in_functorch() or forward_ad._current_level >= 0  # noqa: SLF001
    )


def prepare(
    backend: str,
    log_initial: Tensor,
    log_transition: Tensor | Sparse,
    log_emission: Tensor,
    lengths: Tensor | None,
    log_final: Tensor | None,
    emission_index: Tensor | None,
) -> tuple[Problem, Chosen]:
    """Check the arguments of an operation, and choose where to compute it.

    The C++ kernels check values themselves; for all others the arguments are in canonical form.
    """
    problem = checked(log_initial, log_transition, log_emission, lengths, log_final, emission_index)
    chosen = resolve(backend, problem.log_emission.device, transformed=needs_reference())
    if chosen != "cpu":
        problem = problem.canonical()
    if chosen == "reference" and values_are_readable():
        check_values(*problem)
    return problem, chosen
