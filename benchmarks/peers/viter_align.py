# /// script
# requires-python = ">=3.11"
# dependencies = ["viter==0.5.1"]
# ///
"""Train viter on clips and align them; runs in an environment of its own.

Arguments: options of ``viter train`` (none for its full recipe, ``--no-tri`` for monophones), a folder of
X.wav and X.txt (words of words.dict, which lies there too), a folder for X.TextGrid, and so on in pairs: all
are aligned with the model of the first, which itself is while it trains. Prints the seconds of training and
of each pair.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def run(*arguments: object) -> float:
    """Run a command of viter; return its seconds."""
    began = time.perf_counter()
    command = [str(Path(sys.executable).with_name("viter")), *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    print(done.stdout, done.stderr, file=sys.stderr)
    return time.perf_counter() - began


def main() -> None:
    """Train, align, print."""
    options = [argument for argument in sys.argv[1:] if argument.startswith("-")]
    folders = [Path(argument) for argument in sys.argv[1:] if not argument.startswith("-")]
    with tempfile.TemporaryDirectory() as folder:
        model, speaker = Path(folder) / "model.viter", ("--speakers", "single")
        words = ("--dict", folders[0] / "words.dict")
        kept = ("--out", model, "--out-textgrids", folders[1])
        train = run("train", folders[0], *words, *speaker, *kept, *options)
        align = [0.0] + [
            run("align", clips, model, "--dict", clips / "words.dict", *speaker, "--out", out)
            for clips, out in zip(folders[2::2], folders[3::2], strict=True)
        ]
    print(json.dumps({"train": train, "align": align}))


if __name__ == "__main__":
    main()
