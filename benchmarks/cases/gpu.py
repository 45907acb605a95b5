"""The CUDA kernels on the GPU of this machine: against the CPU engine, torch, and what it can do at best.

Every answer is compared with the definition in float64 before anything is timed. Times are those of the host
from a call to the end of all its kernels, the device idle before: what a user waits. ``hmm-core cpu`` runs on
all cores. The floors are a kernel that writes one number, and a copy of the emissions.

Peers are those of hmm_bench that take tensors on a GPU, in this process: torch-struct, torchaudio, k2, and
torch's CTC. One that is not installed, or lacks the memory, has a row that says so.
"""

import argparse
import csv
import datetime as dt
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import torch
from _suite import RESULTS
from torch import Tensor

import hmm_core
from hmm_bench import (
    Instance,
    LocalComputation,
    UnavailableError,
    Workload,
    machine_card,
    make_workload,
    measure_all,
)
from hmm_bench.problems import PROBLEMS, Answer, Backend
from hmm_core.backends import problem as backend_problem
from hmm_models import GaussianHMM

COLUMNS = (
    *("label", "instance", "implementation", "version", "median_ms", "iqr_ms", "min_ms", "first_call_ms"),
    *("rounds", "asked_ms", "reached", "note"),
)
Record = dict[str, str]
FLOOR = "floor: "


class Contender(NamedTuple):
    """Someone who computes a task, or raises UnavailableError."""

    name: str
    version: str
    run: Callable[[], Answer]


