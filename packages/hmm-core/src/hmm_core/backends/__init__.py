"""Where the recursions are computed: the torch reference, which defines them, C++ and Triton."""

import contextlib
from collections.abc import Iterator

from hmm_core.backends import cpu, cuda


class BackendUnavailableError(RuntimeError):
    """An explicitly named backend cannot compute a call; the message says why."""


def native_problem() -> str | None:
    """Why the C++ kernels cannot be used at all, or None."""
    if cpu.LOAD_ERROR is None:
        return None
    return (
        f"needs the C++ kernels of hmm-core, which are not installed ({cpu.LOAD_ERROR}); to get them, "
        "install a C++17 compiler and run "
        "HMM_REQUIRE_NATIVE=1 pip install --force-reinstall --no-binary hmm-core hmm-core"
    )


def problem(backend: str) -> str | None:
    """Why a backend cannot be used at all, or None."""
    return {"reference": lambda: None, "cpu": native_problem, "cuda": cuda.problem}[backend]()


def available() -> dict[str, str | None]:
    """Which backends this installation can use.

    Returns
    -------
    dict of str to (str or None)
        For each backend None if it is usable, otherwise the reason why it is not.

    Examples
    --------
    >>> available()["reference"] is None
    True
    """
    return {backend: problem(backend) for backend in ("reference", "cpu", "cuda")}


def kernel_variant() -> str | None:
    """Name the instruction set that the C++ kernels use.

    Returns
    -------
    str or None
        ``"x86-64-v2"``, ``"x86-64-v3"`` or ``"x86-64-v4"``, the best one that this machine runs;
        ``"native"`` on other processors; None without kernels.

    Examples
    --------
    >>> kernel_variant() in (*kernel_variants(), None)
    True
    """
    if cpu.LOAD_ERROR is not None:
        return None
    from hmm_core.backends.cpu import _cpu  # noqa: PLC0415  (there may be none)

    return _cpu.target()


def kernel_variants() -> tuple[str, ...]:
    """Name the instruction sets that the C++ kernels were built for and this machine runs.

    Returns
    -------
    tuple of str
        From the oldest to the newest; empty without kernels.

    Examples
    --------
    >>> "sparc" in kernel_variants()
    False
    """
    if cpu.LOAD_ERROR is not None:
        return ()
    from hmm_core.backends.cpu import _cpu  # noqa: PLC0415  (there may be none)

    return tuple(_cpu.targets())


@contextlib.contextmanager
def use_kernel_variant(name: str) -> Iterator[None]:
    """Let the C++ kernels use another instruction set for a while: for tests and comparisons.

    Parameters
    ----------
    name : str
        One of ``kernel_variants()``.

    Raises
    ------
    BackendUnavailableError
        If the kernels cannot use it.

    Notes
    -----
    Holds for the whole process, other threads included. Results of two variants differ by roundings.

    Examples
    --------
    >>> for name in kernel_variants():
    ...     with use_kernel_variant(name):
    ...         assert kernel_variant() == name
    """
    if name not in kernel_variants():
        usable = ", ".join(kernel_variants()) or f"none, {native_problem()}"
        raise BackendUnavailableError(f"name must be a usable kernel variant ({usable}); got {name!r}")
    from hmm_core.backends.cpu import _cpu  # noqa: PLC0415  (there may be none)

    before = _cpu.target()
    _cpu.use_target(name)
    try:
        yield
    finally:
        _cpu.use_target(before)
