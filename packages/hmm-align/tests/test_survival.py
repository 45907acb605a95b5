"""What is left of a run that was killed, and what several processes do together."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from hmm_align import AlignerConfig, Alignment, CorpusAligner, Tiers
from hmm_align._aligning import BatchAligner
from hmm_align._features import FeatureStore
from hmm_align._journal import Journal
from hmm_align._pool import Pool, WorkerError
from hmm_align._training import Trainer
from hmm_align.cli import app
from hmm_models import load_tensors
from hmm_speech import Corpus, Lexicon

# Runs the command and kills it in the middle of a step.
KILLED = """
import os, signal, sys
import hmm_align._commands as commands
from hmm_align import AlignerConfig, export
from hmm_align.cli import app

where, step = sys.argv[1], int(sys.argv[2])
usual = AlignerConfig.at_frame_period
AlignerConfig.at_frame_period = lambda **choices: usual(
    iterations=4, num_components=40, batch_frames=300, **choices
)
written = 0

def killed(stage, done, total):
    if (stage, done) == (where, step):
        os.kill(os.getpid(), signal.SIGKILL)

def report(self):
    class Bars:
        def __enter__(self): return killed
        def __exit__(self, *_): pass
    return Bars()

commands.Session._progress = report
save = export.Path.replace

def half_written(self, target):
    global written
    written += self.suffix == ".tmp"
    if where == "writing" and written == step:
        os.kill(os.getpid(), signal.SIGKILL)
    return save(self, target)

