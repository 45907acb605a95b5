"""Who stands behind a call: torch.compile, torch.export or torch.jit.trace."""

import torch


def is_recorded() -> bool:
    """Whether the call is recorded to run on other data: then no value and no block of frames may decide."""
    # The tracer's state has no typed query; test_compilation.py covers what depends on it.
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None  # noqa: SLF001
