# /// script
# requires-python = ">=3.11"
# dependencies = ["pstrain==0.5.0"]
# ///
"""Train pstrain on clips and align them; runs in an environment of its own.

Arguments: a folder of X.wav (16 kHz, 16 bits) and X.txt (words of words.dict, which lies there too), a folder
for X.TextGrid, and so on in pairs: all are aligned with the model of the first. Its default recipe, triphones
with eight Gaussians, all clips for training. Prints the seconds of training and of each pair.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TARGET = "cd-8g"


def run(*arguments: object) -> float:
    """Run a command of pstrain; return its seconds. Clips that it rejects make its status 1."""
    began = time.perf_counter()
    command = [str(Path(sys.executable).with_name("pstrain")), *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    print(done.stdout, done.stderr, file=sys.stderr)
    return time.perf_counter() - began


def prompts_of(clips: Path, path: Path) -> Path:
    """Write the transcripts in the form of Sphinx; return where."""
    with path.open("w", encoding="utf-8") as file:
        for clip in sorted(clips.glob("*.txt")):
            file.write(f"<s> {clip.read_text(encoding='utf-8').strip()} </s> ({clip.stem})\n")
    return path


def main() -> None:
    """Train, align, print."""
    folders = [Path(argument) for argument in sys.argv[1:]]
    with tempfile.TemporaryDirectory() as folder:
        audio, project = Path(folder) / "audio", Path(folder) / "project"
        audio.mkdir()
        for path in folders[0].glob("*.wav"):
            shutil.copy(path, audio)
        train = run(
            "train", project, "--audio", audio, "--prompt-format", "sphinx", "--target", TARGET, "-j", 2,
            "--prompts", prompts_of(folders[0], Path(folder) / "first.transcription"),
            "--dictionary", folders[0] / "words.dict",
        )  # fmt: skip
        align = []
        for number, (clips, out) in enumerate(zip(folders[::2], folders[1::2], strict=True)):
            out.mkdir(parents=True, exist_ok=True)
            prompts = prompts_of(clips, Path(folder) / f"{number}.transcription")
            align.append(run(
                "align", TARGET, "--project-dir", project, "--transcripts", prompts, "--audio-dir", clips,
                "--dict", clips / "words.dict", "--output-dir", out,
            ))  # fmt: skip
    print(json.dumps({"train": train, "align": align}))


if __name__ == "__main__":
    main()
