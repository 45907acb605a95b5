"""What ``hmm doctor`` prints: the state of this installation."""

import importlib.metadata
import importlib.util
import os
import platform
import sys
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from hmm_core import backends

PACKAGES = (
    "hmm-core",
    "hmm-models",
    "hmm-speech",
    "hmm-metrics",
    "hmm-align",
    "hmm-stream",
    "hmm-tts",
    "pytorch-hmm",
)
# What an extra adds, and the modules that show it is there.
EXTRAS = {
    "demo": ("hmm demo align", ("espeakng_loader", "matplotlib")),
    "g2p": ("pronunciations of unknown words", ("espeakng_loader",)),
    "bench": ("benchmarks", ("hmm_bench",)),
}


def findings() -> list[tuple[str, str]]:
    """Return what there is to say, as pairs of a subject and its state."""
    rows = [
        ("Python", f"{platform.python_version()} ({sys.executable})"),
        ("system", f"{platform.system()} {platform.release()}, {platform.machine()}"),
        ("processor", f"{_processor()}, {os.cpu_count()} logical cores"),
        *((package, importlib.metadata.version(package)) for package in PACKAGES),
        ("torch", f"{torch.__version__}, {torch.get_num_threads()} threads"),
        ("CUDA", _cuda()),
        ("Triton", _triton()),
    ]
    for backend, reason in backends.available().items():
        rows.append((f"backend {backend}", "ready" if reason is None else f"not usable: {reason}"))
    rows.append(("native kernels", _native()))
    for extra, (gain, modules) in EXTRAS.items():
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        state = "installed" if not missing else f'not installed ({gain}): pip install "pytorch-hmm[{extra}]"'
        rows.append((f"extra {extra}", state))
    return rows


def report(console: Console | None = None) -> None:
    """Print the findings."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for row in findings():
        table.add_row(*row)
    (console or Console()).print(table)


def _processor() -> str:
    """Name the processor."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _cuda() -> str:
    """Name the GPU, or say why there is none."""
    if torch.cuda.is_available():
        return ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
    if torch.version.cuda is None:
        return "none: this torch is built without CUDA"
    return f"none: torch is built for CUDA {torch.version.cuda}, but sees no device"


def _triton() -> str:
    """Return the version of the compiler of the CUDA kernels, if it is installed."""
    if importlib.util.find_spec("triton") is None:
        return "not installed"
    try:
        return importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        return "installed by another name"


def _native() -> str:
    """Say which variant of hmm-core's compiled kernels is in use, if there are any."""
    if backends.available()["cpu"] is not None:
        return "not installed, see backend cpu; the reference computes the same, slowly"
    others = [name for name in backends.kernel_variants() if name != backends.kernel_variant()]
    usable = f"; usable, too: {', '.join(others)}" if others else ""
    return f"for {backends.kernel_variant()}{usable}"
