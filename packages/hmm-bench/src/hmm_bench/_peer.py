"""Peers: other packages, each in a process and, where needed, an environment of its own."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import tomllib
import weakref
from pathlib import Path
from typing import IO, Any, Self, cast

import numpy as np
import torch

from hmm_bench import _worker
from hmm_bench._implementations import Computation
from hmm_bench._instance import Instance
from hmm_bench._workload import Workload
from hmm_bench.problems import Answer, UnavailableError

_FOLDER = Path(__file__).parent / "peers"
# As the specification of inline script metadata writes it.
_METADATA = re.compile(r"(?m)^# /// script$\s(?P<content>(^#(| .*)$\s)+)^# ///$")


def peers() -> list[str]:
    """Return the names of the peers that this package can measure.

    Returns
    -------
    list of str
        One for each file in ``hmm_bench/peers``.

    Examples
    --------
    >>> "hmmlearn" in peers()
    True
    """
    return sorted(path.stem for path in _FOLDER.glob("[a-z]*.py"))


class Peer:
    """Another package, computing in a process of its own.

    Its file says in inline script metadata which Python and which packages it needs; uv makes that
    environment, from its cache where it can. The process is kept from instance to instance, until another
    number of threads is asked for; it waits without using a core.

    Parameters
    ----------
    name : str
        One of :func:`peers`, or the path of a file of that kind.
    python : path, optional
        An interpreter that has what the peer needs, instead of uv.
    limit : float, default 600
        Seconds that a reply may take; making the environment, with its downloads, is one of them.

    Raises
    ------
    ValueError
        If there is no such peer.

    Examples
    --------
    >>> Peer("hmmlearn").name
    'hmmlearn'
    """

    def __init__(self, name: str, *, python: str | Path | None = None, limit: float = 600.0) -> None:
        self._script = Path(name) if name.endswith(".py") else _FOLDER / f"{name}.py"
        if not self._script.is_file():
            raise ValueError(f"name must be one of {', '.join(peers())} or a file; got {name!r}")
        self._python = python
        self._limit = limit
        self._process: _Process | None = None
        self._threads = 0
        self._version = ""
        self._problem = ""

    @property
    def name(self) -> str:
        """Name of its file."""
        return self._script.stem

    @property
    def version(self) -> str:
        """Version of what was measured; empty before."""
        return self._version

    def prepare(self, instance: Instance, workload: Workload) -> Computation:
        """Start the process if need be, and let it compute once; see :meth:`Implementation.prepare`."""
        process = self._start(instance.threads)
        with tempfile.TemporaryDirectory() as inputs, tempfile.TemporaryDirectory() as outputs:
            workload.save(Path(inputs))
            out = f"{outputs}/answer"
            reply = process.ask(
                do="prepare", op=instance.op, threads=instance.threads, folder=inputs, out=out
            )
            files = [f"{out}.{number}.npy" for number in range(reply["answers"])]
            answer = tuple(torch.from_numpy(np.load(file, allow_pickle=False)) for file in files)
        return _Remote(answer, reply["first"], process)

    def _start(self, threads: int) -> "_Process":
        """Return a process with that many threads; what once could not be started is not tried again."""
        if self._problem:
            raise UnavailableError(self._problem)
        if self._process is None or self._process.ended or self._threads != threads:
            self.close()
            self._threads = threads
            try:
                self._process = _Process(self._command(), threads, self._limit)
                self._version = self._process.read()["version"]
            except UnavailableError as error:
                self._problem = str(error)
                raise
        return self._process

    def __enter__(self) -> Self:
        """Return the peer; its process ends with the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self.close()

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process is not None:
            self._process.close()
        self._process = None

    def _command(self) -> list[str]:
        """Find an environment for the peer."""
        run = [_worker.__file__, str(self._script)]
        if self._python is not None:
            return [str(self._python), *run]
        match = _METADATA.search(self._script.read_text(encoding="utf-8"))
        if match is None:
            return [sys.executable, *run]
        folder = str(Path(sys.executable).parent)
        uv = shutil.which("uv", path=os.pathsep.join((folder, os.environ.get("PATH", ""))))
        if uv is None:
            raise UnavailableError("needs uv for an environment of its own; pip install hmm-bench[peers]")
        lines = [line[2:] for line in match["content"].splitlines()]
        needs = tomllib.loads("\n".join(lines))
        packages = [part for package in needs["dependencies"] for part in ("--with", package)]
        return [
            uv,
            "run",
            "--quiet",
            "--no-project",
            "--python",
            needs["requires-python"],
            *packages,
            "python",
            *run,
        ]


class _Process:
    """A worker: requests and replies."""

    def __init__(self, command: list[str], threads: int, limit: float) -> None:
        self.ended = False
        self._limit = limit
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  (kept)
        number = str(threads)
        variables = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
        environment = os.environ | dict.fromkeys(
            (*variables, "RAYON_NUM_THREADS", "HMM_BENCH_THREADS"), number
        )
        environment["OMP_WAIT_POLICY"] = "PASSIVE"
        self._process = subprocess.Popen(  # noqa: S603  (the file of a peer, chosen by the caller)
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
            start_new_session=True,
        )
        # Both are pipes, as asked for above.
        self._requests = cast(IO[str], self._process.stdin)
        self._replies = cast(IO[str], self._process.stdout)
        self.close = weakref.finalize(self, _end, self._process, self._errors)

    def ask(self, **request: object) -> dict[str, Any]:
        """Send a request and wait for its reply."""
        with contextlib.suppress(BrokenPipeError):  # then there is no reply, and reading finds the reason
            self._requests.write(json.dumps(request) + "\n")
            self._requests.flush()
        return self.read()

    def read(self) -> dict[str, Any]:
        """Wait for a reply."""
        timer = threading.Timer(self._limit, _kill, [self._process])
        timer.start()
        line = self._replies.readline()
        late = not timer.is_alive()
        timer.cancel()
        if not line:
            self._errors.seek(0)
            said = [text for text in self._errors.read().splitlines() if text.strip()]
            reason = f"no answer in {self._limit:g} s" if late else (said or ["it ended without a word"])[-1]
            self.ended = True
            raise UnavailableError(reason.strip())
        reply: dict[str, Any] = json.loads(line)
        if "problem" in reply:
            raise UnavailableError(reply["problem"])
        return reply


def _kill(process: "subprocess.Popen[str]") -> None:
    """End a process and what it started, such as the Python behind uv."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _end(process: "subprocess.Popen[str]", errors: IO[str]) -> None:
    """Ask a process to end by ending its requests, and make it if it does not."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        _kill(process)
        process.wait()
    errors.close()


class _Remote:
    """A computation in a worker."""

    def __init__(self, answer: Answer, first: float, process: _Process) -> None:
        self.answer = answer
        self.first = first
        self._process = process

    def seconds(self, calls: int) -> float:
        """Let the worker compute so many times."""
        taken: float = self._process.ask(do="time", calls=calls)["seconds"]
        return taken
