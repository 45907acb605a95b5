"""Fail where the kernels of one instruction set define a function that the rest of the program could use.

A template or an inline function becomes a weak symbol; of all weak symbols of one name, the linker keeps any.
One of the standard library, compiled here for a newer processor, could so become everybody's, and end the
program on an older one. Symbols of the engine carry the instruction set in their names.

Usage: check_symbols.py NM TARGET OBJECT...
"""

import re
import subprocess
import sys

# Not code: references to the handler of exceptions.
_HARMLESS = re.compile(r"DW\.ref\.|__clang_call_terminate$")


def leaks(listing: str, target: str) -> list[str]:
    """Return the weak symbols in the output of nm that do not belong to ``hmm::target``."""
    own = re.compile(rf"_Z(G[VR]|T[VTIS])?Z*N[KVRO]*3hmm{len(target)}{target}")
    rows = (line.split() for line in listing.splitlines())
    weak = sorted({row[-1] for row in rows if len(row) >= 2 and row[-2] in "WwVvu"})
    return [name for name in weak if not own.match(name) and not _HARMLESS.match(name)]


def main(nm: str, target: str, objects: list[str]) -> int:
    """Print what leaks, and return the exit status."""
    command = [nm, "--defined-only", *objects]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603  (the build's nm)
    found = leaks(listing, target)
    for name in found:
        sys.stderr.write(f"the kernels for {target} define the weak symbol {name}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
