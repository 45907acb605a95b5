"""Who stands behind a call: torch.compile, torch.func, a tracer or a tensor that is none."""

from collections.abc import Iterable

import torch
from torch import Tensor

# Of arguments that hold their own values, and of the options of an operation.
_PLAIN = frozenset({Tensor, torch.nn.Parameter, type(None), bool, int, float, str})


def in_functorch() -> bool:
    """Whether a torch.func transform (grad, vmap, jvp, ...) is active."""
    # There is no public query; test_log_likelihood.py covers what depends on it.
    return torch._C._functorch.peek_interpreter_stack() is not None  # noqa: SLF001


def values_are_readable() -> bool:
    """Whether value checks can run: eager code outside torch.func."""
    return not torch.compiler.is_compiling() and not in_functorch()


def is_traced(arguments: Iterable[object]) -> bool:
    """Whether torch must see the operation as such: something records the call, or a tensor has no memory."""
    # Two of these have no public query; test_tracing.py covers them.
    return (
        torch.compiler.is_compiling()
        or not _PLAIN.issuperset(map(type, arguments))
        or torch._C._len_torch_dispatch_stack() > 0  # noqa: SLF001
        or torch._C._get_tracing_state() is not None  # noqa: SLF001
    )
