"""How far an alignment is from a reference, over a whole corpus."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.table import Table

from hmm_metrics import (
    BoundarySummary,
    Interval,
    boundary_errors,
    fold_word,
    frame_accuracy,
    summarize_boundaries,
)

from ._result import AlignedInterval, Alignment
from .export import Tiers, find_interval_files, read_intervals


class EvaluationReport(NamedTuple):
    """Agreement of alignments with a reference; ``table()`` prints well.

    Parameters
    ----------
    phones, words : BoundarySummary
        Boundary errors in seconds, over all files. NaN where no file has such a tier.
    phone_frame_accuracy : float
        Share of 10 ms frames with the same phone, silence included, after `hmm_metrics.fold_phone`.
    num_files : int
        Files that both sides have.
    missing_hypotheses : tuple of str
        Ids that only the reference has.
    missing_references : tuple of str
        Ids that only the alignments have.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from hmm_align import AlignedInterval, Alignment, write_alignments
    >>> tier = (AlignedInterval(0.0, 0.3, "a", 0.9),)
    >>> with TemporaryDirectory() as folder:
    ...     _ = write_alignments([Alignment("clip", 0.3, tier, tier)], folder)
    ...     evaluate(folder, folder).phone_frame_accuracy
    1.0
    """

    phones: BoundarySummary
    words: BoundarySummary
    phone_frame_accuracy: float
    num_files: int
    missing_hypotheses: tuple[str, ...]
    missing_references: tuple[str, ...]

    def table(self) -> Table:
        """Return the numbers as a table for `rich.print`.

        Returns
        -------
        rich.table.Table
            One column for phones, one for words.
        """
        table = Table(title="Boundaries against the reference")
        table.add_column("")
        table.add_column("phones", justify="right")
        table.add_column("words", justify="right")
        table.add_row("files", str(self.num_files), str(self.num_files))
        for (name, phones), (_, words) in zip(self.phones.rows(), self.words.rows(), strict=True):
            table.add_row(name, phones, words)
        table.add_row("frame accuracy", f"{self.phone_frame_accuracy:.1%}", "")
        return table


def evaluate(hypothesis: str | Path | Iterable[Alignment], reference_dir: str | Path) -> EvaluationReport:
    """Compare alignments with a folder of reference files.

    Parameters
    ----------
    hypothesis : str, Path or iterable of Alignment
        A folder that `write_alignments` wrote, or alignments; failed ones count as missing.
    reference_dir : str or Path
        Files that `read_intervals` reads, with the ids of the alignments as relative paths
        (``speaker/clip.TextGrid``). Where an id has several, TextGrid comes before JSON before label file.

    Returns
    -------
    EvaluationReport
        Errors are alignment minus reference, positive if late.

    Raises
    ------
    FileNotFoundError
        If a folder does not exist, or no id is in both.
    IntervalFileError
        If a file is not in one of the formats.

    Notes
    -----
    What counts as a boundary, and how phones of different transcriptions are paired, is
    `hmm_metrics.boundary_errors`'s convention. Frame accuracy weights each file by its length.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from hmm_align import AlignedInterval, Alignment, write_alignments
    >>> tier = (AlignedInterval(0.0, 0.31, "a", 0.9), AlignedInterval(0.31, 0.5, "m", 0.8))
    >>> late = (AlignedInterval(0.0, 0.33, "a", 0.9), AlignedInterval(0.33, 0.5, "m", 0.8))
    >>> with TemporaryDirectory() as folder:
    ...     _ = write_alignments([Alignment("clip", 0.5, tier, tier)], folder)
    ...     round(evaluate([Alignment("clip", 0.5, late, late)], folder).phones.bias, 6)
    0.02
    """
    reference = _intervals_below(reference_dir)
    if isinstance(hypothesis, str | Path):
        found = {name: read_intervals(path) for name, path in _intervals_below(hypothesis).items()}
    else:
        found = {
            alignment.id: Tiers(tuple(_plain(alignment.words)), tuple(_plain(alignment.phones)))
            for alignment in hypothesis
            if alignment.ok
        }
    common = sorted(found.keys() & reference.keys())
    if not common:
        raise FileNotFoundError(
            f"no alignment has a reference of its name: {_some(found)} aligned, "
            f"{_some(reference)} in {reference_dir}"
        )
    phones, words, correct, seconds = [], [], [], []
    for name in common:
        expected, got = read_intervals(reference[name]), found[name]
        if expected.phones and got.phones:
            phones.append(boundary_errors(expected.phones, got.phones))
            correct.append(frame_accuracy(expected.phones, got.phones))
            seconds.append(expected.phones[-1].end)
        if expected.words and got.words:
            words.append(boundary_errors(expected.words, got.words, fold=fold_word))
    return EvaluationReport(
        phones=summarize_boundaries(phones),
        words=summarize_boundaries(words),
        phone_frame_accuracy=float(np.average(correct, weights=seconds)) if correct else float("nan"),
        num_files=len(common),
        missing_hypotheses=tuple(sorted(reference.keys() - found.keys())),
        missing_references=tuple(sorted(found.keys() - reference.keys())),
    )


def _intervals_below(folder: str | Path) -> dict[str, Path]:
    """List the files with labelled times of a folder that must exist."""
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"{folder} is not a folder")
    return find_interval_files(Path(folder))


def _plain(tier: Iterable[AlignedInterval]) -> Iterator[Interval]:
    """Keep times and labels alone."""
    return (Interval(interval.start, interval.end, interval.label) for interval in tier)


def _some(names: Iterable[str]) -> str:
    """Name a few of many."""
    listed = sorted(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "") or "nothing"
