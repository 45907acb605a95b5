"""The C++ engine as C++ programs use it: its own tests, with sanitizers, for every instruction set."""

import importlib.util
import os
import platform
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from hmm_core import __version__ as version
from hmm_core import backends, get_cmake_dir, get_include

CSRC = Path(__file__).parents[1] / "csrc"
SOURCES = sorted((CSRC / "tests").glob("*.cpp"))
MEMORY, THREADS = "address,undefined", "thread"
# These checks would make compilation many times slower; the first sees what they would see, and addresses
# relative to an origin outside of their array are not used there.
UNCHECKED = ["-fno-sanitize=null,alignment,object-size,pointer-overflow"]
# As CMakeLists.txt compiles the kernels, but for the level of optimisation.
FLAGS = ["-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off", "-fwrapv"]
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Wno-psabi"]


class Build(NamedTuple):
    """One way to compile one test."""

    source: Path
    variant: str
    sanitizer: str

    def compile(self, folder: Path) -> Path:
        """Make the program."""
        name = f"{self.source.stem}-{self.variant}-{self.sanitizer}"
        program = folder / name.replace(",", "-")
        command = [compiler(), "-std=c++17", "-Og", "-g1", f"-march={self.variant}", *FLAGS, *WARNINGS]
        command += [f"-fsanitize={self.sanitizer}", *(UNCHECKED if self.sanitizer == MEMORY else [])]
        command += ["-fno-sanitize-recover=all", "-I", get_include()]
        command += [str(self.source), "-pthread", "-o", str(program)]
        run(command)
        return program


def builds() -> list[Build]:
    """Every test with the narrowest and the widest vectors, what is below kernels with all; threads also."""
    variants = backends.kernel_variants() or ("native",)
    ends = sorted({variants[0], variants[-1]})
    found = []
    for source in SOURCES:
        basic = source.stem in {"extended", "simd"}
        found += [Build(source, variant, MEMORY) for variant in (variants if basic else ends)]
        if source.stem in {"shared_states", "team", "thread_pool"}:
            found.append(Build(source, variants[-1], THREADS))
    return found


