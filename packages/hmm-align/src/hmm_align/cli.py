"""The command ``hmm-align``, which is also ``hmm align``: train, align and evaluate from a shell.

Exit status: 0 all utterances aligned; 1 some were not, each named with its reason; 2 nothing was done.
"""
# ruff: noqa: PLC0415 - what needs torch is imported inside the commands, so that --help answers at once

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from ._config import ACOUSTICS, AlignerConfig

FORMATS = ("textgrid", "json", "csv")
LAYOUTS = ("mfa", "fastspeech2")  # more than files of times: folders for programs that read them
LANGUAGES = ("en", "ko", "ko-jamo", "ja", "cmn")  # those of hmm_speech, which would load torch
MODEL_NAME = "model.safetensors"
TIMES_NAME = "alignments"

app = typer.Typer(
    name="align",
    help="Find when each word and phone is spoken, with a model trained on your own recordings.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _check_formats(formats: Iterable[str]) -> list[str]:
    """Refuse an unknown format before any work is done."""
    unknown = sorted(set(formats) - {*FORMATS, *LAYOUTS})
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)} is not one of {', '.join((*FORMATS, *LAYOUTS))}")
    return list(formats)


def _check_language(language: str) -> str:
    """Refuse an unknown language before any work is done."""
    if language not in LANGUAGES:
        raise typer.BadParameter(f"{language} is not one of {', '.join(LANGUAGES)}")
    return language


def _check_acoustic(acoustic: str) -> str:
    """Refuse an unknown kind of model before any work is done."""
    if acoustic not in ACOUSTICS:
        raise typer.BadParameter(f"{acoustic} is not one of {', '.join(ACOUSTICS)}")
    return acoustic


CorpusFolder = Annotated[
    Path,
    typer.Argument(
        help="Folder of recordings and transcripts: X.wav with X.txt, speaker folders, or LJSpeech.",
        exists=True,
        file_okay=False,
        show_default=False,
    ),
]
Recordings = Annotated[
    Path,
    typer.Argument(
        help="Folder of recordings and transcripts, or one recording.", exists=True, show_default=False
    ),
]
Text = Annotated[
    str | None,
    typer.Option(
        "--text", help="What is said in the one recording; else X.txt or X.lab beside it.", show_default=False
    ),
]
OutFolder = Annotated[Path, typer.Argument(help="Where the times go.", file_okay=False, show_default=False)]
LexiconFile = Annotated[
    Path | None,
    typer.Option(
        "--lexicon",
        help="More pronunciations, a word and its phones per line; they win over the others.",
        exists=True,
        dir_okay=False,
        show_default=False,
    ),
]
Language = Annotated[
    str,
    typer.Option(
        help="Language of the transcripts: en, ko, ko-jamo (Korean in jamo), ja or cmn (Mandarin).",
        callback=_check_language,
    ),
]
NoEnglish = Annotated[
    bool,
    typer.Option("--no-english", help="Use the pronunciations of --lexicon alone, not the language's own."),
]
Guess = Annotated[bool, typer.Option("--g2p", help="Guess how unknown words sound (needs hmm-speech[g2p]).")]
Acoustic = Annotated[
    str,
    typer.Option(help="What places the boundaries: monophone, triphone or neural.", callback=_check_acoustic),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Any other choice of AlignerConfig, as in --set silence_prob=0.3; repeat it for several.",
        show_default=False,
    ),
]
FramePeriod = Annotated[float, typer.Option(help="Seconds between frames.", min=0.001, max=0.05)]
Threads = Annotated[int, typer.Option(help="CPU threads; 0 leaves the choice to torch.", min=0)]
Jobs = Annotated[
    int, typer.Option("--jobs", help="Processes, of one thread each; more than 1 overrides --threads.", min=1)
]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Start over instead of continuing a training that was interrupted.")
]
Formats = Annotated[
    list[str],
    typer.Option(
        "--format",
        help="textgrid, json, csv; mfa or fastspeech2 for a folder OUT/mfa or OUT/fastspeech2 in that "
        "layout. Repeat it for several.",
        callback=_check_formats,
    ),
]
Loose = Annotated[
    bool,
    typer.Option(
        "--loose",
        help="Do not trust the transcripts: mark speech that no word explains, leave out words nobody says.",
    ),
]
Adapt = Annotated[
    bool,
    typer.Option("--adapt", help="First move the model towards these recordings, best those of one voice."),
]
MelRate = Annotated[int, typer.Option(help="For fastspeech2: Hz of its spectrograms.", min=1000)]
HopLength = Annotated[int, typer.Option(help="For fastspeech2: samples between frames.", min=1, max=1024)]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but problems.")]


