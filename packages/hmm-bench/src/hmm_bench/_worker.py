"""Compute instances in a process of its own, with a Python of its own: JSON lines in, JSON lines out.

Run as a script with the file of a peer; needs Python 3.10 and NumPy, and neither torch nor hmm-bench. A peer
is a module with ``version() -> str`` and, for each operation that it knows, a function of that name::

    def viterbi(arrays, threads):
        converted = ...  # what may be converted once
        return lambda: (states,)

A peer that answers in a form of its own returns two functions, the second of which converts what the first
one returns and is not timed. Requests, one a line, each answered by one line:

- ``{"do": "prepare", "op": ..., "threads": ..., "folder": ..., "out": ...}``: read the ``.npy`` files of the
  folder, compute once, write the answer to ``<out>.0.npy``, ``<out>.1.npy``, ...; the reply is
  ``{"answers": how many, "first": seconds}``
- ``{"do": "time", "calls": n}``: compute ``n`` times; the reply is ``{"seconds": a call}``

What goes wrong is answered by ``{"problem": ...}``. The first line is ``{"version": ...}``; the end of the
requests is the end of the process.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np

Run = Callable[[], Any]


def load(path: str) -> Any:  # noqa: ANN401  (a module with attributes that only it knows)
    """Import the module of a peer."""
    spec = importlib.util.spec_from_file_location("peer", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def prepare(peer: Any, request: dict[str, Any]) -> tuple[Run, dict[str, Any]]:  # noqa: ANN401  (a module)
    """Compute an instance for the first time."""
    function = getattr(peer, request["op"], None)
    if function is None:
        raise NotImplementedError(f"does not compute {request['op']}")
    folder = Path(request["folder"])
    arrays = {file.stem: np.load(file, allow_pickle=False) for file in sorted(folder.glob("*.npy"))}
    found = function(arrays, request["threads"])
    run, convert = found if isinstance(found, tuple) else (found, tuple)
    start = time.perf_counter()
    answer = run()
    first = time.perf_counter() - start
    for number, array in enumerate(convert(answer)):
        np.save(f"{request['out']}.{number}.npy", np.asarray(array), allow_pickle=False)
    return run, {"answers": number + 1, "first": first}


def seconds(run: Run, calls: int) -> float:
    """Time calls while the garbage collector rests."""
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        for _ in range(calls):
            run()
        return (time.perf_counter() - start) / calls
    finally:
        gc.enable()


def replies(peer: Any, requests: Iterator[str]) -> Iterator[dict[str, Any]]:  # noqa: ANN401  (a module)
    """Answer each request."""
    yield {"version": peer.version()}
    run: Run | None = None
    for line in requests:
        request = json.loads(line)
        try:
            if request["do"] == "prepare":
                run = None  # frees the memory of the last instance
                run, reply = prepare(peer, request)
            elif run is None:
                reply = {"problem": "nothing is prepared"}
            else:
                reply = {"seconds": seconds(run, request["calls"])}
        except Exception as error:  # noqa: BLE001  (whatever a peer raises is its answer)
            reply = {"problem": f"{type(error).__name__}: {error}"}
        yield reply


def serve(path: str, requests: IO[str], output: IO[str]) -> None:
    """Load a peer and answer requests until there are none left."""
    try:
        peer = load(path)
    except Exception as error:  # noqa: BLE001  (whatever its import raises is why it cannot be used)
        output.write(json.dumps({"problem": f"cannot be imported: {type(error).__name__}: {error}"}) + "\n")
        output.flush()
        return
    for reply in replies(peer, iter(requests)):
        output.write(json.dumps(reply) + "\n")
        output.flush()


def main() -> None:
    """Keep standard output for the replies: what a peer prints goes to standard error."""
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.path.pop(0)  # this file's folder, whose names are nobody's business here
    serve(sys.argv[1], sys.stdin, output)


if __name__ == "__main__":
    main()
