import io
import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from hmm_bench import (
    CoreImplementation,
    Instance,
    Peer,
    UnavailableError,
    _worker,
    compare,
    make_workload,
    peers,
)

INSTANCE = Instance("log_likelihood", 2, 9, 4)

# A peer without requirements, whose answer may be chosen.
PEER = """
import numpy as np

def version():
    return "7"

def log_likelihood(arrays, threads):
    {body}
"""


def written(folder: Path, body: str) -> str:
    """File of a peer."""
    path = folder / "stand_in.py"
    path.write_text(PEER.format(body=body), encoding="utf-8")
    return str(path)


def test_every_peer_says_what_it_needs() -> None:
    for name in peers():
        command = Peer(name)._command()
        assert "--with" in command, name
        assert command[-1].endswith(f"{name}.py")


def test_a_peer_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"name must be one of .*hmmlearn.* or a file; got 'abacus'"):
        Peer("abacus")


def test_without_uv_it_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    with Peer("dynamax") as peer, pytest.raises(UnavailableError, match=r"pip install hmm-bench\[peers\]"):
        peer.prepare(INSTANCE, make_workload(INSTANCE))


def test_a_peer_computes_in_a_process_of_its_own_and_is_kept(tmp_path: Path) -> None:
    script = written(tmp_path, "import os; return lambda: (np.full(2, os.getpid()),)")
    with Peer(script) as peer:
        assert peer.version == ""
        workload = make_workload(INSTANCE)
        first, second = (peer.prepare(INSTANCE, workload).answer[0] for _ in range(2))
        other = peer.prepare(Instance("log_likelihood", 2, 9, 4, threads=2), workload)
        assert (peer.name, peer.version) == ("stand_in", "7")
        assert torch.equal(first, second)
        assert not torch.equal(first, other.answer[0])
        assert other.seconds(3) > 0
        assert other.first > 0


def test_answers_in_a_form_of_their_own_are_converted(tmp_path: Path) -> None:
    script = written(tmp_path, "return lambda: [1, 2], lambda answer: (np.array(answer) * threads,)")
    with Peer(script) as peer:
        answer = peer.prepare(INSTANCE, make_workload(INSTANCE)).answer
    assert torch.equal(answer[0], torch.tensor([1, 2]))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise RuntimeError('out of beads')", "RuntimeError: out of beads"),
        ("import os; os._exit(3)", "it ended without a word"),
        ("import os; os.write(2, b'broken\\nbeads\\n'); os._exit(3)", "beads"),
        ("import time; time.sleep(60)", "no answer in 3 s"),
    ],
)
def test_what_goes_wrong_in_a_peer_is_said(tmp_path: Path, body: str, reason: str) -> None:
    with Peer(written(tmp_path, body), limit=3) as peer:
        (row,) = compare(INSTANCE, [peer], rounds=5)
    assert row.note == f"unavailable: {reason}"


def test_what_a_peer_prints_disturbs_nobody(tmp_path: Path) -> None:
    script = written(tmp_path, "print('clack'); return lambda: (np.zeros(2),)")
    with Peer(script) as peer:
        assert torch.equal(peer.prepare(INSTANCE, make_workload(INSTANCE)).answer[0], torch.zeros(2).double())


