"""Alignments as files: Praat TextGrid, JSON and CSV out; these and the label files of HTK and festvox in."""

import csv
import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from praatio import textgrid
from praatio.utilities.errors import PraatioException

from hmm_metrics import Interval

from ._result import AlignedInterval, Alignment, SkippedWord

FORMATS = ("textgrid", "json", "csv")
CSV_NAME = "alignments.csv"
_DIGITS = 6  # decimals of a time in seconds
# Tools name silence so; "pau" may be a word.
_SILENT_WORDS = frozenset({"", "#", "<eps>", "<sil>", "sil", "sp"})
_SILENT_PHONES = _SILENT_WORDS | {"h#", "pau", "ssil"}
_SUFFIXES = (".textgrid", ".json", ".lab")


class IntervalFileError(ValueError):
    """A file does not hold the labelled times it should hold.

    Parameters
    ----------
    path : Path
        The file.
    reason : str
        What is wrong with it.

    Examples
    --------
    >>> str(IntervalFileError(Path("clip.lab"), "has no times"))
    'clip.lab: has no times'
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class Tiers(NamedTuple):
    """Words and phones of one recording as plain intervals; a tier that a file lacks is empty.

    Examples
    --------
    >>> Tiers(words=(), phones=(Interval(0.0, 0.5, "AH0"),)).phones[0].end
    0.5
    """

    words: tuple[Interval, ...]
    phones: tuple[Interval, ...]


def write_textgrid(alignment: Alignment, path: str | Path) -> None:
    """Write the tiers "words" and "phones" of an alignment as a Praat TextGrid.

    Parameters
    ----------
    alignment : Alignment
        Must be ``ok``. Confidences and uncertainties have no place in a TextGrid; JSON and CSV keep them.
    path : str or Path
        The file to write or replace, atomically.

    Raises
    ------
    ValueError
        If the alignment failed, or a label looks like Praat's own syntax (``item[``, ``intervals[``).

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> word = AlignedInterval(0.0, 0.3, "a", 0.9)
    >>> phone = AlignedInterval(0.0, 0.3, "AH0", 0.8)
    >>> with TemporaryDirectory() as folder:
    ...     write_textgrid(Alignment("clip", 0.3, (word,), (phone,)), Path(folder, "clip.TextGrid"))
    ...     read_textgrid(Path(folder, "clip.TextGrid")).phones
    (Interval(start=0.0, end=0.3, label='AH0'),)
    """
    _require_ok(alignment)
    grid = textgrid.Textgrid(0.0, round(float(alignment.duration), _DIGITS))
    for name, tier in (("words", alignment.words), ("phones", alignment.phones)):
        entries = [(start, end, label) for start, end, label, *_ in map(_rounded, tier)]
        for _, _, label in entries:
            if re.search(r"(item|intervals|points)\[", label):
                raise ValueError(f"a TextGrid cannot hold the label {label!r} of {alignment.id!r}")
        grid.addTier(textgrid.IntervalTier(name, entries), reportingMode="error")
    with replacing(Path(path)) as temporary:
        grid.save(str(temporary), format="long_textgrid", includeBlankSpaces=True, reportingMode="error")


def read_textgrid(path: str | Path) -> Tiers:
    """Read the word and phone tiers of a Praat TextGrid, with silence as ``""`` and gaps filled by it.

    Parameters
    ----------
    path : str or Path
        A TextGrid, long or short, UTF-8 or UTF-16, with interval tiers whose names end with "words" or
        "word", and "phones" or "phone" (any case; ``"speaker - words"`` is what the Montreal Forced Aligner
        writes).

    Returns
    -------
    Tiers
        Times in seconds.

    Raises
    ------
    IntervalFileError
        If it is not a TextGrid, or has neither tier.

    Examples
    --------
    >>> read_textgrid("no_such_file.TextGrid")
    Traceback (most recent call last):
    FileNotFoundError: [Errno 2] No such file or directory: 'no_such_file.TextGrid'
    """
    path = Path(path)
    try:
        grid = textgrid.openTextgrid(
            str(path), includeEmptyIntervals=True, reportingMode="silence", duplicateNamesMode="rename"
        )
    except (PraatioException, ValueError, IndexError) as error:
        raise IntervalFileError(path, f"is not a TextGrid ({type(error).__name__}: {error})") from error
    found: dict[str, tuple[Interval, ...]] = {}
    for tier in grid.tiers:
        match = re.search(r"(word|phone)s?$", tier.name.lower())
        if match and isinstance(tier, textgrid.IntervalTier):
            silent = _SILENT_WORDS if match[1] == "word" else _SILENT_PHONES
            found.setdefault(match[1], _tier(tier.entries, silent, tier.maxTimestamp))
    if not found:
        names = ", ".join(map(repr, grid.tierNames)) or "none"
        raise IntervalFileError(path, f'has no interval tier "words" or "phones"; its tiers: {names}')
    return Tiers(found.get("word", ()), found.get("phone", ()))


def write_json(alignment: Alignment, path: str | Path) -> None:
    """Write everything an alignment holds, failed ones included, as one JSON object.

    Parameters
    ----------
    alignment : Alignment
        Times are kept to a microsecond, confidences and the log-likelihood exactly (``null`` is ``-inf``).
    path : str or Path
        The file to write or replace, atomically.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> failed = Alignment.failure("clip", "the transcript is empty", duration=1.5)
    >>> with TemporaryDirectory() as folder:
    ...     write_json(failed, Path(folder, "clip.json"))
    ...     read_json(Path(folder, "clip.json")) == failed
    True
    """
    log_likelihood = alignment.log_likelihood_per_frame
    content = {
        "id": alignment.id,
        "duration": round(float(alignment.duration), _DIGITS),
        "ok": alignment.ok,
        "reason": alignment.reason,
        "log_likelihood_per_frame": float(log_likelihood) if math.isfinite(log_likelihood) else None,
        "words": [_rounded(word)._asdict() for word in alignment.words],
        "phones": [_rounded(phone)._asdict() for phone in alignment.phones],
    }
    if alignment.loose:
        content["loose"] = True
        content["skipped"] = [word._asdict() for word in alignment.skipped]
    with replacing(Path(path)) as temporary:
        temporary.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def read_json(path: str | Path) -> Alignment:
    """Read an alignment that `write_json` wrote.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    Alignment
        Equal to the one written, up to a microsecond.

    Raises
    ------
    IntervalFileError
        If the file is not such a JSON object.

    Examples
    --------
    >>> read_json("no_such_file.json")
    Traceback (most recent call last):
    FileNotFoundError: [Errno 2] No such file or directory: 'no_such_file.json'
    """
    path = Path(path)
    content = _load_json(path)
    try:
        log_likelihood = content["log_likelihood_per_frame"]
        return Alignment(
            id=content["id"],
            duration=content["duration"],
            words=tuple(AlignedInterval(**word) for word in content["words"]),
            phones=tuple(AlignedInterval(**phone) for phone in content["phones"]),
            ok=content["ok"],
            reason=content["reason"],
            log_likelihood_per_frame=-math.inf if log_likelihood is None else log_likelihood,
            skipped=tuple(SkippedWord(**word) for word in content.get("skipped", ())),
            loose=content.get("loose", False),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise IntervalFileError(path, f"is not an alignment ({type(error).__name__}: {error})") from error


def write_csv(alignments: Iterable[Alignment], path: str | Path) -> None:
    """Write one row per interval: ``id,tier,start,end,label,confidence,log_ratio,end_uncertainty``.

    Parameters
    ----------
    alignments : iterable of Alignment
        Failed ones have no rows.
    path : str or Path
        The file to write or replace, atomically.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> tier = (AlignedInterval(0.0, 0.3, "a", 0.9),)
    >>> with TemporaryDirectory() as folder:
    ...     write_csv([Alignment("clip", 0.3, tier, tier)], Path(folder, "all.csv"))
    ...     print(Path(folder, "all.csv").read_text().splitlines()[1])
    clip,words,0.0,0.3,a,0.9,0.0,0.0
    """
    with replacing(Path(path)) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("id", "tier", *AlignedInterval._fields))
        for alignment in alignments:
            for name, tier in (("words", alignment.words), ("phones", alignment.phones)):
                rows.writerows((alignment.id, name, *_rounded(interval)) for interval in tier)


def write_alignments(
    alignments: Iterable[Alignment], out_dir: str | Path, formats: Sequence[str] = FORMATS
) -> list[Path]:
    """Write every successful alignment of a corpus below one folder.

    Parameters
    ----------
    alignments : iterable of Alignment
        Ids are relative paths: ``"speaker/clip"`` becomes ``out_dir/speaker/clip.TextGrid``. Failed ones are
        left out.
    out_dir : str or Path
        Made if absent. Files of other names in it stay as they are.
    formats : sequence of {"textgrid", "json", "csv"}
        TextGrid and JSON are one file per utterance, CSV is one file, ``alignments.csv``.

    Returns
    -------
    list of Path
        The files written.

    Raises
    ------
    ValueError
        If a format is unknown, an id occurs twice, or an id would leave ``out_dir``; nothing is written then.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> tier = (AlignedInterval(0.0, 0.3, "a", 0.9),)
    >>> with TemporaryDirectory() as folder:
    ...     written = write_alignments([Alignment("anna/clip", 0.3, tier, tier)], folder)
    ...     [path.relative_to(folder).as_posix() for path in written]
    ['anna/clip.TextGrid', 'anna/clip.json', 'alignments.csv']
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise ValueError(f"formats must be among {', '.join(FORMATS)}; got {', '.join(unknown)}")
    if iter(alignments) is alignments:  # it can be gone through only once
        alignments = list(alignments)
    bases = [Path(out_dir) / path_of(alignment.id) for alignment in alignments if alignment.ok]
    twice = [base for base, count in Counter(bases).items() if count > 1]
    if twice:
        raise ValueError(f"ids must be unique; {twice[0].name!r} occurs twice")
    written = []
    good = (alignment for alignment in alignments if alignment.ok)
    for alignment, base in zip(good, bases, strict=True):
        for name, suffix, write in (("textgrid", ".TextGrid", write_textgrid), ("json", ".json", write_json)):
            if name in formats:
                path = base.with_name(base.name + suffix)
                write(alignment, path)
                written.append(path)
    if "csv" in formats:
        written.append(Path(out_dir) / CSV_NAME)
        write_csv(alignments, written[-1])
    return written


