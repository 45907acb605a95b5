"""Alignments that lie on disk until they are looked at."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Self

from hmm_speech import Problem

from ._corpus import Prepared
from ._journal import Journal, Record
from ._result import AlignedInterval, Alignment, SkippedWord
from ._shards import Shards


class KeptAlignments:
    """What was found for utterances, to be gone through in their order, one at a time in memory."""

    def __init__(
        self, journal: Journal, order: Sequence[str], aligned: Iterable[str], failures: Iterable[Problem]
    ) -> None:
        self.journal = journal
        self.failures = {problem.id: problem.reason for problem in failures}
        self._order = order
        self._number = {name: number for number, name in enumerate(aligned)}

    def describe(self) -> tuple[Path, str, Sequence[str], Sequence[str], Sequence[Problem]]:
        """Return what another process needs to look at what is kept here."""
        failures = [Problem(*item) for item in self.failures.items()]
        return self.journal.path, self.journal.task, self._order, list(self._number), failures

    def rest(self, batches: Sequence[Sequence[Prepared]]) -> Sequence[Sequence[Prepared]]:
        """Return the batches that are still to be aligned; of one that was cut short, nothing is kept."""
        done, count = 0, 0
        while done < len(batches) and count + len(batches[done]) <= len(self.journal):
            count += len(batches[done])
            done += 1
        self.journal.drop(count)
        return batches[done:]

    def append(self, batch: Iterable[Alignment]) -> None:
        """Keep what was found for the next utterances, in the order in which they are aligned."""
        self.journal.append(
            *({field.name: getattr(item, field.name) for field in fields(item)} for item in batch)
        )

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Alignment]:
        for name in self._order:
            if name in self.failures:
                yield Alignment.failure(name, self.failures[name])
            else:
                yield _unpacked(self.journal[self._number[name]])

    def close(self) -> None:
        """Close the journal; nothing can be looked at any more."""
        self.journal.close()


class JoinedAlignments:
    """What the processes of a corpus's shards have kept, in the order of the corpus."""

    def __init__(self, parts: Sequence[KeptAlignments]) -> None:
        self._parts = parts

    @classmethod
    def of(cls, shards: Shards, mine: KeptAlignments) -> Self:
        """Join what all processes have kept, once they all have; every process can look at it."""
        if shards.number == 1:
            return cls([mine])
        described = shards.gather(mine.describe())
        return cls(
            [
                mine if rank == shards.rank else KeptAlignments(Journal(path, task), order, aligned, failures)
                for rank, (path, task, order, aligned, failures) in enumerate(described)
            ]
        )

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[Alignment]:
        parts = [iter(part) for part in self._parts]
        return (next(parts[place % len(parts)]) for place in range(len(self)))

    def close(self) -> None:
        """Close the journals; nothing can be looked at any more."""
        for part in self._parts:
            part.close()


def _unpacked(content: Record) -> Alignment:
    """Make an alignment of its fields."""
    return Alignment(
        **content
        | {
            "words": tuple(AlignedInterval(*interval) for interval in content["words"]),
            "phones": tuple(AlignedInterval(*interval) for interval in content["phones"]),
            "skipped": tuple(SkippedWord(*word) for word in content["skipped"]),
        }
    )
