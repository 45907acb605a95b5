"""Compare each package's public names with the list that was reviewed, or rewrite the list.

``--check`` fails when a name appeared or disappeared; ``--write`` accepts the names of the tree. The
meta-package's export table must be the union of the others' names, sorted, none of them twice.
"""

import argparse
import ast
import sys
from pathlib import Path

from workspace import PACKAGES, ROOT, import_name

LISTS = ROOT / "tests-integration" / "public_api"
# The toolkit does not re-export its benchmark runner.
NOT_REEXPORTED = {"hmm-bench", "pytorch-hmm"}


def public_names(source: Path) -> dict[str, str]:
    """Read the names a package exports, each with its module (empty where ``__all__`` lists them)."""
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                pass
            case _:
                continue
        if name == "_EXPORTS":
            table: dict[str, str] = ast.literal_eval(value)
            return table
        if name == "__all__":
            return dict.fromkeys(ast.literal_eval(value), "")
    raise ValueError(f"{source} must assign a literal __all__ or _EXPORTS")


def init_file(package: str) -> Path:
    """Return the ``__init__.py`` of a package."""
    return ROOT / "packages" / package / "src" / import_name(package) / "__init__.py"


def differences() -> list[str]:
    """Return a sentence for everything in which the tree and the reviewed lists differ."""
    found = []
    union: dict[str, str] = {}
    for package in PACKAGES:
        names = public_names(init_file(package))
        listed = LISTS / f"{import_name(package)}.txt"
        reviewed = set(listed.read_text(encoding="utf-8").split()) if listed.exists() else set()
        found += [
            f"{package}: {name} appeared; tools/public_api.py --write accepts it"
            for name in sorted(set(names) - reviewed)
        ]
        found += [f"{package}: {name} disappeared" for name in sorted(reviewed - set(names))]
        if package in NOT_REEXPORTED:
            continue
        found += [
            f"{name} is exported by {union[name]} and by {package}"
            for name in sorted(set(names) & set(union))
        ]
        union.update(dict.fromkeys(names, import_name(package)))
    table = public_names(init_file("pytorch-hmm"))
    if list(table) != sorted(table):
        found.append("pytorch-hmm's table is not sorted")
    found += [f"pytorch-hmm lacks {name} of {union[name]}" for name in sorted(set(union) - set(table))]
    found += [f"pytorch-hmm exports {name}, which no package has" for name in sorted(set(table) - set(union))]
    found += [
        f"pytorch-hmm takes {name} from {table[name]}, not {union[name]}"
        for name in sorted(set(table) & set(union))
        if table[name] != union[name]
    ]
    return found


def main() -> int:
    """Check or rewrite the lists."""
    parser = argparse.ArgumentParser(description=__doc__)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--check", action="store_true")
    mode.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        LISTS.mkdir(exist_ok=True)
        for package in PACKAGES:
            names = sorted(public_names(init_file(package)))
            (LISTS / f"{import_name(package)}.txt").write_text(
                "\n".join([*names, ""]).lstrip("\n"), encoding="utf-8"
            )
    found = differences()
    print(*(found or [f"the public names of {len(PACKAGES)} packages are the reviewed ones"]), sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
