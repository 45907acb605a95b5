"""What the commands do, once they are called."""

import csv
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
import typer
from filelock import FileLock, Timeout
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from hmm_models import ModelFileError
from hmm_speech import (
    Corpus,
    CorpusError,
    EnglishG2P,
    Lexicon,
    PhoneSet,
    UnknownWordError,
    read_corpus,
    read_recording,
)

from ._config import AlignerConfig
from ._diagnose import Diagnosis, Usual
from ._evaluate import evaluate, reliability
from ._kept import JoinedAlignments
from ._layouts import LAYOUTS, MelFrames, write_fastspeech2, write_mfa
from ._phones import unit_of
from ._pool import WorkerError
from ._report import write_report
from ._result import Alignment
from ._shards import Shards, join_shards, leave_shards
from .corpus_aligner import CorpusAligner
from .export import IntervalFileError, path_of, read_json, write_alignments, write_rows
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
MENDABLE = (CorpusError, ImportError, IntervalFileError, ModelFileError, OSError, WorkerError)
# Bytes; file systems allow 255, of which suffixes and the names of temporary files need some.
_LONGEST_NAME = 200
# The choices of a training, and what their values are.
_CHOICES: dict[str, type] = {name: type(value) for name, value in asdict(AlignerConfig()).items()}
# What our files are called while they are written.
_TEMPORARY = re.compile(r"\..+\.(?:TextGrid|json|csv|html|safetensors)\.[0-9a-f]+\.tmp")
# How the reason of a problem begins if a word has no pronunciation.
_UNKNOWN_WORD = str(UnknownWordError("")).removesuffix("''")


class BusyError(OSError):
    """Another run writes to the same place."""


