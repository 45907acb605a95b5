"""Registration of operations that torch.compile and torch.export keep as one node."""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.autograd import forward_ad

from hmm_core._tracing import in_functorch

# Registered names live as long as this object.
_LIBRARY = torch.library.Library("hmm_core", "DEF")  # type: ignore[no-untyped-call]  # torch does not annotate it

# The canonical arguments of every recursion, see hmm_core._validate.Problem.
PROBLEM_SCHEMA = (
    "Tensor log_initial, Tensor? predecessors, Tensor log_weight, Tensor log_emission, Tensor lengths, "
    "Tensor log_final, Tensor? emission_index"
)


class Context(Protocol):
    """What a registered derivative keeps between the two directions."""

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


def needs_reference() -> bool:
    """Whether a registered operation would be wrong or refused: under torch.func and forward-mode AD."""
    # There is no public query of the forward-mode level; test_log_likelihood.py covers what depends on it.
    return not torch.compiler.is_compiling() and (
        in_functorch() or forward_ad._current_level >= 0  # noqa: SLF001
    )
