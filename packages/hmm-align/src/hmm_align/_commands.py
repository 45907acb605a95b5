"""What the commands do, once they are called."""

import csv
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from hmm_models import ModelFileError
from hmm_speech import Corpus, CorpusError, EnglishG2P, Lexicon, PhoneSet, UnknownWordError, read_corpus

from ._config import AlignerConfig
from ._diagnose import Diagnosis, diagnose
from ._evaluate import evaluate, reliability
from ._phones import unit_of
from ._report import write_report
from ._result import Alignment
from .corpus_aligner import CorpusAligner
from .export import IntervalFileError, read_json, write_alignments, write_rows
from .plot import plot_reliability

PROBLEMS_NAME = "problems.csv"
UTTERANCES_NAME = "utterances.csv"
_UTTERANCE_COLUMNS = (
    "id",
    "audio",
    "ok",
    "duration",
    "coverage",
    "confidence",
    "lowest_confidence",
    "lowest_log_ratio",
    "log_likelihood_per_frame",
    "likelihood_z",
    "longest_duration_z",
    "signs",
)
_PICTURES = (".svg", ".png", ".pdf")
MENDABLE = (CorpusError, ImportError, IntervalFileError, ModelFileError, OSError)
# How the reason of a problem begins if a word has no pronunciation.
_UNKNOWN_WORD = str(UnknownWordError("")).removesuffix("''")