class Session:
    """One command: its corpus, its problems, and how it talks to the user.

    Used as a context manager, it turns an error that the user can mend into one line and exit status 2.
    """

    def __init__(self, quiet: bool, threads: int, jobs: int = 1) -> None:
        # Of the processes that torchrun has started, the first one talks and writes.
        self._shards = Shards(join_shards())
        self._first = self._shards.rank == 0
        self.quiet = quiet or not self._first
        self.jobs = jobs
        self.problems: dict[str, str] = {}
        self.corpus: Corpus
        self._reserved = ExitStack()
        if jobs > 1:
            threads = 1
        if threads:
            torch.set_num_threads(threads)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reserved.close()
        leave_shards()
        if isinstance(error, MENDABLE):
            self._name_problems()
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(2) from error

    def read_corpus(self, path: Path, text: str | None = None) -> None:
        """Read the corpus, or one recording, and remember what is wrong with it."""
        if path.is_file():
            self.corpus = read_recording(path, text)
        elif text is None:
            self.corpus = read_corpus(path)
        else:
            raise _usage_error(f"--text is what is said in one recording; {path} is a folder")
        self.problems.update(self.corpus.problems)
        unwritable = {item.id: reason for item in self.corpus if (reason := _refused(item.id))}
        self.problems.update(unwritable)
        self.corpus = replace(
            self.corpus, utterances=tuple(item for item in self.corpus if item.id not in unwritable)
        )
        if not self.corpus.utterances:
            raise CorpusError(path, "no recording has a transcript that can be used")

    def reserve(self, folder: Path, name: str) -> None:
        """Keep other runs from writing something in a folder until this one ends, however it ends.

        The lock is the kernel's: that of a process that died is none, and what it was writing is removed.
        """
        if not self._first:
            return
        folder.mkdir(parents=True, exist_ok=True)
        lock = folder / f".{name}.lock"
        killed = lock.exists()
        try:
            self._reserved.enter_context(FileLock(lock, timeout=0))
        except Timeout as error:
            raise BusyError(
                f"another run is writing {name} in {folder}: let it end, or write elsewhere"
            ) from error
        self._reserved.callback(lock.unlink, missing_ok=True)
        if killed:
            for path in folder.rglob(".*.tmp"):
                if _TEMPORARY.fullmatch(path.name):
                    path.unlink()

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

    def load(self, model: str, lexicon: Path | None, guess: bool) -> CorpusAligner:
        """Load a trained model, and give it more pronunciations."""
        aligner = CorpusAligner.load(model)
        if lexicon is not None:
            aligner.lexicon = aligner.lexicon | _load_lexicon(lexicon, aligner.lexicon.language)
        if guess:
            aligner.lexicon.fallback = _guesser()
        return aligner

    def config(self, frame_period: float, acoustic: str, settings: Sequence[str]) -> AlignerConfig:
        """Return the choices of a training; ``settings`` are of the form ``name=value``."""
        chosen: dict[str, Any] = {"frame_period": frame_period, "acoustic": acoustic}
        for setting in settings:
            name, _, value = setting.partition("=")
            if name not in _CHOICES:
                raise _usage_error(f"--set must name one of {', '.join(_CHOICES)}; got {setting!r}")
            kind = _CHOICES[name]
            try:
                chosen[name] = kind(value)
            except ValueError as error:
                raise _usage_error(f"--set {name} must be of type {kind.__name__}; got {value!r}") from error
        try:
            return AlignerConfig.at_frame_period(**chosen)
        except ValueError as error:
            raise _usage_error(str(error)) from error

    def train(
        self, model: Path, lexicon: Lexicon, config: AlignerConfig, fresh: bool, workdir: Path
    ) -> CorpusAligner:
        """Train and save; what an interrupted training left in the working folder is used."""
        if fresh and self._first:
            shutil.rmtree(workdir, ignore_errors=True)
        self._shards.wait()
        # Before the work: a place that cannot be written to should not show after it.
        model.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._progress() as progress:
                aligner = CorpusAligner.train(
                    self.corpus,
                    lexicon=lexicon,
                    config=config,
                    workdir=workdir,
                    jobs=self.jobs,
                    distributed=self._shards.number > 1,
                    progress=progress,
                )
            if self._first:
                aligner.save(model)
        except ModelFileError as error:
            raise ModelFileError(error.path, f"{error.reason}; --fresh starts the training anew") from error
        except CorpusError:
            shutil.rmtree(workdir, ignore_errors=True)
            raise
        except KeyboardInterrupt:
            if workdir.exists():
                typer.echo(f"interrupted: the same command continues from {workdir}", err=True)
            raise
        report = aligner.training_report
        self.problems.update(report.problems)
        self._say(f"trained on {report.num_utterances} utterances: {model}")
        return aligner

    def adapt(self, aligner: CorpusAligner, workdir: Path) -> CorpusAligner:
        """Move a model towards the recordings; what is read of them stays in the working folder."""
        try:
            with self._progress() as progress:
                return aligner.adapt(
                    self.corpus,
                    workdir=workdir,
                    jobs=self.jobs,
                    distributed=self._shards.number > 1,
                    progress=progress,
                )
        except TypeError as error:
            raise _usage_error(f"--adapt: {error}") from error

    def align(
        self,
        aligner: CorpusAligner,
        out: Path,
        formats: Sequence[str],
        mel: tuple[int, int],
        loose: bool,
        workdir: Path,
    ) -> None:
        """Align the corpus, write the times, and list what has none; ``mel`` is a sample rate and a hop.

        What is found lies in the working folder until everything is written: a run that was killed goes on
        there, and memory does not grow with it.
        """
        with self._progress() as progress:
            mine = aligner._align_kept(  # noqa: SLF001 - `align` would hold everything in memory
                self.corpus.utterances,
                workdir,
                loose=loose,
                jobs=self.jobs,
                progress=progress,
                shards=self._shards,
            )
        with closing(JoinedAlignments.of(self._shards, mine)) as alignments:
            if self._first:
                self._write(alignments, out, formats, mel)

    def _write(
        self, alignments: JoinedAlignments, out: Path, formats: Sequence[str], mel: tuple[int, int]
    ) -> None:
        """Write everything that was found."""
        good, seconds = 0, 0.0
        for item in alignments:
            if item.ok:
                good, seconds = good + 1, seconds + item.duration
            else:
                self.problems[item.id] = item.reason
        written = write_alignments(alignments, out, [name for name in formats if name not in LAYOUTS])
        if "mfa" in formats:
            written += write_mfa(alignments, self.corpus, out / "mfa")
        if "fastspeech2" in formats:
            frames = MelFrames(sample_rate=mel[0], hop_length=mel[1])
            written += write_fastspeech2(alignments, self.corpus, out / "fastspeech2", frames)
        write_rows(out / PROBLEMS_NAME, ("id", "reason"), sorted(self.problems.items()))
        suspicious = self._write_utterances(alignments, out / UTTERANCES_NAME)
        total = good + len(self.problems)
        self._say(
            f"aligned {good} of {total} utterances, {seconds / 60:.1f} minutes: {len(written)} files in {out}"
        )
        if suspicious:
            self._say(f"{suspicious} look suspicious: see {out / UTTERANCES_NAME}, or make a report")

    def _write_utterances(self, alignments: JoinedAlignments, path: Path) -> int:
        """Write the table of all utterances; return how many look suspicious."""
        known = {item.id for item in self.corpus.utterances}
        failures = [
            Alignment.failure(name, reason)
            for name, reason in sorted(self.problems.items())
            if name not in known
        ]
        usual = Usual(alignments)
        audio = {item.id: item.audio.resolve() for item in self.corpus.utterances}
        suspicious = 0

        def rows() -> Iterator[tuple[object, ...]]:
            """Describe one utterance after the other."""
            nonlocal suspicious
            for item in chain(alignments, failures):
                found = usual.diagnose(item)
                suspicious += found.ok and found.suspicious
                yield _utterance_row(item, audio.get(item.id), found)

        write_rows(path, _UTTERANCE_COLUMNS, rows())
        return suspicious

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

    def finish(self, workdir: Path) -> None:
        """Remove what was kept for another run, name every problem, and leave with 1 if there is one."""
        self._shards.wait()
        if not self._first:
            return
        shutil.rmtree(workdir, ignore_errors=True)
        self._name_problems()
        if self.problems:
            raise typer.Exit(1)

    def _name_problems(self) -> None:
        """Print each utterance that has a problem, and its reason."""
        if not self._first:
            return
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


def _refused(name: str) -> str:
    """Say why no file can have a name, or nothing."""
    try:
        parts = path_of(name).parts
    except ValueError as error:
        return str(error)
    longest = max(len(part.encode()) for part in parts)
    return (
        ""
        if longest <= _LONGEST_NAME
        else f"id must be names of {_LONGEST_NAME} bytes or fewer; got {longest}"
    )


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
