"""The command ``hmm``: every job of the toolkit from a shell."""
# ruff: noqa: PLC0415 - what needs torch is imported inside the commands, so that --help answers at once

import os
from pathlib import Path
from typing import Annotated

import typer

from hmm_align.cli import app as align_app

from .demo import NUM_SENTENCES

app = typer.Typer(
    name="hmm",
    help="Hidden Markov models for speech.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
demo_app = typer.Typer(help="Demonstrations that need no data of your own.", no_args_is_help=True)
app.add_typer(align_app, name="align")
app.add_typer(demo_app, name="demo")


@app.command()
def doctor() -> None:
    """Print versions, compute backends, threads, GPU and optional parts, with how to get what is missing."""
    from ._doctor import report

    report()


@demo_app.callback()
def demo() -> None:
    """Demonstrations that need no data of your own."""


@demo_app.command("align")
def demo_align(
    out: Annotated[Path, typer.Option(help="Folder for everything.", file_okay=False)] = Path("hmm-demo"),
    sentences: Annotated[int, typer.Option(help="How many.", min=1, max=NUM_SENTENCES)] = NUM_SENTENCES,
) -> None:
    """Speak a corpus whose phone times are known, train on it alone, align it, and measure."""
    from .demo.align import main as run

    run(out, sentences)


def main() -> None:
    """Run the command line."""
    # Before torch is loaded: threads that spin while they wait make a busy machine many times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    app()
