"""Where numbers were measured, and files that hold both."""

import csv
import datetime as dt
import io
import os
import platform
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import torch

import hmm_core
from hmm_bench._compare import Row

_COLUMNS = (
    "instance",
    "implementation",
    "version",
    "median_ms",
    "iqr_ms",
    "min_ms",
    "first_call_ms",
    "rounds",
    "ratio",
    "note",
)


def _cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Name of the processor."""
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _memory() -> str:
    """Physical memory, where the system tells."""
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return "unknown"
    return f"{pages * size / 2**30:.1f} GiB"


def machine_card(date: dt.date) -> dict[str, str]:
    """Describe where and with what numbers were measured.

    Parameters
    ----------
    date : dt.date
        When.

    Returns
    -------
    dict of str to str
        Date, processor, cores this process may use, memory, load of the machine, operating system, versions,
        and which backends of hmm-core are usable.

    Examples
    --------
    >>> machine_card(dt.date(2026, 1, 31))["date"]
    '2026-01-31'
    """
    affinity = getattr(os, "sched_getaffinity", None)
    backends = hmm_core.backends.available()
    return {
        "date": date.isoformat(),
        "cpu": _cpu_model(),
        "cores": str(len(affinity(0)) if affinity else os.cpu_count()),
        "memory": _memory(),
        "load": f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown",
        "os": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "hmm-core": version("hmm-core"),
        "backends": ", ".join(name for name, problem in backends.items() if problem is None),
    }


def _fields(row: Row) -> dict[str, str]:
    """Return the columns of a row as text."""
    times = {}
    if row.timing is not None:
        median, iqr, minimum = (f"{1e3 * seconds:.4g}" for seconds in row.timing[:3])
        times = {"median_ms": median, "iqr_ms": iqr, "min_ms": minimum, "rounds": str(row.timing.rounds)}
    if row.first_call is not None:
        times["first_call_ms"] = f"{1e3 * row.first_call:.4g}"
    ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
    shared = {"instance": str(row.instance), "implementation": row.implementation, "version": row.version}
    return dict.fromkeys(_COLUMNS, "") | shared | times | {"ratio": ratio, "note": row.note}


def format_rows(rows: Sequence[Row]) -> str:
    """Lay out rows as a table for people, one heading per instance.

    Parameters
    ----------
    rows : sequence of Row
        From one or more calls of :func:`compare`.

    Returns
    -------
    str
        Milliseconds, median and interquartile range, and the ratio to the first implementation.

    Examples
    --------
    >>> from hmm_bench import CoreImplementation, Instance, compare
    >>> rows = compare(Instance("viterbi", batch=1, frames=5, states=3), [CoreImplementation()], rounds=5)
    >>> format_rows(rows).splitlines()[0] == str(rows[0].instance)
    True
    """
    lines: list[str] = []
    instance = None
    for row in rows:
        if row.instance != instance:
            instance = row.instance
            lines.append(str(instance))
        text = _fields(row)
        result = text["note"] or f"{text['median_ms']:>9} ms  iqr {text['iqr_ms']:>7}  x{text['ratio']}"
        lines.append(f"  {row.implementation:<20} {row.version:<8} {result}")
    return "\n".join(lines)


def write_results(path: Path | str, rows: Sequence[Row], card: dict[str, str]) -> None:
    """Write rows as CSV under the card of the machine, all or nothing.

    Parameters
    ----------
    path : path
        The file, replaced if it exists.
    rows : sequence of Row
        From :func:`compare`.
    card : dict of str to str
        From :func:`machine_card`; becomes leading lines ``# key: value``, which
        ``pandas.read_csv(comment="#")`` skips.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_results(Path(folder) / "empty.csv", [], machine_card(dt.date(2026, 1, 31)))
    ...     card, rows = read_results(Path(folder) / "empty.csv")
    >>> card["date"], rows
    ('2026-01-31', [])
    """
    path = Path(path)
    text = io.StringIO(newline="")
    for key, value in card.items():
        text.write(f"# {key}: {value}\n")
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_fields(row) for row in rows)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text.getvalue())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def read_results(path: Path | str) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Read what :func:`write_results` wrote.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    card : dict of str to str
        The machine.
    rows : list of dict of str to str
        The columns of each row as text; ``Instance.parse(row["instance"])`` repeats it.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_results(f"{folder}/none.csv", [], {"cpu": "a good one"})
    ...     card, rows = read_results(f"{folder}/none.csv")
    >>> card["cpu"], rows
    ('a good one', [])
    """
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    head = [line for line in lines if line.startswith("# ")]
    card = dict(line[2:].split(": ", 1) for line in head)
    return card, list(csv.DictReader(lines[len(head) :]))
