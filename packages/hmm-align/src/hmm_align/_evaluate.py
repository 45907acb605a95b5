"""How far an alignment is from a reference, over a whole corpus."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from hmm_metrics import (
    BoundarySummary,
    Interval,
    boundary_errors,
    fold_word,
    frame_accuracy,
    summarize_boundaries,
)

from ._calibration import LEVELS, coverage_of
from ._result import AlignedInterval, Alignment
from .export import Tiers, find_interval_files, read_intervals, read_json


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


class Reliability(NamedTuple):
    """How often boundaries lie within their uncertainties; `plot_reliability` draws it.

    Parameters
    ----------
    levels : tuple of float
        Probabilities, rising.
    coverage : tuple of float
        For each, the share of boundaries whose error is within the interval of that probability. Where the
        share is larger, intervals are too wide.
    uncertainty : ndarray, shape (n,)
        ``end_uncertainty`` of each boundary, seconds.
    error : ndarray, shape (n,)
        Of the same boundaries: alignment minus reference, seconds.

    Examples
    --------
    >>> report = Reliability((0.5, 0.8), (0.53, 0.84), np.array([0.010]), np.array([-0.004]))
    >>> report.coverage[1]
    0.84
    """

    levels: tuple[float, ...]
    coverage: tuple[float, ...]
    uncertainty: NDArray[np.float64]
    error: NDArray[np.float64]


def reliability(hypothesis: str | Path | Iterable[Alignment], reference_dir: str | Path) -> Reliability:
    """Compare the uncertainties of phone boundaries with their errors.

    Parameters
    ----------
    hypothesis : str, Path or iterable of Alignment
        A folder whose JSON files `write_alignments` wrote, or alignments; failed ones are left out.
    reference_dir : str or Path
        As for `evaluate`.

    Returns
    -------
    Reliability
        Of the boundaries that `hmm_metrics.boundary_errors` compares.

    Raises
    ------
    FileNotFoundError
        If the folder of references does not exist, or no id is in both.
    IntervalFileError
        If a file is not in one of the formats.

    Notes
    -----
    An ``end_uncertainty`` is the half-width of an interval of probability 0.8. Those of the other
    probabilities are that times factors that belong to it, 0.5 of it or less for 0.5 and 3 of it or so for
    0.95: errors have a heavier tail than a normal distribution.

    References
    ----------
    .. [1] A. Niculescu-Mizil and R. Caruana, "Predicting good probabilities with supervised learning", ICML
       2005 (reliability diagrams).

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from hmm_align import AlignedInterval, Alignment, write_alignments
    >>> tier = (AlignedInterval(0.0, 0.3, "a", 0.9, 0.0, 0.010), AlignedInterval(0.3, 0.5, "m", 0.9))
    >>> late = (tier[0]._replace(end=0.308), tier[1]._replace(start=0.308))
    >>> with TemporaryDirectory() as folder:
    ...     _ = write_alignments([Alignment("clip", 0.5, tier, tier)], folder)
    ...     found = reliability([Alignment("clip", 0.5, late, late)], folder)
    >>> dict(zip(found.levels, found.coverage))[0.5], dict(zip(found.levels, found.coverage))[0.8]
    (0.0, 1.0)
    """
    reference = _intervals_below(reference_dir)
    if isinstance(hypothesis, str | Path):
        files = (Path(hypothesis, f"{name}.json") for name in reference)
        hypothesis = [read_json(path) for path in files if path.exists()]
    found = [
        _uncertainties_and_errors(item, read_intervals(reference[item.id]).phones)
        for item in hypothesis
        if item.ok and item.id in reference
    ]
    if not found:
        raise FileNotFoundError(
            f"no alignment as JSON or in memory has a reference of its name in {reference_dir}"
        )
    uncertainty = np.concatenate([first for first, _ in found])
    error = np.concatenate([second for _, second in found])
    return Reliability(LEVELS, coverage_of(uncertainty, error), uncertainty, error)


def _uncertainties_and_errors(
    item: Alignment, reference: Sequence[Interval]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return uncertainty and error (n,) of each boundary of an alignment that has a counterpart."""
    found = boundary_errors(reference, list(_plain(item.phones)))
    ends = np.asarray([phone.end for phone in item.phones])
    nearest = np.abs(ends[:, None] - (found.time + found.error)).argmin(axis=0)
    known = np.asarray([phone.end_uncertainty for phone in item.phones])[nearest]
    return known[known > 0], found.error[known > 0]


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