def run(command: list[str]) -> str:
    """Run a command and return what it prints; what it complains about is the message of a failure."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def compiler() -> str:
    """The C++ compiler, "" if there is none."""
    return os.environ.get("CXX") or shutil.which("c++") or ""


def unavailable(reason: str) -> None:
    """Skip a test, or fail where HMM_REQUIRE_NATIVE=1 says that there is a compiler."""
    if os.environ.get("HMM_REQUIRE_NATIVE") == "1":
        pytest.fail(f"HMM_REQUIRE_NATIVE=1, but: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="module")
def sanitizers(tmp_path_factory: pytest.TempPathFactory) -> frozenset[str]:
    """Return the sanitizers that the compiler can link."""
    if not compiler():
        unavailable("there is no C++ compiler")
    folder = tmp_path_factory.mktemp("sanitizers")
    (folder / "empty.cpp").write_text("int main() {}\n")
    found = set()
    for sanitizer in (MEMORY, THREADS):
        command = [
            compiler(),
            f"-fsanitize={sanitizer}",
            str(folder / "empty.cpp"),
            "-o",
            str(folder / "empty"),
        ]
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            found.add(sanitizer)
    return frozenset(found)


@pytest.fixture(scope="module")
def programs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, sanitizers: frozenset[str]
) -> Iterator[Callable[[Build], Path]]:
    """Compile what the selected tests need, on all cores, while the first of them run.

    The processes of pytest-xdist each compile what they run themselves: all of them see all tests.
    """
    folder = tmp_path_factory.mktemp("programs")
    selected = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    wanted = [build for parameters in selected if isinstance(build := parameters.get("build"), Build)]
    if hasattr(request.config, "workerinput"):
        wanted = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        started = {
            build: pool.submit(build.compile, folder) for build in wanted if build.sanitizer in sanitizers
        }
        yield lambda build: started[build].result() if build in started else build.compile(folder)
        for future in started.values():
            future.cancel()


@pytest.mark.parametrize("build", builds(), ids=lambda b: f"{b.source.stem}-{b.variant}-{b.sanitizer}")
def test_the_engine_passes_its_own_tests(
    build: Build, sanitizers: frozenset[str], programs: Callable[[Build], Path]
) -> None:
    if build.sanitizer not in sanitizers:
        unavailable(f"the C++ compiler cannot link the {build.sanitizer} sanitizer")
    program = str(programs(build))
    done = subprocess.run([program], capture_output=True, text=True, check=False, timeout=120)
    if "unexpected memory mapping" in done.stderr:  # Older thread sanitizers and newer kernels.
        done = subprocess.run(
            ["setarch", platform.machine(), "--addr-no-randomize", program],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr


def test_every_header_has_a_test_or_is_included_by_one_that_has() -> None:
    tested = set()
    waiting = [line for source in SOURCES for line in source.read_text(encoding="utf-8").splitlines()]
    while waiting:
        line = waiting.pop()
        header = (
            line.removeprefix('#include "hmm/').rstrip('"') if line.startswith('#include "hmm/') else None
        )
        if header is not None and header not in tested:
            tested.add(header)
            waiting += (Path(get_include()) / "hmm" / header).read_text(encoding="utf-8").splitlines()
    headers = {path.name for path in (Path(get_include()) / "hmm").glob("*.hpp")}
    assert headers - tested - {"version.hpp"} == set()


def test_headers_know_neither_python_nor_torch() -> None:
    for header in Path(get_include()).rglob("*.hpp"):
        text = header.read_text(encoding="utf-8")
        assert text.count("#pragma once") == 1, header
        assert not any(word in text for word in ("Python.h", "nanobind", "torch/")), header


def test_headers_and_cmake_package_carry_the_version_of_the_package() -> None:
    header = Path(get_include()) / "hmm" / "version.hpp"
    assert f'#define HMM_VERSION "{version}"' in header.read_text(encoding="utf-8")
    assert (Path(get_cmake_dir()).parent / "include").samefile(get_include())


@pytest.mark.parametrize(
    ("wanted", "found"),
    [("", True), ("0.1", True), ("0.1.0 EXACT", True), ("0.1.1", False), ("0.2", False), ("1", False)],
)
def test_cmake_finds_the_package_in_a_version_that_fits(tmp_path: Path, wanted: str, found: bool) -> None:
    if shutil.which("cmake") is None or not compiler():
        pytest.skip("there is no CMake or no C++ compiler")
    assert version.startswith("0.1.0")
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.18...4.0)\nproject(user LANGUAGES CXX)\n"
        f"find_package(hmm {wanted} CONFIG)\n"
        "if(hmm_FOUND AND NOT TARGET hmm::hmm)\n  message(FATAL_ERROR no-target)\nendif()\n"
        f'if(NOT hmm_FOUND STREQUAL "{int(found)}")\n  message(FATAL_ERROR wrong)\nendif()\n'
    )
    run(["cmake", "-S", str(tmp_path), "-B", str(tmp_path / "build"), f"-Dhmm_DIR={get_cmake_dir()}"])


def test_a_kernel_that_defines_a_function_of_the_standard_library_is_caught(tmp_path: Path) -> None:
    nm = shutil.which("nm")
    if nm is None or not compiler() or platform.system() != "Linux":
        pytest.skip("there is no nm for ELF files or no C++ compiler")
    spec = importlib.util.spec_from_file_location("check_symbols", CSRC / "check_symbols.py")
    assert spec is not None
    assert spec.loader is not None
    check = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(check)
    clean = "template <class T> T twice(T x) { return x + x; }\ntemplate int twice(int);\n"
    codes = {
        "clean": f"namespace hmm {{ inline namespace v4 {{ {clean} }} }}\n",
        "other": f"namespace hmm {{ inline namespace v3 {{ {clean} }} }}\n",
        "leak": "#include <vector>\nvoid grow(std::vector<int>& v) { v.push_back(1); }\n",
    }
    found = {}
    for name, code in codes.items():
        source, built = tmp_path / f"{name}.cpp", tmp_path / f"{name}.o"
        source.write_text(code)
        run([compiler(), "-std=c++17", "-O0", "-c", str(source), "-o", str(built)])
        found[name] = check.main(nm, "v4", [str(built)])
    assert found == {"clean": 0, "other": 1, "leak": 1}
