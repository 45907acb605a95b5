"""What the repository holds: its packages, what each needs of its siblings, where its wheel lies."""

import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

# In the order of the layers, lowest first: the order in which a failure is most informative.
PACKAGES = [
    "hmm-core",
    "hmm-models",
    "hmm-speech",
    "hmm-metrics",
    "hmm-align",
    "hmm-stream",
    "hmm-tts",
    "hmm-bench",
    "pytorch-hmm",
]


def import_name(package: str) -> str:
    """Return the name under which a distribution is imported."""
    return package.replace("-", "_")


def project(package: str) -> dict[str, Any]:
    """Return the ``[project]`` table of one package."""
    path = ROOT / "packages" / package / "pyproject.toml"
    table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    return table


def requirements(package: str) -> list[str]:
    """Return every requirement of one package, those of its extras included."""
    table = project(package)
    extras = table.get("optional-dependencies", {})
    return [*table["dependencies"], *(line for lines in extras.values() for line in lines)]


def siblings(package: str) -> list[str]:
    """Return the packages of this repository that one of them names in its requirements."""
    names = {re.split(r"[^A-Za-z0-9-]", line, maxsplit=1)[0] for line in requirements(package)}
    return [name for name in PACKAGES if name in names and name != package]


def closure(package: str) -> list[str]:
    """Return the package and all siblings that it needs, directly or not."""
    found = [package]
    for name in found:
        found.extend(other for other in siblings(name) if other not in found)
    return found


def wheel(package: str) -> Path:
    """Return the wheel that the build left in ``dist/``."""
    found = sorted((ROOT / "dist").glob(f"{import_name(package)}-*.whl"))
    if len(found) != 1:
        raise FileNotFoundError(
            f"dist/ must hold one wheel of {package}; found {[path.name for path in found]}"
        )
    return found[0]
