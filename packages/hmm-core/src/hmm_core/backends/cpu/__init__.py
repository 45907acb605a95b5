"""C++ kernels; each module allocates the outputs and calls ``csrc/include/hmm/<op>.hpp``."""

LOAD_ERROR: str | None = None
try:
    import hmm_core.backends.cpu._cpu  # noqa: F401  (only whether it loads matters here)
except ImportError as error:
    # A pure-Python wheel has no extension; the dispatch says so where it matters.
    LOAD_ERROR = str(error)
