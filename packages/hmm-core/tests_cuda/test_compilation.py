"""Every kernel, in every configuration that an operation launches, compiled ahead of time without a GPU.

What is compiled is what the operations launch: their launches are written down instead of run, and then go
through Triton as on a GPU, with all that it makes of an address that is aligned or a number that is 1.
"""

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from launches import CASES, SMALLEST_CASES

from hmm_core.backends.cuda._launch import Launch, recording

triton = pytest.importorskip(
    "triton", reason="Triton comes with torch on Linux, except in its builds for the CPU"
)

RECORD = Path(__file__).parent / "registers.json"
# Ampere, Hopper and Blackwell for data centres.
CAPABILITIES = (80, 90, 100)


def _name(launch: Launch) -> str:
    """Tell a configuration: the kernel, its types and its constants."""
    constants = ",".join(
        f"{key}={getattr(value, 'name', value)}" for key, value in sorted(launch.constants.items())
    )
    missing = ",".join(name for name, value in launch.arguments.items() if value is None)
    types = {value.dtype for value in launch.arguments.values() if isinstance(value, torch.Tensor)}
    dtype = "float64" if torch.float64 in types and torch.float32 not in types else "float32"
    warps = launch.options["num_warps"]
    return (
        f"{launch.kernel.__name__}[{constants}]" + (f"-{missing}" if missing else "") + f"-{dtype}-w{warps}"
    )


def _launches(cases: list[Callable[[], object]]) -> dict[str, Launch]:
    """All configurations, by name."""
    found: dict[str, Launch] = {}
    for case in cases:
        with recording() as launches:
            case()
        for launch in launches:
            found.setdefault(_name(launch), launch)
    return dict(sorted(found.items()))


LAUNCHES = _launches(CASES)
SMALLEST = _launches(SMALLEST_CASES)


class Device:
    """What Triton asks of a GPU before it compiles for one."""

    def __init__(self, capability: int) -> None:
        self.capability = capability

    def get_current_target(self) -> Any:
        """Name the kind of GPU."""
        from triton.backends.compiler import GPUTarget  # noqa: PLC0415  (where Triton is missing, all skip)

        return GPUTarget("cuda", self.capability, 32)

    def get_current_device(self) -> int:
        """Tell it from the devices of this machine, if there are any."""
        return 1000 + self.capability

    def get_current_stream(self, _: int) -> int:
        """Have one stream."""
        return 0


def compiled(launch: Launch, capability: int) -> Any:
    """Compile a launch for a kind of GPU."""
    from triton.runtime import driver  # noqa: PLC0415

    os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
    driver.set_active(Device(capability))
    try:
        return launch.kernel.warmup(
            *launch.arguments.values(), grid=launch.grid, **launch.constants, **launch.options
        )
    finally:
        if torch.cuda.is_available():  # otherwise there is none to go back to
            driver.reset_active()


def resources(kernel: Any) -> dict[str, int]:
    """Registers, stack and spilled bytes of a compiled kernel."""
    from triton.backends import nvidia  # noqa: PLC0415

    tool = Path(nvidia.__file__).parent / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        run = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True)
    found = dict(re.findall(r"(REG|STACK|LOCAL):(\d+)", run.stdout))
    return {"registers": int(found["REG"]), "stack": int(found["STACK"]), "local": int(found["LOCAL"])}


@pytest.fixture(scope="session")
def record(request: pytest.FixtureRequest) -> Any:
    """What was recorded; rewritten at the end where asked."""
    rewrite = request.config.getoption("--record-registers")
    assert not (rewrite and "PYTEST_XDIST_WORKER" in os.environ), "one process writes the record: add -n 0"
    known: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    if rewrite:
        known = {"triton": triton.__version__, "kernels": {}}
    yield known
    if rewrite:
        known["kernels"] = dict(sorted(known["kernels"].items()))
        RECORD.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


