"""Fail when a package asks for a sibling in a range that excludes the sibling's version in this tree."""

import sys

from packaging.requirements import Requirement
from workspace import PACKAGES, project, requirements


def conflicts(versions: dict[str, str], wanted: dict[str, list[str]]) -> list[str]:
    """Return one sentence for every sibling requirement that is missing a range or not met."""
    found = []
    for package, lines in wanted.items():
        for requirement in map(Requirement, lines):
            if requirement.name not in versions or requirement.name == package:
                continue
            if not {">=", "<"} <= {clause.operator for clause in requirement.specifier}:
                found.append(f"{package} must give {requirement.name} a range >=x,<y; got '{requirement}'")
            elif not requirement.specifier.contains(versions[requirement.name]):
                version = versions[requirement.name]
                found.append(
                    f"{package} requires {requirement}, but packages/{requirement.name} is at {version}"
                )
    return found


def main() -> int:
    """Check the tree."""
    versions = {package: str(project(package)["version"]) for package in PACKAGES}
    found = conflicts(versions, {package: requirements(package) for package in PACKAGES})
    print(
        *(found or [f"sibling ranges of {len(PACKAGES)} packages admit the versions in the tree"]), sep="\n"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