export.Path.replace = half_written
app(sys.argv[3:])
"""
TEXTS = (
    "masa see zoom ash",
    "either of hem shoozy",
    "see hem masa zoom",
    "ash of shoozy see",
    "zoom masa see",
)


@pytest.fixture
def arguments(tmp_path: Path, say: Callable[..., Tiers], lexicon: Lexicon) -> list[str]:
    """Return the command that trains on a folder of five recordings and aligns it, but for where to."""
    folder = tmp_path / "corpus"
    for number, text in enumerate(TEXTS):
        say(folder, f"clip{number}", [None, *((word, 0) for word in text.split()), None], seed=number)
    lexicon.save(tmp_path / "own.dict")
    return ["corpus", str(folder), "--lexicon", str(tmp_path / "own.dict")]


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_a_run_that_is_killed_goes_on_and_ends_as_if_it_had_not_been(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = AlignerConfig.at_frame_period

    def config(**choices: Any) -> AlignerConfig:
        return usual(iterations=4, num_components=40, batch_frames=300, **choices)

    monkeypatch.setattr(AlignerConfig, "at_frame_period", config)
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert CliRunner().invoke(app, [*arguments, str(whole)]).exit_code == 0
    expected = content(whole)
    assert {"alignments.csv", "problems.csv", "utterances.csv", "clip4.json"} < expected.keys()
    for where, step in [("reading", 3), ("training", 3), ("aligning", 4), ("writing", 4)]:
        killed = [sys.executable, "-c", KILLED, where, str(step), *arguments, str(out)]
        result = subprocess.run(killed, check=False, capture_output=True, text=True)
        assert result.returncode == -signal.SIGKILL, (where, result.stderr)
        # What has its name is whole.
        for name, written in content(out).items():
            if name in expected and name != "model.safetensors":
                assert written == expected[name]
    assert [name for name in content(out) if name.endswith(".tmp")]
    (out / ".mine.tmp").touch()  # looks alike
    # All has been heard, trained and aligned.
    monkeypatch.setattr("hmm_align._corpus.load_audio", None)
    monkeypatch.setattr(BatchAligner, "__call__", None)
    monkeypatch.setattr(Trainer, "step", None)
    last = CliRunner().invoke(app, [*arguments, str(out)])
    assert last.exit_code == 0, last.output
    (out / ".mine.tmp").unlink()
    found = content(out)
    first, second = (load_tensors(folder / "model.safetensors")[0] for folder in (whole, out))
    assert first.keys() == second.keys()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert found.keys() == expected.keys()  # nor is anything left of what was being written
    # The order of a model file's header is that of a hash table.
    assert {name for name in expected if found[name] != expected[name]} <= {"model.safetensors"}


def test_an_alignment_that_is_interrupted_repeats_nothing(
    aligner: CorpusAligner, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = replace(corpus, utterances=corpus.utterances[:8])
    small = CorpusAligner(
        aligner._acoustic,
        aligner.lexicon,
        replace(aligner.config, batch_frames=1000),
        aligner.training_report,
    )
    expected = small.align(some)

    def stop(stage: str, done: int, _total: int) -> None:
        if (stage, done >= 4) == ("aligning", True):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small.align(some, workdir=tmp_path, progress=stop)
    with (tmp_path / "alignments.jsonl").open("ab") as file:
        file.write(b'{"id": "cut sh')
    steps: list[tuple[str, int, int]] = []
    monkeypatch.setattr("hmm_align._corpus.load_audio", None)  # nothing is read again
    assert small.align(some, workdir=tmp_path, progress=lambda *step: steps.append(step)) == expected
    assert steps[0][1] > 4
    assert steps[-1] == ("aligning", 8, 8)
    # Another question is asked anew.
    small.align(some, workdir=tmp_path, loose=True, progress=lambda *step: steps.append(step))
    assert steps[-1] == ("aligning", 8, 8)
    assert ("aligning", 4, 8) in steps or ("aligning", 3, 8) in steps


def test_a_journal_keeps_whole_lines_of_its_own_task(tmp_path: Path) -> None:
    path = tmp_path / "new" / "journal"
    journal = Journal(path, "one")
    journal.append({"a": 1}, {"a": 2})
    journal.append({"a": 3})
    assert [*journal] == [{"a": 1}, {"a": 2}, {"a": 3}]
    journal.drop(2)
    journal.append({"a": 4})
    journal.close()
    with path.open("ab") as file:
        file.write(b'{"a": 5')
    journal = Journal(path, "one")
    assert [*journal] == [{"a": 1}, {"a": 2}, {"a": 4}]
    journal.drop(3)
    journal.close()
    journal = Journal(path, "another")
    assert len(journal) == 0
    journal.close()
    assert path.read_bytes() == b'{"task": "another"}\n'


def test_features_that_are_not_all_there_are_read_again(tmp_path: Path) -> None:
    features = [torch.randn(frames, 4) for frames in (20, 10, 5)]
    store = FeatureStore(tmp_path, 4)
    assert [*store.resume("task")] == []
    for item in features[:2]:
        store.append(item, "anna")
        store.note({"frames": len(item), "speaker": "anna"})
    store.note({"reason": "silent"})
    before = store.read(0)
    store.close()
    again = FeatureStore(tmp_path, 4)
    notes = [*again.resume("task")]
    assert [note.get("frames") for note in notes] == [20, 10, None]
    assert torch.equal(again.read(0), before)
    again.append(features[2], "anna")
    assert len(again.read(2)) == 5
    again.close()
    os.truncate(again.path, 25 * 16)
    lost = FeatureStore(tmp_path, 4)
    assert [note["frames"] for note in lost.resume("task")] == [20]
    assert lost.path.stat().st_size == 20 * 16
    lost.close()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Give torch one thread, as the processes have."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_two_processes_find_what_one_finds_bit_for_bit(
    aligner: CorpusAligner, corpus: Corpus, tmp_path: Path
) -> None:
    config = replace(aligner.config, batch_frames=1500)
    small = CorpusAligner(aligner._acoustic, aligner.lexicon, config, aligner.training_report)
    (tmp_path / "bad.wav").touch()
    bad = replace(corpus.utterances[0], id="bad", audio=tmp_path / "bad.wav")
    some = replace(corpus, utterances=(*corpus.utterances[:12], bad))
    assert small.align(some, jobs=2) == small.align(some)


def explode(number: int) -> int:
    """Fail, or die, at some numbers."""
    if number == 3:
        raise ValueError("three is too many")
    if number == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return -number


def test_a_worker_that_fails_or_dies_is_reported() -> None:
    with Pool(2) as pool:
        found = pool.map(explode, range(4))
        assert [next(found) for _ in range(3)] == [0, -1, -2]
        with pytest.raises(ValueError, match="three is too many"):
            next(found)
        with pytest.raises(WorkerError, match="a worker process died"):
            [*pool.map(explode, [4, 5])]
    with pytest.raises(ValueError, match="jobs must be 1 or more; got 0"):
        Pool(0)


def test_threads_do_one_piece_each_and_leave_torch_as_it_was() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with Pool() as pool:
            assert list(pool.map(lambda item: (item, torch.get_num_threads()), range(9))) == [
                (item, 1) for item in range(9)
            ]
            found = pool.map(explode, range(4))
            assert [next(found) for _ in range(3)] == [0, -1, -2]
            with pytest.raises(ValueError, match="three is too many"):
                next(found)
            taken = iter(range(1000))
            first = pool.in_threads(abs, taken)
            assert next(first) == 0
            first.close()  # type: ignore[attr-defined]  # a generator
            assert next(taken) < 10  # few are taken ahead
        assert torch.get_num_threads() == 3
        assert list(Pool().map(abs, [-1])) == [1]
    finally:
        torch.set_num_threads(threads)


def test_processes_are_asked_for_by_name(
    tmp_path: Path, aligner: CorpusAligner, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    class Watched(Pool):
        def __init__(self, jobs: int) -> None:
            asked.append(jobs)
            super().__init__(1)

    threads: list[int] = []
    monkeypatch.setattr("hmm_align.corpus_aligner.Pool", Watched)
    monkeypatch.setattr("torch.set_num_threads", threads.append)
    aligner.save(tmp_path / "m")
    arguments = ["run", str(corpus.root), str(tmp_path / "m"), str(tmp_path / "out"), "--jobs", "3"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert (asked, threads[:1]) == ([3], [1])


# Aligns so many utterances and prints the peak of its memory in KiB, with and without a list of results.
GROWTH = """
import resource, sys
from dataclasses import replace
from pathlib import Path
from hmm_align import CorpusAligner
from hmm_speech import read_corpus

