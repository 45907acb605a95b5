"""Every kernel, in every configuration that an operation launches, compiled ahead of time without a GPU.

What is compiled is what the operations launch: their launches are written down instead of run.
"""

import json
import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from launches import CASES

from hmm_core.backends.cuda._launch import Launch, recording

triton = pytest.importorskip(
    "triton", reason="Triton comes with torch on Linux, except in its builds for the CPU"
)

RECORD = Path(__file__).parent / "registers.json"
# Ampere, Hopper and Blackwell for data centres.
CAPABILITIES = (80, 90, 100)


def _type(value: object) -> str:
    """Name the type of an argument as the compiler does."""
    if isinstance(value, torch.Tensor):
        short = {"float32": "fp32", "float64": "fp64", "bool": "i1", "uint8": "u8"}
        name = str(value.dtype).removeprefix("torch.")
        return "*" + short.get(name, name.replace("int", "i"))
    if value is None:
        return "constexpr"
    if isinstance(value, bool):
        return "u1"
    if isinstance(value, int):
        return "i32" if -(2**31) <= value < 2**31 else "i64"
    return "fp32"


def _name(launch: Launch) -> str:
    """Tell a configuration: the kernel, its types and its constants."""
    constants = ",".join(
        f"{key}={getattr(value, 'name', value)}" for key, value in sorted(launch.constants.items())
    )
    missing = ",".join(name for name, value in launch.arguments.items() if value is None)
    types = {_type(value) for value in launch.arguments.values()}
    dtype = "float64" if "*fp64" in types and "*fp32" not in types else "float32"
    warps = launch.options["num_warps"]
    return (
        f"{launch.kernel.__name__}[{constants}]" + (f"-{missing}" if missing else "") + f"-{dtype}-w{warps}"
    )


def _launches() -> dict[str, Launch]:
    """All configurations, by name."""
    found: dict[str, Launch] = {}
    for case in CASES:
        with recording() as launches:
            case()
        for launch in launches:
            found.setdefault(_name(launch), launch)
    return dict(sorted(found.items()))


LAUNCHES = _launches()


def compiled(launch: Launch, capability: int) -> Any:
    """Compile a launch for a kind of GPU."""
    from triton.backends.compiler import GPUTarget  # noqa: PLC0415  (where Triton is missing, the tests skip)
    from triton.compiler import ASTSource  # noqa: PLC0415

    os.environ.setdefault("TRITON_DEFAULT_FP_FUSION", "1")
    constants = {**launch.constants, **{k: v for k, v in launch.arguments.items() if v is None}}
    signature = {name: _type(launch.arguments.get(name)) for name in launch.kernel.arg_names}
    signature.update(dict.fromkeys(constants, "constexpr"))
    source = ASTSource(fn=launch.kernel, signature=signature, constexprs=constants)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=dict(launch.options))


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
    for capability in CAPABILITIES:
        taken = resources(compiled(LAUNCHES[name], capability))
        assert taken["stack"] == 0
        assert taken["local"] == 0
        used[f"sm_{capability}"] = taken["registers"]
    if request.config.getoption("--record-registers"):
        record["kernels"][name] = used
    assert name in record["kernels"], "a new configuration: run with --record-registers"
    if record["triton"] == triton.__version__:  # another compiler allots them differently
        for target, registers in used.items():
            assert registers <= record["kernels"][name][target]


# Recursions whose threads read in one frame what others wrote in the frame before; in a pipeline of them
# there are more barriers, so that one that is missing would not show.
RECURSIONS = [
    name
    for name, launch in LAUNCHES.items()
    if launch.kernel.__name__ in {"forward_frames", "backward_frames", "smooth_frames", "merge_frames"}
    and launch.constants.get("REACH", 0) == 0
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


@pytest.mark.parametrize("name", [name for name in LAUNCHES if "counter" in LAUNCHES[name].arguments])
def test_programs_that_share_a_sequence_hand_over_what_they_wrote(name: str) -> None:
    assembly = compiled(LAUNCHES[name], 90).asm["ptx"].splitlines()
    given = places(assembly, r"\bred\.global\.gpu\.release\b")
    taken = places(assembly, r"\bld\.global\.gpu\.acquire\b")
    assert given
    assert len(given) == len(taken)
    barriers = places(assembly, r"\bbar\.sync\b")
    for gives, takes in zip(given, taken, strict=True):
        # All threads have written before one of them says so, and none goes on before that one was told.
        assert any(gives - 10 < line < gives for line in barriers)
        assert gives < takes
        assert any(takes < line < takes + 20 for line in barriers)