@app.command()
def train(
    corpus: CorpusFolder,
    model: Annotated[Path, typer.Argument(help="Model file to write.", dir_okay=False, show_default=False)],
    language: Language = "en",
    lexicon: LexiconFile = None,
    no_english: NoEnglish = False,
    g2p: Guess = False,
    frame_period: FramePeriod = 0.01,
    acoustic: Acoustic = AlignerConfig.acoustic,
    settings: Settings = None,
    threads: Threads = 0,
    jobs: Jobs = 1,
    fresh: Fresh = False,
    quiet: Quiet = False,
) -> None:
    """Train a model on CORPUS alone and write it to MODEL."""
    from . import _commands

    with _commands.Session(quiet, threads, jobs) as session:
        config = session.config(frame_period, acoustic, settings or [])
        session.read_corpus(corpus)
        session.reserve(model.parent, model.name)
        workdir = model.with_name(f"{model.name}.training")
        pronunciations = session.lexicon(language, lexicon, no_english, g2p)
        session.train(model, pronunciations, config, fresh, workdir)
        session.finish(workdir)


@app.command()
def run(
    corpus: Recordings,
    model: Annotated[
        str,
        typer.Argument(
            help="What `train` wrote; or a model of CMU Sphinx, sphinx:en-us or sphinx:FOLDER.",
            show_default=False,
        ),
    ],
    out: OutFolder,
    text: Text = None,
    lexicon: LexiconFile = None,
    g2p: Guess = False,
    formats: Formats = list(FORMATS),  # noqa: B006 - typer reads it once and copies it
    adapt: Adapt = False,
    loose: Loose = False,
    mel_rate: MelRate = 22_050,
    hop_length: HopLength = 256,
    threads: Threads = 0,
    jobs: Jobs = 1,
    quiet: Quiet = False,
) -> None:
    """Align CORPUS, a folder or one recording, with a trained MODEL and write times to OUT."""
    from . import _commands

    with _commands.Session(quiet, threads, jobs) as session:
        session.read_corpus(corpus, text)
        aligner = session.load(model, lexicon, g2p)
        session.reserve(out, TIMES_NAME)
        workdir = out / f".{TIMES_NAME}"
        if adapt:
            aligner = session.adapt(aligner, workdir)
        session.align(aligner, out, formats, (mel_rate, hop_length), loose, workdir)
        session.finish(workdir)


@app.command("corpus")
def train_and_run(
    corpus: CorpusFolder,
    out: OutFolder,
    language: Language = "en",
    lexicon: LexiconFile = None,
    no_english: NoEnglish = False,
    g2p: Guess = False,
    frame_period: FramePeriod = 0.01,
    acoustic: Acoustic = AlignerConfig.acoustic,
    settings: Settings = None,
    formats: Formats = list(FORMATS),  # noqa: B006 - typer reads it once and copies it
    loose: Loose = False,
    mel_rate: MelRate = 22_050,
    hop_length: HopLength = 256,
    threads: Threads = 0,
    jobs: Jobs = 1,
    fresh: Fresh = False,
    quiet: Quiet = False,
) -> None:
    """Train on CORPUS and align it; times and the model go to OUT."""
    from . import _commands

    with _commands.Session(quiet, threads, jobs) as session:
        config = session.config(frame_period, acoustic, settings or [])
        session.read_corpus(corpus)
        pronunciations = session.lexicon(language, lexicon, no_english, g2p)
        session.reserve(out, MODEL_NAME)
        session.reserve(out, TIMES_NAME)
        workdir = out / f"{MODEL_NAME}.training"
        aligner = session.train(out / MODEL_NAME, pronunciations, config, fresh, workdir)
        session.align(aligner, out, formats, (mel_rate, hop_length), loose, workdir)
        session.finish(workdir)


@app.command()
def evaluate(
    out: Annotated[
        Path, typer.Argument(help="Folder of times.", exists=True, file_okay=False, show_default=False)
    ],
    reference: Annotated[
        Path,
        typer.Argument(
            help="Folder of TextGrid, JSON or label files with the same names.",
            exists=True,
            file_okay=False,
            show_default=False,
        ),
    ],
    reliability: Annotated[
        Path | None,
        typer.Option(
            help="Picture to write (svg, png or pdf): how often boundaries lie within their uncertainties. "
            "Needs the JSON files.",
            dir_okay=False,
            show_default=False,
        ),
    ] = None,
) -> None:
    """Measure how far the boundaries in OUT are from those in REFERENCE."""
    from . import _commands

    with _commands.Session(quiet=False, threads=0) as session:
        session.evaluate(out, reference, reliability)


@app.command()
def report(
    out: Annotated[
        Path,
        typer.Argument(
            help="What `run` or `corpus` wrote.", exists=True, file_okay=False, show_default=False
        ),
    ],
    html: Annotated[
        Path | None,
        typer.Option("--html", help="Page to write; OUT/report.html if omitted.", dir_okay=False),
    ] = None,
    recordings: Annotated[
        Path | None,
        typer.Option(
            "--recordings",
            help="Folder of the recordings, if they are no longer where they were.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write one page of HTML to look at and listen to the alignments in OUT, the worst first."""
    from . import _commands

    with _commands.Session(quiet, threads=0) as session:
        session.report(out, html or out / "report.html", recordings)


def main() -> None:
    """Run the command line as ``hmm-align``."""
    # Before torch is loaded: threads that spin while they wait make a busy machine many times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    app()