count = int(sys.argv[3])
aligner = CorpusAligner.load(sys.argv[1])
aligner.config = replace(aligner.config, batch_frames=2000)
corpus = read_corpus(sys.argv[2])
some = [
    replace(corpus.utterances[number % 30], id=str(number)) for number in range(count)
]
kept = aligner._align_kept(some, Path(sys.argv[4]), loose=False, jobs=1, progress=None)
assert sum(item.ok for item in kept) == count
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_corpus(aligner: CorpusAligner, corpus: Corpus, tmp_path: Path) -> None:
    aligner.save(tmp_path / "m")
    peaks = []
    for count in (60, 240):
        command = [
            sys.executable,
            "-c",
            GROWTH,
            str(tmp_path / "m"),
            str(corpus.root),
            str(count),
            str(tmp_path / f"{count}"),
        ]
        result = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks.append(int(result.stdout))
    # The features of 180 utterances of two seconds take 11 MB.
    assert peaks[1] - peaks[0] < 8_000


def test_kept_alignments_are_those_that_were_found(
    alignments: list[Alignment], aligner: CorpusAligner, corpus: Corpus, tmp_path: Path
) -> None:
    kept = aligner._align_kept(corpus.utterances, tmp_path, loose=False, jobs=1, progress=None)
    assert len(kept) == len(alignments)
    assert [*kept] == [*kept] == alignments
    kept.close()
