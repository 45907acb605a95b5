"""Where the C++ engine lies, for programs that use it without Python."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def _folder(name: str) -> str:
    """Folder of the installed package, or, in an editable installation, of its source tree."""
    found = [root / name for root in (_PACKAGE, _PACKAGE.parents[1] / "csrc") if (root / name).is_dir()]
    if not found:
        raise FileNotFoundError(
            f"this installation of hmm-core has no folder {name!r}: neither in {_PACKAGE} nor in the sources"
        )
    return str(found[0])


def get_include() -> str:
    """Folder of the C++ engine's headers, ``hmm/*.hpp``.

    The engine is C++17, headers only, and knows neither Python nor torch.

    Returns
    -------
    str
        An absolute path, for ``c++ -I``.

    Raises
    ------
    FileNotFoundError
        If the installation is damaged.

    Notes
    -----
    Compile with ``-O3 -march=native -fno-math-errno -fno-trapping-math`` for speed, never with
    ``-ffast-math``: ``-inf`` is a value here. A program that holds the engine compiled for several
    instruction sets defines ``HMM_TARGET`` differently for each, as the Python module does.

    See Also
    --------
    get_cmake_dir : The same for CMake.

    Examples
    --------
    >>> from pathlib import Path
    >>> (Path(get_include()) / "hmm" / "viterbi.hpp").is_file()
    True
    """
    return _folder("include")


def get_cmake_dir() -> str:
    """Folder of the CMake package of the C++ engine.

    ``find_package(hmm CONFIG REQUIRED)`` with ``-Dhmm_DIR=<this folder>`` defines the target ``hmm::hmm``.

    Returns
    -------
    str
        An absolute path.

    Raises
    ------
    FileNotFoundError
        If the installation is damaged.

    See Also
    --------
    get_include : The headers, for other build systems.

    Examples
    --------
    >>> from pathlib import Path
    >>> (Path(get_cmake_dir()) / "hmm-config.cmake").is_file()
    True
    """
    return _folder("cmake")