def read_intervals(path: str | Path) -> Tiers:
    r"""Read labelled times from any of the usual files.

    Parameters
    ----------
    path : str or Path
        By its suffix: ``.TextGrid``; ``.json`` with lists "words" and "phones" of objects that have "start",
        "end" and "label"; ``.lab`` in the form of HTK (``start end label`` in units of 100 ns; of full-
        context labels the middle phone, its states joined) or of festvox (a header that ends with
        ``#``, then ``end 26 label`` in seconds). A ``.lab`` gives phones only.

    Returns
    -------
    Tiers
        Seconds; silence is ``""`` however the file calls it (``sil``, ``sp``, ``pau``, ``h#``, ...), gaps are
        silence.

    Raises
    ------
    IntervalFileError
        If the suffix is another, or the content is not of that form.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     written = Path(folder, "clip.lab").write_text("0 2500000 sil\n2500000 3000000 ah\n")
    ...     read_intervals(Path(folder, "clip.lab")).phones
    (Interval(start=0.0, end=0.25, label=''), Interval(start=0.25, end=0.3, label='ah'))
    """
    path = Path(path)
    match path.suffix.lower():
        case ".textgrid":
            return read_textgrid(path)
        case ".json":
            return _read_json_tiers(path)
        case ".lab":
            return Tiers((), _read_lab(path))
        case suffix:
            raise IntervalFileError(path, f"must end with .TextGrid, .json or .lab; got {suffix!r}")


