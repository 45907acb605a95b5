"""Registration of operations that torch.compile and torch.export keep whole; what all operations share."""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Protocol, cast

import torch
from torch import Tensor
from torch.autograd import forward_ad

from hmm_core import backends
from hmm_core._dispatch import Chosen, resolve
from hmm_core._tracing import in_functorch, values_are_readable
from hmm_core._validate import Problem, canonical
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


def register(
    name: str,
    schema: str,
    compute: Callable[..., object],
    fake: Callable[..., object],
    *,
    save: Callable[..., None] | None = None,
    differentiate: Callable[..., object] | None = None,
) -> Callable[..., object]:
    """Define an operation for all devices, with its derivative if there is one."""
    _LIBRARY.define(  # type: ignore[no-untyped-call]  # torch does not annotate it
        name + schema, tags=(torch.Tag.pt2_compliant_tag,)
    )
    _LIBRARY.impl(  # type: ignore[no-untyped-call]  # torch does not annotate it
        name, compute, "CompositeExplicitAutograd"
    )
    torch.library.register_fake(f"hmm_core::{name}", fake, lib=_LIBRARY)
    if differentiate is not None:
        torch.library.register_autograd(f"hmm_core::{name}", differentiate, setup_context=save, lib=_LIBRARY)
    # The overload is cheaper to call than the packet.
    operation: Callable[..., object] = getattr(torch.ops.hmm_core, name).default
    return operation


def implementation(op: str, backend: str, function: str = "") -> Callable[..., object]:
    """Return the function of an operation in a backend, or another one of its module."""
    found: Callable[..., object] = getattr(_module(op, backend), function or op.rpartition(".")[2])
    return found


@cache
def _module(op: str, backend: str) -> ModuleType:
    """Import the module of an operation in a backend once."""
    return import_module(f"{backends.__name__}.{backend}.{op}")


def register_recorded(name: str, outputs: str, fake: Callable[..., object]) -> Callable[..., object]:
    """Define an operation on a Problem whose derivative records the reference and differentiates that.

    ``outputs`` is its schema: the values come from the kernels, the derivatives from the definition.
    """

    def compute(*arguments: object) -> object:
        """Run the chosen backend."""
        *problem, backend = arguments
        return implementation(name, cast(str, backend))(*problem)

    def save(ctx: Context, inputs: tuple[Tensor | None, ...], output: object) -> None:
        """Keep the arguments."""
        del output
        ctx.save_for_backward(*inputs[:7])
        ctx.set_materialize_grads(False)

    def differentiate(ctx: Context, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        """Differentiate through the recorded reference."""
        return (
            *differentiate_recorded(implementation(name, "reference"), ctx.saved_tensors, gradients),
            None,
        )

    schema = f"({PROBLEM_SCHEMA}, str backend) -> {outputs}"
    return register(name, schema, compute, fake, save=save, differentiate=differentiate)


def differentiate_recorded(
    reference: Callable[..., object], arguments: tuple[Tensor, ...], gradients: tuple[Tensor | None, ...]
) -> list[Tensor | None]:
    """Vector-Jacobian product of a function of a Problem, by recording it."""
    problem = list(arguments)
    recording = torch.is_grad_enabled()
    results: list[Tensor | None] = [None] * len(problem)
    with torch.enable_grad():
        leaves = []
        for position in DIFFERENTIABLE:
            # A view: the derivative stops here, and its own graph, if any, continues to the caller's tensor.
            view = problem[position].view_as(problem[position])
            problem[position] = view if view.requires_grad else view.requires_grad_()
            leaves.append(problem[position])
        outputs = reference(*problem)
        outputs = (outputs,) if isinstance(outputs, Tensor) else cast(tuple[Tensor, ...], outputs)
        pairs = [
            (output, gradient)
            for output, gradient in zip(outputs, gradients, strict=True)
            if gradient is not None and output.requires_grad
        ]
        if pairs:
            found = torch.autograd.grad(
                [output for output, _ in pairs],
                leaves,
                [gradient for _, gradient in pairs],
                create_graph=recording,
                allow_unused=True,
            )
            for position, value in zip(DIFFERENTIABLE, found, strict=True):
                results[position] = value
    return results


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

    The C++ kernels check values themselves.
    """
    problem = canonical(log_initial, log_transition, log_emission, lengths, log_final, emission_index)
    chosen = resolve(backend, problem.log_emission.device, transformed=needs_reference())
    if chosen == "reference" and values_are_readable():
        check_values(*problem)
    return problem, chosen
