"""Where the recursions are computed: the torch reference, which defines them, and the C++ kernels."""

from hmm_core.backends import cpu


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
    return {"reference": None, "cpu": native_problem()}