class Session:
    """One command: its corpus, its problems, and how it talks to the user.

    Used as a context manager, it turns an error that the user can mend into one line and exit status 2.
    """

    def __init__(self, quiet: bool, threads: int) -> None:
        self.quiet = quiet
        self.problems: dict[str, str] = {}
        self.corpus: Corpus
        if threads:
            torch.set_num_threads(threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, MENDABLE):
            self._name_problems()
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(2) from error

    def read_corpus(self, folder: Path) -> None:
        """Read the corpus and remember what is wrong with it."""
        self.corpus = read_corpus(folder)
        self.problems.update(self.corpus.problems)
        if not self.corpus.utterances:
            raise CorpusError(folder, "no recording has a transcript that can be used")

    def lexicon(self, language: str, path: Path | None, no_english: bool, guess: bool) -> Lexicon:
        """Load the pronunciations: the language's, over them those of the file; or the file's alone."""
        if no_english and path is None:
            raise _usage_error("--no-english needs --lexicon")
        if guess and language != "en":
            raise _usage_error(f"--g2p guesses English words; the language is {language}")
        fallback = _guesser() if guess else None
        if path is None:
            return Lexicon.of(language, fallback=fallback)
        own = _load_lexicon(path, language)
        if no_english:
            own.fallback = fallback
            return own
        lexicon = Lexicon.of(language, fallback=fallback)
        strange = {unit_of(phone) for phone in own.phones} - set(PhoneSet.of(language))
        if strange:
            source = "CMUdict" if language == "en" else f"the language {language}"
            raise _usage_error(
                f"{path} has phones that {source} does not have: {' '.join(sorted(strange))}; "
                "to use its pronunciations alone, add --no-english"
            )
        return lexicon | own

    def load(self, model: Path, lexicon: Path | None, guess: bool) -> CorpusAligner:
        """Load a trained model, and give it more pronunciations."""
        aligner = CorpusAligner.load(model)
        if lexicon is not None:
            aligner.lexicon = aligner.lexicon | _load_lexicon(lexicon, aligner.lexicon.language)
        if guess:
            aligner.lexicon.fallback = _guesser()
        return aligner

    def train(self, model: Path, lexicon: Lexicon, frame_period: float, fresh: bool) -> CorpusAligner:
        """Train and save; what an interrupted training left beside the model is used, then removed."""
        workdir = model.with_name(f"{model.name}.training")
        if fresh and workdir.exists():
            shutil.rmtree(workdir)
        # Before the work: a place that cannot be written to should not show after it.
        model.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._progress() as progress:
                aligner = CorpusAligner.train(
                    self.corpus,
                    lexicon=lexicon,
                    config=AlignerConfig.at_frame_period(frame_period),
                    workdir=workdir,
                    progress=progress,
                )
            aligner.save(model)
        except ModelFileError as error:
            raise ModelFileError(error.path, f"{error.reason}; --fresh starts the training anew") from error
        except KeyboardInterrupt:
            if workdir.exists():
                typer.echo(f"interrupted: the same command continues from {workdir}", err=True)
            raise
        if workdir.exists():
            shutil.rmtree(workdir)
        report = aligner.training_report
        self.problems.update(report.problems)
        self._say(f"trained on {report.num_utterances} utterances: {model}")
        return aligner

    def align(self, aligner: CorpusAligner, out: Path, formats: Sequence[str]) -> None:
        """Align the corpus, write the times, and list what has none."""
        with self._progress() as progress:
            alignments = aligner.align(self.corpus, progress=progress)
        good = [alignment for alignment in alignments if alignment.ok]
        self.problems.update((item.id, item.reason) for item in alignments if not item.ok)
        written = write_alignments(good, out, formats)
        write_rows(out / PROBLEMS_NAME, ("id", "reason"), sorted(self.problems.items()))
        suspicious = self._write_utterances(alignments, out / UTTERANCES_NAME)
        total = len(good) + len(self.problems.keys() - {alignment.id for alignment in good})
        minutes = sum(alignment.duration for alignment in good) / 60
        self._say(
            f"aligned {len(good)} of {total} utterances, {minutes:.1f} minutes: {len(written)} files in {out}"
        )
        if suspicious:
            self._say(f"{suspicious} look suspicious: see {out / UTTERANCES_NAME}, or make a report")

    def _write_utterances(self, alignments: Sequence[Alignment], path: Path) -> int:
        """Write the table of all utterances; return how many look suspicious."""
        known = {item.id for item in alignments}
        failures = [
            Alignment.failure(name, reason)
            for name, reason in sorted(self.problems.items())
            if name not in known
        ]
        diagnoses = diagnose([*alignments, *failures])
        audio = {item.id: item.audio.resolve() for item in self.corpus.utterances}
        rows = [
            _utterance_row(item, audio.get(item.id), found)
            for item, found in zip([*alignments, *failures], diagnoses, strict=True)
        ]
        write_rows(path, _UTTERANCE_COLUMNS, rows)
        return sum(found.ok and found.suspicious for found in diagnoses)

    def evaluate(self, out: Path, reference: Path, picture: Path | None = None) -> None:
        """Print the table, and the names that only one side has; draw how reliable uncertainties are."""
        if picture is not None and picture.suffix not in _PICTURES:
            raise _usage_error(f"--reliability must end with {', '.join(_PICTURES)}; got {picture.name}")
        report = evaluate(out, reference)
        Console().print(report.table())
        for name in report.missing_hypotheses:
            typer.echo(f"not aligned: {name}", err=True)
        for name in report.missing_references:
            typer.echo(f"no reference: {name}", err=True)
        if picture is None:
            return
        found = reliability(out, reference)
        plot_reliability({out.resolve().name: found}, picture)
        pairs = zip(found.levels, found.coverage, strict=True)
        shares = ", ".join(f"{share:.0%} of those of {level:.0%}" for level, share in pairs)
        self._say(f"boundaries within their intervals: {shares}: {picture}")

    def report(self, out: Path, path: Path, recordings: Path | None) -> None:
        """Write the page on which alignments can be looked at."""
        rows = _read_utterances(out / UTTERANCES_NAME)
        audio: dict[str, str | Path] = {row["id"]: row["audio"] for row in rows if row["audio"]}
        if recordings is not None:
            self.read_corpus(recordings)
            audio = {item.id: item.audio for item in self.corpus.utterances}
        alignments = [
            read_json(out / f"{row['id']}.json")
            if row["ok"] == "True"
            else Alignment.failure(row["id"], row["signs"], float(row["duration"]))
            for row in rows
        ]
        found = write_report(alignments, path, audio, title=f"Alignments in {out.resolve().name}")
        failed = sum(not item.ok for item in found)
        suspicious = sum(item.ok and item.suspicious for item in found)
        self._say(f"{len(found)} utterances, {failed} failed, {suspicious} suspicious: {path}")

    def finish(self) -> None:
        """Name every problem, and leave with status 1 if there is one."""
        self._name_problems()
        if self.problems:
            raise typer.Exit(1)

    def _name_problems(self) -> None:
        """Print each utterance that has a problem, and its reason."""
        for name, reason in sorted(self.problems.items()):
            typer.echo(f"problem: {name}: {reason}", err=True)
        if any(reason.startswith(_UNKNOWN_WORD) for reason in self.problems.values()):
            typer.echo("words without a pronunciation: give it with --lexicon, or guess with --g2p", err=True)

    def _say(self, message: str) -> None:
        """Print unless the user wants silence."""
        if not self.quiet:
            typer.echo(message)

    @contextmanager
    def _progress(self) -> Iterator[Callable[[str, int, int], None] | None]:
        """Show progress bars on the standard error output, one a stage."""
        if self.quiet:
            yield None
            return
        columns = (
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as bars:
            tasks = {}

            def advance(stage: str, done: int, total: int) -> None:
                """Draw a stage's bar."""
                if stage not in tasks:
                    tasks[stage] = bars.add_task(stage, total=total)
                bars.update(tasks[stage], completed=done, total=total)

            yield advance


def _utterance_row(item: Alignment, audio: Path | None, found: Diagnosis) -> tuple[object, ...]:
    """Give a row of the table of utterances."""
    numbers = (
        item.duration,
        found.coverage,
        found.confidence,
        found.lowest_confidence,
        found.lowest_log_ratio,
        item.log_likelihood_per_frame,
        found.likelihood_z,
        max((abs(z) for z in found.duration_z), default=0.0),
    )
    rounded = (round(number, 6) for number in numbers)
    return item.id, audio or "", item.ok, *rounded, "; ".join(found.signs)


def _read_utterances(path: Path) -> list[dict[str, str]]:
    """Read the table of utterances that an alignment of a corpus left."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if any(None in row.values() or set(row) != set(_UTTERANCE_COLUMNS) for row in rows):
        raise IntervalFileError(path, f"must have the columns {', '.join(_UTTERANCE_COLUMNS)}")
    return rows


def _usage_error(message: str) -> typer.Exit:
    """Say what is wrong with the call; return what ends it."""
    typer.echo(f"error: {message}", err=True)
    return typer.Exit(2)


def _load_lexicon(path: Path, language: str) -> Lexicon:
    """Load pronunciations from a file that may be faulty."""
    try:
        return Lexicon.load(path, language=language)
    except ValueError as error:
        raise _usage_error(str(error)) from error


def _guesser() -> EnglishG2P:
    """Start the guesser of pronunciations, which is an extra."""
    try:
        return EnglishG2P()
    except ImportError as error:
        raise _usage_error(str(error)) from error