class Task(NamedTuple):
    """What a case computes: who does, and how wrong an answer is."""

    instance: str
    contenders: list[Contender]  # ours first
    error: Callable[[Answer], float]
    tolerance: float
    num_bytes: int  # of the emissions


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Parameters
    ----------
    label : str
        What people call it.
    make : callable
        Binds it, on a device, in full size or small.
    at_most : float
        Milliseconds that it may take on an H200, where that is asked.
    """

    label: str
    make: Callable[[torch.device, bool], Task]
    at_most: float = 0.0


def backend_on(device: torch.device) -> Backend:
    """Name the backend that is measured; without a GPU, what shows that a case works."""
    return "cuda" if device.type == "cuda" else "reference"


def small(instance: Instance) -> Instance:
    """Return an instance of the same kind that takes no time."""
    sizes = ("frames", 30), ("states", 10), ("tokens", 8)
    least = {name: min(getattr(instance, name), most) for name, most in sizes}
    return replace(instance, batch=min(instance.batch, 2), **least)


def on_host(answer: Answer) -> Answer:
    """Return an answer as the comparison wants it."""
    return tuple(part.detach().cpu().double() if part.is_floating_point() else part.cpu() for part in answer)


def hmm_loop(workload: Workload, emission: Tensor, matrix: Tensor) -> Tensor:
    """Log-likelihoods (B,) of a dense model by a loop over the frames, as one writes it in torch."""
    alpha = workload["log_initial"] + emission[:, 0]
    for t in range(1, emission.shape[1]):
        alpha = (alpha[:, :, None] + matrix).logsumexp(1) + emission[:, t]
    return (alpha + workload["log_final"]).logsumexp(1)


def loop_gradient(workload: Workload) -> Answer:
    """Differentiate through the loop."""
    leaves = [workload[name].detach().requires_grad_() for name in ("log_emission", "log_transition")]
    return torch.autograd.grad(hmm_loop(workload, *leaves).sum(), leaves)


def loop_posterior(workload: Workload) -> Answer:
    """Posteriors, which are the derivative by the emissions."""
    return loop_gradient(workload)[:1]


def loop_viterbi(workload: Workload) -> Answer:
    """Best paths by a loop over the frames there, and another one back."""
    emission = workload["log_emission"]
    score = workload["log_initial"] + emission[:, 0]
    origins = []
    sparse = "predecessors" in workload.tensors
    for t in range(1, emission.shape[1]):
        if sparse:
            source = workload["predecessors"].clamp(min=0)
            unused = workload["predecessors"] < 0
            arcs = score[:, source] + workload["log_weight"].masked_fill(unused, -torch.inf)
            score, slot = arcs.max(2)
            origins.append(source.expand(len(score), -1, -1).gather(2, slot[..., None])[..., 0])
        else:
            score, origin = (score[:, :, None] + workload["log_transition"]).max(1)
            origins.append(origin)
        score = score + emission[:, t]
    state = (score + workload["log_final"]).argmax(1, keepdim=True)
    path = [state]
    for origin in reversed(origins):
        state = origin.gather(1, state)
        path.append(state)
    return (torch.cat(path[::-1], 1),)


LOOPS: dict[str, Callable[[Workload], Answer]] = {
    "gradient": loop_gradient,
    "posterior": loop_posterior,
    "viterbi": loop_viterbi,
}
# Files of hmm_bench/peers whose functions take tensors on a GPU as they take arrays.
PEERS = {
    "log_likelihood": ("torch_struct",),
    "gradient": ("torch_struct",),
    "posterior": ("torch_struct",),
    "viterbi": ("torch_struct",),
    "ctc_loss": ("torch", "k2"),
    "ctc_alignment": ("torchaudio",),
}


def neighbour(name: str, instance: Instance, workload: Workload) -> Contender:
    """Bind a peer in this process; whatever it raises is why it has no time."""
    try:
        peer = importlib.import_module(f"hmm_bench.peers.{name}")
        found, run = peer.version(), getattr(peer, instance.op)(workload.tensors, torch.get_num_threads())
    except Exception as error:  # noqa: BLE001  (as said above)
        return Contender(name, "", _failing(_reason(error)))

    def attempt() -> Answer:
        """Compute, if it can."""
        try:
            answer: Answer = run()
        except Exception as error:  # noqa: BLE001  (as said above)
            reason = _reason(error)
        else:
            return answer
        # Here, where no frame of the peer keeps its tensors any more.
        raise UnavailableError(reason)

    return Contender(name, found, attempt)


def _reason(error: Exception) -> str:
    """Say what was raised, in one line."""
    return textwrap.shorten(f"{type(error).__name__}: {error}", 100, placeholder=" ...")


def _failing(reason: str) -> Callable[[], Answer]:
    """Return a computation that there is not."""

    def run() -> Answer:
        """Say why."""
        raise UnavailableError(reason)

    return run


def standard(
    instance: Instance,
    *,
    definition: Backend = "reference",
    in_one_piece: bool = False,
    absent: Mapping[str, str] | None = None,
) -> Callable[[torch.device, bool], Task]:
    """Make a task of hmm_bench's.

    ``in_one_piece``: also without cutting sequences into chunks, and nobody else; ``absent``: why a peer is
    not tried in full size.
    """

    def make(device: torch.device, quick: bool) -> Task:
        chosen = small(instance) if quick else instance
        problem, workload = PROBLEMS[chosen.op], make_workload(chosen)
        exact = workload.to(torch.float64)
        expected = problem.core(chosen, exact, definition)()
        moved = Workload({name: tensor.to(device) for name, tensor in workload.tensors.items()})
        ours, core = version("hmm-core"), problem.core(chosen, moved, backend_on(device))
        contenders = [
            Contender("hmm-core cuda", ours, core),
            Contender("hmm-core cpu", ours, problem.core(chosen, workload, "cpu")),
        ]
        if in_one_piece and device.type == "cuda":
            contenders.append(Contender("hmm-core cuda, in one piece", ours, _whole(core)))
        if not in_one_piece:
            if chosen.op in LOOPS:
                loop = LOOPS[chosen.op]
                contenders.append(Contender("torch loop", str(torch.__version__), lambda: loop(moved)))
            given_up = {} if quick or absent is None else absent
            contenders += [
                Contender(name, "", _failing(given_up[name]))
                if name in given_up
                else neighbour(name, chosen, moved)
                for name in PEERS.get(chosen.op, ())
            ]
        given = moved.tensors.get("log_emission", moved.tensors.get("log_prob", moved.tensors.get("cost")))
        return Task(
            str(chosen),
            contenders,
            lambda answer: problem.error(exact, on_host(answer), expected),
            problem.tolerance,
            0 if given is None else given.nbytes,
        )

    return make


def _whole(core: Callable[[], Answer]) -> Callable[[], Answer]:
    """Compute without cutting sequences into chunks."""

    def run() -> Answer:
        """Patch the rule, and compute."""
        from hmm_core.backends.cuda.dense import _narrow  # noqa: PLC0415  (imports Triton)

        with mock.patch.object(_narrow, "chunk_count", return_value=1):
            return core()

    return run


def mixtures(device: torch.device, quick: bool) -> Task:
    """Decode 32 x 1000 frames of 80 dimensions with 10 states of 4 Gaussians, from the features on."""
    B, T, D, K, M = (2, 50, 8, 4, 2) if quick else (32, 1000, 80, 10, 4)
    torch.manual_seed(0)
    x = torch.randn(B, T // 10, D).repeat_interleave(10, 1) + torch.randn(B, T, D)
    model = GaussianHMM(K, D, M)
    with torch.no_grad():
        model.emission.mean.copy_(torch.randn(model.emission.mean.shape))
        expected = GaussianHMM(K, D, M).double()
        expected.load_state_dict({name: value.double() for name, value in model.state_dict().items()})
        best = expected.viterbi(x.double()).log_score
    there, moved = GaussianHMM(K, D, M).to(device), x.to(device)
    there.load_state_dict(model.state_dict())

    def decode(model: GaussianHMM, x: Tensor) -> Answer:
        """Return scores and states."""
        with torch.no_grad():
            path = model.viterbi(x)
        return path.log_score, path.states

    def error(answer: Answer) -> float:
        """Compare the scores of the paths."""
        return float(((on_host(answer)[0] - best) / best).abs().max())

    ours = version("hmm-models")
    contenders = [
        Contender("hmm-core cuda", ours, lambda: decode(there, moved)),
        Contender("hmm-core cpu", ours, lambda: decode(model, x)),
    ]
    return Task(f"B={B} T={T} D={D} K={K} M={M}", contenders, error, 1e-5, x.nbytes)


def hmm(op: str, batch: int, frames: int, states: int, topology: str = "dense") -> Instance:
    """Name an instance of a hidden Markov model."""
    return Instance(op, batch=batch, frames=frames, states=states, topology=topology)


CASES = [
    # 320 seconds of audio, 10,000 times as fast.
    Case("features to states, 32 x 10 s, 10 states", mixtures, at_most=32.0),
    Case(
        "monotonic alignment 16 x 2048 x 512", standard(hmm("viterbi", 16, 2048, 512, topology="chain")), 10.0
    ),
    Case(
        "CTC alignment of one hour",
        standard(
            Instance("ctc_alignment", batch=1, frames=360_000, densities=60, tokens=50_000),
            definition="cpu",
            absent={"torchaudio": "keeps a byte for each frame and state: 36 GB"},
        ),
        1000.0,
    ),
    Case(
        "CTC alignment, 32 x 1000 x 100",
        standard(Instance("ctc_alignment", batch=32, frames=1000, densities=40, tokens=100)),
    ),
    Case("likelihood and gradient, 32 x 1000, 64 states", standard(hmm("gradient", 32, 1000, 64)), 5.0),
    Case("likelihood and gradient, 32 x 1000, 10 states", standard(hmm("gradient", 32, 1000, 10))),
    Case("likelihood and gradient, 8 x 500, 1000 states", standard(hmm("gradient", 8, 500, 1000))),
    Case("posteriors, 32 x 1000, 50 states", standard(hmm("posterior", 32, 1000, 50))),
    Case("best paths, 32 x 1000, 50 states", standard(hmm("viterbi", 32, 1000, 50))),
    Case("best paths, 8 x 500, 1000 states", standard(hmm("viterbi", 8, 500, 1000))),
    Case(
        "CTC loss and gradient, 32 x 1000 x 100",
        standard(Instance("ctc_loss", batch=32, frames=1000, densities=40, tokens=100)),
    ),
    Case(
        "explicit durations, 32 x 1000, 10 states of 50",
        standard(Instance("semi_markov_log_likelihood", batch=32, frames=1000, states=10, durations=50)),
    ),
    Case("DTW 32 x 1000 x 1000", standard(Instance("dtw", batch=32, frames=1000, tokens=1000))),
    # Where cutting into chunks begins to pay.
    *(
        Case(
            f"one sequence of {frames} frames, {states} states",
            standard(hmm("posterior", 1, frames, states), in_one_piece=True),
        )
        for states in (4, 16, 32)
        for frames in (1000, 2048, 20_000)
    ),
    Case("a call with nothing to compute", standard(hmm("log_likelihood", 1, 2, 2))),
]


def measure(case: Case, device: torch.device, *, quick: bool, rounds: int) -> list[Record]:
    """Compute with everyone, compare, and time those who are right."""
    task = case.make(device, quick)

    def clock() -> float:
        """Tell the time when the device has nothing more to do."""
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    one = torch.empty(1, device=device)
    source = torch.zeros(max(task.num_bytes, 4) // 4, device=device)
    target = torch.empty_like(source)
    floors = {"one kernel": lambda: (one.zero_(),), "copy of the emissions": lambda: (target.copy_(source),)}
    right = {FLOOR + name: LocalComputation(run, clock=clock) for name, run in floors.items()}
    notes = dict.fromkeys(right, "")
    versions = dict.fromkeys(right, str(torch.__version__))
    for contender in task.contenders:
        versions[contender.name] = contender.version
        try:
            computation = LocalComputation(contender.run, clock=clock)
        except UnavailableError as problem:
            notes[contender.name] = f"unavailable: {problem}"
            continue
        error = task.error(computation.answer)
        # Written so that NaN is wrong as well.
        notes[contender.name] = (
            "" if error <= task.tolerance else f"wrong: error {error:.1e} > {task.tolerance:g}"
        )
        if not notes[contender.name]:
            right[contender.name] = computation
    timings = measure_all(right, rounds=rounds)
    records = []
    for name, note in notes.items():
        record = dict.fromkeys(COLUMNS, "") | {"label": case.label, "instance": task.instance}
        record |= {"implementation": name, "version": versions[name], "note": note}
        if name in timings:
            timing = timings[name]
            times = {"median_ms": timing.median, "iqr_ms": timing.iqr, "min_ms": timing.minimum}
            times["first_call_ms"] = right[name].first
            record |= {column: f"{1e3 * value:.5g}" for column, value in times.items()}
            record["rounds"] = str(timing.rounds)
            if case.at_most and name == "hmm-core cuda":
                record["asked_ms"] = f"{case.at_most:g}"
                record["reached"] = "yes" if 1e3 * timing.median <= case.at_most else "no"
        records.append(record)
    return records


def gpu_card() -> dict[str, str]:
    """Describe the GPU."""
    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    tool, driver = shutil.which("nvidia-smi"), "unknown"
    if tool:
        query = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = (
            subprocess.run(query, capture_output=True, text=True, check=False).stdout.split("\n")[0].strip()
        )
    return {
        "gpu": properties.name,
        "gpu memory": f"{properties.total_memory / 2**30:.0f} GiB",
        "multiprocessors": str(properties.multi_processor_count),
        "driver": driver,
        "cuda": str(torch.version.cuda),
        "triton": _version("triton"),
    }


def _version(package: str) -> str:
    """Return the version of a package, if it is there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def write(path: Path, records: Sequence[Record], card: dict[str, str]) -> None:
    """Write records as CSV under the card of the machine, all or nothing."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
        file.writelines(f"# {key}: {value}\n" for key, value in card.items())
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
    Path(temporary).chmod(0o644)
    Path(temporary).replace(path)


def show(records: Sequence[Record]) -> str:
    """Lay out the records of a case for people."""
    lines = [f"{records[0]['label']}: {records[0]['instance']}"]
    for record in records:
        asked = f"  asked {record['asked_ms']} ms: {record['reached']}" if record["asked_ms"] else ""
        result = record["note"] or f"{record['median_ms']:>9} ms  iqr {record['iqr_ms']:>9}{asked}"
        lines.append(f"  {record['implementation']:<30} {result}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write; 1 if an answer of ours was wrong, 2 without a GPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small instances, to see that everything works")
    parser.add_argument("--only", default="", metavar="TEXT", help="rows whose label contains this")
    parser.add_argument("--rounds", type=int, default=15, help="timed rounds, at least 5")
    options = parser.parse_args(arguments)
    missing = backend_problem("cuda")
    if missing is not None or not torch.cuda.is_available():
        print(f"no GPU to measure: the CUDA backend {missing or 'would be interpreted'}", file=sys.stderr)
        return 2
    device = torch.device("cuda", torch.cuda.current_device())
    records: list[Record] = []
    for case in CASES:
        if options.only in case.label:
            latest = measure(case, device, quick=options.quick, rounds=5 if options.quick else options.rounds)
            print(show(latest), flush=True)
            records += latest
    if options.quick or options.only:
        print("a part, or a quick run: no results written")
    else:
        card = machine_card(dt.datetime.now(tz=dt.UTC).date()) | gpu_card()
        write(RESULTS / "gpu.csv", records, card | {"hmm-core": hmm_core.__version__})
    wrong = [row for row in records if row["note"] and row["implementation"].startswith("hmm-core")]
    for row in wrong:
        print("WRONG:", row["label"], row["implementation"], row["note"], file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
