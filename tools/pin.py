"""Write the pinned versions as ``name==version``: no addresses, none of ours, no local suffixes."""

import os
import re
import sys
from pathlib import Path

from workspace import PACKAGES


def pins(frozen: str) -> list[str]:
    """Return the constraint lines of a ``pip freeze``."""
    lines = []
    for line in frozen.splitlines():
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([^+;\s]+)(\+\S+)?", line.strip())
        if match and match[1].lower().replace("_", "-") not in PACKAGES:
            lines.append(f"{match[1].lower()}=={match[2]}")
    return sorted(lines)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text("\n".join([*pins(os.environ["FROZEN"]), ""]), encoding="utf-8")
