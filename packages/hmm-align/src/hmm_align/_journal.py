"""Records that outlive the process that writes them."""

import json
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Record = dict[str, Any]


class Journal:
    """Records of one task in a file, a line of JSON each: whole, or not there at all.

    A line that the death of its writer cut short is dropped when the journal is opened again; so is
    everything, if it was of another task.
    """

    def __init__(self, path: Path, task: str) -> None:
        self.path, self.task = path, task
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        self._file = path.open("r+b")
        self._starts = array("q")
        head, whole = _line({"task": task}), 0
        for number, line in enumerate(self._file):
            if not line.endswith(b"\n") or (number == 0 and line != head):
                break
            if number:
                self._starts.append(whole)
            whole += len(line)
        self._cut(whole)
        if not whole:
            self._write(head)

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, number: int) -> Record:
        self._file.seek(self._starts[number])
        record: Record = json.loads(self._file.readline())
        return record

    def __iter__(self) -> Iterator[Record]:
        return (self[number] for number in range(len(self)))

    def append(self, *records: Record) -> None:
        """Write records at the end, and let go of them."""
        self._file.seek(0, 2)
        end = self._file.tell()
        lines = [_line(record) for record in records]
        for line in lines:
            self._starts.append(end)
            end += len(line)
        self._write(b"".join(lines))

    def drop(self, number: int) -> None:
        """Forget the records from a number on."""
        if number < len(self):
            self._cut(self._starts[number])
            del self._starts[number:]

    def close(self) -> None:
        """Close the file, and leave it."""
        self._file.close()

    def _cut(self, size: int) -> None:
        """Shorten the file, and go to its end."""
        self._file.truncate(size)
        self._file.seek(size)

    def _write(self, lines: bytes) -> None:
        """Hand lines over to the system, which keeps them whatever happens to this process."""
        self._file.write(lines)
        self._file.flush()


def _line(record: Record) -> bytes:
    """Write a record as one line."""
    return json.dumps(record).encode() + b"\n"