@pytest.mark.parametrize("name", LAUNCHES)
def test_a_kernel_compiles_without_spilling(
    name: str, record: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    used = {}
    recorded = record["triton"] == triton.__version__
    for capability in CAPABILITIES:
        taken = resources(compiled(LAUNCHES[name], capability))
        # The assembler of Triton 3.6 puts up to two numbers of a few kernels there, which GPU.md names.
        assert taken["stack"] <= (0 if recorded else 16)
        assert taken["local"] == 0
        used[f"sm_{capability}"] = taken["registers"]
    if request.config.getoption("--record-registers"):
        record["kernels"][name] = used
    assert name in record["kernels"], "a new configuration: run with --record-registers"
    if recorded:  # another compiler allots them differently
        for target, registers in used.items():
            assert registers <= record["kernels"][name][target]


@pytest.mark.parametrize("name", SMALLEST)
def test_sizes_of_one_which_are_constants_then_compile(name: str) -> None:
    assert compiled(SMALLEST[name], 90).asm["cubin"]


# Recursions whose threads read in one frame what others wrote in the frame before; in a pipeline of them
# there are more barriers, so that one that is missing would not show.
RECURSIONS = [
    name
    for name, launch in LAUNCHES.items()
    if launch.kernel.__name__ in {"forward_frames", "backward_frames", "smooth_frames", "merge_frames"}
    and launch.constants.get("REACH", 0) == 0
    and not launch.constants.get("MEET", False)
]


@pytest.mark.parametrize("name", RECURSIONS)
def test_threads_wait_for_each_other_in_every_frame(name: str) -> None:
    assert any("bar.sync" in loop for loop in _storing_loops(compiled(LAUNCHES[name], 90).asm["ptx"]))


def _storing_loops(ptx: str) -> list[str]:
    """Bodies of the loops that write to memory."""
    start = {found[1]: found.start() for found in re.finditer(r"^(\$L__BB\w+):", ptx, re.MULTILINE)}
    branches = re.finditer(r"bra(?:\.uni)?\s+(\$L__BB\w+);", ptx)
    loops = [ptx[start[found[1]] : found.end()] for found in branches if start[found[1]] < found.start()]
    return [loop for loop in loops if "st.global" in loop]


def test_nothing_is_recorded_that_no_operation_launches(record: dict[str, Any]) -> None:
    assert set(record["kernels"]) <= set(LAUNCHES)


def places(assembly: list[str], pattern: str) -> list[int]:
    """Lines of the assembly that match."""
    return [line for line, text in enumerate(assembly) if re.search(pattern, text)]


# Small pointers are told from everything else by their width.
BACKTRACES = [
    name
    for name, launch in LAUNCHES.items()
    if isinstance(pointers := launch.arguments.get("pointers"), torch.Tensor) and pointers.itemsize < 4
]


@pytest.mark.parametrize("name", BACKTRACES)
def test_the_way_back_waits_until_all_threads_have_written_their_pointers(name: str) -> None:
    bits = 8 * LAUNCHES[name].arguments["pointers"].itemsize  # type: ignore[attr-defined]  # a Tensor
    assembly = compiled(LAUNCHES[name], 90).asm["ptx"].splitlines()
    written = max(places(assembly, rf"\bst\.global\S*\.b{bits}\b"))
    read = min(places(assembly, rf"\bld\.global\S*\.b{bits}\b"))
    assert written < read
    assert any(written < line < read for line in places(assembly, r"\bbar\.sync\b"))


MEETINGS = [
    name
    for name, launch in LAUNCHES.items()
    if "counter" in launch.arguments or launch.constants.get("MEET", False)
]


@pytest.mark.parametrize("name", MEETINGS)
def test_programs_that_share_a_sequence_hand_over_what_they_wrote(name: str) -> None:
    assembly = compiled(LAUNCHES[name], 90).asm["ptx"].splitlines()
    given = places(assembly, r"\b(red|atom)\.global\.gpu\.release\b")
    taken = places(assembly, r"\b(ld|atom)\.global\.gpu\.acquire\b")
    assert given
    assert len(given) == len(taken)
    barriers = places(assembly, r"\bbar\.sync\b")
    for gives, takes in zip(given, taken, strict=True):
        # All threads have written before one of them says so, and none goes on before that one was told.
        assert any(gives - 10 < line < gives for line in barriers)
        assert gives < takes
        assert any(takes < line < takes + 20 for line in barriers)