def find_interval_files(folder: Path) -> dict[str, Path]:
    """Find the files with labelled times below a folder, by id: TextGrid before JSON before label file."""
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*"), key=lambda path: (_rank(path), path)):
        if _rank(path) < len(_SUFFIXES) and path.is_file():
            found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
    return dict(sorted(found.items()))


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a small CSV table atomically."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(header)
        table.writerows(rows)


def _rank(path: Path) -> int:
    """Order of preference of a suffix; the number of suffixes for any other."""
    suffix = path.suffix.lower()
    return _SUFFIXES.index(suffix) if suffix in _SUFFIXES else len(_SUFFIXES)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` that takes its place if the block succeeds, and goes if not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _rounded(interval: AlignedInterval) -> AlignedInterval:
    """Round times to the resolution of the files, and make plain Python numbers of them."""
    start, end, label, confidence, log_ratio, uncertainty = interval
    times = round(float(start), _DIGITS), round(float(end), _DIGITS)
    numbers = float(confidence), float(log_ratio), round(float(uncertainty), _DIGITS)
    return AlignedInterval(*times, label, *numbers)


def _require_ok(alignment: Alignment) -> None:
    """Raise where there is nothing to write."""
    if not alignment.ok:
        raise ValueError(f"alignment must be ok; {alignment.id!r} failed: {alignment.reason}")


def path_of(name: str) -> Path:
    """Path of an id below a folder; an id that would leave the folder raises ValueError."""
    parts = name.split("/")
    if any(part in {"", ".", ".."} for part in parts) or re.search(r"[\\:\0]", name):
        raise ValueError(f"id must be a relative path of plain names joined by '/'; got {name!r}")
    return Path(PurePosixPath(*parts))


def _tier(
    entries: Iterable[tuple[float, float, str]], silent: frozenset[str], duration: float | None = None
) -> tuple[Interval, ...]:
    """Rename silence to ``""`` and fill gaps with it."""
    tier: list[Interval] = []
    before = 0.0
    for start, end, label in entries:
        if start - before > 1e-6:
            tier.append(Interval(before, float(start), ""))
        tier.append(Interval(float(start), float(end), "" if label.lower() in silent else label))
        before = float(end)
    if duration is not None and duration - before > 1e-6:
        tier.append(Interval(before, float(duration), ""))
    return tuple(tier)


def _load_json(path: Path) -> dict[str, Any]:
    """Read a JSON object."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise IntervalFileError(path, f"is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise IntervalFileError(path, f"must be a JSON object; got {type(content).__name__}")
    return content


def _read_json_tiers(path: Path) -> Tiers:
    """Read the lists "words" and "phones" of a JSON object."""
    content = _load_json(path)
    if "phones" not in content and "words" not in content:
        raise IntervalFileError(path, 'must have a list "phones" or "words"')
    try:
        words, phones = (
            [(entry["start"], entry["end"], entry["label"]) for entry in content.get(name, ())]
            for name in Tiers._fields
        )
        return Tiers(_tier(words, _SILENT_WORDS), _tier(phones, _SILENT_PHONES))
    except (KeyError, TypeError) as error:
        raise IntervalFileError(
            path, f'"words" and "phones" must be lists of start, end, label ({type(error).__name__}: {error})'
        ) from error


def _read_lab(path: Path) -> tuple[Interval, ...]:
    """Read the label file of HTK or festvox."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        header = next((index for index, line in enumerate(lines) if line.strip() == "#"), None)
        rows = [line.split() for line in lines[0 if header is None else header + 1 :] if line.strip()]
        if header is None:
            timed = _joined_states([(int(row[0]) * 1e-7, int(row[1]) * 1e-7, row[2]) for row in rows])
            return _tier(timed, _SILENT_PHONES)
        ends = [float(row[0]) for row in rows]
        labels = [row[2] if len(row) > 2 else "" for row in rows]
        return _tier(zip([0.0, *ends[:-1]], ends, labels, strict=True), _SILENT_PHONES)
    except (IndexError, ValueError) as error:
        raise IntervalFileError(path, "must hold lines 'start end label' or 'end number label'") from error


def _joined_states(rows: list[tuple[float, float, str]]) -> list[tuple[float, float, str]]:
    """Reduce full-context labels to their middle phone, and the states of one phone to one interval."""
    joined: list[tuple[float, float, str]] = []
    last_state = 0
    for start, end, full in rows:
        label = re.sub(r"^[^-]*-([^+]+)\+.*", r"\1", full)
        match = re.search(r"\[(\d+)\]$", full)
        state = int(match[1]) if match else 0
        if match and state > last_state > 0:
            joined[-1] = (joined[-1][0], end, joined[-1][2])
        else:
            joined.append((start, end, label))
        last_state = state
    return joined
