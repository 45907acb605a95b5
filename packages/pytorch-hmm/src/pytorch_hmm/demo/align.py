"""``hmm demo align``: the aligner on speech whose phone times are known, from nothing, in about a minute."""

import time
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from hmm_align import (
    CorpusAligner,
    EvaluationReport,
    evaluate,
    plot_alignment,
    read_textgrid,
    write_alignments,
)
from hmm_speech import read_corpus

from . import NUM_SENTENCES
from ._corpus import claim, make_corpus
from ._espeak import start_engine


class DemoResult(NamedTuple):
    """What the demo made, and how good it was."""

    report: EvaluationReport
    corpus: Path
    reference: Path
    aligned: Path
    model: Path
    picture: Path


def align_demo(out: Path, num_sentences: int = NUM_SENTENCES, console: Console | None = None) -> DemoResult:
    """Speak a corpus, train an aligner on it alone, align it, and compare with the exact times.

    Parameters
    ----------
    out : Path
        Folder for everything that the demo makes.
    num_sentences : int
        1 to 120.
    console : rich.console.Console, optional
        Where to report.

    Returns
    -------
    DemoResult
        The paths written, and the evaluation.

    Raises
    ------
    ImportError
        If the extra ``pytorch-hmm[demo]`` is not installed.
    FileExistsError
        If the folder holds files and none of them is from an earlier demo.
    """
    console = console or Console()
    started = time.perf_counter()
    start_engine()  # where it is missing, nothing is touched
    claim(out)
    corpus_dir, reference = make_corpus(out, num_sentences)
    corpus = read_corpus(corpus_dir)
    console.print(f"spoke {len(corpus)} sentences with eSpeak NG in {time.perf_counter() - started:.1f} s")

    columns = (TextColumn("{task.description:<12}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bars:
        tasks = {}

        def advance(stage: str, done: int, total: int) -> None:
            """Draw a stage's bar."""
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage)
            bars.update(tasks[stage], completed=done, total=total)

        aligner = CorpusAligner.train(corpus, progress=advance)
        alignments = aligner.align(corpus, progress=advance)
    model = out / "model.safetensors"
    aligner.save(model)
    aligned = out / "aligned"
    write_alignments(alignments, aligned)
    for alignment in alignments:
        if not alignment.ok:
            console.print(f"problem: {alignment.id}: {alignment.reason}")

    report = evaluate(aligned, reference)
    console.print(report.table())
    shown = next(alignment for alignment in alignments if alignment.ok)
    picture = out / f"{shown.id}.png"
    plot_alignment(
        corpus_dir / f"{shown.id}.wav",
        shown,
        picture,
        reference=read_textgrid(reference / f"{shown.id}.TextGrid"),
    )
    contents = {
        corpus_dir: "recordings and their transcripts",
        reference: "exact times as TextGrids",
        aligned: "times found, as TextGrid, JSON and CSV",
        model: "the trained model",
        picture: "waveform, spectrogram, boundaries (blue: found, orange: exact)",
    }
    width = max(len(str(path)) for path in contents)
    for path, content in contents.items():
        console.print(f"{path!s:<{width}}  {content}", soft_wrap=True, highlight=False)
    console.print(f"{time.perf_counter() - started:.0f} s in all")
    return DemoResult(report, corpus_dir, reference, aligned, model, picture)


def main(
    out: Annotated[Path, typer.Option(help="Folder for everything.", file_okay=False)] = Path("hmm-demo"),
    sentences: Annotated[int, typer.Option(help="How many.", min=1, max=NUM_SENTENCES)] = NUM_SENTENCES,
) -> None:
    """Speak a corpus whose phone times are known, train on it alone, align it, and measure."""
    try:
        align_demo(out, sentences)
    except (ImportError, FileExistsError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error


if __name__ == "__main__":
    typer.run(main)