def test_a_process_that_has_ended_is_started_again(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    body = f"import os, pathlib; p = pathlib.Path({str(flag)!r})\n"
    body += "    if not p.exists(): p.touch(); os._exit(1)\n    return lambda: (np.zeros(2),)"
    workload = make_workload(INSTANCE)
    with Peer(written(tmp_path, body)) as peer:
        with pytest.raises(UnavailableError):
            peer.prepare(INSTANCE, workload)
        assert peer.prepare(INSTANCE, workload).answer[0].shape == (2,)


def test_what_cannot_be_imported_is_not_tried_again(tmp_path: Path) -> None:
    script = tmp_path / "broken.py"
    script.write_text("import no_such_module", encoding="utf-8")
    workload = make_workload(INSTANCE)
    with Peer(str(script)) as peer:
        for _ in range(2):
            with pytest.raises(UnavailableError, match=r"cannot be imported: ModuleNotFoundError: .*no_such"):
                peer.prepare(INSTANCE, workload)
            script.write_text("", encoding="utf-8")


@pytest.mark.parametrize("threads", [1, 2])
def test_hmmlearn_agrees(threads: int) -> None:
    pytest.importorskip("hmmlearn", reason="the peer hmmlearn is not installed")
    with Peer("hmmlearn", python=sys.executable) as peer:
        for op in ("viterbi", "log_likelihood", "posterior"):
            for topology in ("dense", "chain", "skip"):
                instance = Instance(op, 3, 12, 4, topology, threads=threads)
                rows = compare(instance, [CoreImplementation(), peer], rounds=5)
                assert [row.note for row in rows] == ["", ""], instance
    assert rows[1].version == version("hmmlearn")


def test_torch_struct_agrees() -> None:
    pytest.importorskip("torch_struct", reason="the peer torch_struct is not installed")
    with Peer("torch_struct", python=sys.executable) as peer:
        for op in ("log_likelihood", "gradient", "posterior", "viterbi"):
            for frames in (2, 12):
                (row,) = compare(Instance(op, 3, frames, 4, threads=2), [peer], rounds=5)
                assert row.note == "", row.instance


@pytest.mark.parametrize(
    ("frames", "topology", "reason"), [(1, "dense", "needs two frames"), (5, "chain", "knows dense")]
)
def test_torch_struct_says_what_it_lacks(frames: int, topology: str, reason: str) -> None:
    pytest.importorskip("torch_struct", reason="the peer torch_struct is not installed")
    with Peer("torch_struct", python=sys.executable) as peer:
        (row,) = compare(Instance("viterbi", 2, frames, 4, topology), [peer], rounds=5)
    assert row.note.startswith(f"unavailable: NotImplementedError: {reason}")


def test_torch_agrees() -> None:
    with Peer("torch", python=sys.executable) as peer:
        (row,) = compare(Instance("ctc_loss", 2, 20, densities=5, tokens=4), [peer], rounds=5)
    assert row.note == ""


def test_numpy_by_hand_agrees() -> None:
    with Peer("numpy_by_hand", python=sys.executable) as peer:
        (row,) = compare(Instance("filter", 1, 30, 4), [peer], rounds=5)
    assert row.note == ""


def asked(peer: Any, *requests: dict[str, Any]) -> list[dict[str, Any]]:
    """Replies of the worker's loop, in this process."""
    return list(_worker.replies(peer, iter(json.dumps(request) for request in requests)))


def peer_of(function: Callable[..., Any]) -> SimpleNamespace:
    """Peer with one operation."""
    return SimpleNamespace(version=lambda: "7", viterbi=function)


def test_the_worker_writes_answers_and_times_calls(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(3))
    prepare = {
        "do": "prepare",
        "op": "viterbi",
        "threads": 1,
        "folder": str(tmp_path),
        "out": str(tmp_path / "y"),
    }
    first, second, third = asked(
        peer_of(lambda arrays, threads: lambda: (arrays["x"] + threads, arrays["x"])),
        prepare,
        {"do": "time", "calls": 2},
    )
    assert first == {"version": "7"}
    assert second["answers"] == 2
    assert third["seconds"] > 0
    assert np.load(tmp_path / "y.0.npy").tolist() == [1, 2, 3]


def test_the_worker_says_what_it_cannot_do(tmp_path: Path) -> None:
    prepare = {"do": "prepare", "op": "posterior", "threads": 1, "folder": str(tmp_path), "out": ""}
    replies = asked(peer_of(lambda *_: None), {"do": "time", "calls": 1}, prepare)[1:]
    assert replies == [
        {"problem": "nothing is prepared"},
        {"problem": "NotImplementedError: does not compute posterior"},
    ]


def test_the_worker_serves_a_file(tmp_path: Path) -> None:
    output = io.StringIO()
    _worker.serve(written(tmp_path, "return None"), io.StringIO(), output)
    assert json.loads(output.getvalue()) == {"version": "7"}
    output = io.StringIO()
    _worker.serve(str(tmp_path / "text.txt"), io.StringIO(), output)
    assert "is no Python file" in json.loads(output.getvalue())["problem"]
