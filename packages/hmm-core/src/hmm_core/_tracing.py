"""Whether the values of tensors may be read: not while torch.compile or torch.func traces a function."""

import torch


def in_functorch() -> bool:
    """Whether a torch.func transform (grad, vmap, jvp, ...) is active."""
    # There is no public query; test_log_likelihood.py covers what depends on it.
    return torch._C._functorch.peek_interpreter_stack() is not None  # noqa: SLF001


def values_are_readable() -> bool:
    """Whether value checks can run: eager code outside torch.func."""
    return not torch.compiler.is_compiling() and not in_functorch()
